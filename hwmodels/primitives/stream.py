"""What lies between operators as this project builds it: FIFOs, width converters, and the fork of a stream.

LUTs that store or select words, flip-flops and block memory follow from the structure (:mod:`hwmodels.rtl.stream_structure`);
what counts and shakes hands is fitted to the table of synthesized units by ``python -m hwmodels.calibration.fit_streams``.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from math import lcm

from hwmodels.calibration import stream_constants as constants
from hwmodels.primitives.cost import BandKind, Cost, ErrorBand, ceil_div
from hwmodels.primitives.memory import MemoryStyle, MemoryStyleError, bram18, price, uram
from hwmodels.resources import Resources
from hwmodels.rtl.control import ControlUnit
from hwmodels.rtl.stream import LEAST_WORDS, LINE_WORDS, ConverterUnit, DuplicateUnit, FifoUnit
from hwmodels.rtl.stream_structure import StreamStructure, stream_structure

MINIMUM_DEPTH = LEAST_WORDS
"""Words of a FIFO that only decouples two operators."""

SRL_WORDS = LINE_WORDS
"""Words of one bit that a LUT holds as a shift register."""

_SOURCE = "hwmodels.rtl.stream_structure; control fitted, the rest derived"
_BAND = ErrorBand(BandKind.MEASURED, constants.BASIS, *constants.TEST)


def _band(width: int, depth: int = 1) -> ErrorBand:
    return _BAND.of_words(width, depth, constants.MOST)


def features(structure: StreamStructure) -> Mapping[str, int]:
    """The counts that the form weighs, by name: bits of counters, and the unit itself; nothing of a fork, which is derived."""
    if structure.part == "duplicate":
        return {}
    return {f"{structure.part} bit": structure.counted, structure.part: 1}


def _logic(structure: StreamStructure) -> float:
    return sum(constants.FACTORS[name] * count for name, count in features(structure).items())


def _resources(structure: StreamStructure) -> Resources:
    return Resources(lut=structure.data + _logic(structure), ff=structure.registers)


@lru_cache(maxsize=8192)
def fifo(component: str, depth: int, width: int, style: MemoryStyle, capacity: Resources) -> Cost:
    """A FIFO of `depth` words of `width` bits.

    Up to 2 words: two registers. Deeper: shift registers with a register behind them, or block memory where that is cheaper on
    the part. Beyond 2 words all of it depends on the depth through ceil(depth/32) alone, since the depths of block memories are
    multiples of 32 and nothing is cheaper than one row of shift registers.
    """
    if depth <= MINIMUM_DEPTH:
        structure = stream_structure(FifoUnit(width, MINIMUM_DEPTH, "registers"))
        formula = f"two registers of {width} bits: ceil({width}/2) + {_logic(structure):.1f}"
        return Cost(component, _resources(structure), formula, _SOURCE, _band(width, depth))
    whole = SRL_WORDS * ceil_div(depth, SRL_WORDS)
    lines, ring = (stream_structure(FifoUnit(width, whole, kind)) for kind in ("srl", "block"))
    blocks, ultra = bram18(width, whole), uram(width, whole)
    control = _resources(ring)
    candidates = {
        MemoryStyle.LUTRAM: _resources(lines),
        MemoryStyle.BRAM: control + Resources(bram18=blocks),
        MemoryStyle.URAM: control + Resources(uram=ultra),
    }
    chosen = min(candidates, key=lambda kind: price(candidates[kind], capacity)) if style is MemoryStyle.AUTO else style
    if chosen is MemoryStyle.URAM and not capacity.uram:
        raise MemoryStyleError(f"{component} can only be kept in URAM on a part that has it; use bram, lutram or auto.")
    if chosen is MemoryStyle.LUTRAM:
        formula = f"{depth} words x {width} bits: {lines.data} LUT of shift registers + {_logic(lines):.1f}"
        return Cost(component, candidates[chosen], formula, _SOURCE, _band(width, depth))
    formula = f"{depth} words x {width} bits: {chosen}, {_logic(ring):.1f} LUT of control"
    band = _band(width, depth)
    band = band if chosen is MemoryStyle.BRAM else _BAND.extrapolated("URAM instead of block RAM")
    return Cost(component, candidates[chosen], formula, f"{_SOURCE}; shapes UG573, table 1-10", band)


@lru_cache(maxsize=8192)
def width_converter(in_width: int, out_width: int) -> Cost:
    """A converter of words of `in_width` bits into words of `out_width` bits, through their common multiple; free if equal."""
    formula = f"{in_width} -> {out_width} bits"
    if in_width == out_width:
        return Cost("width converter", Resources(), formula, _SOURCE, _BAND)
    common = lcm(in_width, out_width)
    if common not in (in_width, out_width):
        formula += f" through {common}"
    structure = stream_structure(ConverterUnit(in_width, out_width))
    formula += f": {structure.data} LUT that select + {_logic(structure):.1f}"
    return Cost("width converter", _resources(structure), formula, _SOURCE, _band(max(in_width, out_width)))


@lru_cache(maxsize=1024)
def duplicate(width: int, copies: int) -> Cost:
    """A stream of `width` bits copied to `copies` consumers: what each still has to take, one register of the word."""
    structure = stream_structure(DuplicateUnit(width, copies))
    formula = f"{copies} + 1 LUT, register of {width} bits"
    return Cost("duplicate", _resources(structure), formula, _SOURCE, _band(width))


@lru_cache(maxsize=8192)
def unit_control(words: int, folds: int, buffered: bool) -> Cost:
    """What moves a matrix-vector unit that takes `words` words for each of `folds` groups of rows.

    `buffered`: the words come once per vector and are kept for the other groups.
    """
    unit = ControlUnit(words, folds, buffered)
    structure = stream_structure(unit)
    formula = f"{structure.counted} bits of counters to {', '.join(map(str, unit.counts))}: {_logic(structure):.1f}"
    return Cost("control", _resources(structure), formula, _SOURCE, _BAND)
