"""A requantizer by thresholds, as Verilog: a binary search that settles one bit of the code after the other.

As FINN's thresholding_rtl: the thresholds of all channels lie in memories outside of the unit, one for each stage, and the bits
found so far address them. Scale, bias and activation function are all in the thresholds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from math import copysign, inf, isnan
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwmodels.codec import decode, round_value
from hwmodels.formats import ElementFormat, IntFormat, Minifloat
from hwmodels.rtl.comparator import at_least
from hwmodels.rtl.requantize import MOST_SUM_BITS
from hwmodels.rtl.verilog import RtlError, extended, module, vector

TOP = "thresholds"
"""Module name of a requantizer by thresholds."""

_INT64_SUM_BITS = 60


@dataclass(frozen=True)
class ThresholdUnit:
    """One lane of a binary search.

    Args:
        sum_bits: of the signed sum. Thresholds have a bit more, since one that no sum reaches must exist.
        passes: cycles per value, a divisor of the output's bits; a stage then settles so many bits, one a cycle.

    Ports: clk; sum; y, the code; of each stage s an address (the bits found before the stage; above one pass, then a 1 and those
    found in it) and the threshold that its memory gives a cycle later. Above one pass also start, high once every
    `passes` cycles, with a sum. A stage of one pass takes two cycles, one for its memory and one to compare.
    """

    sum_bits: int
    output: ElementFormat
    passes: int = 1

    def __post_init__(self) -> None:
        if not 2 <= self.sum_bits <= MOST_SUM_BITS:
            raise RtlError(f"a requantizer reads sums of 2 to {MOST_SUM_BITS} bits, but got sum_bits={self.sum_bits}.")
        if self.passes < 1 or self.output.bits % self.passes:
            raise RtlError(
                f"`passes` must divide the {self.output.bits} bits of {self.output}, but got passes={self.passes}."
            )

    @property
    def threshold_bits(self) -> int:
        """Width of a threshold."""
        return self.sum_bits + 1

    @property
    def address_bits(self) -> tuple[int, ...]:
        """Width of the address of each stage; 0: a stage with one threshold, and no address."""
        stages = self.output.bits // self.passes
        return tuple(stage * self.passes + (self.passes if self.passes > 1 else 0) for stage in range(stages))


def thresholds_verilog(unit: ThresholdUnit) -> str:
    """The whole synthesizable text of a unit, top module :data:`TOP`."""
    bits, wide, serial = unit.sum_bits, unit.threshold_bits, unit.passes > 1
    ports = ["input wire clk", f"input wire {vector(bits)} sum"] + ["input wire start"] * serial
    for stage, address in enumerate(unit.address_bits):
        ports.append(f"input wire {vector(wide)} threshold{stage}")
        ports += [f"output wire {vector(address)} address{stage}"] * bool(address)
    ports.append(f"output reg {vector(unit.output.bits)} y")
    lines: list[str] = []
    x, found = "sum", ""  # what the stage reads, and the bits settled before it
    for stage in range(len(unit.address_bits)):
        lines += (_serial_stage if serial else _stage)(unit, stage, x, found)
        lines.append(f"wire {vector(wide)} w{stage} = {extended(f'x{stage}', bits, wide, signed=True)};")
        lines += at_least(f"b{stage}", f"w{stage}", f"threshold{stage}", wide, signed=True)
        x, found = f"x{stage}", f"f{stage}"
    go = "if (start) " if serial else ""
    return module(TOP, ports, [*lines, f"always @(posedge clk) {go}y <= {_code(unit.output, found)};"])


def _stage(unit: ThresholdUnit, stage: int, x: str, found: str) -> list[str]:
    """Registers while the memory reads, then registers to compare; f<stage>, the bits found with this stage's."""
    bits = vector(unit.sum_bits)
    lines = [f"reg {bits} a{stage}, x{stage};", f"always @(posedge clk) {{a{stage}, x{stage}}} <= {{{x}, a{stage}}};"]
    if not stage:
        return [*lines, "wire f0 = b0;"]
    lines += [
        f"reg {vector(stage)} c{stage}, d{stage};",
        f"always @(posedge clk) {{c{stage}, d{stage}}} <= {{{found}, c{stage}}};",
        f"assign address{stage} = c{stage};",
    ]
    return [*lines, f"wire {vector(stage + 1)} f{stage} = {{d{stage}, b{stage}}};"]


