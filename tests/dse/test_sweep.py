"""The sweep: one quantization per numerics key, costed before quantized, and resumed to the same result from any state."""

import itertools
import re

import pytest
from fake_sweep import FakeExecutor, StoppedError, fake_config, layer_names, run_fake

from dse.front import front_rows, front_volume
from dse.records import RecordError


@pytest.fixture(scope="module")
def layers():
    return layer_names()


def test_references_first_then_distinct_points_and_no_quantization_twice(tmp_path, layers):
    executor = FakeExecutor(layers)
    sweep, rows = run_fake(tmp_path, fake_config(), executor)
    assert [r.id for r in rows[:3]] == ["float", "int8.0", "int8.1"]
    assert len(executor.asked) == len(set(executor.asked)) == sweep.quantizations
    design = [(r.numerics_key, r.accumulator, r.recipe, r.hardware_key) for r in rows[3:]]
    assert len(set(design)) == len(design)
    assert len(sweep.records) == 22


def test_a_failing_point_is_recorded_with_its_reason_and_the_sweep_goes_on(tmp_path, layers):
    _, rows = run_fake(tmp_path, fake_config(space={"weight": ["e3m0", "int4"]}), FakeExecutor(layers))
    failed = [r for r in rows if r.status == "failed"]
    assert failed
    assert {r.reason for r in failed} == {"RuntimeError: made up"}
    assert any(r.status == "ok" for r in rows if not r.id.startswith("int8"))


def test_what_cannot_fit_is_costed_and_recorded_but_never_quantized(tmp_path, layers):
    executor = FakeExecutor(layers)
    _, rows = run_fake(tmp_path, fake_config(hardware={"utilization": 0.01}, space={"accumulator": ["auto"]}), executor)
    searched = [r for r in rows if not r.id.startswith(("int8", "float"))]
    assert {r.status for r in searched} == {"too_big"}
    assert all("must fit XCZU3EG at 1% utilization, but it needs" in str(r.reason) and r.lut for r in searched)
    assert len(executor.asked) == 1  # the INT8 reference alone


def test_weights_off_chip_are_a_hardware_choice_with_their_bandwidth(tmp_path, layers):
    """GB/s are PE * SIMD * bits * clock of all layers; a card that states fewer is too small."""
    hardware = {"device": "XCU250", "target_fps": [1000, 60000], "memory": ["auto", "external"]}
    config = fake_config(hardware=hardware, space={"accumulator": ["auto"]})
    _, rows = run_fake(tmp_path, config, FakeExecutor(layers))
    slow = [r for r in rows if r.target_fps == 1000 and r.status == "ok"]
    on, off = ({r.numerics_key: r for r in slow if r.memory == memory} for memory in ("auto", "external"))
    assert on.keys() == off.keys()
    assert len(on) > 3
    for key, row in off.items():
        assert on[key].memory_gbs is None
        assert 0.1 < row.memory_gbs < 77
        assert row.lut > on[key].lut  # a DMA engine for each layer
    fast = [r for r in rows if r.target_fps == 60000 and r.memory == "external" and r.memory_gbs]
    short = [r for r in fast if r.status == "too_big"]
    assert short
    assert {r.id for r in short} == {r.id for r in fast if r.memory_gbs > 77}
    assert all(re.search(r"needs .*GB/s of off-chip memory of 77", str(r.reason)) for r in short)


def test_a_too_narrow_accumulator_is_refused_with_the_layer_and_its_width(tmp_path, layers):
    space = {"accumulator": ["16"], "recipe": ["gptq"], "weight": ["int4", "int2_narrow"]}
    _, rows = run_fake(tmp_path, fake_config(space=space), FakeExecutor(layers))
    by_weight = {r.weight: r for r in rows if r.accumulator == "16"}
    assert by_weight["int2_narrow"].status == "ok"
    assert by_weight["int4"].status == "refused"
    assert f"layer {layers[0]} needs an accumulator of 18 bits, but P=16" in str(by_weight["int4"].reason)


