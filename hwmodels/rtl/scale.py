"""The scale of one segment's sum as Verilog: a shift by the sum of power-of-two exponents, or a product.

Shift (OCP MX): the codes of one or two E8M0 scales are added. A total of `start` to start + reach - 1 shifts the segment's sum
left by 0 to reach - 1 places, of which the `dropped` lowest bits are left out (rounded towards minus infinity): inside of this
window a sum loses nothing else. A total above the window counts as its largest, one below makes the sum zero.

Product: a fixed-point mantissa or a minifloat (E4M3 of NVFP4) times the sum, exact, then the `dropped` lowest bits are left
out. With a minifloat it is a lane of its own (:mod:`hwmodels.rtl.lane`); with a mantissa, a segment that takes several cycles
leaves time to multiply by a few of its bits per cycle, the lowest first.

Codes are registered with the last products of their segment. NaN codes are outside the contract, as in a lane.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from hwmodels.datapath import ScaleKind
from hwmodels.formats import E8M0, ElementFormat, IntFormat
from hwmodels.primitives.cost import ceil_div
from hwmodels.primitives.scale import SCALE_BITS, SHIFT_RANGE
from hwmodels.rtl.aligner import shifter
from hwmodels.rtl.lane import Lane, lane_modules
from hwmodels.rtl.multiplier import Factor, multiplier_module, multiplier_type
from hwmodels.rtl.verilog import RtlError, add, extended, module, table, vector

WIDEST_FACTOR = 32
"""Bits of the widest sum that is multiplied by a minifloat: the widest integer format."""


@dataclass(frozen=True)
class ShiftScale:
    """Power-of-two scales in E8M0.

    Attributes:
        start: total of the codes that shifts by 0, a multiple of `reach`, so that the low bits of a total are the shift. Where
            another window is wanted, the stored codes of the weights are moved by a constant.
        reach: totals that are told apart; a power of two.
        dropped: low bits of the shifted sum that are left out.
    """

    start: int
    reach: int = SHIFT_RANGE
    dropped: int = 0

    def __post_init__(self) -> None:
        if not (2 <= self.reach <= 128 and self.reach.bit_count() == 1):
            raise RtlError(f"`reach` must be a power of two from 2 to 128, but got reach={self.reach}.")
        if not 0 <= self.start < 512 or self.start % self.reach:
            raise RtlError(
                f"`start` must be a multiple of reach = {self.reach} from 0 to {512 - self.reach}, but got start={self.start}."
            )
        if not 0 <= self.dropped < self.reach:
            raise RtlError(f"`dropped` must be 0 to reach - 1 = {self.reach - 1}, but got dropped={self.dropped}.")

    @staticmethod
    def around_one(operands: int) -> ShiftScale:
        """The window that holds the scale product 1: 2^-15 to 1 with one code, 2^-14 to 2 with two."""
        return ShiftScale(operands * E8M0.exponent_bias // SHIFT_RANGE * SHIFT_RANGE)

    @property
    def name(self) -> str:
        """What is done, in words."""
        return f"shift by 0 to {self.reach - 1}, low bits dropped: {self.dropped}"

    @property
    def format(self) -> ElementFormat:
        """Format of every scale code."""
        return E8M0

    @property
    def delay(self) -> int:
        """Cycles from a segment's sum to its scaled sum."""
        return 1

    def bits(self, inner: int) -> int:
        """Width of the scaled sum (signed) of an `inner`-bit one."""
        return inner + self.reach - 1 - self.dropped


@dataclass(frozen=True)
class ProductScale:
    """One scale in an unsigned element format.

    Attributes:
        format: fixed point of 16 bits unless given; or a minifloat, such as ``ue4m3``.
        dropped: low bits of the product that are left out.
        passes: cycles of one product, for fixed point: each takes ceil(bits / passes) bits of the scale.
    """

    format: ElementFormat = IntFormat(SCALE_BITS, signed=False)
    dropped: int = 0
    passes: int = 1

    def __post_init__(self) -> None:
        if self.format.signed:
            raise RtlError(f"a scale must be unsigned, but got {self.format}.")
        if not 0 <= self.dropped < self.format.bits:
            raise RtlError(
                f"`dropped` must be 0 to {self.format.bits - 1} for {self.format}, but got dropped={self.dropped}."
            )
        most = self.format.bits if self.is_integer else 1
        if not 1 <= self.passes <= most:
            raise RtlError(f"`passes` must be 1 to {most} for a scale in {self.format}, but got passes={self.passes}.")

    @property
    def name(self) -> str:
        """What is done, in words."""
        return f"product with {self.format.name} in {self.passes} cycles, low bits dropped: {self.dropped}"

    @property
    def is_integer(self) -> bool:
        """Whether the scale is fixed point."""
        return isinstance(self.format, IntFormat)

    @property
    def digit(self) -> int:
        """Bits of the scale that one pass takes."""
        return ceil_div(self.format.bits, self.passes)

    @property
    def delay(self) -> int:
        """Cycles from a segment's sum to its scaled sum."""
        return self.passes

    def factors(self, inner: int) -> tuple[Factor, Factor]:
        """What one pass of a fixed-point scale multiplies: the sum and a digit."""
        return Factor(inner, signed=True), Factor(self.digit, signed=False)

    def lane(self, inner: int) -> Lane:
        """A minifloat scale's product: the sum as the weight, the scale as the activation."""
        if inner > WIDEST_FACTOR:
            raise RtlError(
                f"a sum that is multiplied by {self.format} must have at most {WIDEST_FACTOR} bits, but got {inner}; use a "
                "fixed-point scale."
            )
        return Lane(IntFormat(inner), self.format, self.dropped)

    def bits(self, inner: int) -> int:
        """Width of the scaled sum (signed) of an `inner`-bit one."""
        if self.is_integer:
            return inner + self.format.bits - self.dropped
        return self.lane(inner).type[0]


