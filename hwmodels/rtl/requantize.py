"""A requantizer by scale, as Verilog: integer sum, bias, scale, rounding to the next format's code.

The scale is one of five things (:class:`ScaleForm`); a static shift behind it puts the binary point. All arithmetic is exact
until the one rounding at the end, so that the code is the one the codec gives for (sum + bias) * scale / 2^shift, in units of
the format's step.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from math import isfinite

from hwmodels.codec import decode_all, round_value
from hwmodels.formats import ElementFormat, IntFormat, Minifloat, Specials
from hwmodels.primitives.cost import ceil_div
from hwmodels.primitives.scale import SCALE_BITS, SHIFT_RANGE
from hwmodels.rtl.aligner import shifter
from hwmodels.rtl.constant import constant_product
from hwmodels.rtl.multiplier import Factor, multiplier_module, multiplier_type
from hwmodels.rtl.rounding import round_to_integer, round_to_magnitude
from hwmodels.rtl.verilog import RtlError, add, constant, extended, module, table, vector

TOP = "requantize"
"""Module name of a requantizer; its multiplier is requantize_mul in requantize_product."""

MOST_SUM_BITS = 2048
"""Bits of the widest sum: more than any accumulator's, with room for the scales of its groups."""

MOST_TABLE_BITS = 8
"""Bits of the longest sum that is looked up: four LUT6 and their multiplexers for each bit of the code."""

SHIFT_BITS = (SHIFT_RANGE - 1).bit_length()


class ScaleForm(StrEnum):
    """What multiplies the sum."""

    MULTIPLIER = "multiplier"  # an unsigned integer of 16 bits at a port: a float scale per channel
    CONSTANT = "constant"  # an integer known when the unit is generated: a float scale per tensor
    SHIFTER = "shifter"  # 2^k, k = 0 to 15 at a port: a power of two per channel
    WIRES = "wires"  # nothing: a power of two per tensor
    TABLE = "table"  # everything at once: a constant and the rounding of a short sum, looked up


@dataclass(frozen=True)
class RequantizeUnit:
    """One lane of a requantizer.

    Args:
        sum_bits: of the signed sum, and of the signed bias where there is one.
        shift: bits behind the binary point of what the scale gives; negative: zeros are appended.
        bias: whether there is a port for it. Bias and sum are added in one bit more.
        value: of a constant scale, or that of a table.
        passes: cycles per value, 1 to 16, for a multiplier or constant: above 1 it takes ceil(16 / passes) bits of the scale
            per cycle and adds up.

    Ports: clk; sum; bias; scale (from memory, a cycle after the bias if `passes` is 1); y, the code. With `passes` above 1
    also start, high once every `passes` cycles, with a sum, its bias and its scale: y then takes the code of the one before.
    """

    sum_bits: int
    output: ElementFormat
    form: ScaleForm
    shift: int
    bias: bool = True
    value: int | None = None
    passes: int = 1

    def __post_init__(self) -> None:
        if not 2 <= self.sum_bits <= MOST_SUM_BITS:
            raise RtlError(f"a requantizer reads sums of 2 to {MOST_SUM_BITS} bits, but got sum_bits={self.sum_bits}.")
        known = self.form in (ScaleForm.CONSTANT, ScaleForm.TABLE)
        if known != (self.value is not None) or not 0 < (1 if self.value is None else self.value) < 1 << SCALE_BITS:
            raise RtlError(
                f"`value` must be 1 to {(1 << SCALE_BITS) - 1} if and only if the scale is a constant or in a table, but got "
                f"form={self.form}, value={self.value}."
            )
        if self.form is ScaleForm.TABLE and (self.bias or self.sum_bits > MOST_TABLE_BITS):
            raise RtlError(
                f"a table takes sums of at most {MOST_TABLE_BITS} bits without a bias, but got sum_bits={self.sum_bits}, "
                f"bias={self.bias}; use a constant."
            )
        serial = self.form in (ScaleForm.MULTIPLIER, ScaleForm.CONSTANT)
        if not 1 <= self.passes <= (SCALE_BITS if serial else 1):
            raise RtlError(
                f"`passes` must be 1 to {SCALE_BITS} for a multiplier or constant and 1 otherwise, but got "
                f"form={self.form}, passes={self.passes}."
            )
        if isinstance(self.output, Minifloat) and not self.output.subnormals:
            raise RtlError(f"a requantizer rounds to formats with a zero, but got {self.output}.")

    @property
    def digit(self) -> int:
        """Bits of the scale taken per cycle."""
        return ceil_div(SCALE_BITS, self.passes)

    @property
    def operand(self) -> Factor:
        """What is scaled: the biased sum, or its magnitude where the output is a minifloat."""
        return Factor(self.sum_bits + int(self.bias), signed=isinstance(self.output, IntFormat))


