"""The cost of segments: the fit repeated and held to its stated errors, exact registers and chains, whole units, the lines."""

import csv
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwmodels.calibration import segment_constants as constants
from hwmodels.calibration.fit_segments import CONSTANTS, TABLE, fit_segments, read_segment_rows, render
from hwmodels.calibration.segment_points import TEST_POINTS, WHOLE_POINTS, cases
from hwmodels.catalog import parse_format
from hwmodels.datapath import Accumulator, Datapath, Multiplier, Overflow, parse_scaling, tensor_quant
from hwmodels.devices import Family, get_device
from hwmodels.dot_product import dot_product_unit
from hwmodels.estimate import estimate_operator
from hwmodels.formats import IntFormat, Minifloat
from hwmodels.ops import Folding, MatVec
from hwmodels.options import CostOptions
from hwmodels.outer_stage import inner_unit, outer_stage, scale_stage, segmented_unit
from hwmodels.primitives.cost import BandKind
from hwmodels.rtl.outer import OuterStage
from hwmodels.rtl.scale import ProductScale, ShiftScale
from hwmodels.segment import group_scales, segment_size, segment_sum_bits

ROWS = read_segment_rows()
STAGES = [row for row in ROWS if row.part == "outer"]
FAMILIES = {"xcup": Family.XCUP, "xc7": Family.XC7}


def test_the_table_holds_every_point_once() -> None:
    with TABLE.open(newline="") as file:
        table = list(csv.DictReader(file))
    chosen = cases()
    assert len(table) == len(ROWS) == len(chosen) + len(chosen[::9])
    assert [row.unit for row in ROWS[: len(chosen)]] == [unit for _, unit, _, _ in chosen]
    plus = [row for row in ROWS if row.family == "xcup"]
    assert sum(row.use == "test" and row.part == "outer" for row in plus) == TEST_POINTS
    assert sum(row.part == "whole" for row in plus) == WHOLE_POINTS
    assert sum(row.use == "fit" for row in plus) >= 90
    assert {row.unit.segment for row in plus} >= {8, 16, 32, 64, 128}
    assert all(int(row["dsp"]) == int(row["bram18"]) == int(row["lutram"]) == 0 for row in table)


def test_the_committed_constants_are_those_of_the_fit() -> None:
    again = fit_segments(ROWS)
    assert again.factors == pytest.approx(constants.FACTORS, abs=2e-4)
    assert render(again, ROWS) == CONSTANTS.read_text()


def test_stated_errors_hold_and_meet_the_aims() -> None:
    def errors(use: str) -> tuple[float, float]:
        rows = [row for row in STAGES if row.use == use and row.family == "xcup"]
        off = np.abs([outer_stage(row.unit.outer, Family.XCUP)[0].lut / row.luts - 1 for row in rows])
        return float(np.median(off)), float(np.percentile(off, 90))

    assert errors("fit") == pytest.approx(constants.IN_SAMPLE, abs=2e-4)
    assert errors("test") == pytest.approx(constants.TEST, abs=2e-4)
    assert (constants.MEDIAN_ERROR, constants.P90_ERROR) == constants.TEST
    assert constants.MEDIAN_ERROR <= 0.02
    assert constants.P90_ERROR <= 0.05
    assert constants.RANK_CORRELATION >= 0.998


def test_shares_of_a_site_are_shares() -> None:
    """Two clamped bits, or two digits of a serial product, share a LUT6_2; a 4:1 multiplexer is one LUT."""
    assert constants.FACTORS["chains"] == 1
    assert constants.FACTORS["clamp/3"] == pytest.approx(0.5, abs=0.03)
    assert constants.FACTORS["digits/3"] == pytest.approx(0.5, abs=0.1)
    assert constants.FACTORS["shifter/6"] == pytest.approx(1, abs=0.1)


def test_tiles_are_exact() -> None:
    """Without scales and clamps nothing is left to fit: every wrapping stage to the LUT."""
    plain = [row for row in STAGES if row.unit.scale is None and row.unit.outer.overflow is Overflow.WRAP]
    assert len(plain) >= 30
    assert all(outer_stage(row.unit.outer, FAMILIES[row.family])[0].lut == row.luts for row in plain)


