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

from hwmodels.errors import BitfrontError
from hwmodels.formats import ElementFormat, IntFormat

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
    magnitude = 1
    for fmt in (weight, activation):
        low, high = code_range(fmt)
        # the AXE bound takes 2^N for an unsigned N-bit code, one more than its largest
        magnitude *= 1 << fmt.bits if isinstance(fmt, IntFormat) and not fmt.signed else max(-low, high)
    return (dot_length * magnitude).bit_length() + 1


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
        AccumulatorError: the codes are not a matrix of integers.
    """
    weights = np.asarray(codes)
    is_integer = np.issubdtype(weights.dtype, np.integer) or all(isinstance(code, int) for code in weights.flat)
    if weights.ndim != 2 or weights.size == 0 or not is_integer:
        raise AccumulatorError(
            f"weight codes must be a non-empty integer matrix (rows, dot_length), but got shape {weights.shape}, {weights.dtype}."
        )
    low_x, high_x = code_range(activation)
    positive, negative = np.maximum(weights, 0), np.minimum(weights, 0)
    tile = weights.shape[1] if tile_size is None else tile_size
    starts = np.arange(0, weights.shape[1], tile)
    # exact: Python integers where 64 bits could overflow (E5M2 codes reach 2^32 each)
    bound = int(np.abs(weights).max()) * max(-low_x, high_x) * min(tile, weights.shape[1])
    kind = np.int64 if bound < 1 << 62 else object
    plus = np.add.reduceat(positive.astype(kind), starts, axis=1)
    minus = np.add.reduceat(negative.astype(kind), starts, axis=1)
    highs = (plus * high_x + minus * low_x).max(axis=1)
    lows = (plus * low_x + minus * high_x).min(axis=1)
    high_row, low_row = int(np.argmax(highs)), int(np.argmin(lows))
    return DotRange(int(lows[low_row]), int(highs[high_row]), low_row, high_row)


def counterexample(codes: Codes, activation: ElementFormat, bits: int) -> tuple[int, NDArray[Any]] | None:
    """A row and an input vector (in activation steps) whose dot product leaves `bits` bits, or None if none can.

    The witness that a too narrow accumulator is refused with: summing ``codes[row] * x`` overflows.
    """
    reach = dot_range(codes, activation)
    if reach.bits <= bits:
        return None
    low_x, high_x = code_range(activation)
    high_side = bits_for_range(0, reach.high) > bits
    row = reach.high_row if high_side else reach.low_row
    positive_input, negative_input = (high_x, low_x) if high_side else (low_x, high_x)
    return row, np.where(codes[row] > 0, positive_input, np.where(codes[row] < 0, negative_input, 0))


def outer_bits(inner_bits: int, dot_length: int, tile_size: int) -> int:
    """Width of the outer accumulator of a tiled sum: P_O = ceil(P_I + log2(K/T)) (AXE, section 3.3), tiles rounded up."""
    tiles = -(-dot_length // tile_size)
    return inner_bits + (tiles - 1).bit_length()
