"""An integer multiplier in LUTs and carry chains: a table, rows of single bits, or rows of radix-4 Booth digits.

A row of a Booth digit needs two bits of the multiplicand, three of the multiplier and one of the running sum: exactly one
LUT6 in front of a carry chain, for two multiplier bits (Booth 1951 as modified by MacSorley 1961; on LUT6: Kumm, Abbas and
Zipf, "An efficient softcore multiplier architecture for Xilinx FPGAs", ARITH 2015). A row of one plain bit is as wide.
So the first two bits, which have no running sum to take, share a plain row, and digits serve the rest where that is less.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from hwmodels.accumulator import bits_for_range
from hwmodels.rtl.verilog import add, extended, module, table, vector

TABLE_BITS = 6
"""Inputs of a LUT6: a product of so many operand bits is a table, one LUT per output bit."""


@dataclass(frozen=True, slots=True)
class Factor:
    """One multiplied integer: its width and whether its top bit is a sign."""

    bits: int
    signed: bool

    @property
    def range(self) -> tuple[int, int]:
        """Smallest and largest value."""
        return (-(1 << self.bits - 1), (1 << self.bits - 1) - 1) if self.signed else (0, (1 << self.bits) - 1)

    def value(self, code: int) -> int:
        """The integer that the bits `code` stand for."""
        return code - (1 << self.bits) if self.signed and code >> (self.bits - 1) else code


class Step(StrEnum):
    """What one row adds to the running sum."""

    BIT = "bit"  # one bit of the multiplier, counted positive
    SIGN = "sign"  # its sign bit, counted negative
    DIGIT = "digit"  # a radix-4 Booth digit in -2..2


@dataclass(frozen=True, slots=True)
class Row:
    """A row at bit `position` of the multiplier: the bits it reads, most significant first (None: a constant zero)."""

    step: Step
    position: int
    reads: tuple[int | None, ...]

    def value(self, multiplier: int) -> int:
        """What the row multiplies by, before its weight 2^position."""
        bits = [0 if i is None else multiplier >> i & 1 for i in self.reads]
        match self.step:
            case Step.BIT:
                return bits[0]
            case Step.SIGN:
                return -bits[0]
            case Step.DIGIT:
                return bits[1] + bits[2] - 2 * bits[0]


def product_range(first: tuple[int, int], second: tuple[int, int]) -> tuple[int, int]:
    """Smallest and largest product of two integers of the given ranges."""
    corners = [a * b for a in first for b in second]
    return min(corners), max(corners)


def signed_bits(low: int, high: int) -> tuple[int, bool]:
    """(bits, signed) of the narrowest integer type of all values of [low, high]; a range without negatives has no sign."""
    return (bits_for_range(low, high), True) if low < 0 else (max(high.bit_length(), 1), False)


def plans(multiplier: Factor, most_plain: int | None = None) -> list[tuple[Row, ...]]:
    """All ways to cut a multiplier into rows: some plain bits first, at most `most_plain` of them, Booth digits for the rest."""
    top = multiplier.bits - 1
    last = Step.SIGN if multiplier.signed else Step.BIT
    plain = [Row(last if i == top else Step.BIT, i, (i,)) for i in range(multiplier.bits)]
    found = [tuple(plain)]
    for start in range(2, top if most_plain is None else min(top, most_plain + 1)):
        rows = plain[:start]
        for low in range(start, multiplier.bits, 2):
            high = low + 1 if low < top else top if multiplier.signed else None
            rows.append(Row(Step.DIGIT, low, (high, low, low - 1 if low > start else None)))
        if not multiplier.signed and rows[-1].reads[0] is not None:
            rows.append(Row(Step.BIT, multiplier.bits, (top,)))  # the digits read an unsigned top bit as a sign
        found.append(tuple(rows))
    return found


def partial_range(row: Row, multiplier: Factor) -> tuple[int, int]:
    """Range of what the bits of the multiplier are worth that this row and those before it read."""
    top = row.reads[0] if row.reads[0] is not None else multiplier.bits - 1
    negative = row.step is Step.SIGN or (row.step is Step.DIGIT and row.reads[0] is not None)
    return (-(1 << top), (1 << top) - 1) if negative else (0, (2 << top) - 1)


def running_widths(rows: tuple[Row, ...], multiplicand: Factor, multiplier: Factor) -> list[tuple[int, bool]]:
    """(bits, signed) of the running sum after each row, without the low bits below the row's position."""
    widths = []
    for row in rows:
        low, high = product_range(multiplicand.range, partial_range(row, multiplier))
        widths.append(signed_bits(low >> row.position, high >> row.position))
    return widths