def test_registers_and_carry_chains_of_the_table() -> None:
    """Flip-flops and carry blocks of every stage, on both families, exactly."""
    for row in STAGES:
        predicted, _ = outer_stage(row.unit.outer, FAMILIES[row.family])
        assert predicted.ff == row.ff, row
        assert predicted.carry8 == row.carry8, row


def test_whole_units() -> None:
    """Products by the form of dot-product units, the rest by this one: on units drawn at random that neither fit saw."""
    rows = [row for row in ROWS if row.part == "whole"]
    predicted = [segmented_unit(row.unit, FAMILIES[row.family])[0] for row in rows]
    off = np.abs([made.lut / row.luts - 1 for made, row in zip(predicted, rows, strict=True)])
    assert np.median(off) <= 0.02
    assert np.percentile(off, 90) <= 0.05
    exact = [(made.ff, made.carry8) == (row.ff, row.carry8) for made, row in zip(predicted, rows, strict=True)]
    assert np.mean(exact) >= 0.95


@settings(deadline=None)
@given(
    st.integers(6, 30),
    st.integers(1, 8),
    st.sampled_from([None, ShiftScale(112), ShiftScale(96, 32, 8), ProductScale(), ProductScale(passes=4)]),
    st.sampled_from([Overflow.WRAP, Overflow.SATURATE]),
)
def test_more_bits_and_segments_cost_more(inner: int, units: int, scale, overflow: Overflow) -> None:
    if isinstance(scale, ProductScale) and scale.passes > 1:
        units = 1
    stage = OuterStage(inner, units, 70, overflow, scale, int(scale is not None))
    cost = outer_stage(stage, Family.XCUP)[0]
    alone = scale_stage(stage, Family.XCUP)[0]
    assert cost.lut >= 70
    assert (alone.lut > 0) == (alone.ff > 0) == (scale is not None)
    assert alone.lut < cost.lut
    assert outer_stage(replace(stage, inner_bits=inner + 2), Family.XCUP)[0].lut >= cost.lut
    assert outer_stage(replace(stage, bits=71), Family.XCUP)[0].lut > cost.lut
    if units > 1:
        assert outer_stage(replace(stage, units=units - 1), Family.XCUP)[0].lut < cost.lut
    assert outer_stage(replace(stage, overflow=Overflow.SATURATE), Family.XCUP)[0].lut >= cost.lut


def test_outside_the_table_the_band_widens_and_says_so() -> None:
    inside = outer_stage(OuterStage(16, 1, 24, Overflow.WRAP), Family.XCUP)[1]
    assert (inside.kind, inside.median) == (BandKind.MEASURED, constants.MEDIAN_ERROR)
    outside = outer_stage(OuterStage(48, 1, 200, Overflow.WRAP), Family.VERSAL)[1]
    assert outside.kind is BandKind.EXTRAPOLATED
    for reason in ("inner bits 48 outside", "outer bits 200 outside", "family versal instead of"):
        assert reason in outside.basis


@pytest.mark.parametrize("overflow", [Overflow.WRAP, Overflow.SATURATE])
def test_sums_of_one_cycle_need_no_accumulating_adder(overflow: Overflow) -> None:
    """8 lanes of INT4: 10 bits without an adder before the register; a clamp only where they do not fit."""
    int4 = IntFormat(4)
    several, _ = dot_product_unit(int4, int4, 8, 16, Family.XCUP, overflow)
    one, _, width = inner_unit(int4, int4, 8, 16, 1, Family.XCUP, overflow)
    clamped = 16 * (overflow is Overflow.SATURATE)
    assert (width, one.ff, several.ff) == (11, 11, 16)
    assert several.lut - one.lut == pytest.approx(
        16 + 0.5 * clamped, abs=2
    )  # two bits of a clamp share a LUT6_2, as fitted
    assert one.carry8 < several.carry8
    assert inner_unit(int4, int4, 8, 16, 2, Family.XCUP, overflow)[0] == several
    narrow = inner_unit(int4, int4, 8, 9, 1, Family.XCUP, overflow)
    assert narrow[2] == 9
    e2m1 = Minifloat(2, 1)
    assert inner_unit(e2m1, e2m1, 8, 20, 1, Family.XCUP)[2] == 13, "8 * 144, its sign, and a carry"