def test_a_width_that_rounding_alone_shows_too_narrow_is_refused_without_quantizing(tmp_path, layers):
    executor = FakeExecutor(layers)
    _, rows = run_fake(
        tmp_path, fake_config(space={"accumulator": ["12"], "recipe": ["rtn", "bias_correction"]}), executor
    )
    searched = [r for r in rows if r.accumulator == "12"]
    assert {r.status for r in searched} == {"refused"}
    assert all("but P=12 was asked for; give P >= " in str(r.reason) and r.top1 is None for r in searched)
    assert len(executor.asked) == 1  # the INT8 reference alone


@pytest.mark.parametrize(
    ("hardware", "reason"),
    [
        ({"target_fps": 1e7}, "at full parallelism; lower the frame rate"),
        ({"model": "finn", "target_fps": 100, "multiplier": "lut"}, "integer"),
    ],
)
def test_what_no_hardware_can_be_is_refused_and_never_quantized(tmp_path, layers, hardware, reason):
    executor = FakeExecutor(layers)
    _, rows = run_fake(tmp_path, fake_config(hardware=hardware, space={"weight": ["e2m1", "e2m2"]}), executor)
    searched = [r for r in rows if r.accumulator == "auto" and not r.id.startswith("int8")]
    assert searched
    assert {r.status for r in searched} == {"refused"}
    assert all(re.search(reason, str(r.reason)) and r.top1 is None and r.lut is None for r in searched)
    assert len(executor.asked) == 1  # the INT8 reference alone


@pytest.mark.parametrize("stop_after", [0, 1, 2, 5, 7, 11])
def test_resuming_after_a_stop_ends_with_the_same_table(tmp_path, layers, stop_after):
    _, undisturbed = run_fake(tmp_path / "a", fake_config(), FakeExecutor(layers))
    with pytest.raises(StoppedError):
        run_fake(tmp_path / "b", fake_config(), FakeExecutor(layers, stop_after, reverse=True))
    resumed = FakeExecutor(layers)
    sweep, rows = run_fake(tmp_path / "b", fake_config(), resumed)
    assert rows == undisturbed
    first = FakeExecutor(layers)
    run_fake(tmp_path / "c", fake_config(), first)
    assert len(resumed.asked) == len(first.asked) - stop_after  # nothing finished was evaluated again
    assert front_rows(rows, sweep.objectives) == front_rows(undisturbed, sweep.objectives)


def test_a_sweep_is_extended_by_more_trials(tmp_path, layers):
    _, at_once = run_fake(tmp_path / "a", fake_config(21), FakeExecutor(layers))
    run_fake(tmp_path / "b", fake_config(10), FakeExecutor(layers))
    _, extended = run_fake(tmp_path / "b", fake_config(21), FakeExecutor(layers))
    assert extended == at_once


def test_a_finished_sweep_asks_for_nothing(tmp_path, layers):
    run_fake(tmp_path, fake_config(8), FakeExecutor(layers))
    executor = FakeExecutor(layers)
    sweep, _ = run_fake(tmp_path, fake_config(8), executor)
    assert executor.asked == []
    assert sweep.quantizations == 0


def test_a_store_of_another_search_is_not_continued(tmp_path, layers):
    with pytest.raises(StoppedError):
        run_fake(tmp_path, fake_config(), FakeExecutor(layers, 3))
    other = fake_config().model_copy(update={"seed": 99})
    with pytest.raises(RecordError, match="must continue its own search"):
        run_fake(tmp_path, other, FakeExecutor(layers))


def test_the_hypervolume_never_falls_and_is_a_share(tmp_path, layers):
    seen = []
    sweep, rows = run_fake(
        tmp_path, fake_config(), FakeExecutor(layers), lambda done, total, row, volume: seen.append((done, volume))
    )
    assert [done for done, _ in seen] == list(range(1, 23))
    volumes = [v for _, v in seen]
    assert all(later >= earlier - 1e-12 for earlier, later in itertools.pairwise(volumes))
    assert 0 < volumes[-1] < 1
    assert front_volume(rows, sweep.objectives) == pytest.approx(volumes[-1])
