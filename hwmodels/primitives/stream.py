"""What lies between operators: FIFOs, width converters, and the fork of a stream.

The constants are read off FINN's CNV w1a1 after implementation (Vivado 2022.1): six SRL FIFOs, ten RTL width converters; those of
FIFOs of two words off another accelerator. Two converters and a SRL FIFO of the latter, which nothing was read off, are met
within 8 LUT and 2 flip-flops.
"""

from __future__ import annotations

from functools import lru_cache
from math import lcm

from hwmodels.primitives.cost import BandKind, Cost, ErrorBand, ceil_div, ceil_log2, uncalibrated
from hwmodels.primitives.memory import MemoryStyle, MemoryStyleError, bram18, price, uram
from hwmodels.resources import Resources

MINIMUM_DEPTH = 2
"""Words of a FIFO that only decouples two operators."""

SRL_WORDS = 32
"""Words of one bit that a LUT holds as a shift register."""

_TABLE = "vivado_cnv_w1a1.csv"
_TABLES = f"vivado_unsw_mlp_w2a2.csv, {_TABLE}"
_REGISTER_BAND = ErrorBand(BandKind.MEASURED, f"{_TABLES}: seven FIFOs", 0.2, 0.55)
_SRL_BAND = ErrorBand(BandKind.MEASURED, f"{_TABLE}: six FIFOs", 0.02, 0.125)
_CONVERTER_BAND = ErrorBand(BandKind.MEASURED, f"{_TABLE}: ten width converters", 0.0, 0.25)


@lru_cache(maxsize=8192)
def fifo(component: str, depth: int, width: int, style: MemoryStyle, capacity: Resources) -> Cost:
    """A FIFO of `depth` words of `width` bits.

    Up to 2 words: two registers and a multiplexer, width + 4 LUT and 2 * width + 4 flip-flops (six of another network, 1 to 128
    bits wide, within 2 LUT; one of CNV, of 1 bit, has 11 LUT and 10 FF). Deeper: SRL = width * ceil(depth/32) LUTs
    of shift registers, and width + 30 LUT besides, width + 12 flip-flops; block memory instead of SRLs where that is
    cheaper on the part (never measured). Beyond 2 words all of it depends on the depth through ceil(depth/32) alone, since
    the depths of block memories are multiples of 32 and nothing is cheaper than one row of shift registers.
    """
    if depth <= MINIMUM_DEPTH:
        resources = Resources(lut=width + 4, ff=2 * width + 4)
        return Cost(component, resources, f"{width} + 4, two registers of {width} bits", _TABLES, _REGISTER_BAND)
    srl = width * ceil_div(depth, SRL_WORDS)
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
def width_converter(in_width: int, out_width: int) -> Cost:
    """A converter of words of `in_width` bits into words of `out_width` bits, through their least common multiple.

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


@lru_cache(maxsize=1024)
def duplicate(width: int, copies: int) -> Cost:
    """A stream of `width` bits copied to `copies` consumers: a handshake per copy, one register of the word. Derived."""
    resources = Resources(lut=2 * copies + 2, ff=width + copies)
    formula = f"2 LUT per copy + 2, register of {width} bits"
    return Cost("duplicate", resources, formula, "derived: ready/valid per copy", uncalibrated("derived"))
