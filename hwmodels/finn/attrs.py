"""Cost one operator given as a FINN node: its op type and its attributes, in FINN v0.10.1's names and with its defaults.

A real node carries dozens of attributes that no estimate depends on (paths, FIFO depths, partition ids), so attributes
nobody asks for are ignored here, unlike the columns of a CSV row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from math import prod
from types import MappingProxyType
from typing import TypeVar

from hwmodels.finn.dot_product import MEM_MODES, RAM_STYLES, RES_TYPES, THRESHOLD_RAM_STYLES, Backend
from hwmodels.finn.errors import FinnModelError
from hwmodels.finn.fields import Fields
from hwmodels.finn.mvau import Mvau
from hwmodels.finn.operators import FinnOperator
from hwmodels.finn.streams import Fifo, WidthConverter
from hwmodels.finn.thresholding import ThresholdingHls, ThresholdingRtl
from hwmodels.finn.uncosted import ChannelStream, Pool, StreamingMaxPool
from hwmodels.finn.vvau import Vvau
from hwmodels.finn.window import Window
from hwmodels.finn.window_hls import WindowHls
from hwmodels.finn.window_rtl import WindowRtl
from hwmodels.resources import Resources

AnyWindow = TypeVar("AnyWindow", bound=Window)


def _mvau(backend: Backend, node: Fields, part: str) -> Mvau:
    return Mvau(
        backend=backend,
        part=part,
        cols=node.integer("MW"),
        rows=node.integer("MH"),
        vectors=node.dims("numInputVectors", default=(1,)),
        pe=node.integer("PE"),
        simd=node.integer("SIMD"),
        activation=node.finn_type("inputDataType"),
        weight=node.finn_type("weightDataType"),
        output=node.finn_type("outputDataType"),
        accumulator=node.finn_type("accDataType", default="INT32"),
        no_activation=node.flag("noActivation", default=False),
        mem_mode=node.choice("mem_mode", MEM_MODES, default="internal_decoupled"),
        ram_style=node.choice("ram_style", RAM_STYLES, default="auto"),
        threshold_ram_style=node.choice("ram_style_thresholds", THRESHOLD_RAM_STYLES, default="auto"),
        res_type=node.choice("resType", RES_TYPES, default="auto"),
    )


def _vvau(backend: Backend, node: Fields, _part: str) -> Vvau:
    return Vvau(
        backend=backend,
        channels=node.integer("Channels"),
        kernel=node.pair("Kernel"),
        out_dim=node.pair("Dim"),
        pe=node.integer("PE"),
        simd=node.integer("SIMD", default=1),
        activation=node.finn_type("inputDataType"),
        weight=node.finn_type("weightDataType"),
        output=node.finn_type("outputDataType"),
        accumulator=node.finn_type("accDataType", default="INT32"),
        no_activation=node.flag("noActivation", default=False),
        mem_mode=node.choice("mem_mode", MEM_MODES, default="internal_decoupled"),
        ram_style=node.choice("ram_style", RAM_STYLES, default="auto"),
        res_type=node.choice("resType", RES_TYPES, default="auto"),
    )


def _window(kind: type[AnyWindow], node: Fields, _part: str) -> AnyWindow:
    return kind(
        channels=node.integer("IFMChannels"),
        in_dim=node.pair("IFMDim"),
        out_dim=node.pair("OFMDim"),
        kernel=node.pair("ConvKernelDim"),
        stride=node.pair("Stride", default=(1, 1)),
        dilation=node.pair("Dilation", default=(1, 1)),
        simd=node.integer("SIMD"),
        activation=node.finn_type("inputDataType"),
        ram_style=node.choice("ram_style", RAM_STYLES, default="distributed"),
        depthwise=node.flag("depthwise", default=False),
        parallel_window=node.flag("parallel_window", default=False),
    )


def _thresholding_rtl(node: Fields, _part: str) -> ThresholdingRtl:
    return ThresholdingRtl(
        channels=node.integer("NumChannels"),
        pe=node.integer("PE"),
        threshold=node.finn_type("weightDataType"),
        output=node.finn_type("outputDataType"),
        vectors=node.dims("numInputVectors", default=(1,)),
        depth_trigger_bram=node.integer("depth_trigger_bram", least=0, default=0),
        depth_trigger_uram=node.integer("depth_trigger_uram", least=0, default=0),
    )


def _thresholding_hls(node: Fields, _part: str) -> ThresholdingHls:
    return ThresholdingHls(
        channels=node.integer("NumChannels"),
        pe=node.integer("PE"),
        activation=node.finn_type("inputDataType"),
        vectors=node.dims("numInputVectors", default=(1,)),
        ram_style=node.choice("ram_style", ("distributed", "block"), default="distributed"),
    )


def _fifo(node: Fields, _part: str) -> Fifo:
    return Fifo(
        depth=node.integer("depth", least=2),
        width=node.dims("folded_shape")[-1] * node.finn_type("dataType").bits,
        impl_style=node.choice("impl_style", ("rtl", "vivado"), default="rtl"),
        ram_style=node.choice("ram_style", RAM_STYLES, default="auto"),
    )


def _width_converter(node: Fields, _part: str) -> WidthConverter:
    return WidthConverter(
        in_width=node.integer("inWidth"), out_width=node.integer("outWidth"), elements=prod(node.dims("shape"))
    )


def _max_pool(node: Fields, _part: str) -> StreamingMaxPool:
    return StreamingMaxPool(
        channels=node.integer("NumChannels"),
        in_dim=node.pair("ImgDim"),
        kernel=node.pair("PoolDim"),
        pe=node.integer("PE", default=1),
        ceil_mode=node.flag("CeilMode", default=False),
    )


def _pointwise(node: Fields, _part: str) -> ChannelStream:
    return ChannelStream(
        op=node.op,
        parallel_name="PE",
        parallel=node.integer("PE"),
        channels=node.integer("NumChannels"),
        pixels=prod(node.dims("numInputVectors", default=(1,))),
    )


def _global_pool(node: Fields, _part: str) -> ChannelStream:
    # the sums leave after the last pixel
    return ChannelStream(
        op=node.op,
        parallel_name="PE",
        parallel=node.integer("PE"),
        channels=node.integer("NumChannels"),
        pixels=prod(node.dims("numInputVectors", default=(1,))),
        extra_pixels=1,
    )


def _pool(node: Fields, _part: str) -> Pool:
    return Pool(
        channels=node.integer("Channels"),
        kernel=node.pair("KernelSize"),
        out_dim=node.pair("OutImgDims"),
        pe=node.integer("PE", default=1),
        batch=node.integer("BatchSize", default=1),
    )


def _label_select(node: Fields, _part: str) -> ChannelStream:
    return ChannelStream(
        op=node.op, parallel_name="PE", parallel=node.integer("PE"), channels=node.integer("Labels"), pixels=1
    )


def _padding(node: Fields, _part: str) -> ChannelStream:
    height, width = node.pair("ImgDim")
    top, left, bottom, right = _sides(node)
    return ChannelStream(
        op=node.op,
        parallel_name="SIMD",
        parallel=node.integer("SIMD", default=1),
        channels=node.integer("NumChannels"),
        pixels=(height + top + bottom) * (width + left + right) * node.integer("numInputVectors", default=1),
    )


def _sides(node: Fields) -> tuple[int, int, int, int]:
    """FINN's Padding: (top, left, bottom, right)."""
    sizes = node.dims("Padding", default=(1, 1, 1, 1), least=0)
    if len(sizes) != 4:
        raise node.error("Padding", "four sizes: top, left, bottom, right")
    return sizes[0], sizes[1], sizes[2], sizes[3]


