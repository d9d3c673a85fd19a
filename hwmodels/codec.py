"""Exact values of all codes of a format, and rounding to it: a scalar oracle in rationals and its NumPy twin.

Rounding is to nearest, ties to even code, and saturates at the largest finite values: what Brevitas' quantizers do, what
OCP MX asks of a conversion (section 5.3), and what a requantizer in hardware does. Without mantissa bits the grid is one
of powers of two, whose significands are all odd: a tie between two of them goes to the larger one (as in Brevitas).
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from hwmodels.formats import ElementFormat, FormatError, IntFormat, Minifloat, Specials


def decode(fmt: ElementFormat, code: int) -> float:
    """The value of one stored code (two's complement, or sign | exponent | mantissa); NaN and infinities included.

    Every finite value of a format of at most 16 bits is exact in float64.

    Raises:
        FormatError: the code has more bits than the format.
    """
    if not 0 <= code < 1 << fmt.bits:
        raise FormatError(f"a code of {fmt} must be 0 to {(1 << fmt.bits) - 1}, but got {code}.")
    match fmt:
        case IntFormat():
            negative = fmt.signed and code >> (fmt.bits - 1)
            return float(code - (1 << fmt.bits) if negative else code)
        case Minifloat():
            return _decode_minifloat(fmt, code)


def _decode_minifloat(fmt: Minifloat, code: int) -> float:
    magnitude_bits = fmt.exponent_bits + fmt.mantissa_bits
    negative = fmt.signed and code >> magnitude_bits
    magnitude = code & ((1 << magnitude_bits) - 1)
    if fmt.specials is Specials.FNUZ and negative and magnitude == 0:
        return float("nan")
    if magnitude > fmt.max_magnitude_code:
        infinite = fmt.specials is Specials.IEEE and magnitude == fmt.max_magnitude_code + 1
        value = float("inf") if infinite else float("nan")
    else:
        value = float(fmt.magnitude(magnitude))
    return -value if negative else value


def decode_all(fmt: ElementFormat) -> NDArray[np.float64]:
    """The values of all 2^bits codes in code order, shape (2^bits,)."""
    return np.array([decode(fmt, code) for code in range(1 << fmt.bits)])


def values(fmt: ElementFormat) -> NDArray[np.float64]:
    """The distinct finite values that rounding can return, ascending (for a narrow integer without the left-out code)."""
    if isinstance(fmt, IntFormat):
        return np.arange(fmt.min_code, fmt.max_code + 1, dtype=np.float64)
    finite = decode_all(fmt)
    return np.unique(finite[np.isfinite(finite)])


def round_value(fmt: ElementFormat, x: Fraction) -> Fraction:
    """The value of `fmt` nearest to the exact rational `x`, ties to even, saturating: the oracle of :func:`quantize`."""
    match fmt:
        case IntFormat():
            return Fraction(min(max(round(x), fmt.min_code), fmt.max_code))
        case Minifloat():
            if x < 0 and not fmt.signed:
                return fmt.min_value
            return _round_magnitude(fmt, abs(x)) * (-1 if x < 0 else 1)


def _round_magnitude(fmt: Minifloat, x: Fraction) -> Fraction:
    """Nearest of the two neighbouring codes, found by bisection over the (monotone) magnitude codes."""
    low, high = 0, fmt.max_magnitude_code
    if x >= fmt.max_value:
        return fmt.max_value
    if x <= fmt.magnitude(0):
        return fmt.magnitude(0)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fmt.magnitude(middle) <= x else (low, middle)
    below, above = fmt.magnitude(low), fmt.magnitude(high)
    if x - below == above - x:
        even_below = low % 2 == 0 if fmt.mantissa_bits else low == 0
        return below if even_below else above
    return below if x - below < above - x else above


def quantize(fmt: ElementFormat, x: NDArray[np.floating]) -> NDArray[np.float64]:
    """`x` (any shape, on a scale of 1) rounded to the values of `fmt`: nearest, ties to even, saturating; float64.

    The step of a minifloat is the power of two read from the value's own exponent, clamped below at the subnormal step;
    that rounding to a multiple of the step, then clamping, equals :func:`round_value` is tested on every format.

    Raises:
        FormatError: `x` holds a NaN, or the format has no zero (E8M0 is a scale, not an element).
    """
    wide = np.asarray(x, dtype=np.float64)
    if np.isnan(wide).any():
        raise FormatError(
            f"values to quantize to {fmt} must not be NaN, but {int(np.isnan(wide).sum())} of {wide.size} are."
        )
    clipped = np.clip(
        wide, float(fmt.min_value), float(fmt.max_value)
    )  # first: a step read from a larger value is too wide
    match fmt:
        case IntFormat():
            step: NDArray[np.float64] | float = 1.0
        case Minifloat():
            if not fmt.subnormals:
                raise FormatError(f"elements must be quantized to a format with a zero, but got {fmt}.")
            _, exponent = np.frexp(clipped)  # |x| = f * 2^exponent, f in [0.5, 1)
            floor = np.maximum(exponent - 1, 1 - fmt.exponent_bias)
            step = np.ldexp(1.0, floor - fmt.mantissa_bits)
    rounded = np.round(clipped / step) * step
    return np.clip(rounded, float(fmt.min_value), float(fmt.max_value))
