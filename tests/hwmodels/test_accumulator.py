"""Accumulator widths: the papers' numbers, and brute force over every input on small cases."""

from itertools import product
from math import ceil, log2

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwmodels.accumulator import (
    AccumulatorError,
    bits_by_data_type,
    bits_for_range,
    code_range,
    counterexample,
    dot_range,
    outer_bits,
)
from hwmodels.formats import ElementFormat, IntFormat, Minifloat


def uint(bits: int) -> IntFormat:
    return IntFormat(bits, signed=False)


# arXiv 2409.17092 and A2Q (arXiv 2308.13504): K, weight bits, unsigned activation bits -> P
@pytest.mark.parametrize(
    ("length", "weight", "activation", "width"),
    [(128, 4, 4, 16), (128, 4, 8, 20), (576, 4, 4, 18), (1152, 8, 8, 27), (4608, 8, 8, 29)],
)
def test_data_type_bound_of_the_papers(length: int, weight: int, activation: int, width: int) -> None:
    assert bits_by_data_type(length, IntFormat(weight), uint(activation)) == width


# "Shedding the Bits" (arXiv 2311.12359), exact widths at the longest dot product n = 4608, both operands alike
@pytest.mark.parametrize(
    ("fmt", "width"),
    [
        (Minifloat(2, 1), 21),
        (Minifloat(2, 3), 25),
        (Minifloat(3, 2), 31),
        (Minifloat(3, 4), 36),
        (Minifloat(4, 3), 49),
        (Minifloat(5, 2), 79),
        (IntFormat(8, narrow=True), 28),
    ],
    ids=str,
)
def test_exact_accumulators_of_the_paper(fmt: ElementFormat, width: int) -> None:
    assert bits_by_data_type(4608, fmt, fmt) == width


@given(st.integers(1, 10**6), st.integers(2, 8), st.integers(1, 8), st.booleans())
def test_data_type_bound_equals_the_papers_float_formula(length: int, m: int, n: int, signed: bool) -> None:
    """P = ceil(alpha + phi(alpha)) + 1 with alpha = log2 K + N + M - 1 - s, phi(a) = log2(1 + 2^-a) (A2Q, eq. 8)."""
    n = max(n, 2) if signed else n
    alpha = log2(length) + n + m - 1 - signed
    paper = ceil(alpha + log2(1 + 2**-alpha) - 1e-12) + 1
    assert bits_by_data_type(length, IntFormat(m), IntFormat(n, signed=signed)) == paper


@given(st.integers(-(2**70), 2**70), st.integers(0, 2**70))
def test_bits_for_range_is_the_least_width(low: int, extent: int) -> None:
    high = low + extent
    bits = bits_for_range(low, high)
    assert -(1 << bits - 1) <= low <= high < 1 << bits - 1
    if bits > 1:
        assert low < -(1 << bits - 2) or high >= 1 << bits - 2


small = st.sampled_from([IntFormat(2), IntFormat(3, narrow=True), uint(1), uint(2), Minifloat(2, 0), Minifloat(2, 1)])
matrices = st.integers(1, 4).flatmap(
    lambda cols: st.lists(st.lists(st.integers(-9, 9), min_size=cols, max_size=cols), min_size=1, max_size=3)
)


def partial_sums(row: np.ndarray, x: tuple[int, ...], tile: int) -> list[int]:
    sums = []
    for start in range(0, len(row), tile):
        running = 0
        for w, value in zip(row[start : start + tile], x[start : start + tile], strict=True):
            running += int(w) * value
            sums.append(running)
    return sums


@settings(deadline=None, max_examples=60)
@given(matrices, small, st.integers(1, 4) | st.none())
def test_range_equals_brute_force_over_all_inputs(
    matrix: list[list[int]], fmt: ElementFormat, tile: int | None
) -> None:
    codes = np.array(matrix)
    low, high = code_range(fmt)
    inputs = range(low, high + 1) if isinstance(fmt, IntFormat) else {low, -1, 0, 1, high}
    reach = dot_range(codes, fmt, tile)
    ends, partials = [0], [0]
    for row in codes:
        for x in product(inputs, repeat=codes.shape[1]):
            sums = partial_sums(row, x, tile or codes.shape[1])
            partials += sums
            ends += sums[(tile or len(row)) - 1 :: tile or len(row)] + sums[-1:]
    assert (reach.low, reach.high) == (min(ends), max(ends))
    assert reach.low <= min(partials) <= max(partials) <= reach.high
    assert reach.bits == bits_for_range(reach.low, reach.high)


@given(matrices, small, st.integers(1, 12))
def test_a_counterexample_overflows_and_none_means_none_can(
    matrix: list[list[int]], fmt: ElementFormat, bits: int
) -> None:
    codes = np.array(matrix)
    found = counterexample(codes, fmt, bits)
    if found is None:
        assert dot_range(codes, fmt).bits <= bits
        return
    row, x = found
    low, high = code_range(fmt)
    assert ((low <= x) & (x <= high)).all()
    total = int(codes[row] @ x)
    assert not -(1 << bits - 1) <= total < 1 << bits - 1


@given(matrices, small)
def test_known_weights_never_need_more_than_their_data_type(matrix: list[list[int]], fmt: ElementFormat) -> None:
    codes = np.clip(np.array(matrix), -7, 7)
    assert dot_range(codes, fmt).bits <= bits_by_data_type(codes.shape[1], IntFormat(4), fmt)


def test_widths_beyond_64_bits_stay_exact() -> None:
    fmt = Minifloat(5, 2)
    codes = np.full((1, 4), fmt.max_code)
    assert dot_range(codes, fmt).high == 4 * fmt.max_code**2
    assert dot_range(codes, fmt).bits == (4 * fmt.max_code**2).bit_length() + 1


@pytest.mark.parametrize(("inner", "length", "tile"), [(16, 4096, 128), (12, 577, 64), (11, 9, 9)])
def test_outer_width_of_axe(inner: int, length: int, tile: int) -> None:
    assert outer_bits(inner, length, tile) == ceil(inner + log2(ceil(length / tile)))


def test_what_is_no_matrix_is_refused() -> None:
    with pytest.raises(AccumulatorError, match="must be a non-empty integer matrix"):
        dot_range(np.zeros((2, 2)), uint(4))
    with pytest.raises(AccumulatorError, match="low <= high"):
        bits_for_range(1, 0)
    with pytest.raises(AccumulatorError, match="at least 1 product"):
        bits_by_data_type(0, IntFormat(4), uint(4))
