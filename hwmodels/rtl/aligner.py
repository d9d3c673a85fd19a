"""From two exponent fields to a fixed-point product: the shift amount, and the shifter.

A subnormal has the exponent of the lowest normal binade, so a field e shifts by max(e, 1) - 1. One LUT6 is a 4:1
multiplexer: the shifter takes two bits of the amount a stage, the small ones first, while there are few bits to move.
"""

from __future__ import annotations

from dataclasses import dataclass

from hwmodels.formats import Minifloat
from hwmodels.rtl.multiplier import TABLE_BITS
from hwmodels.rtl.verilog import extended, table, vector


def field_shift(fmt: Minifloat, field: int) -> int:
    """The left shift of a significand whose exponent field is `field`."""
    return max(field - 1, 0) if fmt.subnormals else field


def shift_amount(formats: dict[str, Minifloat], bits: int) -> list[str]:
    """Verilog of the wire or reg `shift` of `bits` bits: the sum of the shifts that the exponent fields ask for.

    Args:
        formats: by the name of the signal that holds the exponent field; one or two of them.
        bits: enough for the largest sum.
    """
    items = list(formats.items())
    total = sum(fmt.exponent_bits for fmt in formats.values())
    if total <= TABLE_BITS:
        values = [0]
        for _, fmt in items:
            values = [v + field_shift(fmt, field) for v in values for field in range(1 << fmt.exponent_bits)]
        key = "{" + ", ".join(name for name, _ in items) + "}"
        values = [v % (1 << bits) for v in values]  # fields of specials only
        return [f"reg {vector(bits)} shift;", *table("shift", key, total, values, bits)]
    lines = []
    for name, fmt in items:
        width = fmt.exponent_bits
        values = [field_shift(fmt, field) for field in range(1 << width)]
        lines += [f"reg {vector(width)} {name}_s;", *table(f"{name}_s", name, width, values, width)]
    amounts = [extended(f"{name}_s", fmt.exponent_bits, bits, signed=False) for name, fmt in items]
    return [*lines, f"wire {vector(bits)} shift = {' + '.join(amounts)};"]


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage of a shifter: bits `low` and up of the amount choose among `choices` multiples; `have` bits become `bits`.

    Three choices where the amount never asks for a fourth: five signals for each bit, so that two bits may share a LUT6.
    """

    low: int
    choices: int
    have: int
    bits: int


def stages(bits: int, most: int) -> list[Stage]:
    """The stages that shift `bits` bits by up to `most`: two bits of the amount each, the small ones first."""
    found: list[Stage] = []
    reached = 0
    for low in range(0, most.bit_length(), 2):
        choices = min(most >> low, 3) + 1
        grown = min(reached + ((choices - 1) << low), most) - reached
        reached += grown
        found.append(Stage(low, choices, bits, bits + grown))
        bits += grown
    return found


def shifter(name: str, bits: int, amount: str, most: int, *, signed: bool) -> tuple[list[str], str, int]:
    """(lines, name of the result, its bits): `name` of `bits` bits times 2^amount, for amounts of up to `most`."""
    lines: list[str] = []
    for stage in stages(bits, most):
        low, bits = stage.low, stage.bits
        moved = [_left(name, stage.have, step << low, bits, signed=signed) for step in range(stage.choices)]
        chosen = f"{amount}[{low}] ? {moved[1]} : {moved[0]}"
        if stage.choices == 3:
            chosen = f"{amount}[{low + 1}] ? {moved[2]} : ({chosen})"
        elif stage.choices == 4:
            chosen = f"{amount}[{low + 1}] ? ({amount}[{low}] ? {moved[3]} : {moved[2]}) : ({chosen})"
        lines.append(f"wire {vector(bits)} x{low} = {chosen};")
        name = f"x{low}"
    return lines, name, bits


def _left(name: str, have: int, places: int, want: int, *, signed: bool) -> str:
    """`name` shifted left by `places`, as exactly `want` bits."""
    if places >= want:
        return f"{want}'d0"
    inner = extended(name, have, want - places, signed=signed)
    return inner if places == 0 else f"{{{inner}, {places}'d0}}"