def clipping_unit(
    sum_bits: int,
    output: ElementFormat,
    form: ScaleForm,
    *,
    clip: int,
    bias: bool = True,
    value: int | None = None,
    passes: int = 1,
) -> RequantizeUnit:
    """The unit whose largest scaled sum lies `clip` powers of two above the output's largest number.

    Constants count as if they were normalized mantissas of 16 bits.
    """
    gain = {ScaleForm.SHIFTER: SHIFT_RANGE - 1, ScaleForm.WIRES: 0}.get(form, SCALE_BITS)
    shift = sum_bits + int(bias) - 1 + gain - clip - output.max_code.bit_length()
    return RequantizeUnit(sum_bits, output, form, shift, bias, value, passes)


def requantize_verilog(unit: RequantizeUnit) -> str:
    """The whole synthesizable text of a unit, top module :data:`TOP`; registers behind bias, scale and rounding."""
    bits = unit.sum_bits
    ports = ["input wire clk", f"input wire {vector(bits)} sum"]
    ports += [f"input wire {vector(bits)} bias"] if unit.bias else []
    match unit.form:
        case ScaleForm.MULTIPLIER:
            ports.append(f"input wire {vector(SCALE_BITS)} scale")
        case ScaleForm.SHIFTER:
            ports.append(f"input wire {vector(SHIFT_BITS)} scale")
    ports += ["input wire start"] if unit.passes > 1 else []
    ports.append(f"output reg {vector(unit.output.bits)} y")
    if unit.form is ScaleForm.TABLE:
        lines = [f"reg {vector(unit.output.bits)} code;", *table("code", "sum", bits, _codes(unit), unit.output.bits)]
        return module(TOP, ports, [*lines, "always @(posedge clk) y <= code;"])
    modules, scaled, name, width = _scale(unit)
    body = [*_operand(unit), *scaled, *_rounded(unit, name, width)]
    return modules + module(TOP, ports, body)


def _codes(unit: RequantizeUnit) -> list[int]:
    """The code of every sum of a table, by the sum's bits."""
    assert unit.value is not None  # checked in __post_init__
    fmt, scale = unit.output, unit.value / Fraction(2) ** unit.shift
    step = Fraction(1) if isinstance(fmt, IntFormat) else fmt.step
    factor = Factor(unit.sum_bits, signed=True)
    codes = {value: code for code, value in reversed(list(enumerate(decode_all(fmt).tolist()))) if isfinite(value)}
    keys = range(1 << unit.sum_bits)
    return [codes[float(round_value(fmt, factor.value(key) * scale * step))] for key in keys]


def _operand(unit: RequantizeUnit) -> list[str]:
    """Lines that drive `a`, what is scaled, and for minifloats `sign`; a register behind the bias adder."""
    bits, width = unit.sum_bits, unit.operand.bits
    lines = ["wire go = " + ("start" if unit.passes > 1 else "1'b1") + ";"]
    if unit.bias:
        lines += add("t_next", width, *(extended(name, bits, width, signed=True) for name in ("sum", "bias")))
    if unit.bias or unit.passes > 1:
        lines += [f"reg {vector(width)} t;", f"always @(posedge clk) if (go) t <= {'t_next' if unit.bias else 'sum'};"]
    else:
        lines.append(f"wire {vector(width)} t = sum;")
    if unit.operand.signed:
        return [*lines, f"wire {vector(width)} a = t;"]
    lines.append(f"wire sign = t[{width - 1}];")
    return [*lines, *add("a", width, f"{width}'d0", f"t ^ {{{width}{{sign}}}}", "sign")]