Builder = Callable[[Fields, str], FinnOperator]

NODE_OPERATORS: Mapping[str, Builder] = MappingProxyType(
    {
        "MVAU_hls": partial(_mvau, "hls"),
        "MVAU_rtl": partial(_mvau, "rtl"),
        "VVAU_hls": partial(_vvau, "hls"),
        "VVAU_rtl": partial(_vvau, "rtl"),
        "ConvolutionInputGenerator_hls": partial(_window, WindowHls),
        "ConvolutionInputGenerator_rtl": partial(_window, WindowRtl),
        "Thresholding_hls": _thresholding_hls,
        "Thresholding_rtl": _thresholding_rtl,
        "ChannelwiseOp_hls": _thresholding_hls,
        "StreamingFIFO_rtl": _fifo,
        "StreamingDataWidthConverter_hls": _width_converter,
        "StreamingDataWidthConverter_rtl": _width_converter,
        "StreamingMaxPool_hls": _max_pool,
        "Pool_hls": _pool,
        "GlobalAccPool_hls": _global_pool,
        "AddStreams_hls": _pointwise,
        "DuplicateStreams_hls": _pointwise,
        "LabelSelect_hls": _label_select,
        "FMPadding_hls": _padding,
        "FMPadding_rtl": _padding,
    }
)
"""What reads the attributes of each FINN node type."""


def read_attrs(op: str, attrs: Mapping[str, object], *, part: str) -> FinnOperator:
    """The operator that a FINN node describes.

    Args:
        op: FINN's op type with its backend, e.g. `MVAU_hls`.
        attrs: node attributes; absent ones take FINN's own defaults where FINN has any.
        part: AMD part name; the DSP count of `MVAU_rtl` depends on it.

    Raises:
        FinnModelError: the op is not known, a required attribute is missing, or a value is not supported.
    """
    if op not in NODE_OPERATORS:
        raise FinnModelError(f"op must be one of {', '.join(NODE_OPERATORS)}, but got {op!r}.")
    return NODE_OPERATORS[op](Fields(op, "attribute", attrs), part)


def cost_attrs(op: str, attrs: Mapping[str, object], *, part: str) -> tuple[Resources, int]:
    """(resources, cycles per frame) of a FINN node, equal to FINN v0.10.1's estimates.

    This is the compatibility mode: pooling, padding, additions, duplicates and label selection cost 0 because FINN says
    so; they do not in hardware.

    Raises:
        FinnModelError: as `read_attrs`.
    """
    operator = read_attrs(op, attrs, part=part)
    return operator.resources(), operator.cycles()
