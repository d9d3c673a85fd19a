"""FINN's estimate beside ours: FINN's side is FINN's, ours is ours, and every difference has its reason."""

import csv
import json
from collections import Counter
from pathlib import Path

import pytest
from networks import numerics_of, residual_network

from hwmodels.batch import calibrated_row
from hwmodels.compare import Comparison, Unit, compare, compare_operator, compare_row
from hwmodels.compare_reasons import REASONS
from hwmodels.devices import get_device
from hwmodels.estimate import CostModel, CostOptions, estimate
from hwmodels.folding import fold_for_cycles
from hwmodels.ops import Folding, MatVec, Pad
from hwmodels.primitives.memory import MemoryStyleError
from hwmodels.resources import Resources

GOLDEN = Path(__file__).parents[1] / "golden" / "finn"
NETWORK, DEVICE = residual_network(), get_device("xczu3eg")
FOLDINGS = fold_for_cycles(NETWORK, 10_000)
NO_REASON = REASONS[-1].why
OPTIONS = [
    CostOptions(multiplier=multiplier, memory=memory)
    for multiplier in ("lut", "dsp")
    for memory in ("auto", "bram", "lutram")
]


def compared(weight: str = "int4", activation: str = "uint4", options: CostOptions | None = None) -> Comparison:
    return compare(NETWORK, numerics_of(NETWORK, weight, activation), FOLDINGS, DEVICE, options)


def check(unit: Unit) -> None:
    """A difference for each count that differs and no other; its components add up; it has a reason of its own."""
    assert unit.finn is not None
    theirs, ours = unit.finn.as_dict(), unit.calibrated.as_dict()
    differing = {name for name in theirs if theirs[name] != ours[name]}
    found = [entry for entry in unit.differences() if entry.resource != "cycles"]
    assert {entry.resource for entry in found} == differing
    for name in differing:
        entries = [entry for entry in found if entry.resource == name]
        assert all((entry.finn, entry.calibrated) == (theirs[name], ours[name]) for entry in entries)
        assert sum(sum(entry.components.values()) for entry in entries) == pytest.approx(ours[name])
        assert len({entry.why for entry in entries}) == len(entries)
        assert NO_REASON not in {entry.why for entry in entries}, (unit.name, name, entries)


@pytest.mark.parametrize("options", OPTIONS, ids=lambda o: f"{o.multiplier}-{o.memory}")
@pytest.mark.parametrize("formats", [("int4", "uint4"), ("int8", "uint8")], ids="-".join)
def test_every_difference_of_a_network_has_a_reason(formats: tuple[str, str], options: CostOptions) -> None:
    for unit in compared(*formats, options).units:
        check(unit)


def test_both_totals_are_those_of_the_estimates() -> None:
    made, numerics = compared(), numerics_of(NETWORK, "int4", "uint4")
    finn, calibrated = (
        estimate(NETWORK, numerics, FOLDINGS, DEVICE, CostOptions(model=model))
        for model in (CostModel.FINN, CostModel.CALIBRATED)
    )
    assert made.finn == finn.total
    assert made.calibrated == calibrated.total
    zeros = {op.name for op in NETWORK.operators if isinstance(op, Pad)}  # FINN's, but not in its estimate
    assert {unit.name: unit.finn_cycles for unit in made.units if unit.name not in zeros} == finn.cycles
    # a requantizer behind a layer is inside FINN's unit
    assert {unit.name for unit in made.units} == set(calibrated.cycles) - {
        f"{op.name}.requantize" for op in NETWORK.compute
    }


def reasons_of(unit: Unit) -> dict[str, set[str]]:
    return {name: {e.why for e in unit.differences() if e.resource == name} for name in ("lut", "ff", "bram18")}


def test_the_reasons_that_facts_are_known_for() -> None:
    units = {unit.name: unit for unit in compared().units}
    assert reasons_of(units["head"])["lut"] >= {"FINN counts 0 LUT for an RTL MVAU or VVAU"}
    assert units["head"].finn == Resources(dsp=1, bram18=1)
    assert all(reasons_of(unit)["ff"] == {"FINN counts no flip-flops"} for unit in units.values())
    assert "FINN gives it cycles and no resources" in reasons_of(units["pool"])["lut"]
    (window,) = [e for e in units["conv1.window"].differences() if "window" in e.components and e.resource == "lut"]
    assert window.why.startswith("FINN: 300 + Q*A*ceil(D/38)")


@pytest.mark.parametrize("formats", [("e2m1", "uint4"), ("mxint8", "uint8")], ids="-".join)
def test_formats_that_finn_does_not_have_leave_its_side_empty(formats: tuple[str, str]) -> None:
    made = compared(*formats)
    assert made.finn is None
    assert made.refusal is not None
    assert "the finn model costs integers with tensor or channel scales only, but stem has" in made.refusal
    assert all(unit.finn is None and unit.finn_name is None and not unit.differences() for unit in made.units)
    assert made.calibrated.lut > 0


def test_one_operator_and_json() -> None:
    op = MatVec("layer", 64, 576, 100, "x")
    path = numerics_of(NETWORK, "int4", "uint4").datapath(NETWORK.compute[1])
    made = compare_operator(op, path, Folding(4, 8), DEVICE)
    (unit,) = made.units
    check(unit)
    document = json.loads(json.dumps(made.as_dict()))
    assert document["calibrated_total"] == made.calibrated.as_dict()
    assert document["units"][0]["finn"]["cycles"] == document["units"][0]["calibrated"]["cycles"] == 115_200
    assert {d["resource"] for d in document["units"][0]["differences"]} >= {"lut", "ff"}


@pytest.mark.parametrize("table", ["mvau_hls", "mvau_rtl", "vvau", "swg_hls", "swg_rtl", "thresholding", "fifo", "dwc"])
def test_rows_of_finns_tables(table: str) -> None:
    """FINN's side equals FINN's own numbers; every 23rd row."""
    rows, ours = list(csv.DictReader((GOLDEN / f"{table}.csv").read_text().splitlines()))[::23], Counter[str]()
    for row in rows:
        try:
            unit = compare_row(row)
        except MemoryStyleError:  # URAM on a part without, which FINN costs all the same
            continue
        assert unit.finn is not None
        for name, column in (("lut", "LUT"), ("bram18", "BRAM_18K"), ("dsp", "DSP"), ("uram", "URAM")):
            assert unit.finn.as_dict()[name] == float(row[column])
        assert (unit.calibrated, unit.cycles) == calibrated_row(row)
        check(unit)
        ours["rows"] += 1
    assert ours["rows"] >= len(rows) // 2
