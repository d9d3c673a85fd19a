"""One lane: a weight code times an activation code, as a fixed-point integer and a flag that it is to be negated.

The integer is in units of 2^dropped times the product of the two formats' steps, rounded towards minus infinity *before*
the sign of a minifloat is applied. The sign is not applied here: the adder tree takes the complement in the LUTs that it
has anyway, and the ones that complete the negations on its carry inputs (:mod:`hwmodels.rtl.tree`).

Codes that stand for infinity or NaN are outside the contract: quantizers saturate and never produce them, and a unit reads
them as some finite number.
"""

from __future__ import annotations

from dataclasses import dataclass

from hwmodels.accumulator import code_range
from hwmodels.formats import ElementFormat, IntFormat, Minifloat
from hwmodels.primitives.operands import max_shift
from hwmodels.rtl.aligner import field_shift, shift_amount, shifter
from hwmodels.rtl.multiplier import TABLE_BITS, Factor, multiplier_module, multiplier_type, product_range, signed_bits
from hwmodels.rtl.verilog import RtlError, extended, module, table, vector

WEIGHT, ACTIVATION = "w", "x"


@dataclass(frozen=True, slots=True)
class Lane:
    """What is multiplied in one lane, and which bits of the product go on.

    Attributes:
        dropped: low product bits that are left out.
        limit: most bits that go on (the accumulator's, where sums are taken modulo 2^P); None: all.
        pipeline: a register between multiplier and shifter (behind a table that has both).
    """

    weight: ElementFormat
    activation: ElementFormat
    dropped: int = 0
    limit: int | None = None
    pipeline: bool = False

    @property
    def magnitude_range(self) -> tuple[int, int]:
        """Smallest and largest integer that a lane yields, before the negation."""
        low, high = product_range(*(_before_sign(fmt) for fmt in (self.weight, self.activation)))
        return low >> self.dropped, high >> self.dropped

    @property
    def type(self) -> tuple[int, bool]:
        """(bits, signed) of the lane's output; with `limit` its low bits, whose sums are exact modulo 2^limit."""
        bits, signed = signed_bits(*self.magnitude_range)
        return (bits, signed) if self.limit is None or bits <= self.limit else (self.limit, signed)

    @property
    def negates(self) -> bool:
        """Whether a lane has a sign of its own to apply."""
        return any(isinstance(fmt, Minifloat) and fmt.signed for fmt in (self.weight, self.activation))

    @property
    def most_shift(self) -> int:
        """Largest left shift of the significand product."""
        return max_shift(self.weight) + max_shift(self.activation)


def _before_sign(fmt: ElementFormat) -> tuple[int, int]:
    """Values of a format without the sign bit of a minifloat, in units of its step."""
    if isinstance(fmt, IntFormat):
        return code_range(fmt)
    smallest = 0 if fmt.subnormals else 1 << fmt.mantissa_bits
    return smallest, fmt.max_code


def magnitude_bits(fmt: ElementFormat) -> int:
    """Bits of a code without the sign bit of a minifloat."""
    return fmt.bits - int(isinstance(fmt, Minifloat) and fmt.signed)


def factor(fmt: ElementFormat) -> Factor:
    """The integer of a format that enters the multiplier: the code, or the significand with its hidden bit."""
    match fmt:
        case IntFormat():
            return Factor(fmt.bits, fmt.signed)
        case Minifloat():
            return Factor(fmt.mantissa_bits + 1, signed=False)


def integer_of(fmt: ElementFormat, code: int) -> int:
    """The value of a code without the sign bit of a minifloat, in units of the step; specials as if they were finite."""
    if isinstance(fmt, IntFormat):
        return factor(fmt).value(code)
    field, fraction = code >> fmt.mantissa_bits, code & ((1 << fmt.mantissa_bits) - 1)
    hidden = int(field > 0 or not fmt.subnormals) << fmt.mantissa_bits
    return (hidden + fraction) << field_shift(fmt, field)


