"""What a segmented unit must compute, from the codec's values and exact arithmetic: shares no code with the generators."""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from hwmodels.codec import decode_all
from hwmodels.formats import E8M0, ElementFormat, IntFormat
from hwmodels.rtl.reference import Integers, clamp, products
from hwmodels.rtl.scale import ProductScale, Scale, ShiftScale
from hwmodels.rtl.segment import SegmentUnit


def scaled_sums(scale: Scale, sums: Integers, codes: NDArray[np.integer]) -> Integers:
    """Segment sums times their scales, as integers of the outer accumulator.

    Args:
        sums: any shape.
        codes: finite scale codes, shape (*sums.shape, operands).

    A shift is by the product of the scales' *values*, clamped to the window of `reach` powers of two from above and to zero
    from below, in units of the window's least power times 2^dropped; a product is in units of the format's step times
    2^dropped. Both are rounded towards minus infinity.
    """
    factor = np.asarray(np.prod(_values(scale.format)[codes], axis=-1), dtype=object)
    match scale:
        case ShiftScale():
            least = Fraction(2) ** (scale.start - codes.shape[-1] * E8M0.exponent_bias)
            factor = np.minimum(factor, least * (1 << scale.reach - 1)) * (factor >= least)
            unit = least * (1 << scale.dropped)
        case ProductScale():
            step = Fraction(1) if isinstance(scale.format, IntFormat) else scale.format.step
            unit = step * (1 << scale.dropped)
    return np.asarray(sums * factor // unit, dtype=object)


@lru_cache(maxsize=16)  # a mantissa of 16 bits has 65,536
def _values(fmt: ElementFormat) -> Integers:
    """Exact value of every code, never written to; 0 for specials."""
    return np.array([Fraction(v) if np.isfinite(v) else Fraction(0) for v in decode_all(fmt).tolist()], dtype=object)


def expected_segment_sums(
    unit: SegmentUnit,
    weights: NDArray[np.integer],
    activations: NDArray[np.integer],
    codes: NDArray[np.integer],
    clear: NDArray[np.bool_],
    enable: NDArray[np.bool_],
) -> Integers:
    """The outer register as each cycle's products leave it, shape (cycles, batch).

    Args:
        weights, activations: codes, shape (cycles, batch, lanes).
        codes: of the scales, shape (cycles, batch, units, operands); those of a segment's last cycle count.
        clear, enable: shape (cycles,); the first enabled cycle must clear.
    """
    count, batch, _ = weights.shape
    lanes = products(unit.inner, weights, activations)
    summed = lanes.reshape(count, batch, unit.units, -1).sum(axis=3)
    accumulator = unit.datapath.accumulator
    inner = np.zeros((batch, unit.units), dtype=object)
    outer = np.zeros(batch, dtype=object)
    taken, states = 0, []
    base = outer
    for cycle in range(count):
        if enable[cycle]:
            if clear[cycle]:
                taken, base = 0, np.zeros_like(outer)
            inner = clamp(inner * bool(taken) + summed[cycle], accumulator.bits, accumulator.overflow)
            taken += unit.inner.lanes
            if taken == unit.segment:
                parts = inner if unit.scale is None else scaled_sums(unit.scale, inner, codes[cycle])
                base = outer = clamp(base + parts.sum(axis=1), unit.outer_bits, unit.outer.overflow)
                taken = 0
        states.append(outer)
    return np.array(states, dtype=object)
