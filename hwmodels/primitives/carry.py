"""Carry chains in the blocks of a family: CARRY4 on 7 series, CARRY8 on UltraScale+, LOOKAHEAD8 on Versal."""

from __future__ import annotations

from collections.abc import Iterable

CHAIN_BITS = {"xc7": 4, "xcup": 8, "versal": 8}
"""Bits of one carry block (UG474, UG574, AM005)."""


def carry_blocks(chains: Iterable[int], family: str) -> float:
    """Carry blocks of chains of the given widths (bits), in units of eight carry bits: a CARRY4 counts one half.

    A chain starts in a block of its own, so each width is rounded up. Derived.
    """
    bits = CHAIN_BITS[family]
    return sum(-(-width // bits) for width in chains) * bits / 8
