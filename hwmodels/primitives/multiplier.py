"""An integer multiplier in LUTs: rows of partial products on carry chains.

Form: read off the committed Yosys table (`calibration/`), where it equals the packed count of the 36 signed integer
multipliers within 2 LUTs; squares of the widths are wrong, since rows share LUT6_2 and carry logic.
"""

from __future__ import annotations

LUT6_INPUTS = 6

PAIRED_INPUTS = (3, 5)
"""Most inputs of logic bits of which always, or sometimes, two share a LUT6 (its two outputs share five inputs)."""


def sized(use: str, inputs: int) -> tuple[str, int]:
    """(class of a logic bit of so many inputs, LUT6 that it is counted as): several, joined by the slice, beyond six inputs."""
    size = next((most for most in PAIRED_INPUTS if inputs <= most), LUT6_INPUTS)
    return f"{use}/{size}", 1 << max(inputs - LUT6_INPUTS, 0)


def multiplier_luts(wide: int, narrow: int, *, plain: bool = True) -> int:
    """LUT6 of a wide x narrow multiplier, before the fitted factor of the unit it stands in.

    - 1 bit: a row of ANDs, `wide`.
    - `plain` and wide + narrow <= 6: every output bit is one LUT6 of all input bits (wide + narrow of them; one more where
      all six inputs are taken, as measured).
    - else (narrow - 1) * (wide + 1) + 1: one row of adders for every further multiplier bit.

    Args:
        plain: the operands come straight from registers. Significands do not: their hidden bit is itself a function of
            the exponent, so that no LUT6 takes a whole product.
    """
    if narrow == 1:
        return wide
    if plain and wide + narrow <= LUT6_INPUTS:
        return wide + narrow + int(wide + narrow == LUT6_INPUTS)
    return (narrow - 1) * (wide + 1) + 1


def multiplier_chains(wide: int, narrow: int) -> tuple[int, ...]:
    """Widths (bits) of the carry chains of the same multiplier.

    Pairs of multiplier bits share a chain of wide + 1 bits, and chains of `wide` bits add the pairs (read off the table's
    carry column: 28 of 36 signed integer multipliers exactly, the others one CARRY4 off).
    """
    if narrow == 1:
        return ()
    if wide + narrow <= LUT6_INPUTS:
        return (wide + 1, wide)
    pairs = (narrow + 1) // 2
    return (wide + 1,) * pairs + (wide,) * (pairs - 1)
