"""Memories of a given width and depth in LUTs, RAMB18 or URAM288, and the rule that chooses among them.

The block RAM rule is Vivado's, read off FINN's CNV w1a1 (Vivado 2022.1): the shallowest, widest RAMB36 shape that covers
the depth, side by side, and for the rest of the width half a RAMB36 if a RAMB18 of that depth is wide enough. Of its nine
matrix units six have exactly this many RAMB18 and three one more, which holds their 256 or 512 thresholds; so have three of
another accelerator, which the rule was not read off. FINN's own rule (146 RAMB18 instead of 182) lives in :mod:`hwmodels.finn`.
"""

from __future__ import annotations

from enum import StrEnum
from functools import lru_cache
from math import inf

from hwmodels.calibration import stream_constants as constants
from hwmodels.errors import BitfrontError
from hwmodels.primitives.cost import BandKind, Cost, ErrorBand, ceil_div, multiplexer_luts, uncalibrated
from hwmodels.primitives.shell import weight_dma
from hwmodels.resources import Resources


class MemoryStyleError(BitfrontError):
    """A memory style that the part cannot build."""


class MemoryStyle(StrEnum):
    """What a memory is made of; auto takes the one with the lowest :func:`price`, external streams from off-chip memory."""

    AUTO = "auto"
    BRAM = "bram"
    LUTRAM = "lutram"
    URAM = "uram"
    EXTERNAL = "external"


RAMB36_SHAPES = ((512, 72), (1024, 36), (2048, 18), (4096, 9), (8192, 4), (16384, 2), (32768, 1))
"""(depth in words, width in bits) of one RAMB36 in simple dual-port mode, shallowest first (UG573, table 1-10)."""

URAM_DEPTH, URAM_WIDTH = 4096, 72
"""Words and bits of one URAM288 (UG573, chapter 2)."""

COLUMN_WORDS = 64
"""Words of one bit that a LUT6 holds."""

LUT_PRICE = 2
"""How much dearer a share of the LUTs is than the same share of the block memories, which nothing else needs (assumed)."""

_BRAM_BAND = ErrorBand(BandKind.MEASURED, "vivado_*.csv: twelve weight memories of two accelerators", 0.0, 0.0)
_LUTRAM_BAND = ErrorBand(BandKind.MEASURED, constants.MEMORY_BASIS, *constants.MEMORIES)
_BRAM_SOURCE = "Vivado's aspect rule, read off FINN's CNV w1a1 after implementation; shapes UG573, table 1-10"


def bram18(width: int, depth: int) -> int:
    """RAMB18 for `depth` words of `width` bits; deeper than 32,768 words, whole rows of RAMB36 are stacked."""
    rows, deep = divmod(depth - 1, RAMB36_SHAPES[-1][0])
    blocks = rows * width * 2
    shape = next(shape_width for shape_depth, shape_width in RAMB36_SHAPES if deep < shape_depth)
    rest = width % shape
    blocks += width // shape * 2
    if rest:
        blocks += 1 if shape > 1 and rest <= shape // 2 else 2
    return blocks


def uram(width: int, depth: int) -> int:
    """URAM288 for `depth` words of `width` bits."""
    return ceil_div(width, URAM_WIDTH) * ceil_div(depth, URAM_DEPTH)


def lutram(width: int, depth: int) -> int:
    """LUT6 for `depth` words of `width` bits as distributed memory with one read port.

    A LUT6 holds 64 words of one bit or 32 words of two; up to 256 words the slice's own multiplexers (F7, F8) select,
    beyond them a LUT6 selects among four such columns. Derived (UG574, chapter 2).
    """
    if depth <= 32:
        return ceil_div(width, 2)
    columns = ceil_div(depth, 256)
    return width * (ceil_div(depth, 64) + ceil_div(columns - 1, 3))


def lutram_two_ports(width: int, depth: int, family: str) -> int:
    """LUT6 for `depth` words of `width` bits as distributed memory that is written and read at different addresses.

    A column of 64 words takes a LUT6 per bit (of 32 words, per two bits), and one per group that holds the address of writing:
    of seven LUTs in UltraScale+ (RAM64M8, RAM32M16), of three in 7 series (RAM64M, RAM32M). Derived (UG574 and UG474, chapter 2).
    """
    group = 3 if family == "xc7" else 7
    luts = ceil_div(width, 2) if depth <= COLUMN_WORDS // 2 else width
    return ceil_div(depth, COLUMN_WORDS) * (luts + ceil_div(luts, group))


def lutram_columns(width: int, columns: int) -> int:
    """LUT6 that select among the columns of a memory of two ports, for which no slice has multiplexers. Derived."""
    return width * multiplexer_luts(columns)


