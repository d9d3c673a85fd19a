"""What a floating-point unit must compute, from the codec's values and Python's integers: shares no code with the generator."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from hwmodels.codec import decode_all
from hwmodels.formats import Minifloat
from hwmodels.rtl.float_tree import FloatUnit
from hwmodels.rtl.reference import Integers


def cut(value: int, bits: int, *, below: int | None = None) -> int:
    """`value` towards zero to a multiple of the unit of a number of `bits` significant bits: its own, or that of `below`."""
    unit = max(abs(value if below is None else below).bit_length() - bits, 0)
    return (abs(value) >> unit << unit) * (-1 if value < 0 else 1)


def float_add(first: int, second: int, mantissa_bits: int) -> int:
    """The sum of two numbers of `mantissa_bits` + 1 significant bits: the smaller cut at the larger's guard bit, then the sum."""
    large, small = (first, second) if abs(first) >= abs(second) else (second, first)
    return cut(large + cut(small, mantissa_bits + 2, below=large), mantissa_bits + 1)


def tree_sum(values: list[int], mantissa_bits: int) -> int:
    """The sum of a binary tree over neighbours; one left over at a level moves up."""
    while len(values) > 1:
        pairs = zip(values[::2], values[1::2], strict=False)
        values = [float_add(a, b, mantissa_bits) for a, b in pairs] + values[len(values) & ~1 :]
    return values[0]


def expected_floats(
    unit: FloatUnit,
    weights: NDArray[np.integer],
    activations: NDArray[np.integer],
    clear: NDArray[np.bool_],
    enable: NDArray[np.bool_],
) -> Integers:
    """The register's value after each cycle in units of both steps, shape (cycles, batch); arguments as `expected_sums`."""
    values = np.asarray(_in_steps(unit.weight)[weights] * _in_steps(unit.activation)[activations], dtype=object)
    m = unit.mantissa_bits
    register = [0] * weights.shape[1]
    states = []
    for cycle in range(len(values)):
        if enable[cycle]:
            summed = [tree_sum([cut(value, m + 1) for value in lanes], m) for lanes in values[cycle].tolist()]
            register = [float_add(0 if clear[cycle] else base, s, m) for base, s in zip(register, summed, strict=True)]
        states.append(register)
    return np.array(states, dtype=object)


def _in_steps(fmt: Minifloat) -> Integers:
    """Value of every code in units of the format's step; 0 for specials."""
    return np.array(
        [int(Fraction(v) / fmt.step) if np.isfinite(v) else 0 for v in decode_all(fmt).tolist()], dtype=object
    )


def word_values(unit: FloatUnit, words: NDArray[np.integer]) -> NDArray[np.object_]:
    """What words of the unit's port `sum` stand for, in units of both steps: exact fractions, integers where all is well."""
    m, e = unit.mantissa_bits, unit.exponent_bits

    def value(word: int) -> Fraction:
        field, mantissa = word >> m & ((1 << e) - 1), word & ((1 << m) - 1)
        magnitude = Fraction(((1 << m) + mantissa) << field, 2 << m) if field else Fraction(0)
        return -magnitude if word >> (m + e) & 1 else magnitude

    return np.array([[value(word) for word in row] for row in words.tolist()], dtype=object)
