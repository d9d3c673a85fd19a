"""What a unit must compute, from the codec's values and integer sums alone: shares no code with the generators."""

from __future__ import annotations

from fractions import Fraction
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hwmodels.codec import decode_all
from hwmodels.datapath import Overflow
from hwmodels.formats import ElementFormat, IntFormat
from hwmodels.rtl.unit import DotUnit
from hwmodels.rtl.verilog import RtlError

Integers: TypeAlias = NDArray[np.object_]
"""Python integers of any width."""


def finite_codes(fmt: ElementFormat) -> NDArray[np.int64]:
    """The codes of numbers, ascending: without infinities, NaNs and the code that a narrow integer leaves out."""
    values = decode_all(fmt)
    usable = np.isfinite(values)
    if isinstance(fmt, IntFormat):
        usable &= (values >= fmt.min_code) & (values <= fmt.max_code)
    return np.flatnonzero(usable)


def ordered_codes(fmt: ElementFormat) -> NDArray[np.int64]:
    """The codes of :func:`finite_codes` in the order of their values; of two zeros the positive one comes last."""
    codes = finite_codes(fmt)[::-1]
    return codes[np.argsort(decode_all(fmt)[codes], kind="stable")]


def _steps(fmt: ElementFormat) -> Integers:
    """Value of every code in units of the format's step; 0 for specials."""
    step = Fraction(1) if isinstance(fmt, IntFormat) else fmt.step
    values = [Fraction(v) / step if np.isfinite(v) else Fraction(0) for v in decode_all(fmt).tolist()]
    assert all(v.denominator == 1 for v in values)
    return np.array([int(v) for v in values], dtype=object)


def codes_of(fmt: ElementFormat, steps: NDArray[np.integer] | Integers) -> NDArray[np.int64]:
    """The stored codes of values in units of the format's step, any shape; zero is the positive one.

    Raises:
        RtlError: a value that the format does not have.
    """
    known = {
        value: code for code, value in zip(finite_codes(fmt)[::-1], _steps(fmt)[finite_codes(fmt)[::-1]], strict=True)
    }
    distinct, places = np.unique(np.asarray(steps), return_inverse=True)
    if missing := [value for value in distinct.tolist() if value not in known]:
        raise RtlError(f"codes must be of values of {fmt}, but it has none of {missing[0]} steps.")
    return np.array([known[value] for value in distinct.tolist()], dtype=np.int64)[places].reshape(np.shape(steps))


def products(unit: DotUnit, weights: NDArray[np.integer], activations: NDArray[np.integer]) -> Integers:
    """What each lane contributes for codes of any equal shapes: the exact product, its low bits dropped.

    Bits are dropped (rounding towards minus infinity) before the sign of a minifloat is applied.
    """
    sign: Any = 1
    value: Any = 1
    for fmt, codes in ((unit.weight, weights), (unit.activation, activations)):
        steps = _steps(fmt)[codes]
        if isinstance(fmt, IntFormat):
            value = value * steps
        else:
            value = value * np.abs(steps)
            sign = sign * np.where(steps < 0, -1, 1)
    return np.asarray(sign * np.floor_divide(value, 1 << unit.dropped), dtype=object)


def clamp(sums: Integers, bits: int, overflow: Overflow) -> Integers:
    """Sums as a register of `bits` bits holds them: modulo 2^bits, or the nearest that it can hold."""
    half = 1 << (bits - 1)
    if overflow is Overflow.SATURATE:
        return np.asarray(np.clip(sums, -half, half - 1), dtype=object)
    return np.asarray((sums + half) % (1 << bits) - half, dtype=object)


def expected_sums(
    unit: DotUnit,
    weights: NDArray[np.integer],
    activations: NDArray[np.integer],
    clear: NDArray[np.bool_],
    enable: NDArray[np.bool_],
) -> Integers:
    """The register after each cycle, shape (cycles, batch).

    Args:
        weights, activations: codes, shape (cycles, batch, lanes).
        clear, enable: shape (cycles,); the first enabled cycle must clear.
    """
    summed = products(unit, weights, activations).sum(axis=2)
    register = np.zeros(summed.shape[1], dtype=object)
    states = []
    for cycle in range(len(summed)):
        if enable[cycle]:
            base = np.zeros_like(register) if clear[cycle] else register
            register = clamp(base + summed[cycle], unit.bits, unit.overflow)
        states.append(register)
    return np.array(states, dtype=object)