Scale: TypeAlias = ShiftScale | ProductScale


def default_scale(kind: ScaleKind, operands: int, cycles: int) -> Scale:
    """How a unit applies group scales unless told otherwise: a shift around 1, or a product in the cycles of a segment."""
    if kind is ScaleKind.POWER_OF_TWO:
        return ShiftScale.around_one(operands)
    return ProductScale(passes=ceil_div(SCALE_BITS, ceil_div(SCALE_BITS, cycles)))


def scale_module(name: str, scale: Scale, operands: int, inner: int) -> str:
    """Verilog of a scale: ports clk, codes (of `operands` scales, side by side), done, sum (`inner` bits), y.

    `codes` are read one cycle before `sum`; `done` says that there is one. y is its scaled sum `delay` cycles later.
    """
    width = scale.bits(inner)
    ports = ["input wire clk", "input wire done", f"input wire {vector(scale.format.bits * operands)} codes"]
    ports += [f"input wire {vector(inner)} sum", f"output wire {vector(width)} y"]
    match scale:
        case ShiftScale():
            return module(name, ports, _shift(scale, operands, inner, width))
        case ProductScale():
            lane = f"{name}_lane"
            modules = _multiplier(scale, inner, lane) if scale.is_integer else lane_modules(lane, scale.lane(inner))
            body = _product(scale, inner, width) if scale.passes == 1 else _serial(scale, inner)
            return modules + module(name, ports, [*body, f"{lane} lane (.w(factor), .x(digit), .y(p));"])


def _shift(scale: ShiftScale, operands: int, inner: int, width: int) -> list[str]:
    """The total to a shift amount and two flags; a sum below the window is the synchronous reset of the register."""
    code, amount = E8M0.bits, (scale.reach - 1).bit_length()
    bits = code + operands - 1
    terms = [extended(f"codes[{code * i + code - 1}:{code * i}]", code, bits, signed=False) for i in range(operands)]
    high, first = bits - amount, scale.start >> amount
    key = f"total[{bits - 1}:{amount}]"
    lines = [f"wire {vector(bits)} total = {' + '.join(terms)};", "reg under, above;"]
    lines += table("under", key, high, [int(value < first) for value in range(1 << high)], 1)
    lines += table("above", key, high, [int(value > first) for value in range(1 << high)], 1)
    lines += [
        f"reg {vector(amount)} amount;",
        "reg below;",
        f"always @(posedge clk) amount <= total{vector(amount)} | {{{amount}{{above}}}};",
        "always @(posedge clk) below <= under;",
    ]
    stages, shifted, reached = shifter("sum", inner, "amount", scale.reach - 1, signed=True)
    assert reached - scale.dropped == width
    return [
        *lines,
        *stages,
        f"reg {vector(width)} scaled;",
        f"always @(posedge clk) if (below) scaled <= 0; else scaled <= {shifted}[{reached - 1}:{scale.dropped}];",
        "assign y = scaled;",
    ]


def _multiplier(scale: ProductScale, inner: int, name: str) -> str:
    """Verilog of a fixed-point product with the ports of a lane, and as deep in the hierarchy."""
    a, b = scale.factors(inner)
    ports = [f"input wire {vector(a.bits)} w", f"input wire {vector(b.bits)} x"]
    ports.append(f"output wire {vector(multiplier_type(a, b)[0])} y")
    product = multiplier_module(f"{name}_mul", a, b)
    return product + module(name, ports, [f"{name}_mul m (.a(w), .b(x), .p(y));"])


def _product(scale: ProductScale, inner: int, width: int) -> list[str]:
    bits, low = (width, 0) if not scale.is_integer else (width + scale.dropped, scale.dropped)
    return [
        f"reg {vector(scale.format.bits)} digit;",
        f"reg {vector(width)} scaled;",
        f"wire {vector(inner)} factor = sum;",
        f"wire {vector(bits)} p;",
        f"always @(posedge clk) {{digit, scaled}} <= {{codes, p[{bits - 1}:{low}]}};",
        "assign y = scaled;",
    ]


def _serial(scale: ProductScale, inner: int) -> list[str]:
    """Each pass adds the sum times the lowest digit to the high half and moves both halves down by a digit."""
    digit, stored = scale.digit, scale.digit * scale.passes
    wide, (product, signed) = inner + digit, multiplier_type(*scale.factors(inner))
    return [
        f"reg {vector(scale.format.bits)} code;",
        f"reg {vector(inner)} factor, high;",
        f"reg {vector(stored)} low;",
        f"wire {vector(digit)} digit = low{vector(digit)};",
        f"wire {vector(product)} p;",
        *add("next", wide, extended("high", inner, wide, signed=True), extended("p", product, wide, signed=signed)),
        "always @(posedge clk) begin",
        "    code <= codes;",
        "    if (done) factor <= sum;",
        f"    if (done) high <= 0; else high <= next[{wide - 1}:{digit}];",
        f"    low <= done ? {extended('code', scale.format.bits, stored, signed=False)} : "
        f"{{next{vector(digit)}, low[{stored - 1}:{digit}]}};",
        "end",
        f"wire {vector(inner + stored)} whole = {{next, low[{stored - 1}:{digit}]}};",
        f"assign y = whole[{inner + scale.format.bits - 1}:{scale.dropped}];",
    ]
