"""Operators given as table rows, by the calibrated model: every row of FINN's tables, beside FINN's own numbers."""

import csv
from pathlib import Path

import pytest

from hwmodels.batch import calibrated_row
from hwmodels.devices import get_device
from hwmodels.finn.rows import cost_row, read_row
from hwmodels.primitives.memory import MemoryStyleError

GOLDEN = Path(__file__).parents[1] / "golden" / "finn"
TABLES = ["mvau_hls", "mvau_rtl", "vvau", "swg_hls", "swg_rtl", "thresholding", "fifo", "dwc"]


def rows(name: str) -> list[dict[str, str]]:
    with (GOLDEN / f"{name}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("name", TABLES)
def test_every_row_costs_luts_and_takes_finns_cycles(name: str) -> None:
    """URAM on a part without is refused; everything else costs LUTs and flip-flops, unlike in FINN's own estimate."""
    refused = 0
    for row in rows(name):
        try:
            resources, cycles = calibrated_row(row)
        except MemoryStyleError:
            assert row["ram_style"] == "ultra"
            assert get_device(row["part"]).resources.uram == 0
            refused += 1
            continue
        through = row.get("inWidth", "1") == row.get("outWidth", "0")
        assert (resources.lut > 0 and resources.ff > 0) != through
        assert cycles == cost_row(row)[1]
    assert refused == {"mvau_hls": 304, "mvau_rtl": 87}.get(name, 0)


def test_external_weights_cost_no_memory() -> None:
    row = next(r for r in rows("mvau_hls") if r["mem_mode"] == "external" and r["noAct"] == "1")
    inside = {**row, "mem_mode": "internal_decoupled", "ram_style": "block"}
    outside, stored = calibrated_row(row)[0], calibrated_row(inside)[0]
    assert stored.bram18 - outside.bram18 > 0
    assert stored.lut == outside.lut


def test_thresholds_inside_a_unit_cost_a_requantizer() -> None:
    row = next(r for r in rows("mvau_hls") if r["noAct"] == "1" and r["ram_style"] == "block")
    with_thresholds = {**row, "noAct": "0", "odt": "INT4"}
    assert calibrated_row(with_thresholds)[0].lut > calibrated_row(row)[0].lut


def test_rtl_units_use_dsp_slices() -> None:
    row = next(r for r in rows("mvau_rtl") if r["ram_style"] != "ultra")
    assert read_row(row).resources().lut == 0, "FINN's figure"
    resources = calibrated_row(row)[0]
    assert resources.dsp > 0
    assert resources.lut > 0
