"""Residual adds and pooling as Verilog, on fixed point: minifloat codes are made integers in units of their step first."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite

from hwmodels.codec import decode_all
from hwmodels.formats import ElementFormat, IntFormat, Minifloat
from hwmodels.primitives.cost import ceil_log2
from hwmodels.primitives.operands import fixed_point_bits, max_shift
from hwmodels.rtl.aligner import shift_amount, shifter
from hwmodels.rtl.comparator import at_least
from hwmodels.rtl.multiplier import TABLE_BITS
from hwmodels.rtl.verilog import RtlError, add, extended, module, table, vector

TOP = "elementwise"
"""Module name of a unit; its converter to fixed point is elementwise_fixed."""

POOL_KINDS = ("average", "max")


@dataclass(frozen=True)
class AddUnit:
    """One lane of a residual add: ports clk, a and b (codes), y (their exact sum, one bit wider than fixed point)."""

    format: ElementFormat


@dataclass(frozen=True)
class PoolUnit:
    """One lane of a pooling unit over `window` values of a format.

    Ports: clk; x, a code; previous, what the window has come to so far; first (there is no previous); y, what it has come to with
    x: the sum or the largest. What it comes to in between is kept outside of the unit.
    """

    format: ElementFormat
    window: int
    kind: str

    def __post_init__(self) -> None:
        if self.kind not in POOL_KINDS or self.window < 1:
            raise RtlError(
                f"a pooling unit takes the {' or '.join(POOL_KINDS)} of at least 1 value, but got kind={self.kind!r}, "
                f"window={self.window}."
            )


def pool_sum_bits(fmt: ElementFormat, window: int, kind: str) -> int:
    """Bits of what a pooling unit gives: the sum over the window (average) or one value (max)."""
    return fixed_point_bits(fmt) + (ceil_log2(window) if kind == "average" else 0)


def result_bits(unit: AddUnit | PoolUnit) -> int:
    """Bits of what a unit gives, held in its register."""
    match unit:
        case AddUnit():
            return fixed_point_bits(unit.format) + 1
        case PoolUnit():
            return pool_sum_bits(unit.format, unit.window, unit.kind)


def fixed_point_values(fmt: Minifloat) -> list[int]:
    """The value of every code in units of the format's step; 0 for specials, which nothing produces."""
    step = float(fmt.step)
    return [int(value / step) if isfinite(value) else 0 for value in decode_all(fmt).tolist()]


def fixed_point_module(name: str, fmt: ElementFormat) -> str:
    """Verilog that turns a code x into the integer y of :func:`fixed_point_bits` bits, signed where the format is.

    Up to six bits of code each output bit is a LUT6, beyond them the significand is negated, then shifted.
    """
    bits = fixed_point_bits(fmt)
    ports = [f"input wire {vector(fmt.bits)} x"]
    if isinstance(fmt, IntFormat):
        return module(name, [*ports, f"output wire {vector(bits)} y"], ["assign y = x;"])
    if fmt.bits <= TABLE_BITS:
        values = fixed_point_values(fmt)
        return module(name, [*ports, f"output reg {vector(bits)} y"], table("y", "x", fmt.bits, values, bits))
    m, e = fmt.mantissa_bits, fmt.exponent_bits
    fraction = f", x[{m - 1}:0]" if m else ""
    lines = [f"wire {vector(e)} field = x[{m + e - 1}:{m}];", f"wire {vector(m + 1)} magnitude = {{|field{fraction}}};"]
    significand, width = "magnitude", m + 1
    if fmt.signed:
        sign, width, significand = f"x[{fmt.bits - 1}]", m + 2, "significand"
        lines += add("significand", width, f"{width}'d0", f"{{1'b0, magnitude}} ^ {{{width}{{{sign}}}}}", sign)
    most = max_shift(fmt)
    if most:
        amount_lines = shift_amount({"field": fmt}, most.bit_length())
        moved, significand, width = shifter(significand, width, "shift", most, signed=fmt.signed)
        lines += [*amount_lines, *moved]
    # the largest significand of the top binade may be left out: the fixed point of a format with NaN is no wider for it
    whole = extended(significand, width, bits, signed=fmt.signed)
    return module(name, [*ports, f"output wire {vector(bits)} y"], [*lines, f"assign y = {whole};"])


def elementwise_verilog(unit: AddUnit | PoolUnit) -> str:
    """The whole synthesizable text of a unit, top module :data:`TOP`; a register behind the result."""
    fmt = unit.format
    bits, wide, text = fixed_point_bits(fmt), result_bits(unit), fixed_point_module(f"{TOP}_fixed", fmt)
    codes = ("a", "b") if isinstance(unit, AddUnit) else ("x",)
    lines = [f"wire {vector(bits)} {code}_v;" for code in codes]
    lines += [f"{TOP}_fixed {code}_fixed (.x({code}), .y({code}_v));" for code in codes]
    ports = ["input wire clk", *(f"input wire {vector(fmt.bits)} {code}" for code in codes)]
    match unit:
        case AddUnit():
            lines += add("next", wide, *(extended(f"{code}_v", bits, wide, signed=fmt.signed) for code in codes))
        case PoolUnit():
            ports += ["input wire first", f"input wire {vector(wide)} previous"]
            lines += _average(fmt, bits, wide) if unit.kind == "average" else _largest(fmt, bits)
    ports.append(f"output reg {vector(wide)} y")
    return text + module(TOP, ports, [*lines, "always @(posedge clk) y <= next;"])


def _average(fmt: ElementFormat, bits: int, wide: int) -> list[str]:
    return add("next", wide, extended("x_v", bits, wide, signed=fmt.signed), f"(previous & {{{wide}{{~first}}}})")


def _largest(fmt: ElementFormat, bits: int) -> list[str]:
    lines = at_least("kept", "previous", "x_v", bits, signed=fmt.signed)
    return [*lines, f"wire {vector(bits)} next = kept & ~first ? previous : x_v;"]
