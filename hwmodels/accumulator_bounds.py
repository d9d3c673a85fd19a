"""l1 bounds on the weights of a dot product: how much weight P bits allow, and how many bits given weights ask for.

They are what training and AXE constrain (a norm has a gradient, an exact range has none) and what papers report. For given
weights they are relaxations of :func:`hwmodels.accumulator.dot_range`, in this order:

    exact range <= A2Q+ (zero-centred weights) <= A2Q <= data type

Integers only. For minifloats N-bit codes are replaced by the exact range of values in units of the step (derived).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hwmodels.accumulator import AccumulatorError, Codes, code_range, magnitude
from hwmodels.formats import ElementFormat


def l1_norms(codes: Codes) -> NDArray[np.object_]:
    """||w||_1 of every row, as Python integers; `codes` (rows, dot_length) in units of the weight step."""
    return np.asarray(np.abs(np.asarray(codes).astype(object)).sum(axis=1), dtype=object)


def a2q_budget(bits: int, activation: ElementFormat) -> int:
    """The largest ||w||_1 that A2Q allows a row in `bits` bits: (2^(P-1) - 1) * 2^(s-N), rounded down.

    A2Q (arXiv 2308.13504): N-bit activations of magnitude up to 2^(N-s), s = 1 if they are signed.
    """
    _require_bits(bits)
    return ((1 << bits - 1) - 1) // magnitude(activation)


def a2q_bits(codes: Codes, activation: ElementFormat) -> int:
    """The least P whose :func:`a2q_budget` covers every row."""
    return int(max(l1_norms(codes)) * magnitude(activation)).bit_length() + 1


def a2q_plus_budget(bits: int, activation: ElementFormat) -> int:
    """The largest ||w||_1 that A2Q+ allows a zero-centred row in `bits` bits: (2^P - 2) / (2^N - 1), rounded down.

    A2Q+ (arXiv 2401.10432); with x_max - x_min for 2^N - 1 it is the radius of AXE (arXiv 2409.17092, section 3).
    """
    _require_bits(bits)
    return ((1 << bits) - 2) // _spread(activation)


def a2q_plus_bits(codes: Codes, activation: ElementFormat) -> int:
    """The least P whose :func:`a2q_plus_budget` covers every row.

    Raises:
        AccumulatorError: a row does not sum to zero; the bound does not hold for it.
    """
    sums = np.asarray(codes).astype(object).sum(axis=1)
    off = np.flatnonzero(sums != 0)
    if off.size:
        raise AccumulatorError(
            f"A2Q+ bounds zero-centred weights, but row {off[0]} sums to {sums[off[0]]}; use a2q_bits or dot_range."
        )
    return int(max(l1_norms(codes)) * _spread(activation) + 1).bit_length()


def _spread(activation: ElementFormat) -> int:
    low, high = code_range(activation)
    return high - low


def _require_bits(bits: int) -> None:
    if bits < 1:
        raise AccumulatorError(f"an accumulator must have at least 1 bit, but got bits={bits}.")
