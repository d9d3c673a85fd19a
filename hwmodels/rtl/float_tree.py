"""Dot products in floating point: products of minifloats, a binary tree of floating-point adders, a floating-point register.

All numbers inside have one format, that of the accumulator (:mod:`hwmodels.rtl.float_adder`), with exponents wide enough for
every sum: nothing overflows or underflows. A product is exact where its significand fits, else it is cut towards zero.
"""

from __future__ import annotations

from dataclasses import dataclass

from hwmodels.accumulator import float_exponent_bits
from hwmodels.datapath import Architecture, Datapath
from hwmodels.formats import ElementFormat, Minifloat
from hwmodels.rtl.float_adder import float_adder_module, normalizer, zero_bits
from hwmodels.rtl.lane import factor, integer_of, magnitude_bits
from hwmodels.rtl.multiplier import TABLE_BITS, multiplier_module, multiplier_type
from hwmodels.rtl.unit import MOST_LANES, TOP
from hwmodels.rtl.verilog import RtlError, add, module, table, vector


@dataclass(frozen=True)
class FloatUnit:
    """`lanes` products of minifloats per cycle, added to a floating-point accumulator.

    Ports: as of :class:`hwmodels.rtl.unit.DotUnit`; the sum is sign, exponent field and stored mantissa bits, and stands for
    (1 + mantissa / 2^m) * 2^(field - 1) times both steps; field 0 is zero, with either sign.

    The accumulator must be wide enough for the products of one cycle; that it is for all cycles between two clears is the
    user's proof (:func:`hwmodels.accumulator.float_exponent_bits`).
    """

    datapath: Datapath
    lanes: int

    def __post_init__(self) -> None:
        if not 1 <= self.lanes <= MOST_LANES:
            raise RtlError(f"`lanes` must be 1 to {MOST_LANES}, but got lanes={self.lanes}.")
        if self.datapath.accumulator.architecture is not Architecture.FLOAT:
            raise RtlError(
                f"a float unit must have a floating-point accumulator, but got {self.datapath.accumulator.name}; use DotUnit."
            )
        least = float_exponent_bits(self.lanes, self.weight, self.activation)
        if self.exponent_bits < least:
            raise RtlError(
                f"the exponent must hold the sum of {self.lanes} products of {self.weight} x {self.activation}, {least} bits, "
                f"but got {self.datapath.accumulator.name}."
            )

    @property
    def weight(self) -> Minifloat:
        """Format of the weights."""
        return _minifloat(self.datapath.weight.format)

    @property
    def activation(self) -> Minifloat:
        """Format of the activations."""
        return _minifloat(self.datapath.activation.format)

    @property
    def exponent_bits(self) -> int:
        """Bits of the exponent field of all sums."""
        return self.datapath.accumulator.exponent_bits

    @property
    def mantissa_bits(self) -> int:
        """Stored mantissa bits of all sums, m."""
        return self.datapath.accumulator.bits - 1 - self.exponent_bits

    @property
    def bits(self) -> int:
        """Width of the accumulator."""
        return self.datapath.accumulator.bits


def _minifloat(fmt: ElementFormat) -> Minifloat:
    assert isinstance(fmt, Minifloat)  # Datapath refuses floating-point sums of integers
    return fmt


def float_unit_verilog(unit: FloatUnit) -> str:
    """The whole synthesizable text of a unit, top module :data:`hwmodels.rtl.unit.TOP`."""
    header = (
        f"// dot product of {unit.lanes} lanes: {unit.weight} weights x {unit.activation} activations, floating-point "
        f"accumulator with {unit.exponent_bits} exponent and {unit.mantissa_bits} mantissa bits\n"
    )
    parts = (_lane_modules(unit), float_adder_module(f"{TOP}_add", unit.exponent_bits, unit.mantissa_bits), _top(unit))
    return header + "\n".join(parts)


def _lane_modules(unit: FloatUnit) -> str:
    """Verilog of a lane (and its multiplier): ports w and x (codes), s, f, m (the product)."""
    formats = {"w": unit.weight, "x": unit.activation}
    field, size = unit.exponent_bits, unit.mantissa_bits + 1
    ports = [f"input wire {vector(fmt.bits)} {key}" for key, fmt in formats.items()]
    ports += ["output wire s", f"output wire {vector(field)} f", f"output wire {vector(size)} m"]
    signs = [f"{key}[{fmt.bits - 1}]" for key, fmt in formats.items() if fmt.signed]
    body = ["assign s = " + (" ^ ".join(signs) or "1'b0") + ";"]
    if sum(map(magnitude_bits, formats.values())) <= TABLE_BITS:
        return module(f"{TOP}_lane", ports, body + _table_body(unit))
    multiplier = multiplier_module(f"{TOP}_mul", factor(unit.weight), factor(unit.activation))
    return multiplier + module(f"{TOP}_lane", ports, body + _product_body(unit))


def _table_body(unit: FloatUnit) -> list[str]:
    """Both codes in one LUT6 for each bit of field and significand."""
    field, size = unit.exponent_bits, unit.mantissa_bits + 1
    wide, narrow = magnitude_bits(unit.weight), magnitude_bits(unit.activation)
    products = [
        integer_of(unit.weight, key >> narrow) * integer_of(unit.activation, key & ((1 << narrow) - 1))
        for key in range(1 << wide + narrow)
    ]
    significands = [(value << size) >> value.bit_length() for value in products]
    key = f"{{w{vector(wide)}, x{vector(narrow)}}}"
    lines = [f"reg {vector(field)} bits;", f"reg {vector(size)} top;"]
    lines += table("bits", key, wide + narrow, [value.bit_length() % (1 << field) for value in products], field)
    lines += table("top", key, wide + narrow, significands, size)
    return [*lines, "assign f = bits;", "assign m = top;"]


