"""FINN's RTL stream units as they are after implementation: for accelerators that FINN builds (``units=hls``) and rows of these.

Sliding windows: 150 + 4/3 * Q*A * ceil(D/64), a lead that fits the six RTL window generators of FINN's CNV w1a1 after
implementation (Vivado 2022.1) within 10 %, where FINN's own estimate is 52-100 % above; 104 flip-flops are their mean
(96..113).

FIFOs and width converters: the constants are read off the same network (six SRL FIFOs, ten converters), those of FIFOs of two
words off another accelerator. Two converters and a SRL FIFO of the latter, which nothing was read off, are met within 8 LUT and 2
flip-flops. What this project generates instead (:mod:`hwmodels.rtl.window`, :mod:`hwmodels.rtl.stream`) takes fewer LUTs.
"""

from __future__ import annotations

from functools import lru_cache
from math import lcm

from hwmodels.primitives.cost import BandKind, Cost, ErrorBand, ceil_div, ceil_log2, uncalibrated
from hwmodels.primitives.memory import MemoryStyle, MemoryStyleError, bram18, memory, price, uram
from hwmodels.resources import Resources
from hwmodels.rtl.stream import LEAST_WORDS, LINE_WORDS
from hwmodels.window_shape import WindowShape

_BASE_LUTS, _BASE_FFS = 150, 104
_BAND = ErrorBand(BandKind.MEASURED, "vivado_cnv_w1a1.csv: six RTL window generators", 0.065, 0.10)
_SOURCE = "fitted by eye to FINN's CNV w1a1 after implementation; buffer depth of FINN's convolutioninputgenerator_rtl"


_TABLE = "vivado_cnv_w1a1.csv"
_TABLES = f"vivado_unsw_mlp_w2a2.csv, {_TABLE}"
_REGISTER_BAND = ErrorBand(BandKind.MEASURED, f"{_TABLES}: seven FIFOs", 0.2, 0.55)
_SRL_BAND = ErrorBand(BandKind.MEASURED, f"{_TABLE}: six FIFOs", 0.02, 0.125)
_CONVERTER_BAND = ErrorBand(BandKind.MEASURED, f"{_TABLE}: ten width converters", 0.0, 0.25)


@lru_cache(maxsize=8192)
def finn_window(
    shape: WindowShape, bits: int, lanes: int, parallel: bool, style: MemoryStyle, capacity: Resources
) -> Cost:
    """FINN's RTL generator of `bits`-bit activations, `lanes` channels per cycle.

    A parallel window keeps the window itself in flip-flops and the lines between its rows in memory (never measured).
    """
    width, depth = lanes * bits, shape.buffer_depth(lanes, parallel)
    registers = shape.kernel[0] * shape.kernel[1] * width if parallel else 0
    buffer = memory("window buffer", width, depth, style, capacity).resources
    if buffer.bram18 or buffer.uram:
        resources = Resources(
            lut=_BASE_LUTS + 2 * ceil_log2(depth), ff=_BASE_FFS + registers, bram18=buffer.bram18, uram=buffer.uram
        )
        formula = f"150 + 2*ceil(log2(D)) LUT and a block memory; D = {depth} words of {width} bits"
        band = _BAND.extrapolated("the measured ones keep their buffer in LUTs")
    else:
        luts = _BASE_LUTS + 4 / 3 * width * ceil_div(depth, 64)
        resources = Resources(lut=luts, ff=_BASE_FFS + registers)
        formula = f"150 + 4/3*Q*A*ceil(D/64); Q*A = {width} bits, D = {depth} words"
        in_range = 24 <= width <= 32 and 52 <= depth <= 126 and not parallel
        band = _BAND if in_range else _BAND.extrapolated(f"Q*A = {width}, D = {depth}, parallel = {parallel}")
    return Cost("window", resources, formula, _SOURCE, band)


@lru_cache(maxsize=8192)
def finn_fifo(component: str, depth: int, width: int, style: MemoryStyle, capacity: Resources) -> Cost:
    """FINN's RTL FIFO of `depth` words of `width` bits.

    Up to 2 words: two registers and a multiplexer, width + 4 LUT and 2 * width + 4 flip-flops (six of another network, 1 to 128
    bits wide, within 2 LUT; one of CNV, of 1 bit, has 11 LUT and 10 FF). Deeper: SRL = width * ceil(depth/32) LUTs
    of shift registers, and width + 30 LUT besides, width + 12 flip-flops; block memory instead of SRLs where that is
    cheaper on the part (never measured). Beyond 2 words all of it depends on the depth through ceil(depth/32) alone, since
    the depths of block memories are multiples of 32 and nothing is cheaper than one row of shift registers.
    """
    if depth <= LEAST_WORDS:
        resources = Resources(lut=width + 4, ff=2 * width + 4)
        return Cost(component, resources, f"{width} + 4, two registers of {width} bits", _TABLES, _REGISTER_BAND)
    srl = width * ceil_div(depth, LINE_WORDS)
    blocks, ultra = bram18(width, depth), uram(width, depth)
    candidates = {
        MemoryStyle.LUTRAM: Resources(lut=srl),
        MemoryStyle.BRAM: Resources(bram18=blocks),
        MemoryStyle.URAM: Resources(uram=ultra),
    }
    chosen = min(candidates, key=lambda kind: price(candidates[kind], capacity)) if style is MemoryStyle.AUTO else style
    if chosen is MemoryStyle.URAM and not capacity.uram:
        raise MemoryStyleError(f"{component} can only be kept in URAM on a part that has it; use bram, lutram or auto.")
    if chosen is MemoryStyle.LUTRAM:
        resources = Resources(lut=srl + width + 30, ff=width + 12)
        return Cost(
            component,
            resources,
            f"{depth} words x {width} bits: SRL {width}*ceil({depth}/32) + {width} + 30",
            _TABLE,
            _SRL_BAND,
        )
    control = 30 + 2 * ceil_log2(depth)
    memory = Resources(bram18=blocks) if chosen is MemoryStyle.BRAM else Resources(uram=ultra)
    resources = memory + Resources(lut=control, ff=width + 12)
    formula = f"{depth} words x {width} bits: {chosen}, {control} LUT of control"
    return Cost(component, resources, formula, "shapes UG573, table 1-10; control assumed", uncalibrated("derived"))


@lru_cache(maxsize=8192)
def finn_width_converter(in_width: int, out_width: int) -> Cost:
    """FINN's RTL converter of words of `in_width` bits into words of `out_width` bits, through their least common multiple.

    Up by r: in/2 + 2 + ceil(log2 r) LUT, in + out + 2 + ceil(log2 r) FF; down by r: in/2 + 4 LUT, in + 2*out + 3 + ceil(log2 r)
    FF (the flip-flops equal all ten measured ones, the LUTs lie within 2).
    """
    common = lcm(in_width, out_width)
    lut, ff = 0.0, 0
    if in_width != common:
        steps = ceil_log2(common // in_width)
        lut, ff = lut + in_width / 2 + 2 + steps, ff + in_width + common + 2 + steps
    if out_width != common:
        steps = ceil_log2(common // out_width)
        lut, ff = lut + common / 2 + 4, ff + common + 2 * out_width + 3 + steps
    through = "" if common in (in_width, out_width) else f" through {common}"
    band = _CONVERTER_BAND.extrapolated("two converters in a row") if through else _CONVERTER_BAND
    return Cost("width converter", Resources(lut=lut, ff=ff), f"{in_width} -> {out_width} bits{through}", _TABLE, band)