def _serial_stage(unit: ThresholdUnit, stage: int, x: str, found: str) -> list[str]:
    """A stage that settles `passes` bits; its memory is addressed by what the registers take next."""
    passes, before, s = unit.passes, stage * unit.passes, stage
    lines = [
        f"reg {vector(unit.sum_bits)} x{s};",
        f"always @(posedge clk) if (start) x{s} <= {x};",
        f"reg {vector(passes)} h{s};",
        f"wire {vector(passes)} h{s}_next = start ? {passes}'d1 : {{h{s}{vector(passes - 1)}, b{s}}};",
        f"always @(posedge clk) h{s} <= h{s}_next;",
    ]
    settled = f"h{s}{vector(passes - 1)}, b{s}"
    if not stage:
        return [*lines, "assign address0 = h0_next;", f"wire {vector(passes)} f0 = {{{settled}}};"]
    lines += [
        f"reg {vector(before)} p{s};",
        f"wire {vector(before)} p{s}_next = start ? {found} : p{s};",
        f"always @(posedge clk) p{s} <= p{s}_next;",
        f"assign address{s} = {{p{s}_next, h{s}_next}};",
    ]
    return [*lines, f"wire {vector(before + passes)} f{s} = {{p{s}, {settled}}};"]


def _code(fmt: ElementFormat, index: str) -> str:
    """The code at `index`, see :func:`code_at`."""
    top = fmt.bits - 1
    if not fmt.signed:
        return index
    if isinstance(fmt, IntFormat):
        return f"{index} ^ {fmt.bits}'d{1 << top}"
    return f"{{~{index}[{top}], {index}{vector(top)} ^ {{{top}{{~{index}[{top}]}}}}}}"


def code_at(fmt: ElementFormat, index: int) -> int:
    """The code at `index` of all 2^bits codes in the order of their values; both zeros of a minifloat stand side by side."""
    half = 1 << (fmt.bits - 1)
    if not fmt.signed:
        return index
    match fmt:
        case IntFormat():
            return index ^ half
        case Minifloat():
            return index - half if index >= half else half + (half - 1 - index)


def search_thresholds(unit: ThresholdUnit, scaled: Callable[[int], Fraction]) -> tuple[int, ...]:
    """The smallest sum whose code stands at index 1, 2, ... 2^bits - 1 or above; 2^(sum_bits - 1) where none does.

    Args:
        scaled: the value that a sum stands for, on the output's scale; it must not fall where the sum rises.
    """
    fmt, least, beyond = unit.output, -(1 << unit.sum_bits - 1), 1 << unit.sum_bits - 1
    found = []
    for wanted in wanted_values(fmt):
        first, last = least, beyond
        while first < last:
            middle_sum = (first + last) // 2
            reached = round_value(fmt, scaled(middle_sum)) >= wanted
            first, last = (first, middle_sum) if reached else (middle_sum + 1, last)
        found.append(first)
    return tuple(found)


def wanted_values(fmt: ElementFormat) -> list[float]:
    """The value that a sum must reach for its code to stand at index 1, 2, ... 2^bits - 1 or above."""
    found = []
    for index in range(1, 1 << fmt.bits):
        wanted = decode(fmt, code_at(fmt, index))
        if isnan(wanted):  # never the result: at the ends, or the negative zero of fnuz formats
            middle = index == (1 << fmt.bits - 1) - 1 and fmt.signed
            wanted = 0.0 if middle else copysign(inf, index - (1 << fmt.bits - 1) if fmt.signed else 1)
        found.append(wanted)
    return found


def row_thresholds(
    unit: ThresholdUnit, rows: int, values: Callable[[NDArray[Any]], NDArray[np.float64]]
) -> NDArray[Any]:
    """The thresholds of :func:`search_thresholds` of many rows at once, shape (rows, 2^bits - 1).

    Args:
        values: the output values, on a scale of 1, of sums of shape (rows, n), row by row; integers, or Python integers where
            64 bits are too few. It must not fall where the sum rises.
    """
    wanted = np.array(wanted_values(unit.output))
    kind = np.int64 if unit.sum_bits <= _INT64_SUM_BITS else object
    first = np.full((rows, len(wanted)), -(1 << unit.sum_bits - 1), dtype=kind)
    last = -first
    while (searching := first < last).any():
        middle = (first + last) // 2
        reached = values(middle) >= wanted
        first, last = np.where(searching & ~reached, middle + 1, first), np.where(searching & reached, middle, last)
    return first
