"""The sweep: one quantization per numerics key, costed before quantized, and resumed to the same result from any state."""

import itertools

import pytest
import yaml

from dse.config import parse_config
from dse.front import front_rows, front_volume
from dse.records import Accuracy, RecordError, Refusal, Store
from dse.sweep import Sweep
from dse.template import render
from workloads.numerics import NumericsSpec


class StoppedError(Exception):
    """A kill, as far as the store can tell."""


class FakeExecutor:
    """Accuracy as a smooth function of the formats, known at once; counts what it is asked and stops where it is told."""

    def __init__(self, layers, stop_after=None, reverse=False):
        self.layers, self.asked, self.stop_after, self.reverse = layers, [], stop_after, reverse

    def float_accuracy(self):
        return self._accuracy(0.97, {})

    def accuracies(self, specs: list[NumericsSpec]):
        for spec in reversed(specs) if self.reverse else specs:
            if self.stop_after is not None and len(self.asked) >= self.stop_after:
                raise StoppedError
            self.asked.append(spec.key)
            if spec.weight.format.name == "e3m0":
                yield spec.key, Refusal(status="failed", reason="RuntimeError: made up", seconds=0.1)
            else:
                top1 = 0.97 - 0.6 ** (spec.weight.bits + 1) - 0.5 ** (spec.activation.bits + 1)
                yield spec.key, self._accuracy(top1, dict.fromkeys(self.layers, 14 + spec.weight.bits))

    def _accuracy(self, top1, widths):
        return Accuracy(
            top1=top1,
            top1_low=top1 - 0.01,
            top1_high=min(top1 + 0.01, 1.0),
            loss=1 - top1,
            samples=2000,
            widths=widths,
            weight_bits=1000,
            seconds=0.1,
        )


def config(trials=22, **changes):
    data = yaml.safe_load(render("digits-resnet", "x"))
    data["search"] |= {"trials": trials, "batch": 4, "population": 4}
    data["hardware"] |= {"multiplier": ["lut", "dsp"]}
    for section, values in changes.items():
        data[section] |= values
    return parse_config(yaml.safe_dump(data))


@pytest.fixture(scope="module")
def layers():
    from dse.evaluate import Evaluator

    return [op.name for op in Evaluator("digits-resnet").network.compute]


def run(folder, made, executor, progress=lambda *_: None):
    folder.mkdir(exist_ok=True)
    has = (folder / "study.db").exists()
    store = Store.open(folder) if has else Store.create(folder, "x", ["maximize", "minimize"], ["top1", "lut"])
    sweep = Sweep(made, store, folder)
    try:
        sweep.run(executor, progress)
    finally:
        rows = store.rows()
        store.close()
    return sweep, rows


def test_references_first_then_distinct_points_and_no_quantization_twice(tmp_path, layers):
    executor = FakeExecutor(layers)
    sweep, rows = run(tmp_path, config(), executor)
    assert [r.id for r in rows[:3]] == ["float", "int8.0", "int8.1"]
    assert len(executor.asked) == len(set(executor.asked)) == sweep.quantizations
    design = [(r.numerics_key, r.accumulator, r.recipe, r.hardware_key) for r in rows[3:]]
    assert len(set(design)) == len(design)
    assert len(sweep.records) == 22


def test_a_failing_point_is_recorded_with_its_reason_and_the_sweep_goes_on(tmp_path, layers):
    _, rows = run(tmp_path, config(space={"weight": ["e3m0", "int4"]}), FakeExecutor(layers))
    failed = [r for r in rows if r.status == "failed"]
    assert failed
    assert {r.reason for r in failed} == {"RuntimeError: made up"}
    assert any(r.status == "ok" for r in rows if not r.id.startswith("int8"))