def shift_register_luts(bits: int, words: int) -> int:
    """LUT6 of `bits` delays of `words` words as shift registers: two of up to 16 words share one (UG574). Derived."""
    return ceil_div(bits, 2) if words <= 16 else bits * ceil_div(words, 32)


class Access(StrEnum):
    """How a memory is used: only read; read where it is written, what is written being what is read; or both at two places."""

    READ = "rom"
    PASS = "single"
    TWO_PORTS = "dual"


def memory_luts(access: Access, width: int, depth: int, family: str) -> int:
    """LUT6 of a memory in LUTs, with what selects among its columns. Derived, and compared with synthesized ones."""
    columns = ceil_div(depth, COLUMN_WORDS)
    match access:
        case Access.READ:
            return lutram(width, depth)
        case Access.PASS:
            # two bits share the LUT that passes on what is written
            return lutram(width, depth) + ceil_div(width, 2)
        case Access.TWO_PORTS:
            return lutram_two_ports(width, depth, family) + lutram_columns(width, columns)


_LUTRAM_SOURCE = "derived from the LUT6 (UG574, chapter 2), compared with synthesis"


@lru_cache(maxsize=8192)
def memory(
    component: str,
    width: int,
    depth: int,
    style: MemoryStyle,
    capacity: Resources,
    access: Access = Access.READ,
    family: str = "xcup",
) -> Cost:
    """A memory of `depth` words of `width` bits.

    Args:
        component: its name in the report.
        access, family: how it is used, and of which family the part is, which makes a difference for two ports.
        capacity: of the part; auto compares prices on it, and a part without URAM builds none.

    Raises:
        MemoryStyleError: URAM is asked for, but the part has none.
    """
    if style is MemoryStyle.URAM and not capacity.uram:
        raise MemoryStyleError(f"{component} can only be kept in URAM on a part that has it; use bram, lutram or auto.")
    if style is MemoryStyle.AUTO:
        style = _cheapest(width, depth, capacity, memory_luts(access, width, depth, family))
    size = f"{depth} words x {width} bits"
    match style:
        case MemoryStyle.LUTRAM:
            lut = memory_luts(access, width, depth, family)
            formula = f"{size} in LUT6 (64x1 or 32x2 each): {lut}"
            band = _LUTRAM_BAND.of_words(width, depth, constants.MEMORY_MOST)
            return Cost(component, Resources(lut=lut, ff=width), formula, _LUTRAM_SOURCE, band)
        case MemoryStyle.URAM:
            blocks = uram(width, depth)
            formula = f"{size}: ceil({width}/72) * ceil({depth}/4096) URAM = {blocks}"
            return Cost(component, Resources(uram=blocks), formula, "UG573, chapter 2", uncalibrated("derived"))
        case MemoryStyle.EXTERNAL:
            return weight_dma(component, width)
        case _:
            blocks = bram18(width, depth)
            formula = f"{size} in the shallowest RAMB36 shape that covers the depth: {blocks} RAMB18"
            return Cost(component, Resources(bram18=blocks), formula, _BRAM_SOURCE, _BRAM_BAND)


BLOCK_MEMORY_BITS = 1024
"""Bits above which Vivado builds a memory of free style from block RAM: assumed; of thirteen weight memories of two FINN
accelerators the one of 128 bits is in LUTs, those of 1,728 bits and more are in block RAM."""


def vivado_style(width: int, depth: int) -> MemoryStyle:
    """What Vivado makes of a memory whose style is left to it (FINN's ``ram_style`` auto)."""
    return MemoryStyle.BRAM if width * depth > BLOCK_MEMORY_BITS else MemoryStyle.LUTRAM


def price(resources: Resources, capacity: Resources) -> float:
    """What `resources` are worth on a part: the sum of their shares of it, LUTs counted double; infinite if it has none."""
    shares = (
        (LUT_PRICE * resources.lut, capacity.lut),
        (resources.bram18, capacity.bram18),
        (resources.uram, capacity.uram),
        (resources.dsp, capacity.dsp),
    )
    return sum(used / held if held else inf for used, held in shares if used)


def _cheapest(width: int, depth: int, capacity: Resources, luts: int) -> MemoryStyle:
    """The style with the lowest price; LUTRAM before BRAM before URAM if equal."""
    candidates = {
        MemoryStyle.LUTRAM: Resources(lut=luts),
        MemoryStyle.BRAM: Resources(bram18=bram18(width, depth)),
        MemoryStyle.URAM: Resources(uram=uram(width, depth)),
    }
    return min(candidates, key=lambda style: price(candidates[style], capacity))