def _product_body(unit: FloatUnit) -> list[str]:
    """Significands normalized, multiplied, and their exponents added."""
    w, x = unit.weight, unit.activation
    field, size = unit.exponent_bits, unit.mantissa_bits + 1
    lines = [*_operand("w", w, 0, field), *_operand("x", x, 1, field)]
    bits, _ = multiplier_type(factor(w), factor(x))
    lines += [f"wire {vector(bits)} p;", f"{TOP}_mul mul (.a(w_n), .b(x_n), .p(p));"]
    lines.append(f"wire some = w_n[{w.mantissa_bits}] & x_n[{x.mantissa_bits}];")
    carry = None
    if w.mantissa_bits and x.mantissa_bits:
        # a product of two numbers in [1, 2) is in [1, 4)
        lines.append(f"wire {vector(bits)} n = p[{bits - 1}] ? p : {{p[{bits - 2}:0], 1'b0}};")
        carry = f"p[{bits - 1}]"
    else:
        lines.append(f"wire {vector(bits)} n = p;")
    lines += add("sum", field, f"(w_f & {{{field}{{some}}}})", f"(x_f & {{{field}{{some}}}})", carry)
    cut = f"n[{bits - 1}:{bits - size}]" if size <= bits else f"{{n, {size - bits}'d0}}"
    return [*lines, "assign f = sum;", f"assign m = {cut};"]


def _operand(key: str, fmt: Minifloat, more: int, field: int) -> list[str]:
    """`key`_n: the significand, its top bit set (0 of zero); `key`_f: bits of a nonzero magnitude, less 1, plus `more`."""
    m, e = fmt.mantissa_bits, fmt.exponent_bits
    exponent = f"{key}[{m + e - 1}:{m}]"
    fraction = f", {key}[{m - 1}:0]" if m else ""
    lines = [f"reg {vector(field)} {key}_e;"]
    first = 1 if fmt.subnormals else 0
    values = [(max(code, first) - first + m + more) % (1 << field) for code in range(1 << e)]
    lines += table(f"{key}_e", exponent, e, values, field)
    if not fmt.subnormals or m == 0:
        hidden = f"|{exponent}" if fmt.subnormals else "1'b1"
        return [
            *lines,
            f"wire {vector(m + 1)} {key}_n = {{{hidden}{fraction}}};",
            f"wire {vector(field)} {key}_f = {key}_e;",
        ]
    lines.append(f"wire {vector(m + 1)} {key}_m = {{|{exponent}{fraction}}};")
    lines += normalizer(f"{key}_m", m + 1, f"{key}_n")
    zeros = zero_bits(m + 1)
    lines.append(f"reg {vector(field)} {key}_z;")
    values = [(m + more - count) % (1 << field) for count in range(1 << zeros)]
    lines += table(f"{key}_z", f"{key}_n_lz", zeros, values, field)
    return [*lines, f"wire {vector(field)} {key}_f = {key}_m[{m}] ? {key}_e : {key}_z;"]


def _top(unit: FloatUnit) -> str:
    w, x, lanes = unit.weight.bits, unit.activation.bits, unit.lanes
    field, mantissa = unit.exponent_bits, unit.mantissa_bits
    ports = ["input wire clk", "input wire clear", "input wire enable"]
    ports += [f"input wire {vector(w * lanes)} weights", f"input wire {vector(x * lanes)} activations"]
    ports.append(f"output reg {vector(unit.bits)} sum")
    lines: list[str] = []

    def number(name: str) -> None:
        lines.append(f"wire {name}_s; wire {vector(field)} {name}_f; wire {vector(mantissa + 1)} {name}_m;")

    def adder(name: str, first: str, second: str) -> None:
        number(name)
        inputs = ", ".join(f".{part}{k}({each}_{part})" for k, each in (("a", first), ("b", second)) for part in "sfm")
        lines.append(f"{TOP}_add add_{name} ({inputs}, .s({name}_s), .f({name}_f), .m({name}_m));")

    level = []
    for i in range(lanes):
        number(f"y{i}")
        codes = f".w(weights[{i * w + w - 1}:{i * w}]), .x(activations[{i * x + x - 1}:{i * x}])"
        lines.append(f"{TOP}_lane lane{i} ({codes}, .s(y{i}_s), .f(y{i}_f), .m(y{i}_m));")
        level.append(f"y{i}")
    count = 0
    while len(level) > 1:
        above = []
        for first, second in zip(level[::2], level[1::2], strict=False):
            adder(f"a{count}", first, second)
            above.append(f"a{count}")
            count += 1
        level = above + level[len(level) & ~1 :]
    number("base")
    lines += [
        f"assign base_s = sum[{unit.bits - 1}] & ~clear;",
        f"assign base_f = sum[{unit.bits - 2}:{mantissa}] & {{{field}{{~clear}}}};",
        f"assign base_m = {{|sum[{unit.bits - 2}:{mantissa}], sum{vector(mantissa)}}} & {{{mantissa + 1}{{~clear}}}};",
    ]
    adder("next", "base", level[0])
    lines.append(f"always @(posedge clk) if (enable) sum <= {{next_s, next_f, next_m{vector(mantissa)}}};")
    return module(TOP, ports, lines)
