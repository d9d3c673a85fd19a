"""What a user reads who gets a row or an attribute wrong."""

import csv
from pathlib import Path

import pytest

from hwmodels.errors import BitfrontError
from hwmodels.finn.attrs import NODE_OPERATORS, cost_attrs
from hwmodels.finn.datatypes import FinnType, parse_finn_type
from hwmodels.finn.errors import FinnModelError
from hwmodels.finn.parts import dsp_block
from hwmodels.finn.rows import cost_row
from hwmodels.finn.streams import WidthConverter
from hwmodels.resources import Resources

GOLDEN = Path(__file__).parents[1] / "golden" / "finn"
PART = "xczu3eg-sbva484-1-e"


def first_row(name: str) -> dict[str, str]:
    with (GOLDEN / name).open(newline="") as file:
        return next(csv.DictReader(file))


@pytest.mark.parametrize(
    ("table", "change", "message"),
    [
        ("mvau_hls.csv", {"op": "MVAU_vhdl"}, r"^column op must be one of MVAU_hls, .*, but got 'MVAU_vhdl'\.$"),
        ("mvau_hls.csv", {"op": ""}, r"^column op must be one of .*, but got ''\.$"),
        ("mvau_hls.csv", {"MW": ""}, r"^column MW of MVAU_hls is missing; it must be a whole number of at least 1\.$"),
        ("mvau_hls.csv", {"MW": "x"}, r"^column MW of MVAU_hls must be a whole number of at least 1, but got 'x'\.$"),
        ("mvau_hls.csv", {"MW": "-3"}, r"^column MW of MVAU_hls must be a whole number of at least 1, but got '-3'\.$"),
        ("mvau_hls.csv", {"PE": "3"}, r"^PE must divide MH, but got PE=3, MH=64; divisors near 3: 2, 4\.$"),
        ("mvau_hls.csv", {"SIMD": "100"}, r"^SIMD must divide MW, but got SIMD=100, MW=27; divisors near 100: 27\.$"),
        ("mvau_hls.csv", {"noAct": "2"}, r"^column noAct of MVAU_hls must be 0 or 1, but got '2'\.$"),
        ("mvau_hls.csv", {"idt": "FLOAT32"}, r"^column idt of MVAU_hls: .* BIPOLAR, BINARY, .* but got 'FLOAT32'\.$"),
        ("mvau_hls.csv", {"ram_style": "disk"}, r"must be one of auto, block, distributed, ultra, but got 'disk'\.$"),
        ("mvau_hls.csv", {"ram_style_thr": "ultra"}, r"^column ram_style_thr .* one of auto, block, distributed, but"),
        (
            "mvau_hls.csv",
            {"numVec": "1x0x4"},
            r"^column numVec of MVAU_hls must be sizes of at least 1 such as 1x30x30",
        ),
        (
            "mvau_rtl.csv",
            {"part": "5cgxfc7"},
            r"^column part of MVAU_rtl: an FPGA part must be .* but got '5cgxfc7'\.$",
        ),
        (
            "mvau_rtl.csv",
            {"IFMDim": "3"},
            r"^column IFMDim is not known for MVAU_rtl, but holds '3'; known are MH, MW,",
        ),
        ("mvau_rtl.csv", {"lutz": "3"}, r"^column lutz is not known for MVAU_rtl, but holds '3'"),
        (
            "vvau.csv",
            {"SIMD": "2"},
            r"^SIMD must divide the kernel size, but got SIMD=2, the kernel size=9; .*: 1, 3\.$",
        ),
        ("swg_rtl.csv", {"K": "3x3x3"}, r"^column K of .* must be a size or a height and a width such as 3x3, but got"),
        ("swg_rtl.csv", {"K": "40x3"}, r"^kernel and stride must fit the feature map, but got a kernel reach of 40"),
        (
            "swg_rtl.csv",
            {"buffer_depth": "7"},
            r"^column buffer_depth of .* must be 201, which follows .* but got '7'\.$",
        ),
        (
            "swg_rtl.csv",
            {"parallel_window": "1"},
            r"^a parallel window needs SIMD equal to IFMChannels .* set SIMD=3 or",
        ),
        ("swg_hls.csv", {"K": "3x2"}, r"^the HLS window generator needs square, undilated 2-D layers, but got"),
        (
            "thresholding.csv",
            {"numSteps": "2"},
            r"^column numSteps of .* must be at most 1, since BIPOLAR has 2 values, but got",
        ),
        ("thresholding.csv", {"depth_trigger_bram": ""}, r"^column depth_trigger_bram of Thresholding_rtl is missing"),
        ("fifo.csv", {"depth": "1"}, r"^column depth of .* must be a whole number of at least 2, but got '1'\.$"),
        ("fifo.csv", {"adjusted_depth": "9"}, r"^column adjusted_depth of .* must be 2, which follows from the other"),
        ("dwc.csv", {"inWidth": "0"}, r"^column inWidth of .* must be a whole number of at least 1, but got '0'\.$"),
    ],
)
def test_bad_rows_are_refused_in_one_sentence(table: str, change: dict[str, str], message: str) -> None:
    with pytest.raises(FinnModelError, match=message) as error:
        cost_row(first_row(table) | change)
    assert isinstance(error.value, BitfrontError)
    assert "\n" not in str(error.value)


