"""Windows, FIFOs, converters, requantizers, adds and pools: FINN's CNV after implementation, and properties."""

import csv
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwmodels.catalog import integers, minifloats, parse_element
from hwmodels.devices import get_device
from hwmodels.formats import ElementFormat
from hwmodels.primitives.cost import BandKind
from hwmodels.primitives.elementwise import add, pool
from hwmodels.primitives.finn_stream import finn_fifo, finn_width_converter, finn_window
from hwmodels.primitives.memory import MemoryStyle, memory, price, vivado_style
from hwmodels.primitives.requantize import Rescale, requantize, search_thresholds
from hwmodels.primitives.scale import scale_slices
from hwmodels.primitives.stream import duplicate, fifo, width_converter
from hwmodels.resources import Resources
from hwmodels.window_shape import WindowShape

POST_SYNTH = json.loads((Path(__file__).parents[1] / "golden/finn/postsynth_cnv_w1a1_pynqz2.json").read_text())
WINDOWS = [layer for layer in POST_SYNTH["layers"] if "IFMDim" in layer]
CAPACITY = get_device("xc7z020").resources
PREFIX = "StreamingDataflowPartition_1_"
MULTIPLY = Rescale(power_of_two=False, per_channel=True)


def shape_of(layer) -> WindowShape:
    return WindowShape(
        channels=layer["IFMChannels"],
        input_size=tuple(layer["IFMDim"]),
        output_size=tuple(layer["OFMDim"]),
        kernel=tuple(layer["K"]),
        stride=tuple(layer["stride"]),
        dilation=(1, 1),
        depthwise=False,
    )


@pytest.mark.parametrize("layer", WINDOWS, ids=lambda layer: layer["name"])
def test_window_after_implementation_lies_within_the_stated_band(layer) -> None:
    bits = 8 if layer["idt"] == "INT8" else 1
    shape = shape_of(layer)
    cost = finn_window(shape, bits, layer["SIMD"], False, MemoryStyle.LUTRAM, CAPACITY)
    assert cost.band.kind is BandKind.MEASURED
    assert cost.band.p90 is not None
    assert abs(cost.resources.lut / layer["post_synth"]["LUT"] - 1) <= cost.band.p90
    assert abs(cost.resources.ff / layer["post_synth"]["FF"] - 1) <= 0.1
    assert shape.buffer_depth(layer["SIMD"], False) == layer["buffer_depth"]
    assert shape.cycles(layer["SIMD"], False) == layer["finn_estimate"]["cycles"]


def test_there_are_six_windows_and_their_median_is_stated() -> None:
    errors = sorted(
        abs(
            finn_window(
                shape_of(w), 8 if w["idt"] == "INT8" else 1, w["SIMD"], False, MemoryStyle.LUTRAM, CAPACITY
            ).resources.lut
            / w["post_synth"]["LUT"]
            - 1
        )
        for w in WINDOWS
    )
    assert len(errors) == 6
    assert (errors[2] + errors[3]) / 2 <= 0.065


# CNV's folding gives the widths (bits): in, out
CONVERTERS = {
    0: (8, 24),
    1: (16, 32),
    2: (32, 64),
    3: (64, 32),
    4: (16, 32),
    5: (16, 128),
    6: (128, 32),
    7: (4, 32),
    8: (1, 4),
    9: (1, 8),
}


@pytest.mark.parametrize("number", CONVERTERS)
def test_width_converter_after_implementation(number: int) -> None:
    measured = POST_SYNTH["other_post_synth"][f"{PREFIX}StreamingDataWidthConverter_rtl_{number}"]
    cost = finn_width_converter(*CONVERTERS[number])
    assert cost.resources.ff == measured["FF"]
    assert abs(cost.resources.lut - measured["LUT"]) <= 2
    assert cost.band.kind is BandKind.MEASURED


# width (bits) of each FIFO in CNV; its depth follows from the measured SRLs
FIFOS = {0: 24, 1: 32, 2: 32, 3: 32, 4: 32, 5: 8}


