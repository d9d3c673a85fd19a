"""What streams' units, memories and controls are made of, without their text: bits of counters, words in LUTs, flip-flops."""

from __future__ import annotations

from dataclasses import dataclass
from math import lcm

from hwmodels.primitives.cost import ceil_div, ceil_log2, multiplexer_luts
from hwmodels.rtl.control import ControlUnit
from hwmodels.rtl.stream import LINE_WORDS, ConverterUnit, DuplicateUnit, FifoUnit

_SLICE_ROWS = 4
"""Shift registers of 32 words that a slice's own multiplexers join (UG574: four to 128 words)."""


@dataclass(frozen=True)
class StreamStructure:
    """Counted parts of a unit.

    Attributes:
        part: fifo, converter, duplicate or control.
        counted: bits of counters.
        data: LUT6 that are derived: those that store words or select among them (two bits of a multiplexer of two share one),
            and all of a fork.
        registers: flip-flops.
    """

    part: str
    counted: int
    data: int
    registers: int


def stream_structure(unit: FifoUnit | ConverterUnit | DuplicateUnit | ControlUnit) -> StreamStructure:
    """The parts of a unit."""
    match unit:
        case FifoUnit():
            return _fifo(unit)
        case ConverterUnit():
            return _converter(unit)
        case DuplicateUnit():
            # which copies are owed, and whether all were taken: equal to the synthesized ones
            return StreamStructure("duplicate", 0, unit.copies + 1, unit.width + unit.copies)
        case ControlUnit():
            counted = sum(map(ceil_log2, unit.counts))
            return StreamStructure("control", counted, 0, counted + unit.latency + 2)


def _fifo(unit: FifoUnit) -> StreamStructure:
    if unit.kind == "registers":
        return StreamStructure("fifo", 0, ceil_div(unit.width, 2), 2 * unit.width + 2)
    if unit.kind == "block":
        counted = 3 * ceil_log2(unit.depth) + 1
        return StreamStructure("fifo", counted, 0, counted + 1)
    rows = ceil_div(unit.depth, LINE_WORDS)
    counted = ceil_log2(rows * LINE_WORDS) + 1
    data = unit.width * (rows + multiplexer_luts(ceil_div(rows, _SLICE_ROWS)))
    return StreamStructure("fifo", counted, data, unit.width + counted + 1)


def _converter(unit: ConverterUnit) -> StreamStructure:
    """Up: no LUT between registers; down: a multiplexer for all bits but the last word's."""
    common = lcm(unit.in_width, unit.out_width)
    counted = data = registers = 0
    if common != unit.in_width:
        bits = ceil_log2(common // unit.in_width)
        counted, registers = counted + bits, registers + common + bits + 1
    if common != unit.out_width:
        bits = max(ceil_log2(common // unit.out_width - 1), 1)
        counted, registers = counted + bits, registers + common + bits + 2
        data += ceil_div(common - unit.out_width, 2)
    return StreamStructure("converter", counted, data, registers)