def test_rows_of_a_shared_file_may_leave_other_columns_empty() -> None:
    row = first_row("dwc.csv")
    assert cost_row(row | {"MW": "", "IFMDim": ""}) == cost_row(row)


def test_a_row_with_surplus_values_is_refused() -> None:
    row = first_row("dwc.csv") | {None: ["7"]}
    with pytest.raises(FinnModelError, match="must not have more values than there are columns"):
        cost_row(row)  # type: ignore[arg-type]


def test_derived_columns_may_be_left_out() -> None:
    row = first_row("swg_rtl.csv")
    assert cost_row({**row, "buffer_depth": "", "impl_style": ""}) == cost_row(row)


# FINN's own formulas, worked out by hand: the sampled tables hold none of these operators
ZERO_COST = [
    ("StreamingMaxPool_hls", {"NumChannels": 8, "ImgDim": [1, 12], "PoolDim": [1, 4], "PE": 2}, 3 * 4 * 5),
    ("StreamingMaxPool_hls", {"NumChannels": 8, "ImgDim": [13, 1], "PoolDim": [4, 1], "PE": 2, "CeilMode": 1}, 80),
    ("Pool_hls", {"Channels": 32, "PE": 8, "KernelSize": [3, 3], "OutImgDims": [4, 5]}, 4 * 9 * 20),
    ("GlobalAccPool_hls", {"NumChannels": 32, "PE": 8, "numInputVectors": [1, 4, 5]}, 4 * 20 + 4),
    ("AddStreams_hls", {"NumChannels": 32, "PE": 8, "numInputVectors": [1, 4, 5]}, 4 * 20),
    ("DuplicateStreams_hls", {"NumChannels": 32, "PE": 32, "numInputVectors": [1, 4, 5]}, 20),
    ("LabelSelect_hls", {"Labels": 10, "PE": 2}, 5),
    ("FMPadding_rtl", {"ImgDim": [30, 20], "Padding": [1, 2, 0, 1], "NumChannels": 16, "SIMD": 4}, 31 * 23 * 4),
]


@pytest.mark.parametrize(("op", "attrs", "cycles"), ZERO_COST)
def test_operators_that_finn_gives_no_resources(op: str, attrs: dict[str, object], cycles: int) -> None:
    assert cost_attrs(op, attrs, part=PART) == (Resources(), cycles)


def test_nodes_of_the_tables_by_their_attributes() -> None:
    types: dict[str, object] = {"inputDataType": "INT8", "weightDataType": "INT8", "outputDataType": "UINT4"}
    channels = {"NumChannels": 256, "PE": 2, "numInputVectors": [1, 2, 2]}
    depthwise = {"Channels": 32, "Kernel": [3, 3], "Dim": [16, 16], "PE": 4, "noActivation": 1}
    fifo = {"depth": 100, "folded_shape": [1, 4, 8], "dataType": "UINT4", "impl_style": "vivado", "ram_style": "block"}
    assert cost_attrs("Thresholding_rtl", types | channels, part=PART)[1] == 512
    assert cost_attrs("Thresholding_hls", types | channels, part=PART) == (Resources(lut=16 + 16 * 2), 512)
    assert cost_attrs("ChannelwiseOp_hls", types | channels | {"ram_style": "block"}, part=PART) == (
        Resources(lut=16, bram18=1),
        512,
    )
    assert cost_attrs("VVAU_hls", types | depthwise | {"inputDataType": "UINT4", "weightDataType": "INT4"}, part=PART)[
        0
    ] == Resources(lut=493)
    assert cost_attrs("StreamingFIFO_rtl", fifo, part=PART) == (Resources(lut=14, bram18=1), 0)
    converter = {"inWidth": 8, "outWidth": 12, "shape": [1, 4, 24], "dataType": "UINT4"}
    assert cost_attrs("StreamingDataWidthConverter_hls", converter, part=PART) == (Resources(lut=38), 192)


