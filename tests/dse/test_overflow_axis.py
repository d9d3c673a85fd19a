"""The axis of overflow: which points exist, what their keys hold, what they cost, and that overflows reach the table."""

import re
from dataclasses import replace

import pytest
from fake_sweep import FakeExecutor, StoppedError, fake_config, layer_names, run_fake

from dse.config import ConfigError
from dse.evaluate import Evaluator
from dse.export.errors import ExportError
from dse.export_point import choose, exportable_design
from dse.manifest import make_manifest
from dse.objectives import OBJECTIVES
from dse.point import DesignPoint, Hardware
from dse.records import Accuracy, Refusal
from dse.results import load_results
from dse.rows import make_row, precheck
from dse.search import distributions, propose
from dse.space import AXES, LATER, make_space
from dse.tables import front_table
from hwmodels.catalog import parse_element
from hwmodels.datapath import Overflow

SPACE = {
    "weight": ["int4"],
    "activation": ["int4"],
    "weight_scaling": ["channel"],
    "activation_scaling": ["tensor"],
    "recipe": ["rtn", "axe"],
    "accumulator": ["auto", "9"],
    "tile": ["none", "64"],
    "overflow": ["impossible", "saturate", "wrap"],
}
RULES = {"edge": "same"}
POINT = {axis: choices[0] for axis, choices in SPACE.items()} | {"accumulator": "9", "recipe": "rtn"}
POINT |= {"weight_rule": "absmax", "activation_rule": "auto"}


def points(**choice):
    """The design point of a choice, slow and fast."""
    config = fake_config(space=SPACE, rules=RULES)
    spec = make_space(config).spec(POINT | choice)
    return [DesignPoint(spec, Hardware("XCZU3EG", fps, 200.0)) for fps in (1000.0, 10000.0)]


@pytest.fixture(scope="module")
def evaluator():
    return Evaluator("digits-resnet", test_images=24, calibration_images=32).load()


def test_overflow_needs_a_width_and_no_axe_and_may_have_tiles():
    space = make_space(fake_config(space=SPACE, rules=RULES))
    found = {(c["overflow"], c["recipe"], c["accumulator"], c["tile"]) for c in space}
    loose = {(o, "rtn", "9", t) for o in ("saturate", "wrap") for t in ("none", "64")}
    proved = {("impossible", "axe", "9", t) for t in ("none", "64")} | {
        ("impossible", "rtn", p, "none") for p in ("auto", "9")
    }
    assert found == loose | proved
    assert len({space.spec(c).key for c in space}) == len(found) - 1  # P matters to no proved point without axe
    with pytest.raises(
        ConfigError, match=r"space\.overflow\[0\]: must be one of impossible, wrap, saturate, but got 'clip'"
    ):
        fake_config(space={"overflow": ["clip"]})


def test_a_sweep_that_does_not_ask_is_the_one_it_was_before():
    """Neither its proposals nor its manifest know the axis."""
    config = fake_config()
    space = make_space(config)
    assert set(distributions(space)) == set(AXES) - set(LATER)
    made = propose(space, config.search, 0, ["maximize", "minimize"], [], range(3))
    assert all("overflow" not in p.choice and space.spec(p.choice).overflow is Overflow.IMPOSSIBLE for p in made)
    asked = [fake_config(space={"overflow": o}) for o in (["impossible"], ["impossible", "wrap"])]
    hashes = [make_manifest(each)["config_sha256"] for each in (config, *asked)]
    assert hashes[0] == hashes[1] != hashes[2]


def test_variants_that_sum_other_products_per_cycle_have_an_accuracy_of_their_own(tmp_path):
    layers, hardware = (
        layer_names(),
        {"target_fps": [1000, 10000], "multiplier": "lut", "device": ["XCZU7EV", "XCU250"]},
    )
    config = fake_config(6, space=SPACE | {"recipe": ["rtn"]}, rules=RULES, hardware=hardware)
    executor = FakeExecutor(layers)
    sweep, rows = run_fake(tmp_path / "a", config, executor)
    assert len(sweep.records) == 6
    for record, _ in sweep.records.values():
        keys = {row.target_fps: row.numerics_key for row in record.rows if row.numerics_key}
        assert len(record.outcomes) == (2 if record.choice["overflow"] == "saturate" else 1 if record.accuracy else 0)
        if record.choice["overflow"] == "saturate":
            assert set(record.outcomes) == set(keys.values())
    assert len(executor.asked) == len(set(executor.asked)) == sweep.quantizations
    with pytest.raises(StoppedError):
        run_fake(tmp_path / "b", config, FakeExecutor(layers, 3))
    again = FakeExecutor(layers)
    assert run_fake(tmp_path / "b", config, again)[1] == rows
    assert len(again.asked) <= len(executor.asked)