def _cost(rows: tuple[Row, ...], multiplicand: Factor, multiplier: Factor) -> int:
    """LUTs: one per bit of every row but the first, whose bits enter the second row's LUTs."""
    widths = running_widths(rows, multiplicand, multiplier)
    return sum(bits for bits, _ in widths[1:]) if len(rows) > 1 else multiplicand.bits


def best_plan(a: Factor, b: Factor) -> tuple[bool, tuple[Row, ...]]:
    """(swap, rows): whether `a` is the one cut into rows instead of `b`, and the cheapest rows.

    More than three plain bits before digits never are (all pairs of up to 33 bits compared).
    """
    choices = [
        (_cost(rows, cand, plier), swap, index, rows)
        for swap, cand, plier in ((False, a, b), (True, b, a))
        for index, rows in enumerate(plans(plier, 3))
    ]
    _, swap, _, rows = min(choices)
    return swap, rows


def multiplier_type(a: Factor, b: Factor) -> tuple[int, bool]:
    """(bits, signed) of the exact product."""
    return signed_bits(*product_range(a.range, b.range))


def multiplier_module(name: str, a: Factor, b: Factor) -> str:
    """Verilog of a combinational exact multiplier with the ports a, b and p (widths: see :func:`multiplier_type`)."""
    bits, _ = multiplier_type(a, b)
    if a.bits + b.bits <= TABLE_BITS:
        values = [a.value(k >> b.bits) * b.value(k & ((1 << b.bits) - 1)) for k in range(1 << a.bits + b.bits)]
        ports = [f"input wire {vector(a.bits)} a", f"input wire {vector(b.bits)} b", f"output reg {vector(bits)} p"]
        return module(name, ports, table("p", "{a, b}", a.bits + b.bits, values, bits))
    swap, rows = best_plan(a, b)
    cand, plier = (("b", b), ("a", a)) if swap else (("a", a), ("b", b))
    ports = [f"input wire {vector(a.bits)} a", f"input wire {vector(b.bits)} b", f"output wire {vector(bits)} p"]
    return module(name, ports, _rows_body(rows, cand, plier, bits))


def _rows_body(
    rows: tuple[Row, ...], multiplicand: tuple[str, Factor], multiplier: tuple[str, Factor], bits: int
) -> list[str]:
    (x, factor), (y, other) = multiplicand, multiplier
    widths = running_widths(rows, factor, other)
    lines = [f"wire {vector(factor.bits + 1)} twice = {{{x}, 1'b0}};"]
    done: list[str] = []  # product bits that no later row touches, least significant first
    for index, (row, (width, _)) in enumerate(zip(rows, widths, strict=True)):
        summand, negative = _summand(row, x, factor, y, width)
        if index == 0:
            lines.append(f"wire {vector(width)} s0 = {summand};")
            continue
        previous, (have, was_signed) = rows[index - 1], widths[index - 1]
        shift = row.position - previous.position
        done += [f"s{index - 1}[{i}]" if have > i else "1'b0" for i in range(shift)]
        if have > shift:
            lines.append(f"wire {vector(have - shift)} h{index} = s{index - 1}[{have - 1}:{shift}];")
            carried = extended(f"h{index}", have - shift, width, signed=was_signed)
        else:
            carried = f"{{{width}{{s{index - 1}[{have - 1}]}}}}" if was_signed else f"{width}'d0"
        lines.append(f"wire {vector(width)} r{index} = {summand};")
        lines += add(f"s{index}", width, carried, f"r{index}", negative)
    last, (width, signed) = len(rows) - 1, widths[-1]
    lines.append(f"wire {vector(len(done) + width)} all = {{s{last}{''.join(', ' + bit for bit in reversed(done))}}};")
    return [*lines, f"assign p = {extended('all', len(done) + width, bits, signed=signed)};"]


def _summand(row: Row, x: str, factor: Factor, y: str, width: int) -> tuple[str, str | None]:
    """(expression of `width` bits, carry-in or None): the row's multiple of x, negated as complement plus carry."""
    bit = ["1'b0" if i is None else f"{y}[{i}]" for i in row.reads]
    once = extended(x, factor.bits, width, signed=factor.signed)
    match row.step:
        case Step.BIT:
            return f"{{{width}{{{bit[0]}}}}} & {once}", None
        case Step.SIGN:
            return f"{{{width}{{{bit[0]}}}}} & ~{once}", bit[0]
        case Step.DIGIT:
            twice = extended("twice", factor.bits + 1, width, signed=factor.signed)
            magnitude = f"({bit[1]} ^ {bit[2]} ? {once} : {bit[0]} ^ {bit[1]} ? {twice} : {width}'d0)"
            if row.reads[0] is None:
                return magnitude, None
            return f"{{{width}{{{bit[0]}}}}} ^ {magnitude}", bit[0]