def _scale(unit: RequantizeUnit) -> tuple[str, list[str], str, int]:
    """(modules, lines, name of the scaled number, its bits)."""
    operand = unit.operand
    if unit.passes > 1:
        return _serial(unit)
    match unit.form:
        case ScaleForm.WIRES | ScaleForm.TABLE:  # a table has no parts
            return "", [], "a", operand.bits
        case ScaleForm.SHIFTER:
            most = SHIFT_RANGE - 1
            lines, name, width = shifter("a", operand.bits, "scale", most, signed=operand.signed)
            modules = ""
        case ScaleForm.CONSTANT:
            assert unit.value is not None  # checked in __post_init__
            lines, name, width = constant_product("a", operand, unit.value)
            modules = ""
        case ScaleForm.MULTIPLIER:
            factor = Factor(SCALE_BITS, signed=False)
            width, _ = multiplier_type(operand, factor)
            lines = [f"wire {vector(width)} m;", f"{TOP}_product product (.a(a), .b(scale), .p(m));"]
            modules, name = _product_modules(operand, factor), "m"
    lines += [f"reg {vector(width)} p;", f"always @(posedge clk) p <= {name};"]
    if not operand.signed:
        lines += ["reg sign_q;", "always @(posedge clk) sign_q <= sign;"]
    return modules, lines, "p", width


def _serial(unit: RequantizeUnit) -> tuple[str, list[str], str, int]:
    """A multiplier that takes `digit` bits of the scale per cycle, the lowest first, and shifts the sum right by as many."""
    operand, digit = unit.operand, unit.digit
    stored, width = digit * unit.passes, operand.bits + digit
    factor = Factor(digit, signed=False)
    modules = ""
    lines = [f"wire {vector(SCALE_BITS)} scale = {constant(unit.value, SCALE_BITS)};"] if unit.value is not None else []
    lines += [f"reg {vector(operand.bits)} high;", f"reg {vector(stored)} low;"]
    if digit == 1:
        term = f"({{{width}{{low[0]}}}} & {extended('a', operand.bits, width, signed=operand.signed)})"
    else:
        bits, signed = multiplier_type(operand, factor)
        modules = _product_modules(operand, factor)
        lines += [f"wire {vector(bits)} m;", f"{TOP}_product product (.a(a), .b(low{vector(digit)}), .p(m));"]
        term = extended("m", bits, width, signed=signed)
    lines += add("next", width, extended("high", operand.bits, width, signed=operand.signed), term)
    lines += [
        "always @(posedge clk) if (start) high <= 0; else high <= " + f"next[{width - 1}:{digit}];",
        "always @(posedge clk) low <= start ? scale : " + f"{{next{vector(digit)}, low[{stored - 1}:{digit}]}};",
        f"wire {vector(stored + operand.bits)} p = {{next, low[{stored - 1}:{digit}]}};",
    ]
    return modules, lines, "p", stored + operand.bits


def _product_modules(a: Factor, b: Factor) -> str:
    """A multiplier two levels below the top, as in a dot-product unit.

    Yosys reverses the order of cells with each level that it flattens, and finds a Booth row's bit in one LUT6 in one order
    only: one level deep, a 25 x 16 bit multiplier has 381 LUTs instead of 231 (Yosys 0.70).
    """
    bits, _ = multiplier_type(a, b)
    ports = [f"input wire {vector(a.bits)} a", f"input wire {vector(b.bits)} b", f"output wire {vector(bits)} p"]
    inner = multiplier_module(f"{TOP}_mul", a, b)
    return inner + module(f"{TOP}_product", ports, [f"{TOP}_mul mul (.a(a), .b(b), .p(p));"])


def _rounded(unit: RequantizeUnit, name: str, width: int) -> list[str]:
    """Lines that round the scaled number and register the code, with the sign of a minifloat."""
    match unit.output:
        case IntFormat():
            lines, code = round_to_integer(name, width, unit.shift, unit.output), "code"
        case Minifloat():
            lines = round_to_magnitude(name, width, unit.shift, unit.output)
            delayed = "sign_q" if unit.passes == 1 and unit.form is not ScaleForm.WIRES else "sign"
            fnuz = unit.output.specials is Specials.FNUZ  # its code of negative zero is NaN
            if unit.output.signed:
                code = f"{{{delayed}{' & (|code)' if fnuz else ''}, code}}"
            else:
                code = f"code & {{{unit.output.bits}{{~{delayed}}}}}"
    return [*lines, f"always @(posedge clk) if (go) y <= {code};"]
