"""What DSP units cost: the committed table of synthesized units, the packing rule, and how a whole layer is costed."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwmodels.calibration import dsp_constants as constants
from hwmodels.calibration.fit_dsp import CONSTANTS, fit, read_rows, render
from hwmodels.calibration.measure import points_of
from hwmodels.catalog import parse_element
from hwmodels.datapath import Accumulator, Datapath, Multiplier, Overflow, TensorQuant
from hwmodels.devices import get_device
from hwmodels.dsp_cost import dsp_luts, dsp_products, dsp_structure, signed_weight
from hwmodels.estimate import CostOptions, estimate_operator
from hwmodels.formats import IntFormat
from hwmodels.ops import Depthwise, Folding, MatVec
from hwmodels.primitives.carry import carry_blocks
from hwmodels.primitives.cost import BandKind
from hwmodels.primitives.dsp_packing import CASCADE, SUM_BITS, DspPackingError, dsp_lanes, packed_dsps, packing

ROWS = read_rows()
DEVICES = {"DSP48E1": "XC7Z020", "DSP48E2": "XCZU3EG", "DSP58": "XCVC1902"}
GOLDEN = Path(__file__).parents[1] / "golden" / "finn" / "dsp_packing.csv"


def structure(row):
    return dsp_structure(row.packing, row.pe, row.simd, row.bits, row.overflow, row.slice)


def path(weight, activation, bits=24, tile=None, overflow=Overflow.IMPOSSIBLE):
    formats = (TensorQuant(parse_element(fmt) if isinstance(fmt, str) else fmt) for fmt in (weight, activation))
    return Datapath(*formats, Accumulator(bits, tile, overflow), Multiplier.DSP)


def test_slices_flip_flops_and_carries_of_the_table_are_exact():
    assert len(ROWS) == 94
    for row in ROWS:
        found = structure(row)
        most = dsp_lanes(row.weight.bits, row.activation.bits, row.weight.narrow, row.slice)
        assert row.dsp == -(-row.pe // row.lanes) * row.simd
        if row.lanes != 1 or row.pe == 1:
            assert row.lanes <= most
        assert (row.ff, row.carry8) == (found.ff, carry_blocks(found.chains, row.family)), row


def test_stated_errors_hold_on_the_table():
    for use, stated in (("fit", constants.IN_SAMPLE), ("test", constants.TEST)):
        units = [row for row in ROWS if row.use == use and "clear" not in structure(row).counts]
        errors = np.abs([dsp_luts(structure(row).counts) / row.luts - 1 for row in units])
        assert (np.median(errors), np.percentile(errors, 90)) == pytest.approx(stated, abs=1e-3)
        assert errors.max() < 0.05
    assert constants.MEDIAN_ERROR <= 0.02
    assert constants.P90_ERROR <= 0.05
    cascades = [row for row in ROWS if "clear" in structure(row).counts]
    assert len(cascades) == 4
    assert {row.luts for row in cascades} == {1}, "a cascade that accumulates takes no LUT but an inverter"


def test_the_committed_constants_are_those_of_the_fit():
    assert render(fit(ROWS), ROWS) == CONSTANTS.read_text()


def test_the_table_is_that_of_its_points():
    points = points_of("dsp_units")
    assert [(p.columns["use"], p.columns["weight"], p.columns["simd"]) for p in points] == [
        (row.use, row.weight.name, row.simd) for row in ROWS
    ]


@pytest.mark.parametrize(("pe", "simd"), [(1, 1), (7, 5), (16, 36)])
def test_a_layer_takes_the_slices_of_the_packing_rule(pe, simd):
    """All rows of FINN's table with weights of two bits and more, as layers on a part with each slice."""
    with GOLDEN.open(newline="") as file:
        table = [row for row in csv.DictReader(file) if int(row["W"]) >= 2]
    assert len(table) > 200
    for row in table:
        weight, bits, narrow = int(row["W"]), int(row["A"]), row["narrow"] == "1"
        datapath = path(IntFormat(weight, narrow=narrow), IntFormat(bits, signed=False), 40)
        layer = MatVec("layer", 112, 180, 1, "x")
        cost = dsp_products(layer, datapath, Folding(pe, simd), get_device(DEVICES[row["dsp"]]), 1)
        wanted = packed_dsps(pe, simd, weight_bits=weight, activation_bits=bits, narrow=narrow, dsp=row["dsp"])
        assert cost.resources.dsp == wanted