def test_lanes_are_those_of_the_folding(evaluator):
    slow, fast = (evaluator.with_lanes(p).numerics for p in points(overflow="saturate"))
    assert all(f >= s for (_, s), (_, f) in zip(slow.lanes, fast.lanes, strict=True))
    assert slow.key != fast.key
    assert dict(fast.lanes)["block1.conv1"] > 1
    for overflow in ("wrap", "impossible"):
        assert [evaluator.with_lanes(p) for p in points(overflow=overflow)] == points(overflow=overflow)


def test_overflows_reach_the_row_and_saturation_its_cost(evaluator):
    rows = {}
    for overflow in ("saturate", "wrap"):
        point = evaluator.with_lanes(points(overflow=overflow)[1])
        assert precheck(evaluator, point, 1.0) is None
        outcome = evaluator.accuracy(point.numerics)
        assert isinstance(outcome, Accuracy)
        assert set(outcome.overflow_rates) == set(outcome.widths)
        row = rows[overflow] = make_row(overflow, None, point, evaluator, outcome, 1.0)
        assert (row.status, row.overflow, row.accumulator) == ("ok", overflow, "9")
        assert row.overflows > 0
        assert row.overflow_rate == max(outcome.overflow_rates.values()) == outcome.overflow_rates[row.overflow_layer]
    assert rows["saturate"].lut > rows["wrap"].lut
    assert rows["saturate"].top1 > rows["wrap"].top1
    config = fake_config(space=SPACE, rules=RULES)
    table = front_table("x", list(rows.values()), [OBJECTIVES[o] for o in config.objectives])
    cells = [cell for column in table.columns for cell in column.cells]
    assert any(f"saturates ({rows['saturate'].overflow_rate:.2g} of the sums of" in str(cell) for cell in cells)


def test_a_proved_width_costs_and_measures_what_it_does_without_overflow(evaluator):
    wide = [
        evaluator.with_lanes(replace(p, numerics=replace(p.numerics, accumulator_bits=20)))
        for p in points(overflow="saturate")
    ]
    proved = replace(wide[1].numerics, overflow=Overflow.IMPOSSIBLE, lanes=())
    widths = {}
    for spec in (wide[1].numerics, proved):
        outcome = evaluator.accuracy(spec)
        widths[spec.overflow] = outcome.widths
        assert outcome.top1 == evaluator.accuracy(replace(proved, accumulator_bits=None)).top1
        assert outcome.overflows in (None, 0)
    costs = [evaluator.cost(replace(wide[1], numerics=s), widths[s.overflow]).total for s in (wide[1].numerics, proved)]
    assert costs[0] == costs[1]


@pytest.mark.parametrize(
    ("choice", "edge", "model", "reason"),
    [
        ({}, "int8", "calibrated", "layer stem must have a compute unit that exists: .* one product, 16 bits"),
        ({"overflow": "wrap"}, "int8", "calibrated", "layer stem must have a compute unit that exists"),
        ({"activation_scaling": "token"}, "same", "calibrated", "inputs with a constant scale"),
        ({}, "same", "finn", "the accumulators of the finn model do not saturate"),
    ],
)
def test_what_no_unit_does_is_refused_before_it_is_quantized(evaluator, choice, edge, model, reason):
    point = points(**{"overflow": "saturate"} | choice)[1]
    edge_format = None if edge == "same" else parse_element(edge)
    point = DesignPoint(replace(point.numerics, edge=edge_format), replace(point.hardware, model=model))
    found = precheck(evaluator, point, 1.0)
    assert isinstance(found, Refusal)
    assert re.search(reason, found.reason)


def test_points_that_may_overflow_are_not_exported(tmp_path):
    config = fake_config(4, space=SPACE | {"overflow": ["wrap"], "recipe": ["rtn"], "accumulator": ["9"]}, rules=RULES)
    run_fake(tmp_path, config, FakeExecutor(layer_names()))
    results = load_results(tmp_path)
    row = next(r for r in results.rows if r.overflow == "wrap")
    with pytest.raises(ExportError, match=rf"because ONNX has exact sums only, but {row.id} may wrap"):
        exportable_design(results, row, Evaluator("digits-resnet"))
    assert {r.overflow for r in results.front} == {"wrap", "impossible"}
    assert choose(results, "knee", "qonnx").overflow == "impossible"
