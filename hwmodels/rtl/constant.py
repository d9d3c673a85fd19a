"""An integer times a constant: an adder for each nonzero digit after the first of the constant's signed digits.

The digits are the non-adjacent form (Reitwiesner 1960), which has the fewest nonzero ones: a third of its length and 1/9 on
average. The chain goes from the lowest digit up, so that finished low bits leave it.
"""

from __future__ import annotations

from hwmodels.rtl.multiplier import Factor, product_range, signed_bits
from hwmodels.rtl.verilog import add, extended, vector


def signed_digits(value: int) -> tuple[tuple[int, int], ...]:
    """(position, +1 or -1) of each nonzero digit of the non-adjacent form of a positive integer, lowest first.

    Where the two lowest are -1, the second is written as +1 and one more -1 above: no adder then negates both its summands.
    """
    digits = []
    position = 0
    while value:
        if value & 1:
            digit = 2 - (value & 3)
            digits.append((position, digit))
            value -= digit
        value >>= 1
        position += 1
    if [digit for _, digit in digits[:2]] == [-1, -1]:
        second = digits[1][0]
        digits[1:2] = [(second, 1), (second + 1, -1)]
    return tuple(digits)


def constant_product(source: str, factor: Factor, value: int) -> tuple[list[str], str, int]:
    """(lines, name of the product, its bits): the wire `source` times a positive constant; unsigned where the factor is."""
    (lowest, sign), *rest = signed_digits(value)
    lines: list[str] = []
    settled = [f"{lowest}'d0"] if lowest else []  # low bits that no later digit touches, lowest first
    name, have, signed = source, factor.bits, factor.signed
    below, partial = lowest, sign
    for index, (position, digit) in enumerate(rest):
        gap = position - below
        partial += digit << position - lowest
        low, high = product_range(factor.range, (partial, partial))
        # bits of the partial sum from this digit's position up
        bits, now_signed = signed_bits(low >> position - lowest, high >> position - lowest)
        target = f"c{index}"
        if sign < 0:  # 2^gap - 1: the only adder that settles low bits of its own
            wide = f"{{{extended(source, factor.bits, bits, signed=factor.signed)}, {gap}'d0}}"
            minus = f"~{extended(source, factor.bits, bits + gap, signed=factor.signed)}"
            lines += add(f"{target}_all", bits + gap, wide, minus, "1'b1")
            lines.append(f"wire {vector(bits)} {target} = {target}_all[{bits + gap - 1}:{gap}];")
            settled.append(f"{target}_all[{gap - 1}:0]")
            sign = 1
        else:
            settled.append(f"{name}[{gap - 1}:0]" if have >= gap else extended(name, have, gap, signed=signed))
            lines.append(f"wire {vector(bits)} {target}_h = {_above(name, have, gap, bits, signed=signed)};")
            term = extended(source, factor.bits, bits, signed=factor.signed)
            lines += add(
                target, bits, f"{target}_h", term if digit > 0 else f"~({term})", None if digit > 0 else "1'b1"
            )
        name, have, signed, below = target, bits, now_signed, position
    bits, _ = signed_bits(*product_range(factor.range, (value, value)))
    whole = "{" + ", ".join([name, *reversed(settled)]) + "}"
    return [*lines, f"wire {vector(bits)} scaled = {whole};"], "scaled", bits


def constant_chains(factor: Factor, value: int) -> tuple[tuple[int, ...], int]:
    """(lengths of the chains, LUTs on them) of :func:`constant_product`.

    A bit of which one summand is a constant zero is passed on by the chain without a LUT; the top bit of two sign-extended
    summands only repeats the one below.
    """
    (lowest, sign), *rest = signed_digits(value)
    lengths, luts = [], 0
    have, below, partial, signed = factor.bits, lowest, sign, factor.signed
    for position, digit in rest:
        gap, first = position - below, partial == -1
        partial += digit << position - lowest
        low, high = product_range(factor.range, (partial, partial))
        bits, now_signed = signed_bits(low >> position - lowest, high >> position - lowest)
        left = max(have - gap, 0)  # bits of the sum so far that stand above this digit
        if first:
            luts += bits + gap - 1 - int(factor.signed)
        elif factor.signed:
            luts += min(bits, max(factor.bits, left)) - 1
        elif digit < 0:
            luts += min(bits, max(factor.bits, left))
        else:
            luts += factor.bits - 1 if signed else min(factor.bits, left)
        lengths.append(bits + (gap if first else 0))
        have, below, signed = bits, position, now_signed
    return tuple(lengths), luts


def _above(name: str, have: int, gap: int, want: int, *, signed: bool) -> str:
    """Bits of `name` from `gap` up, as `want` bits."""
    if have <= gap:
        return f"{{{want}{{{name}[{have - 1}]}}}}" if signed else f"{want}'d0"
    kept = have - gap
    if kept >= want:
        return f"{name}[{gap + want - 1}:{gap}]"
    fill = f"{name}[{have - 1}]" if signed else "1'b0"
    return f"{{{{{want - kept}{{{fill}}}}}, {name}[{have - 1}:{gap}]}}"
