"""How many memory primitives FINN v0.10.1 counts for a memory of so many words of so many bits.

Everything about block memory follows from one table, the simple-dual-port shapes of a RAMB18 (UG573, table 1-10). FINN
reads that table in two directions: by word width (`bram18_by_width`: weights, FIFOs) and by depth
(`bram18_width_at_depth`: window buffers). All constants are derived from the data sheet, except the 38 bits of
`window_lutram`, which FINN states without a source. Where this is known wrong: Vivado packs weights into RAMB36 by the
shallowest shape that covers the depth, so these counts are too low for narrow and too high for shallow memories.
"""

from __future__ import annotations

RAMB18_SHAPES = ((16384, 1), (8192, 2), (4096, 4), (2048, 9), (1024, 18), (512, 36))
"""(depth in words, width in bits) of one RAMB18, deepest first."""

# FINN v0.10.1 `util/basic.py`: what a threshold memory may be made of. The order matters: among equal waste the
# first one wins.
_THRESHOLD_PRIMITIVES = (
    ("uram", 72, 4096),
    ("uram", 36, 8192),
    ("uram", 18, 16384),
    ("uram", 9, 32768),
    ("bram18", 36, 512),
    ("bram18", 18, 1024),
    ("bram18", 9, 2048),
    ("lutram", 1, 64),
)


def ceil_div(numerator: int, denominator: int) -> int:
    """The quotient of two integers, rounded up."""
    return -(-numerator // denominator)


def bram18_by_width(width: int, depth: int, *, parity_bits: bool = True) -> int:
    """RAMB18 for `depth` words of `width` bits, by the narrowest shape that holds a word.

    The 36-bit shape is taken only up to 512 words; beyond, 18-bit shapes stand side by side.

    Args:
        width: bits per word, at least 1.
        depth: words, at least 1.
        parity_bits: False leaves every ninth bit unused, which is how FINN counts the weights of a VVAU
            (16 of 18 bits) and not those of an MVAU.
    """
    for shape_depth, shape_width in RAMB18_SHAPES:
        if width <= shape_width or (shape_width == 18 and depth > 512) or shape_width == 36:
            used = shape_width if parity_bits else shape_width - shape_width // 9
            return ceil_div(depth, shape_depth) * ceil_div(width, used)
    raise AssertionError("the widest shape takes every word")


def bram18_width_at_depth(depth: int) -> int:
    """Bits per word of the widest RAMB18 shape that is at least `depth` words deep; 1 where none is."""
    return next((width for shape_depth, width in reversed(RAMB18_SHAPES) if depth <= shape_depth), 1)


def uram_blocks(width: int, depth: int, *, word_bits: int = 72) -> int:
    """URAM288 for `depth` words of `width` bits, 4096 words of `word_bits` each."""
    return ceil_div(width, word_bits) * ceil_div(depth, 4096)


def lutram(width: int, depth: int) -> int:
    """LUTs of a distributed memory: one LUT6 holds 64 words of one bit."""
    return width * ceil_div(depth, 64)


def fifo_lutram(width: int, depth: int) -> int:
    """LUTs of a distributed FIFO memory: one LUT holds 32 words of two bits."""
    return ceil_div(depth, 32) * ceil_div(width, 2)


def window_lutram(width: int, depth: int) -> int:
    """LUTs of a distributed window buffer: FINN counts 38 words of one bit per LUT."""
    return width * ceil_div(depth, 38)


def threshold_memory(width: int, depth: int, *, allowed: frozenset[str]) -> tuple[str, int]:
    """(primitive, count) that waste the fewest bits for `depth` thresholds of `width` bits.

    Args:
        width: bits per threshold.
        depth: thresholds.
        allowed: which of "uram", "bram18" and "lutram" may be taken; not empty.
    """

    def count(shape: tuple[str, int, int]) -> int:
        return ceil_div(width, shape[1]) * ceil_div(depth, shape[2])

    def waste(shape: tuple[str, int, int]) -> int:
        return count(shape) * shape[1] * shape[2] - width * depth

    best = min((shape for shape in _THRESHOLD_PRIMITIVES if shape[0] in allowed), key=waste)
    return best[0], count(best)
