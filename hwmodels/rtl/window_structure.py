"""What window generators are made of, without their text: bits of counters and what stores words."""

from __future__ import annotations

from dataclasses import dataclass

from hwmodels.primitives.cost import ceil_log2
from hwmodels.rtl.window import WindowUnit, moves
from hwmodels.rtl.window_parallel import ParallelWindowUnit


@dataclass(frozen=True)
class WindowStructure:
    """Counted parts of a generator.

    Attributes:
        counted: bits of counters and addresses, each with the LUT in front of its register, and that of the handshake.
        turned: bits of addresses that a table brings back into a ring that is no power of two.
        registers: flip-flops, those behind a memory included (block memory brings its own).
        memory: (bits of a word, words) of the ring, or of the lines between the rows of a window.
        shifted: (bits, words) of the delays between the taps of a row.
        behind: registers behind the memory.
    """

    counted: int
    turned: int
    registers: int
    memory: tuple[int, int]
    shifted: tuple[int, int] = (0, 0)
    behind: int = 0


def window_structure(unit: WindowUnit) -> WindowStructure:
    """The parts of a generator that gives one word a cycle."""
    depth, address = unit.depth, ceil_log2(unit.depth)
    loops = sum(ceil_log2(loop.count) for loop in unit.loops if loop.count > 1)
    lead, used = (max(*map(abs, each), depth).bit_length() + 1 for each in moves(unit))
    counted = 2 * address + lead + used + loops + 1
    turned = 0 if depth & (depth - 1) == 0 else 2 * (address - (depth & -depth).bit_length() + 1)
    return WindowStructure(counted, turned, counted + unit.width, (unit.width, depth), behind=unit.width)


def parallel_structure(unit: ParallelWindowUnit) -> WindowStructure:
    """The parts of a generator that gives whole windows."""
    counted = sum(ceil_log2(count) for count in unit.counts.values()) + 1
    rows, cols = unit.shape.kernel
    between, delays = (rows - 1) * unit.width, rows * (cols - 1)
    delayed = unit.apart > 1
    registers = counted + unit.width + between + (0 if delayed else delays * unit.width)
    shifted = (delays * unit.width, unit.apart) if delayed else (0, 0)
    lines = (between, unit.line) if unit.line else (0, 0)  # of the map of one window nothing is left between its rows
    return WindowStructure(counted, 0, registers, lines, shifted, behind=between)