def test_windows_of_one_dimension_in_hls() -> None:
    window: dict[str, object] = {
        "IFMChannels": 8,
        "IFMDim": [100, 1],
        "OFMDim": [96, 1],
        "ConvKernelDim": [5, 1],
        "SIMD": 2,
        "inputDataType": "INT8",
        "ram_style": "block",
    }
    variants: list[tuple[dict[str, object], int, Resources]] = [
        ({}, 1 + 96 * 5 * 4, Resources(lut=300, bram18=1)),
        ({"depthwise": 1}, 1 + 96 * 5 * 4 + 4 * 4 - 4, Resources(lut=300, bram18=1)),
        ({"depthwise": 1, "Dilation": [2, 1], "OFMDim": [92, 1]}, 400 + 92 * 5 * 4, Resources(lut=300, bram18=1)),
        ({"SIMD": 8, "parallel_window": 1, "ram_style": "auto"}, 5 + 96, Resources(lut=300)),
        ({"ram_style": "ultra"}, 1 + 96 * 5 * 4, Resources(lut=300, uram=1)),
        ({"ram_style": "distributed"}, 1 + 96 * 5 * 4, Resources(lut=300 + 4)),
    ]
    for change, cycles, resources in variants:
        assert cost_attrs("ConvolutionInputGenerator_hls", window | change, part=PART) == (resources, cycles), change


def test_hls_windows_use_64_bits_of_an_uram_word() -> None:
    # no sampled row is wide enough to tell 64 from 72 bits; FINN's formula says 64
    window: dict[str, object] = {
        "IFMChannels": 128,
        "IFMDim": [12, 12],
        "OFMDim": [10, 10],
        "ConvKernelDim": [3, 3],
        "SIMD": 128,
        "inputDataType": "INT8",
        "ram_style": "ultra",
    }
    assert cost_attrs("ConvolutionInputGenerator_hls", window, part=PART)[0] == Resources(lut=300, uram=4 * 1024 // 64)


def test_bad_nodes_are_refused() -> None:
    with pytest.raises(FinnModelError, match=r"^op must be one of MVAU_hls, .*, but got 'Softmax_hls'\.$"):
        cost_attrs("Softmax_hls", {}, part=PART)
    with pytest.raises(FinnModelError, match=r"^attribute Labels of LabelSelect_hls is missing; it must be a whole"):
        cost_attrs("LabelSelect_hls", {"PE": 1}, part=PART)
    with pytest.raises(FinnModelError, match=r"^attribute Padding .* four sizes: top, left, bottom, right, but got"):
        cost_attrs("FMPadding_rtl", {"ImgDim": [4, 4], "Padding": [1, 1], "NumChannels": 1}, part=PART)
    with pytest.raises(FinnModelError, match=r"^PoolDim must fit ImgDim"):
        cost_attrs("StreamingMaxPool_hls", {"NumChannels": 1, "ImgDim": [2, 2], "PoolDim": [3, 3]}, part=PART)
    assert "StreamingMaxPool_hls" in NODE_OPERATORS


def test_data_types() -> None:
    assert parse_finn_type("INT4") == FinnType("INT4", 4, -8, 7)
    assert parse_finn_type("UINT4") == FinnType("UINT4", 4, 0, 15)
    assert [parse_finn_type(name).bits for name in ("BIPOLAR", "BINARY", "TERNARY")] == [1, 1, 2]
    assert [parse_finn_type(name).signed for name in ("BIPOLAR", "BINARY", "TERNARY")] == [True, False, True]
    for name in ("INT1", "INT", "UINT0", "UINT65", "INT65", "int4", "FIXED<8,4>", "FLOAT<4,3,7>", ""):
        with pytest.raises(FinnModelError, match="a FINN data type must be one of"):
            parse_finn_type(name)


def test_parts() -> None:
    assert dsp_block("xc7z020clg400-1") == "DSP48E1"
    assert dsp_block("xczu7ev-ffvc1156-2-e") == "DSP48E2"
    assert dsp_block("xcu250-figd2104-2L-e") == "DSP48E2"
    assert dsp_block("xcvc1902-vsva2197-2MP-e-S") == "DSP58"
    with pytest.raises(FinnModelError, match="an FPGA part must be an AMD part name"):
        dsp_block("lfe5u-85f")


def test_a_converter_of_equal_widths_costs_nothing() -> None:
    assert WidthConverter(in_width=24, out_width=24).resources() == Resources()
