"""A binary adder tree and the accumulator behind it."""

from __future__ import annotations

from functools import lru_cache


@lru_cache(maxsize=4096)
def adder_widths(lanes: int, width: int, cap: int) -> tuple[int, ...]:
    """Output widths (bits) of the lanes - 1 adders of a binary tree over `lanes` products of `width` bits, leaves first.

    Each level is one bit wider than the one below, but never wider than the accumulator `cap`: sums are taken modulo
    2^cap anyway. A lane left over at a level moves up as it is. Derived; one LUT6 and one carry bit per bit.
    """
    widths: list[int] = []
    level, left = 0, lanes
    while left > 1:
        level += 1
        widths += [min(width + level, cap)] * (left // 2)
        left = left // 2 + left % 2
    return tuple(widths)
