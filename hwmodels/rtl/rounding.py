"""From a fixed-point number to the nearest code of a format: ties to even, saturating, as :mod:`hwmodels.codec` rounds.

Integers come from two's complement, minifloats from a magnitude: their sign goes around the rounding. A minifloat is
normalized by shifting left through the powers of two of its exponent range, each stage asking whether the bits that would
leave are all zero; what lies below the guard bit becomes one sticky bit before the first stage, so that nothing wide is
shifted. (Encoding the leading one first and selecting each bit by it took up to 40 % more LUTs; measured.)
"""

from __future__ import annotations

from hwmodels.formats import IntFormat, Minifloat
from hwmodels.rtl.verilog import constant, extended, vector


def round_to_integer(source: str, bits: int, fraction: int, fmt: IntFormat) -> list[str]:
    """Lines that round `source` (two's complement, `bits` bits, `fraction` of them behind the point) to the wire `code`.

    An unsigned format clamps negative numbers to 0: rectification is part of the rounding.
    """
    reach = fmt.bits - int(fmt.signed)  # the first bit above the largest code
    lines, width, fraction = _padded(source, bits, fraction, reach + 2, signed=True)
    lines += [
        f"wire {vector(width - fraction)} q = v[{width - 1}:{fraction}];",
        f"wire up = v[{fraction - 1}] & (v[{fraction}] | (|v[{fraction - 2}:0]));",
        f"wire {vector(reach + 1)} r = q{vector(reach + 1)} + up;",
        f"wire negative = v[{width - 1}];",
    ]
    above = f"q[{width - fraction - 1}:{reach}]"
    if fmt.signed:
        low, high = f"negative & ~(&{above})", f"~negative & (|{above} | r[{reach}])"
        if fmt.narrow:
            low += f" | negative & r == {constant(fmt.min_code - 1, fmt.bits)}"
    else:
        low, high = "negative", f"|{above} | r[{reach}]"
        if fmt.narrow:
            high += f" | (&r{vector(reach)})"
    low_code, high_code = (constant(code, fmt.bits) for code in (fmt.min_code, fmt.max_code))
    choice = f"({low}) ? {low_code} : ({high}) ? {high_code} : r{vector(fmt.bits)}"
    return [*lines, f"wire {vector(fmt.bits)} code = {choice};"]


def round_to_magnitude(source: str, bits: int, fraction: int, fmt: Minifloat) -> list[str]:
    """Lines that round the unsigned `source`, in units of the format's step, to the wire `code`: a code without its sign.

    Every format is rounded as if all its codes were finite; what lies above its largest number is clamped at last.
    """
    stored, most = fmt.mantissa_bits, (1 << fmt.exponent_bits) - 2  # the largest shift
    top = stored + most  # where the leading one of the highest binade stands
    lines, width, fraction = _padded(source, bits, fraction, top + 2, signed=False)
    size = top + 3
    lines.append(f"wire {vector(size)} n = {{v[{top + fraction}:{fraction - 1}], |v[{fraction - 2}:0]}};")
    name = "n"
    moved: list[str] = []
    for amount in (1 << i for i in reversed(range(fmt.exponent_bits))):
        empty = f"~(|{name}[{size - 1}:{size - amount}])"
        if amount == 1:  # subnormals stop one short of the whole range: they share the lowest binade's step
            empty += f" & ~({' & '.join(moved) or 1})"
        lines += [
            f"wire z{amount} = {empty};",
            f"wire {vector(size)} n{amount} = z{amount} ? {{{name}[{size - 1 - amount}:0], {amount}'d0}} : {name};",
        ]
        name = f"n{amount}"
        moved.append(f"z{amount}")
    hidden, guard, rest = f"{name}[{size - 1}]", f"{name}[{size - 2 - stored}]", f"{name}[{size - 3 - stored}:0]"
    field = ", ".join([*(f"~{z}" for z in moved[:-1]), f"~{moved[-1]} & {hidden}"])
    whole = f"{{1'b0, {field}, {name}[{size - 2}:{size - 1 - stored}]}}" if stored else f"{{1'b0, {field}}}"
    # the lowest kept bit decides ties; without mantissa bits it is the hidden one
    lowest = f"{name}[{size - 1 - stored}]"
    coded = fmt.exponent_bits + stored
    largest = constant(fmt.max_magnitude_code, coded)
    beyond = f"(|v[{width - 1}:{top + 1 + fraction}]) | raw > {constant(fmt.max_magnitude_code, coded + 1)}"
    return [
        *lines,
        f"wire {vector(coded + 1)} raw = {whole} + ({guard} & ({lowest} | (|{rest})));",
        f"wire {vector(coded)} code = ({beyond}) ? {largest} : raw{vector(coded)};",
    ]


def _padded(source: str, bits: int, fraction: int, whole: int, *, signed: bool) -> tuple[list[str], int, int]:
    """(line that defines `v`, its bits, its fraction): `source` with 2 fraction bits and `whole` bits before them at least."""
    low = max(2 - fraction, 0)
    wide = max(bits - fraction, whole) + fraction
    value = extended(source, bits, wide, signed=signed)
    padded = f"{{{value}, {low}'d0}}" if low else value
    return [f"wire {vector(wide + low)} v = {padded};"], wide + low, fraction + low