def lane_modules(name: str, lane: Lane) -> str:
    """Verilog of a lane (and its multiplier): ports w and x (codes), y (:attr:`Lane.type`), n if it negates, clk if pipelined."""
    formats = {WEIGHT: lane.weight, ACTIVATION: lane.activation}
    bits, _ = lane.type
    ports = [f"input wire {vector(fmt.bits)} {key}" for key, fmt in formats.items()]
    ports += [f"output wire {vector(bits)} y"] + ["output wire n"] * lane.negates + ["input wire clk"] * lane.pipeline
    signs = [f"{key}[{fmt.bits - 1}]" for key, fmt in formats.items() if isinstance(fmt, Minifloat) and fmt.signed]
    delayed = _Delay(lane.pipeline)
    body = [f"assign n = {delayed.of('sign', 1, ' ^ '.join(signs))};"] if lane.negates else []
    modules = ""
    if sum(map(magnitude_bits, formats.values())) <= TABLE_BITS:
        body += _table_body(lane, delayed)
    else:
        modules = multiplier_module(f"{name}_mul", factor(lane.weight), factor(lane.activation))
        body += _product_body(lane, f"{name}_mul", delayed)
    return modules + module(name, ports, [*delayed.lines, *body])


class _Delay:
    """Names of signals behind the pipeline register, or of the signals themselves where there is none."""

    def __init__(self, pipeline: bool) -> None:
        self.pipeline = pipeline
        self.lines: list[str] = []

    def of(self, name: str, bits: int, expression: str) -> str:
        """The name that holds `expression` of `bits` bits, one cycle later if there is a register."""
        if not self.pipeline:
            self.lines.append(f"wire {vector(bits)} {name}_q = {expression};")
        else:
            self.lines += [f"reg {vector(bits)} {name}_q;", f"always @(posedge clk) {name}_q <= {expression};"]
        return f"{name}_q"


def _table_body(lane: Lane, delayed: _Delay) -> list[str]:
    """Both codes in one LUT6 for each output bit: multiplier, exponents and shifter at once."""
    bits, _ = lane.type
    wide, narrow = magnitude_bits(lane.weight), magnitude_bits(lane.activation)
    values = [
        (integer_of(lane.weight, key >> narrow) * integer_of(lane.activation, key & ((1 << narrow) - 1)))
        >> lane.dropped
        for key in range(1 << wide + narrow)
    ]
    key = f"{{{WEIGHT}{vector(wide)}, {ACTIVATION}{vector(narrow)}}}"
    delayed.lines += [f"reg {vector(bits)} t;", *table("t", key, wide + narrow, values, bits)]
    return [f"assign y = {delayed.of('product', bits, 't')};"]


def _product_body(lane: Lane, multiplier: str, delayed: _Delay) -> list[str]:
    names: dict[str, str] = {}
    exponents: dict[str, Minifloat] = {}
    for key, fmt in ((WEIGHT, lane.weight), (ACTIVATION, lane.activation)):
        names[key] = key
        if isinstance(fmt, Minifloat):
            m, e = fmt.mantissa_bits, fmt.exponent_bits
            field = f"{key}[{m + e - 1}:{m}]"
            hidden = f"|{field}" if fmt.subnormals else "1'b1"
            fraction = f", {key}[{m - 1}:0]" if m else ""
            delayed.lines.append(f"wire {vector(m + 1)} {key}_m = {{{hidden}{fraction}}};")
            names[key] = f"{key}_m"
            if max_shift(fmt):
                delayed.lines.append(f"wire {vector(e)} {key}_e = {field};")
                exponents[f"{key}_e"] = fmt
    bits, signed = multiplier_type(factor(lane.weight), factor(lane.activation))
    delayed.lines.append(f"wire {vector(bits)} p;")
    delayed.lines.append(f"{multiplier} m (.a({names[WEIGHT]}), .b({names[ACTIVATION]}), .p(p));")
    product = delayed.of("product", bits, "p")
    lines: list[str] = []
    if exponents:
        amount_bits = lane.most_shift.bit_length()
        delayed.lines += shift_amount(exponents, amount_bits)
        amount = delayed.of("shift", amount_bits, "shift")
        lines, product, bits = shifter(product, bits, amount, lane.most_shift, signed=signed)
    want, _ = lane.type
    if lane.dropped:
        if lane.dropped >= bits:
            raise RtlError(f"`dropped` must leave a bit of the {bits}-bit product, but got dropped={lane.dropped}.")
        lines.append(f"wire {vector(bits - lane.dropped)} kept = {product}[{bits - 1}:{lane.dropped}];")
        product, bits = "kept", bits - lane.dropped
    return [*lines, f"assign y = {extended(product, bits, want, signed=signed)};"]
