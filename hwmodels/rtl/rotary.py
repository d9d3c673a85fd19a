"""Rotary positions as Verilog: values of a head are turned with those half a head further on (arXiv 2104.09864, equation 34).

The two halves of a head are kept in memories of their own, so that partners are read together. The first half leaves as
x * cosine - partner * sine, the second as x * cosine + partner * sine; exact.
"""

from __future__ import annotations

from dataclasses import dataclass

from hwmodels.formats import ElementFormat
from hwmodels.primitives.operands import fixed_point_bits
from hwmodels.primitives.scale import SCALE_BITS
from hwmodels.rtl.elementwise import fixed_point_module
from hwmodels.rtl.multiplier import Factor, multiplier_type
from hwmodels.rtl.passes import Passes, part, passes_module, stage_lines
from hwmodels.rtl.product import product_modules
from hwmodels.rtl.verilog import RtlError, add, extended, module, vector

TOP = "rotary"
"""Module name of a unit."""

ANGLE = Factor(SCALE_BITS, signed=True)
"""A sine or cosine in units of 2^-15, from -(2^15 - 1) to 2^15 - 1."""


@dataclass(frozen=True)
class RotaryUnit:
    """`lanes` lanes of rotary positions over heads of `head` values; head / lanes is a power of two and at least 2.

    Ports: as a :class:`~hwmodels.rtl.normalize.NormUnit`, but its memory is read in two halves (the bit of `to` below those of
    the vector says which is written): held holds a word of the first and above it one of the second. sine and cosine of
    the word's angles come from a memory that is read like it, at the low bits of `from`.

    Args:
        dsp: products are left to DSP slices.
    """

    format: ElementFormat
    head: int
    lanes: int = 1
    dsp: bool = False

    def __post_init__(self) -> None:
        words = self.head // self.lanes if self.lanes > 0 and self.head % self.lanes == 0 else 0
        if words < 2 or words.bit_count() != 1:
            raise RtlError(
                f"head / lanes must be a power of two and at least 2, but got head={self.head}, lanes={self.lanes}."
            )

    @property
    def input_bits(self) -> int:
        """Width of a value in fixed point."""
        return fixed_point_bits(self.format)

    @property
    def factor(self) -> Factor:
        """What is multiplied with sines."""
        return Factor(self.input_bits, self.format.signed)

    @property
    def output_bits(self) -> int:
        """Width of a result, 15 bits of it behind the binary point of a value; what is turned grows by sqrt(2) at most."""
        return self.input_bits + SCALE_BITS + int(not self.format.signed)

    @property
    def passes(self) -> Passes:
        """Control of the stage; nothing is collected."""
        return Passes(self.head // self.lanes, delay=0, depth=3, loads=1, whole=True)


def rotary_verilog(unit: RotaryUnit) -> str:
    """The whole synthesizable text of a unit, top module :data:`TOP`."""
    fmt, lanes, width, wide = unit.format, unit.lanes, unit.input_bits, unit.output_bits
    memory, body = stage_lines("", f"{TOP}_passes", width, lanes, unit.passes)
    memory[-1] = f"input wire {vector(2 * width * lanes)} held"
    ports = [
        *("input wire clk", "input wire reset", "input wire x_valid", "output wire x_ready"),
        *(f"input wire {vector(fmt.bits * lanes)} x", "output wire y_valid", "input wire y_ready"),
        *(f"input wire {vector(SCALE_BITS * lanes)} sine", f"input wire {vector(SCALE_BITS * lanes)} cosine"),
        *(f"output wire {vector(wide * lanes)} y", *memory),
    ]
    product, _ = multiplier_type(unit.factor, ANGLE)
    lines = [
        *body,
        "assign finished = start;",
        f"assign kept = {{{', '.join(f'v{i}' for i in reversed(range(lanes)))}}};",
        "reg second, negate;",  # of the word that is held, of the products
        f"always @(posedge clk) if (go) begin second <= from[{unit.passes.count_bits - 1}]; negate <= ~second; end",
    ]
    for i in range(lanes):
        low, high = part("held", width, i), part("held", width, lanes + i)
        lines += [
            f"wire {vector(width)} v{i};",
            f"{TOP}_fixed fixed{i} (.x({part('x', fmt.bits, i)}), .y(v{i}));",
            f"wire {vector(width)} own{i} = second ? {high} : {low};",
            f"wire {vector(width)} partner{i} = second ? {low} : {high};",
            f"wire {vector(product)} c{i}, s{i};",
            f"{TOP}_product cosines{i} (.a(own{i}), .b({part('cosine', SCALE_BITS, i)}), .p(c{i}));",
            f"{TOP}_product sines{i} (.a(partner{i}), .b({part('sine', SCALE_BITS, i)}), .p(s{i}));",
            f"reg {vector(product)} along{i}, across{i};",
            f"always @(posedge clk) if (go) begin along{i} <= c{i}; across{i} <= s{i}; end",
            *add(
                f"turned{i}",
                wide,
                extended(f"along{i}", product, wide, signed=True),
                f"{extended(f'across{i}', product, wide, signed=True)} ^ {{{wide}{{negate}}}}",
                "negate",
            ),
            f"reg {vector(wide)} y{i};",
            f"always @(posedge clk) if (go) y{i} <= turned{i};",
        ]
    lines.append(f"assign y = {{{', '.join(f'y{i}' for i in reversed(range(lanes)))}}};")
    modules = fixed_point_module(f"{TOP}_fixed", fmt) + passes_module(f"{TOP}_passes", unit.passes)
    return modules + product_modules(f"{TOP}_product", unit.factor, ANGLE, dsp=unit.dsp) + module(TOP, ports, lines)