@given(
    st.integers(2, 9),
    st.integers(2, 10),
    st.booleans(),
    st.booleans(),
    st.sampled_from(["DSP48E1", "DSP48E2", "DSP58"]),
    st.integers(1, 40),
    st.integers(1, 70),
)
def test_fields_of_a_packing_hold_their_sums(weight_bits, activation_bits, narrow, signed, dsp, pe, simd):
    weight, activation = IntFormat(weight_bits, narrow=narrow), IntFormat(activation_bits, signed=signed)
    packed = packing(weight, activation, dsp, pe=pe, simd=simd)
    most = dsp_lanes(weight_bits, activation_bits, narrow, dsp)
    assert -(-pe // packed.lanes) == -(-pe // most), "fewer lanes cost no slice more"
    assert packed.chain <= min(simd, CASCADE)
    low, high = packed.chain * packed.low - 1, packed.chain * packed.high
    assert -(1 << packed.field_bits - 1) <= low
    assert high < 1 << packed.field_bits - 1
    assert packed.field_bits <= packed.spacing + 1
    assert (packed.lanes - 1) * packed.spacing + packed.field_bits <= SUM_BITS[dsp]
    longest = packing(weight, activation, dsp, pe=pe, simd=simd, lanes=packed.lanes, chain=packed.chain)
    assert longest == packed


def test_summing_in_the_cascade_saves_the_trees():
    """Eight-bit weights, two in a slice: eight products fit between the lanes of a DSP48E2, two between those of a DSP48E1."""
    layer, device = MatVec("layer", 64, 64, 1, "x"), get_device("XCZU3EG")
    datapath = path("int8", "uint8")
    packed = dsp_products(layer, datapath, Folding(8, 8), device, 1).resources
    split = dsp_structure(
        packing(IntFormat(8), IntFormat(8, signed=False), "DSP48E2", pe=8, simd=8, chain=1),
        8,
        8,
        24,
        Overflow.WRAP,
        "DSP48E2",
    )
    assert packed.dsp == 32
    assert dsp_luts(split.counts) > 4 * packed.lut
    older = dsp_products(layer, datapath, Folding(8, 8), get_device("XC7Z020"), 1).resources
    assert packed.lut < older.lut < dsp_luts(split.counts)


def test_a_single_row_accumulates_in_its_slices():
    layer = MatVec("layer", 64, 64, 1, "x")
    cost = dsp_products(layer, path("int8", "uint8"), Folding(1, 8), get_device("XCZU3EG"), 1)
    assert (cost.resources.dsp, cost.resources.lut, cost.resources.ff) == (8, 1, 2)
    assert cost.band.kind is BandKind.MEASURED
    wide = dsp_products(layer, path("int8", "uint8", 50), Folding(1, 8), get_device("XCZU3EG"), 1)
    assert wide.resources.lut > 50, "48 bits are all that a slice sums"


def test_rows_of_a_depthwise_layer_share_nothing():
    layer, device = Depthwise("layer", 16, 9, 4, "x"), get_device("XCZU3EG")
    cost = dsp_products(layer, path("int4", "uint4"), Folding(8, 9), device, 1)
    assert cost.resources.dsp == 72
    versal = dsp_products(layer, path("int4", "uint4"), Folding(8, 9), get_device("XCVC1902"), 1)
    assert versal.resources.dsp == 24, "three products in each DSP58"


def test_a_tile_has_sums_of_its_own():
    layer, device = MatVec("layer", 16, 64, 1, "x"), get_device("XCZU3EG")
    whole = estimate_operator(
        layer, path("int4", "uint4", 16), Folding(8, 32), device, CostOptions(multiplier=Multiplier.DSP)
    )
    tiled = estimate_operator(
        layer, path("int4", "uint4", 12, 8), Folding(8, 32), device, CostOptions(multiplier=Multiplier.DSP)
    )
    first, second = (report.lines[0].resources for report in (whole, tiled))
    assert first.dsp == second.dsp == 64
    assert "outer accumulator" in {line.component for line in tiled.lines}


def test_saturation_and_versal_are_costed_and_say_what_they_rest_on():
    layer, folding = MatVec("layer", 64, 64, 1, "x"), Folding(4, 16)
    datapath = path("int8", "uint8")
    device = get_device("XCZU3EG")
    wrap = dsp_products(layer, datapath, folding, device, 1)
    clamp = dsp_products(
        layer, replace(datapath, accumulator=Accumulator(24, overflow=Overflow.SATURATE)), folding, device, 1
    )
    assert wrap.resources.lut < clamp.resources.lut
    assert wrap.band.kind is BandKind.MEASURED
    assert "dsp_units.csv" in wrap.band.basis
    versal = dsp_products(layer, datapath, folding, get_device("XCVC1902"), 1)
    assert versal.band.kind is BandKind.UNCALIBRATED
    assert versal.resources.dsp == 4 * 6
    far = dsp_products(MatVec("layer", 64, 512, 1, "x"), datapath, Folding(4, 256), device, 1)
    assert far.band.kind is BandKind.EXTRAPOLATED
    assert "SIMD 256 outside" in far.band.basis


def test_unsigned_weights_take_a_bit_more():
    assert signed_weight(TensorQuant(IntFormat(4, signed=False))) == IntFormat(5, narrow=True)
    assert signed_weight(TensorQuant(IntFormat(1, signed=False))) == IntFormat(2, narrow=True)
    with pytest.raises(DspPackingError, match="takes signed activations of 18 bits, but got uint18"):
        packing(IntFormat(4), IntFormat(18, signed=False), "DSP48E2", pe=1, simd=1)
