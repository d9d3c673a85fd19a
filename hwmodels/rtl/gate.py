"""The product of two streams as Verilog: of the values of a gate and what it lets through, or of two scales; exact."""

from __future__ import annotations

from dataclasses import dataclass

from hwmodels.formats import ElementFormat, IntFormat
from hwmodels.rtl.lane import Lane, factor, lane_modules
from hwmodels.rtl.multiplier import multiplier_type
from hwmodels.rtl.passes import part
from hwmodels.rtl.product import product_modules
from hwmodels.rtl.verilog import add, extended, module, vector

TOP = "gate"
"""Module name of a unit."""


@dataclass(frozen=True)
class GateUnit:
    """`lanes` products of values of two formats, in units of the product of their steps.

    Ports: clk, reset; x (codes of the first, above them those of the second), x_valid, x_ready; y, y_valid, y_ready.

    Args:
        dsp: products of integers are left to DSP slices.
    """

    first: ElementFormat
    second: ElementFormat
    lanes: int = 1
    dsp: bool = False

    @property
    def lane(self) -> Lane:
        """One product, its sign apart."""
        return Lane(self.first, self.second)

    @property
    def output_bits(self) -> int:
        """Width of a result."""
        return self.lane.type[0] + int(self.lane.negates and not self.lane.type[1])

    @property
    def registers(self) -> int:
        """Flip-flops: each result, and whether there is one."""
        return self.output_bits * self.lanes + 1

    @property
    def signed(self) -> bool:
        """Whether a result may be negative."""
        return self.lane.negates or self.lane.type[1]


def gate_verilog(unit: GateUnit) -> str:
    """The whole synthesizable text of a unit, top module :data:`TOP`."""
    lane, lanes, wide = unit.lane, unit.lanes, unit.output_bits
    a, b = unit.first.bits, unit.second.bits
    bits, signed = lane.type
    ports = [
        *("input wire clk", "input wire reset", "input wire x_valid", "output wire x_ready"),
        *(f"input wire {vector((a + b) * lanes)} x", "output reg y_valid", "input wire y_ready"),
        f"output wire {vector(wide * lanes)} y",
    ]
    lines = [
        "wire go = y_ready | ~y_valid;",
        "assign x_ready = go;",
        "always @(posedge clk) if (reset) y_valid <= 0; else if (go) y_valid <= x_valid;",
    ]
    integers = isinstance(unit.first, IntFormat) and isinstance(unit.second, IntFormat)
    for i in range(lanes):
        first, second = part("x", a, i), f"x[{a * lanes + b * (i + 1) - 1}:{a * lanes + b * i}]"
        lines += [f"wire {vector(bits)} p{i};", f"reg {vector(wide)} y{i};"]
        if integers:
            lines.append(f"{TOP}_product product{i} (.a({first}), .b({second}), .p(p{i}));")
            result = f"p{i}"
        else:
            sign = f", .n(n{i})" if lane.negates else ""
            lines += [f"wire n{i};"] * lane.negates
            lines.append(f"{TOP}_product product{i} (.w({first}), .x({second}), .y(p{i}){sign});")
            result = extended(f"p{i}", bits, wide, signed=signed)
            if lane.negates:
                lines += add(f"signed{i}", wide, f"{wide}'d0", f"{result} ^ {{{wide}{{n{i}}}}}", f"n{i}")
                result = f"signed{i}"
        lines.append(f"always @(posedge clk) if (go) y{i} <= {result};")
    lines.append(f"assign y = {{{', '.join(f'y{i}' for i in reversed(range(lanes)))}}};")
    if integers:
        modules = product_modules(f"{TOP}_product", factor(unit.first), factor(unit.second), dsp=unit.dsp)
        assert multiplier_type(factor(unit.first), factor(unit.second))[0] == bits
    else:
        modules = lane_modules(f"{TOP}_product", lane)
    return modules + module(TOP, ports, lines)