@pytest.mark.parametrize("number", FIFOS)
def test_fifo_after_implementation_lies_within_the_stated_band(number: int) -> None:
    measured = POST_SYNTH["other_post_synth"][f"{PREFIX}StreamingFIFO_rtl_{number}"]
    width = FIFOS[number]
    cost = finn_fifo("FIFO", 32 * (measured["SRL"] // width), width, MemoryStyle.LUTRAM, CAPACITY)
    assert cost.band.p90 is not None
    assert abs(cost.resources.lut / measured["LUT"] - 1) <= cost.band.p90
    assert cost.resources.ff == measured["FF"]


def test_least_fifos_after_implementation() -> None:
    """Six of 1 to 128 bits in an accelerator of 2-bit weights; one in CNV has 6 LUT and 4 FF more."""
    table = Path(__file__).parents[2] / "hwmodels/calibration/vivado_unsw_mlp_w2a2.csv"
    with table.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["op"] == "StreamingFIFO_rtl" and row["depth"] == "2"]
    assert len(rows) == 6
    for row in rows:
        resources = finn_fifo("FIFO", 2, int(row["width"]), MemoryStyle.AUTO, CAPACITY).resources
        assert abs(resources.lut - int(row["measured_lut"])) <= 1
        assert abs(resources.ff - int(row["measured_ff"])) <= 1
    measured = POST_SYNTH["other_post_synth"][f"{PREFIX}StreamingFIFO_rtl_6"]
    least = finn_fifo("FIFO", 2, 1, MemoryStyle.AUTO, CAPACITY).resources
    assert (measured["LUT"] - least.lut, measured["FF"] - least.ff) == (6, 4)


def test_thresholds_after_implementation() -> None:
    """One unit of eight search steps on 9-bit sums: 71 LUT and 243 FF beside the memory, which is in block RAM there."""
    measured = POST_SYNTH["other_post_synth"][f"{PREFIX}Thresholding_rtl_0"]
    search = search_thresholds(9, parse_element("uint8"), 3, 1, family="xc7", capacity=CAPACITY)
    stored = Resources.sum(
        memory("thresholds", 9, 3 << stage, vivado_style(9, 3 << stage), CAPACITY).resources for stage in range(8)
    )
    assert abs((search.resources.lut - stored.lut) / measured["LUT"] - 1) < 0.02
    assert abs((search.resources.ff - stored.ff) / measured["FF"] - 1) < 0.02


@given(st.integers(1, 300), st.integers(1, 300))
def test_converters_between_equal_widths_are_free_and_others_are_not(left: int, right: int) -> None:
    cost = width_converter(left, right).resources
    assert (cost.lut == 0 and cost.ff == 0) == (left == right)


@given(st.integers(1, 64), st.integers(2, 4000))
def test_deeper_and_wider_fifos_cost_more(width: int, depth: int) -> None:
    def luts(words: int, bits: int) -> float:
        return fifo("FIFO", words, bits, MemoryStyle.LUTRAM, CAPACITY).resources.lut

    assert 0 < luts(depth, width) <= luts(depth + 1, width)
    # two bits of a multiplexer share a LUT
    assert luts(depth, width) <= luts(depth, width + 1)
    assert luts(depth, width) < luts(depth, width + 2)


elements = st.sampled_from([*integers(), *minifloats()])


@given(elements, st.integers(4, 40), st.sampled_from([1, 2, 4, 8]), st.sampled_from([1, 2, 4, 16]))
def test_the_cheaper_requantizer_is_built_and_passes_save(
    output: ElementFormat, bits: int, lanes: int, passes: int
) -> None:
    def cost(sum_bits: int, count: int, turns: int, rescale: Rescale = MULTIPLY):
        made = requantize(sum_bits, output, 64, count, rescale, passes=turns, family="xcup", capacity=CAPACITY)
        return Resources.sum(cost.resources for cost in made)

    once = cost(bits, lanes, passes)
    assert once.lut > 0
    assert once.ff > 0
    assert price(cost(bits, lanes, 16), CAPACITY) <= price(cost(bits, lanes, 1), CAPACITY)
    # a wider sum may be cut into rows in a better way: LUTs then fall by less than a percent
    assert price(once, CAPACITY) <= 1.01 * price(cost(bits + 1, lanes, passes), CAPACITY)
    wires = Rescale(power_of_two=True, per_channel=False)
    assert price(cost(bits, lanes, passes, wires), CAPACITY) <= price(once, CAPACITY)


def test_scales_on_dsp_slices_take_no_luts() -> None:
    rescale = Rescale(power_of_two=False, per_channel=True, dsp="DSP48E2")
    on_dsp, on_lut = (
        requantize(24, parse_element("int8"), 64, 4, each, family="xcup", capacity=CAPACITY)[0].resources
        for each in (rescale, MULTIPLY)
    )
    assert on_dsp.dsp == 4
    assert on_dsp.lut < on_lut.lut
    assert scale_slices(28, "DSP48E2")[0].dsp == 2
    assert scale_slices(24, "DSP58")[0].dsp == 1


def test_conversion_back_to_a_minifloat_is_paid_for() -> None:
    """The conversion that "Shedding the Bits" leaves out: a power-of-two rescale to 8 bits, integer and minifloat."""
    wires = Rescale(power_of_two=True, per_channel=False)
    int8, e4m3, e5m2 = (
        requantize(24, parse_element(name), 2048, 1, wires, family="xcup", capacity=CAPACITY)[0].resources.lut
        for name in ("int8", "finite_e4m3", "finite_e5m2")
    )
    assert int8 < e4m3 < e5m2


@given(elements, st.sampled_from([1, 2, 4]))
def test_adds_and_pools_cost_and_scale_with_their_lanes(fmt: ElementFormat, lanes: int) -> None:
    for build in (
        lambda n: add(fmt, n, "xcup"),
        lambda n: pool(fmt, 16, 16, 1, "average", n, "xcup"),
        lambda n: pool(fmt, 16, 4, 8, "max", n, "xcup"),
    ):
        one, more = build(1).resources, build(2 * lanes).resources
        assert one.lut > 0
        assert one.ff > 0
        assert more.carry8 == 2 * lanes * one.carry8


def test_minifloats_are_dearer_to_add_than_integers_of_their_width() -> None:
    luts = [
        add(parse_element(name), 4, "xcup").resources.lut for name in ("int8", "e3m4", "finite_e4m3", "finite_e5m2")
    ]
    assert luts == sorted(luts)
    assert luts[0] < luts[1]


def test_a_duplicate_is_not_free() -> None:
    assert duplicate(32, 3).resources.lut > duplicate(32, 2).resources.lut > 0
