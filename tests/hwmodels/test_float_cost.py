"""What floating-point accumulators cost: the committed table of synthesized units, a layer, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwmodels.accumulator import AccumulatorError, float_exponent_bits
from hwmodels.calibration import float_constants as constants
from hwmodels.calibration.fit_float import CONSTANTS, fit, read_rows, render
from hwmodels.calibration.measure import points_of
from hwmodels.catalog import parse_element, parse_format
from hwmodels.datapath import (
    Accumulator,
    Architecture,
    Datapath,
    DatapathError,
    Multiplier,
    Overflow,
    TensorQuant,
    parse_accumulator,
    tensor_quant,
)
from hwmodels.devices import Family, get_device
from hwmodels.estimate import estimate, estimate_operator
from hwmodels.float_cost import float_luts, float_structure, float_unit
from hwmodels.ops import Folding, LayerNumerics, MatVec, Network, Numerics, Requantize
from hwmodels.primitives.carry import carry_blocks
from hwmodels.primitives.cost import BandKind
from hwmodels.rtl.float_tree import FloatUnit

ROWS = read_rows()


def path(weight, activation, accumulator, **kwargs):
    quants = (TensorQuant(parse_element(fmt)) for fmt in (weight, activation))
    return Datapath(*quants, parse_accumulator(accumulator), **kwargs)


def test_flip_flops_of_the_table_are_exact_and_carries_nearly():
    errors = [carry_blocks(float_structure(row.unit).chains, row.family) / row.carry8 - 1 for row in ROWS]
    assert all(row.ff == row.unit.bits for row in ROWS)
    assert np.median(np.abs(errors)) <= 0.03


def test_stated_errors_hold_on_the_table():
    for use, stated in (("fit", constants.IN_SAMPLE), ("test", constants.TEST)):
        rows = [row for row in ROWS if row.use == use and row.family is Family.XCUP]
        errors = np.abs([float_luts(float_structure(row.unit).counts) / row.luts - 1 for row in rows])
        assert (np.median(errors), np.percentile(errors, 90)) == pytest.approx(stated, abs=1e-3)
    assert constants.MEDIAN_ERROR <= 0.04
    assert constants.P90_ERROR <= 0.08


def test_both_families_have_the_same_luts():
    measured = {(row.unit, row.family): row.luts for row in ROWS}
    pairs = [(measured[unit, Family.XCUP], luts) for (unit, family), luts in measured.items() if family is Family.XC7]
    assert len(pairs) >= 5
    assert all(abs(a / b - 1) < 0.01 for a, b in pairs)


def test_the_committed_constants_are_those_of_the_fit():
    assert render(fit(ROWS), ROWS) == CONSTANTS.read_text()


def test_the_table_is_that_of_its_points():
    points = points_of("float_units")
    assert [(p.columns["use"], p.columns["weight"], p.columns["mantissa"]) for p in points] == [
        (row.use, row.unit.weight.name, row.unit.mantissa_bits) for row in ROWS
    ]


@given(st.sampled_from(["e2m1", "e3m2", "finite_e4m3"]), st.integers(1, 16), st.integers(3, 23))
def test_cost_grows_with_lanes_and_mantissa_bits(name, lanes, mantissa_bits):
    def luts(lanes, mantissa_bits):
        exponent_bits = float_exponent_bits(1024, parse_element(name), parse_element(name))
        unit = FloatUnit(path(name, name, f"float:e{exponent_bits}m{mantissa_bits}"), lanes)
        return float_unit(unit, get_device("XCZU3EG"))[0].lut

    assert luts(lanes, mantissa_bits) < min(luts(lanes + 1, mantissa_bits), luts(lanes, mantissa_bits + 1))


def test_a_layer_with_a_floating_point_accumulator():
    layer, device = MatVec("layer", 16, 64, 1, "x"), get_device("XCZU3EG")
    report = estimate_operator(layer, path("e4m2", "e4m2", "float:e6m10"), Folding(4, 8), device)
    products = report.lines[0]
    unit, band = float_unit(FloatUnit(path("e4m2", "e4m2", "float:e6m10"), 8), device)
    assert products.resources.lut == pytest.approx(4 * unit.lut, abs=1e-3)
    assert products.resources.ff == 4 * 17 + 32 * (1 + 6 + 6)
    assert products.band == band
    assert band.kind is BandKind.MEASURED
    versal = estimate_operator(layer, path("e4m2", "e4m2", "float:e6m30"), Folding(4, 8), get_device("XCVC1902"))
    assert versal.lines[0].band.kind is BandKind.EXTRAPOLATED
    assert "mantissa bits 30 outside" in versal.lines[0].band.basis
    assert "family versal" in versal.lines[0].band.basis


def test_an_exponent_must_hold_the_whole_sum():
    layer = MatVec("layer", 16, 4608, 1, "x")
    with pytest.raises(
        AccumulatorError, match=r"hold the sum of 4608 products of e2m1 x e2m1, 5 bits; use float:e5m10\.$"
    ):
        estimate_operator(layer, path("e2m1", "e2m1", "float:e4m10"), Folding(1, 1), get_device("XCZU3EG"))


@given(st.sampled_from(["e2m1", "e3m2", "e4m2", "e3m2_nosubnormals"]), st.integers(1, 1 << 16))
def test_the_field_counts_the_bits_of_the_largest_sum(name, dot_length):
    fmt = parse_element(name)
    largest = dot_length * int(fmt.max_value / fmt.step) ** 2
    bits = float_exponent_bits(dot_length, fmt, fmt)
    field = len(f"{largest:b}")
    assert 1 << (bits - 1) <= field < 1 << bits
    with pytest.raises(AccumulatorError, match="at least 1 product, but got 0"):
        float_exponent_bits(0, fmt, fmt)


def test_what_follows_reads_integers():
    quant = TensorQuant(parse_element("e2m1"))
    layer = MatVec("layer", 4, 4, 1, "x")
    network = Network("network", (layer, Requantize("requantize", "layer", 4, 1, "y")))
    numerics = Numerics({"x": quant, "y": quant}, {"layer": LayerNumerics(quant, parse_accumulator("float:e5m10"))})
    with pytest.raises(AccumulatorError, match="layer has the accumulator float:e5m10; cost the layer by itself"):
        estimate(network, numerics, {"layer": Folding(1, 1)}, get_device("XCZU3EG"))


@pytest.mark.parametrize("name", ["24", "float:e6m10", "float:e8m23"])
def test_names_of_accumulators_come_back(name):
    assert parse_accumulator(name).name == name
    assert parse_accumulator(name.upper()) == parse_accumulator(name)


def test_a_fixed_point_accumulator_is_what_it_was():
    assert Accumulator(24) == Accumulator(24, None, Overflow.IMPOSSIBLE, None)
    assert Accumulator(24).architecture is Architecture.FIXED
    floating = parse_accumulator("float:e6m10")
    assert (floating.bits, floating.exponent_bits, floating.mantissa_bits) == (17, 6, 10)
    assert floating.architecture is Architecture.FLOAT
    assert Accumulator(24).exponent_bits == 0


@pytest.mark.parametrize("name", ["", "-3", "float", "float:e6", "float:m10", "e6m10", "float:e6m10x", "²"])
def test_other_names_are_refused(name):
    with pytest.raises(DatapathError, match="a width in bits or like float:e6m10, but got"):
        parse_accumulator(name)


def test_impossible_floating_point_accumulators_are_refused():
    with pytest.raises(
        DatapathError, match="at least 1 mantissa bit and 2 exponent bits beside its sign, but got bits=12"
    ):
        parse_accumulator("float:e1m10")
    with pytest.raises(DatapathError, match="has no tiles and an exponent that cannot overflow, but got tile_size=8"):
        Accumulator(17, 8, mantissa_bits=10)
    with pytest.raises(DatapathError, match="but got tile_size=None, overflow=wrap"):
        Accumulator(17, overflow=Overflow.WRAP, mantissa_bits=10)
    with pytest.raises(DatapathError, match="adds products of minifloats in LUTs, but got weight=int4"):
        path("int4", "e2m1", "float:e6m10")
    with pytest.raises(DatapathError, match="multiplier=dsp; use a fixed-point accumulator"):
        path("e1m2", "e1m2", "float:e6m10", multiplier=Multiplier.DSP)
    blocks = replace(path("e2m1", "e2m1", "24"), weight=tensor_quant(parse_format("mxfp4_e2m1")))
    with pytest.raises(DatapathError, match="takes no group scales, but got e2m1/group32_po2 x e2m1/tensor"):
        replace(blocks, accumulator=parse_accumulator("float:e6m10"))