def test_what_cannot_fit_is_costed_and_recorded_but_never_quantized(tmp_path, layers):
    executor = FakeExecutor(layers)
    _, rows = run(tmp_path, config(hardware={"utilization": 0.01}, space={"accumulator": ["auto"]}), executor)
    searched = [r for r in rows if not r.id.startswith(("int8", "float"))]
    assert {r.status for r in searched} == {"too_big"}
    assert all("must fit XCZU3EG at 1% utilization, but it needs" in str(r.reason) and r.lut for r in searched)
    assert len(executor.asked) == 1  # the INT8 reference alone


def test_a_too_narrow_accumulator_is_refused_with_the_layer_and_its_width(tmp_path, layers):
    space = {"accumulator": ["16"], "recipe": ["gptq"], "weight": ["int4", "int2_narrow"]}
    _, rows = run(tmp_path, config(space=space), FakeExecutor(layers))
    by_weight = {r.weight: r for r in rows if r.accumulator == "16"}
    assert by_weight["int2_narrow"].status == "ok"
    assert by_weight["int4"].status == "refused"
    assert f"layer {layers[0]} needs an accumulator of 18 bits, but P=16" in str(by_weight["int4"].reason)


def test_a_width_that_rounding_alone_shows_too_narrow_is_refused_without_quantizing(tmp_path, layers):
    executor = FakeExecutor(layers)
    _, rows = run(tmp_path, config(space={"accumulator": ["12"], "recipe": ["rtn", "bias_correction"]}), executor)
    searched = [r for r in rows if r.accumulator == "12"]
    assert {r.status for r in searched} == {"refused"}
    assert all("but P=12 was asked for; give P >= " in str(r.reason) and r.top1 is None for r in searched)
    assert len(executor.asked) == 1  # the INT8 reference alone


@pytest.mark.parametrize("stop_after", [0, 1, 2, 5, 7, 11])
def test_resuming_after_a_stop_ends_with_the_same_table(tmp_path, layers, stop_after):
    _, undisturbed = run(tmp_path / "a", config(), FakeExecutor(layers))
    with pytest.raises(StoppedError):
        run(tmp_path / "b", config(), FakeExecutor(layers, stop_after, reverse=True))
    resumed = FakeExecutor(layers)
    sweep, rows = run(tmp_path / "b", config(), resumed)
    assert rows == undisturbed
    first = FakeExecutor(layers)
    run(tmp_path / "c", config(), first)
    assert len(resumed.asked) == len(first.asked) - stop_after  # nothing finished was evaluated again
    assert front_rows(rows, sweep.objectives) == front_rows(undisturbed, sweep.objectives)


def test_a_sweep_is_extended_by_more_trials(tmp_path, layers):
    _, at_once = run(tmp_path / "a", config(21), FakeExecutor(layers))
    run(tmp_path / "b", config(10), FakeExecutor(layers))
    _, extended = run(tmp_path / "b", config(21), FakeExecutor(layers))
    assert extended == at_once


def test_a_finished_sweep_asks_for_nothing(tmp_path, layers):
    run(tmp_path, config(8), FakeExecutor(layers))
    executor = FakeExecutor(layers)
    sweep, _ = run(tmp_path, config(8), executor)
    assert executor.asked == []
    assert sweep.quantizations == 0


def test_a_store_of_another_search_is_not_continued(tmp_path, layers):
    with pytest.raises(StoppedError):
        run(tmp_path, config(), FakeExecutor(layers, 3))
    other = config().model_copy(update={"seed": 99})
    with pytest.raises(RecordError, match="must continue its own search"):
        run(tmp_path, other, FakeExecutor(layers))


def test_the_hypervolume_never_falls_and_is_a_share(tmp_path, layers):
    seen = []
    sweep, rows = run(
        tmp_path, config(), FakeExecutor(layers), lambda done, total, row, volume: seen.append((done, volume))
    )
    assert [done for done, _ in seen] == list(range(1, 23))
    volumes = [v for _, v in seen]
    assert all(later >= earlier - 1e-12 for earlier, later in itertools.pairwise(volumes))
    assert 0 < volumes[-1] < 1
    assert front_volume(rows, sweep.objectives) == pytest.approx(volumes[-1])
