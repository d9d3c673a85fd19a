"""A dynamic scale as Verilog: integers divided by the largest magnitude of their block.

Two passes: the first finds the largest magnitude, exactly. In the second each value is shifted left until that magnitude has its
leading one on top: this is all for scales that are powers of two. Else it is multiplied with the reciprocal's mantissa, times
1 - 2^-digits: what the largest number of the next format is, as a part of the power of two above.
"""

from __future__ import annotations

from dataclasses import dataclass

from hwmodels.primitives.scale import SCALE_BITS
from hwmodels.rtl.barrel import normalizer, window_shift
from hwmodels.rtl.comparator import at_least
from hwmodels.rtl.inverse import InverseUnit, inverse_module
from hwmodels.rtl.multiplier import Factor, multiplier_type
from hwmodels.rtl.passes import Passes, part, passes_module, stage_lines
from hwmodels.rtl.product import product_modules
from hwmodels.rtl.softmax import largest
from hwmodels.rtl.verilog import RtlError, add, module, vector

TOP = "dynamic_scale"
"""Module name of a unit."""


@dataclass(frozen=True)
class DynamicUnit:
    """`lanes` lanes that divide signed integers of `bits` bits by the largest magnitude of their block of `block` values.

    Ports: as a :class:`~hwmodels.rtl.normalize.NormUnit`; y has `bits` bits, all but the sign behind the binary point; with
    `power_of_two` it is x times 2^zeros, a bit wider. scale is the magnitude (1 where all are zero) that the values y were
    divided by.

    Args:
        digits: bits of the largest mantissa of the next format: 7 of INT8, 3 of E4M3 whose largest number is 1.75 * 2^8.
        dsp: products are left to DSP slices.
    """

    bits: int
    block: int
    lanes: int = 1
    power_of_two: bool = False
    digits: int = 7
    dsp: bool = False

    def __post_init__(self) -> None:
        if self.lanes < 1 or self.block % self.lanes:
            raise RtlError(f"`lanes` must divide the block, but got lanes={self.lanes}, block={self.block}.")
        if self.bits < 3 or not 1 <= self.digits < SCALE_BITS:
            raise RtlError(
                f"a dynamic scale takes integers of at least 3 bits and 1 to {SCALE_BITS - 1} digits, but got bits={self.bits}, "
                f"digits={self.digits}."
            )

    @property
    def words(self) -> int:
        """Words of a block."""
        return self.block // self.lanes

    @property
    def inverse(self) -> InverseUnit:
        """The reciprocal of the largest magnitude, which is 2^(bits - 1) at most."""
        return InverseUnit(self.bits)

    @property
    def operand(self) -> Factor:
        """A value shifted with the largest magnitude."""
        return Factor(self.bits + 1, signed=True)

    @property
    def output_bits(self) -> int:
        """Width of a result."""
        return self.operand.bits if self.power_of_two else self.bits

    @property
    def passes(self) -> Passes:
        """Control of the stage."""
        exact = not self.power_of_two
        return Passes(self.words, delay=0, depth=3 if exact else 2, loads=2 if exact else 1)


def dynamic_verilog(unit: DynamicUnit) -> str:
    """The whole synthesizable text of a unit, top module :data:`TOP`."""
    bits, lanes, inverse = unit.bits, unit.lanes, unit.inverse
    memory, body = stage_lines("", f"{TOP}_passes", bits, lanes, unit.passes)
    ports = [
        *("input wire clk", "input wire reset", "input wire x_valid", "output wire x_ready"),
        *(f"input wire {vector(bits * lanes)} x", "output wire y_valid", "input wire y_ready"),
        *(f"output wire {vector(unit.output_bits * lanes)} y", f"output reg {vector(bits)} scale", *memory),
    ]
    lines = [*body, "assign kept = x;"]
    for i in range(lanes):
        # -m counts half a unit more than the m - 1 that its complement is, so that keys sort like magnitudes
        sign = f"x[{bits * (i + 1) - 1}]"
        rest = f"x[{bits * (i + 1) - 2}:{bits * i}]"
        lines.append(f"wire {vector(bits)} key{i} = {{{rest} ^ {{{bits - 1}{{{sign}}}}}, {sign}}};")
    more, node = largest([f"key{i}" for i in range(lanes)], bits, signed=False)
    lines += [
        *more,
        f"reg {vector(bits)} top;",
        *at_least("keep", "top", node, bits, signed=False),
        f"always @(posedge clk) if (collect & (first | ~keep)) top <= {node};",
        *add("magnitude", bits, f"{{1'b0, top[{bits - 1}:1]}}", f"{bits}'d0", "top[0]"),
        # a block of zeros is divided by one
        f"wire {vector(bits)} n = {{magnitude[{bits - 1}:1], magnitude[0] | ~|top}};",
        f"reg {vector(bits)} found;",
        "always @(posedge clk) if (start) found <= n;",
        f"reg {vector(inverse.zeros_bits)} amount;",
        f"wire {vector(inverse.zeros_bits)} places;",
        "always @(posedge clk) if (load[0]) begin amount <= places; scale <= found; end",
    ]
    modules = passes_module(f"{TOP}_passes", unit.passes)
    signed = unit.operand
    if unit.power_of_two:
        leading, _ = normalizer("found", bits, 1)
        lines += ["assign finished = start;", *leading, "assign places = zeros;"]
    else:
        lines += [
            f"wire {vector(SCALE_BITS)} value;",
            f"{TOP}_inverse inverse (.clk(clk), .start(start), .n(n), .finished(finished), .value(value), .places(places));",
            f"reg {vector(SCALE_BITS)} reciprocal;",
            *add("factor", SCALE_BITS, "value", f"~(value >> {unit.digits})", "1'b1"),
            "always @(posedge clk) if (load[1]) reciprocal <= factor;",
        ]
        modules += inverse_module(f"{TOP}_inverse", inverse)
        modules += product_modules(f"{TOP}_scale", signed, Factor(SCALE_BITS, signed=False), dsp=unit.dsp)
    wide = signed.bits
    for i in range(lanes):
        lines.append(f"wire {vector(bits)} h{i} = {part('held', bits, i)};")
        moved, result = window_shift(f"h{i}", bits, "amount", inverse.zeros_bits, 0, wide, signed=True)
        lines += [*moved, f"reg {vector(wide)} moved{i};", f"always @(posedge clk) if (go) moved{i} <= {result};"]
        if not unit.power_of_two:
            product, _ = multiplier_type(signed, Factor(SCALE_BITS, signed=False))
            lines += [
                f"wire {vector(product)} r{i};",
                f"{TOP}_scale scale{i} (.a(moved{i}), .b(reciprocal), .p(r{i}));",
                f"reg {vector(bits)} y{i};",
                f"always @(posedge clk) if (go) y{i} <= r{i}[{SCALE_BITS + bits - 1}:{SCALE_BITS}];",
            ]
    kept = "moved" if unit.power_of_two else "y"
    lines.append(f"assign y = {{{', '.join(f'{kept}{i}' for i in reversed(range(lanes)))}}};")
    return modules + module(TOP, ports, lines)
