"""What synthesis made of a lane of two formats beyond the form: as measured, or as of the nearest pairs that were measured.

What the mapper makes of a piece of logic follows no rule that the counts of :mod:`hwmodels.dot_product` express, but a bit of
mantissa or exponent more or less seldom changes it by much: a pair that was never synthesized takes the mean of its nearest
neighbours (found on the table of synthesized units, where it halves the error of pairs left out).
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from hwmodels.calibration import dot_product_constants as constants
from hwmodels.catalog import parse_element
from hwmodels.formats import ElementFormat, IntFormat, Minifloat, Specials
from hwmodels.primitives.operands import max_shift

Pair = tuple[ElementFormat, ElementFormat]

KIND_STEPS = 2
"""Steps between an integer in two's complement and a minifloat of as many mantissa bits (chosen; 2 and 4 fit alike)."""


def has_mantissas(pair: Pair) -> bool:
    """Whether neither format is powers of two only: those are so small that their neighbours say little about them."""
    return all(fmt.mantissa_bits > 0 for fmt in pair if isinstance(fmt, Minifloat))


def coordinates(pair: Pair) -> NDArray[np.int64]:
    """Where a pair stands among others, shape (2, 4): kind, exponent bits, mantissa bits and sign of each format."""
    found = []
    for fmt in pair:
        match fmt:
            case IntFormat():
                found.append((KIND_STEPS, 0, fmt.bits - 1, int(fmt.signed)))
            case Minifloat():
                found.append((0, fmt.exponent_bits, fmt.mantissa_bits, int(fmt.signed)))
    return np.array(found)


def nearest(place: NDArray[np.int64], others: NDArray[np.int64]) -> NDArray[np.intp]:
    """Indices of the pairs in `others`, shape (n, 2, 4), the fewest steps from `place`, in either order of the formats.

    A step is a bit of an exponent or of a mantissa, or a sign.
    """
    steps = [np.abs(others - order).sum(axis=(1, 2)) for order in (place, place[::-1])]
    least = np.minimum(*steps)
    return np.flatnonzero(least == least.min())


def measured_pair(weight: ElementFormat, activation: ElementFormat) -> float | None:
    """LUT6 per lane beyond the form, as synthesized for this pair in either order; None if it never was."""
    pairs, names = constants.PAIRS, (_as_synthesized(weight), _as_synthesized(activation))
    return pairs.get(names, pairs.get(names[::-1]))


@lru_cache(maxsize=4096)
def beyond_form(weight: ElementFormat, activation: ElementFormat) -> float:
    """LUT6 per lane beyond the form: as measured, else the mean of the nearest pairs that were."""
    measured = measured_pair(weight, activation)
    if measured is not None:
        return measured
    places, beyond = _synthesized()
    return float(beyond[nearest(coordinates((weight, activation)), places)].mean())


@lru_cache(maxsize=1)
def _synthesized() -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """(places, LUT6 per lane beyond the form) of all pairs that were synthesized."""
    places = [coordinates((parse_element(weight), parse_element(activation))) for weight, activation in constants.PAIRS]
    return np.array(places), np.array(list(constants.PAIRS.values()))


def _as_synthesized(fmt: ElementFormat) -> str:
    """The name of the format in the table whose hardware is the same.

    Narrow integers are multiplied like others. A bias is a constant factor, and special codes are never fed; but a format
    whose top exponent is special shifts by less.
    """
    match fmt:
        case IntFormat():
            return IntFormat(fmt.bits, signed=fmt.signed).name
        case Minifloat():
            finite = replace(fmt, bias=None, specials=Specials.NONE)
            return finite.name if max_shift(finite) == max_shift(fmt) else fmt.name