def path(
    weight: str, activation: str, bits: int, tile: int | None = None, scalings: tuple[str, str] = ("", "")
) -> Datapath:
    quants = [
        tensor_quant(parse_format(name), parse_scaling(scale) if scale else None)
        for name, scale in zip((weight, activation), scalings, strict=True)
    ]
    return Datapath(*quants, Accumulator(bits, tile))


@pytest.mark.parametrize(
    ("datapath", "size", "kinds", "bits"),
    [
        (path("int4", "int4", 14, 64), 64, (), 14 + 4),
        (path("mxfp4_e2m1", "mxfp4_e2m1", 14), 32, ("power_of_two", "power_of_two"), 14 + 15 + 5),
        (path("int4", "int4", 14, scalings=("group16", "")), 16, ("float",), 14 + 16 + 6),
        (path("int4", "int4", 14, 8, scalings=("group16", "group32_po2")), 8, ("float", "power_of_two"), 14 + 31 + 7),
        (path("int4", "int4", 14, 64, scalings=("group1024", "")), 64, ("float",), 14 + 4),  # scaled behind the sum
        (path("int4", "int4", 14), None, (), 14),
    ],
)
def test_how_a_dot_product_of_1024_is_cut(datapath: Datapath, size, kinds, bits: int) -> None:
    assert segment_size(datapath) == size
    assert group_scales(datapath) == kinds
    assert segment_sum_bits(datapath, 1024) == bits


def lines(datapath: Datapath, folding: Folding, options: CostOptions | None = None):
    made = estimate_operator(MatVec("layer", 64, 1024, 10, "x"), datapath, folding, get_device("xczu7ev"), options)
    return {line.component: line for line in made.lines}


def test_the_lines_of_scaled_segments() -> None:
    """4 rows x 2 blocks of 32 a cycle: the stage's own numbers, split into scales and accumulator, with measured bands."""
    found = lines(path("mxfp4_e2m1", "mxfp4_e2m1", 14), Folding(4, 64))
    stage = OuterStage(14, 2, 34, Overflow.WRAP, ShiftScale.around_one(2), 2)
    whole, band = outer_stage(stage, Family.XCUP)
    parts = found["outer accumulator"].resources + found["group scale"].resources
    assert parts.lut == pytest.approx(4 * whole.lut, abs=1e-3)
    assert (parts.ff, parts.carry8) == (4 * whole.ff, 4 * whole.carry8)
    assert found["outer accumulator"].band == found["group scale"].band == band
    assert band.kind is BandKind.MEASURED
    assert "FF: 14 per unit" in found["dot products"].formula
    assert "scale memory" in found


def test_a_slower_segment_has_a_cheaper_float_scale() -> None:
    """Per lane, a product of 16 bits in the 1, 4 or 16 cycles of a group of 128."""
    scale = [
        lines(path("int4", "int4", 15, scalings=("group128", "")), Folding(1, n))["group scale"] for n in (128, 32, 8)
    ]
    assert scale[0].resources.lut > 1.9 * scale[1].resources.lut
    assert scale[1].resources.lut > 1.3 * scale[2].resources.lut
    assert "16 bits in 16 passes" in scale[2].formula
    on_dsp = lines(
        path("int4", "int4", 15, scalings=("group128", "")), Folding(1, 8), CostOptions(multiplier=Multiplier.DSP)
    )
    assert on_dsp["group scale"].resources.dsp == 1
    assert on_dsp["group scale"].band.kind is BandKind.UNCALIBRATED


def test_each_scale_is_charged() -> None:
    def luts(*scalings: str) -> float:
        return lines(path("int4", "int4", 14, scalings=scalings), Folding(1, 32))["group scale"].resources.lut

    one, both = luts("group32_po2", ""), luts("group32_po2", "group32_po2")
    assert one < both < one + 16, "an adder of exponents more"
    made = estimate_operator(
        MatVec("layer", 64, 1024, 10, "x"),
        path("int4", "int4", 14, scalings=("group32", "group32")),
        Folding(1, 32),
        get_device("xczu7ev"),
    )
    assert [line.component for line in made.lines].count("group scale") == 2
