"""The accumulator width that a dot product needs: by data type, by its weights, tiled; with a proof or a counterexample.

All arithmetic is on integers: a minifloat value is an integer multiple of its step (:attr:`Minifloat.step`), so its dot
product is an integer one in units of the two steps' product, and one exact rule serves integers and minifloats alike.
Sources: A2Q (arXiv 2308.13504), A2Q+ (arXiv 2401.10432), AXE (arXiv 2409.17092, section 3).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hwmodels.datapath import Overflow
from hwmodels.errors import BitfrontError
from hwmodels.formats import ElementFormat, IntFormat, Minifloat

Codes: TypeAlias = NDArray[np.integer] | NDArray[np.object_]
"""Weights in units of their step: integers, or Python integers in an object array where 64 bits are too few."""


class AccumulatorError(BitfrontError):
    """An accumulator that cannot be proved wide enough, or inputs that no proof can be made from."""


def code_range(fmt: ElementFormat) -> tuple[int, int]:
    """Smallest and largest value of `fmt` in units of its step, as integers (exact)."""
    if isinstance(fmt, IntFormat):
        return fmt.min_code, fmt.max_code
    low = 0 if not fmt.signed else -fmt.max_code
    return low, fmt.max_code


def magnitude(fmt: ElementFormat) -> int:
    """Bound of |code| that the papers calculate with: the largest magnitude, but 2^N for an unsigned integer of N bits."""
    low, high = code_range(fmt)
    # A2Q and AXE take 2^N for an unsigned N-bit code, one more than its largest
    return 1 << fmt.bits if isinstance(fmt, IntFormat) and not fmt.signed else max(-low, high)


def bits_for_range(low: int, high: int) -> int:
    """Width of the two's complement integer that holds every integer of [low, high] (at least 1 bit).

    Raises:
        AccumulatorError: low > high.
    """
    if low > high:
        raise AccumulatorError(f"a range must have low <= high, but got [{low}, {high}].")
    return max((-low - 1).bit_length() if low < 0 else 0, high.bit_length() if high > 0 else 0) + 1


def bits_by_data_type(dot_length: int, weight: ElementFormat, activation: ElementFormat) -> int:
    """Width that holds the sum of `dot_length` products (K) whatever the weights are: P = bit_length(K*max|w|*max|x|) + 1.

    For integers max|w| = 2^(M-1) and max|x| = 2^(N-s): the data-type bound of AXE (arXiv 2409.17092, eq. 3); for minifloats
    the largest magnitude code (2^(m+1)-1) * 2^(2^e-2) takes their place (derived). Both are sufficient, not tight.
    """
    if dot_length < 1:
        raise AccumulatorError(f"`dot_length` must be at least 1 product, but got {dot_length}.")
    return (dot_length * magnitude(weight) * magnitude(activation)).bit_length() + 1


def float_exponent_bits(dot_length: int, weight: Minifloat, activation: Minifloat) -> int:
    """Exponent bits with which the sum of `dot_length` products neither overflows nor underflows in floating point (derived).

    The field counts the bits of the magnitude, 0 to those of K * max|w| * max|x| (:mod:`hwmodels.rtl.float_adder`). Cutting
    the smaller summand and the result towards zero never makes a sum larger than that of all magnitudes.
    """
    if dot_length < 1:
        raise AccumulatorError(f"`dot_length` must be at least 1 product, but got {dot_length}.")
    return (dot_length * weight.max_code * activation.max_code).bit_length().bit_length()


def bits_for_product(weight: ElementFormat, activation: ElementFormat) -> int:
    """Width that holds every single product (derived, tight): no accumulator for all weights of a format can be narrower."""
    products = [w * x for w in code_range(weight) for x in code_range(activation)]
    return bits_for_range(min(products), max(products))


@dataclass(frozen=True)
class DotRange:
    """Smallest and largest value that any partial sum of a dot product can take, with the rows that reach them.

    `low` <= 0 <= `high` are in units of weight step times activation step; `bits` is the width that is proved to suffice.
    """

    low: int
    high: int
    low_row: int
    high_row: int

    @property
    def bits(self) -> int:
        """The proved width P."""
        return bits_for_range(self.low, self.high)

    @property
    def worst_row(self) -> int:
        """The row (output channel) that asks for the width."""
        return self.high_row if bits_for_range(0, self.high) >= bits_for_range(self.low, 0) else self.low_row


def dot_range(codes: Codes, activation: ElementFormat, tile_size: int | None = None) -> DotRange:
    """The exact range of every partial sum, in any order of summation, over all inputs of the activation format.

    Args:
        codes: integer weights in units of the weight step, shape (rows, dot_length); Python integers in an object array
            where 64 bits are too few (E6M1, E7M0).
        activation: format of the inputs; its zero must be the number zero (no zero point).
        tile_size: T; the inner accumulator starts anew after every T products. None: one accumulator for all.

    The largest sum takes the largest input where a weight is positive and the smallest where it is negative (exact range;
    A2Q's l1 bound is its relaxation). Since the input 0 exists, the same number bounds every partial sum as well.

    Raises:
        AccumulatorError: the codes are not a matrix of integers, or a tile of no products.
    """
    lows, highs = tile_extremes(codes, activation, tile_size)
    low, high = lows.min(axis=1), highs.max(axis=1)
    high_row, low_row = int(np.argmax(high)), int(np.argmin(low))
    return DotRange(int(low[low_row]), int(high[high_row]), low_row, high_row)


def tile_extremes(
    codes: Codes, activation: ElementFormat, tile_size: int | None = None
) -> tuple[NDArray[Any], NDArray[Any]]:
    """(smallest, largest) sum of each tile of each row over all inputs, both (rows, tiles); arguments as :func:`dot_range`.

    Raises:
        AccumulatorError: the codes are not a matrix of integers, or a tile of no products.
    """
    weights = np.asarray(codes)
    is_integer = np.issubdtype(weights.dtype, np.integer) or all(isinstance(code, int) for code in weights.flat)
    if weights.ndim != 2 or weights.size == 0 or not is_integer:
        raise AccumulatorError(
            f"weight codes must be a non-empty integer matrix (rows, dot_length), but got shape {weights.shape}, {weights.dtype}."
        )
    if tile_size is not None and tile_size < 1:
        raise AccumulatorError(f"`tile_size` must be at least 1 product, but got tile_size={tile_size}.")
    low_x, high_x = code_range(activation)
    tile = weights.shape[1] if tile_size is None else tile_size
    starts = np.arange(0, weights.shape[1], tile)
    # exact: Python integers where 64 bits could overflow (E5M2 codes reach 2^32 each)
    bound = max(int(weights.max()), -int(weights.min())) * max(-low_x, high_x) * min(tile, weights.shape[1])
    kind = np.int64 if bound < 1 << 62 else object
    plus = np.add.reduceat(np.maximum(weights, 0).astype(kind), starts, axis=1)
    minus = np.add.reduceat(np.minimum(weights, 0).astype(kind), starts, axis=1)
    return plus * low_x + minus * high_x, plus * high_x + minus * low_x


def counterexample(
    codes: Codes, activation: ElementFormat, bits: int, tile_size: int | None = None
) -> tuple[int, NDArray[Any]] | None:
    """A row and an input vector (in activation steps) whose sum leaves `bits` bits, or None if none can.

    The witness that a too narrow accumulator is refused with: summing ``codes[row] * x`` overflows. With `tile_size` it is
    the inner accumulator that overflows, in one tile; x is 0 outside of it, so that the whole dot product is that tile's sum.
    """
    lows, highs = tile_extremes(codes, activation, tile_size)
    low_x, high_x = code_range(activation)
    for extremes, find, positive_x, negative_x in ((highs, np.argmax, high_x, low_x), (lows, np.argmin, low_x, high_x)):
        row, tile = (int(i) for i in np.unravel_index(find(extremes), extremes.shape))
        worst = int(extremes[row, tile])
        if bits_for_range(min(worst, 0), max(worst, 0)) > bits:
            weights = codes[row]
            x = np.where(weights > 0, positive_x, np.where(weights < 0, negative_x, 0))
            size = tile_size or len(weights)
            return row, np.where(np.arange(len(weights)) // size == tile, x, 0)
    return None


def outer_range(
    codes: Codes,
    activation: ElementFormat,
    tile_size: int,
    inner_bits: int,
    overflow: Overflow = Overflow.IMPOSSIBLE,
) -> DotRange:
    """The range of every partial sum of tile sums: what the outer accumulator of a tiled dot product must hold.

    Never wider than :func:`outer_bits`, and narrower where the weights use less than the inner width in every tile. Exact
    where the inner accumulator holds every sum of a tile; a saturating one that does not gives the sums cut to what it
    holds (exact: the ends are reached); for a wrapping one every value that it can hold is allowed (sufficient).

    Raises:
        AccumulatorError: overflow is impossible by claim, but a tile's sum leaves `inner_bits`; or as :func:`dot_range`.
    """
    # few numbers: Python integers, exact whatever the widths
    lows, highs = (extremes.astype(object) for extremes in tile_extremes(codes, activation, tile_size))
    bottom, top = -(1 << inner_bits - 1), (1 << inner_bits - 1) - 1
    leaves = (lows < bottom) | (highs > top)
    match overflow:
        case Overflow.IMPOSSIBLE:
            if leaves.any():
                needed = bits_for_range(int(lows.min()), int(highs.max()))
                raise AccumulatorError(
                    f"every sum of a tile of {tile_size} products must fit its inner accumulator of {inner_bits} bits, but the "
                    f"weights need {needed}."
                )
        case Overflow.SATURATE:
            lows, highs = np.maximum(lows, bottom), np.minimum(highs, top)
        case Overflow.WRAP:
            lows, highs = np.where(leaves, bottom, lows), np.where(leaves, top, highs)
    low, high = lows.sum(axis=1), highs.sum(axis=1)
    high_row, low_row = int(np.argmax(high)), int(np.argmin(low))
    return DotRange(int(low[low_row]), int(high[high_row]), low_row, high_row)


def outer_bits(inner_bits: int, dot_length: int, tile_size: int) -> int:
    """Width of the outer accumulator of a tiled sum: P_O = ceil(P_I + log2(K/T)) (AXE, section 3.3), tiles rounded up."""
    tiles = -(-dot_length // tile_size)
    return inner_bits + (tiles - 1).bit_length()
