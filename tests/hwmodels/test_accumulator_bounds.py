"""l1 bounds and tiled widths: the papers' formulas in fractions, brute force, and who is never above whom."""

from fractions import Fraction
from itertools import product
from math import floor

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
    outer_range,
)
from hwmodels.accumulator_bounds import a2q_bits, a2q_budget, a2q_plus_bits, a2q_plus_budget, l1_norms
from hwmodels.datapath import Overflow
from hwmodels.formats import ElementFormat, IntFormat, Minifloat

activations = st.sampled_from(
    [IntFormat(n, signed=False) for n in range(1, 9)]
    + [IntFormat(n) for n in range(2, 9)]
    + [IntFormat(4, narrow=True), Minifloat(2, 1), Minifloat(3, 2), Minifloat(5, 2), Minifloat(2, 1, signed=False)]
)
matrices = st.integers(1, 12).flatmap(
    lambda cols: st.lists(st.lists(st.integers(-7, 7), min_size=cols, max_size=cols), min_size=1, max_size=4)
)
integers = st.builds(IntFormat, st.integers(2, 8), st.booleans())


@given(st.integers(2, 40), integers)
def test_budgets_are_the_papers_formulas(bits: int, fmt: IntFormat) -> None:
    n, s = fmt.bits, int(fmt.signed)
    assert a2q_budget(bits, fmt) == floor((2 ** (bits - 1) - 1) * Fraction(2) ** (s - n))
    assert a2q_plus_budget(bits, fmt) == floor(Fraction(2**bits - 2, 2**n - 1))


@given(matrices, activations)
def test_widths_are_the_least_that_the_budgets_allow(matrix: list[list[int]], fmt: ElementFormat) -> None:
    codes = np.array(matrix)
    norm = max(l1_norms(codes))
    assert norm == np.abs(codes).sum(axis=1).max()
    p = a2q_bits(codes, fmt)
    assert norm <= a2q_budget(p, fmt)
    assert p == 1 or norm > a2q_budget(p - 1, fmt)
    centred = np.concatenate([codes, -codes], axis=1)
    p = a2q_plus_bits(centred, fmt)
    assert 2 * norm <= a2q_plus_budget(p, fmt)
    assert p == 1 or 2 * norm > a2q_plus_budget(p - 1, fmt)


@given(matrices, activations)
def test_exact_range_then_a2q_plus_then_a2q_then_data_type(matrix: list[list[int]], fmt: ElementFormat) -> None:
    codes = np.array(matrix)
    data_type = bits_by_data_type(codes.shape[1], IntFormat(4), fmt)
    assert dot_range(codes, fmt).bits <= a2q_bits(codes, fmt) <= data_type
    centred = np.concatenate([codes, -codes], axis=1)
    exact, plus, plain = dot_range(centred, fmt).bits, a2q_plus_bits(centred, fmt), a2q_bits(centred, fmt)
    assert exact <= plus <= plain <= bits_by_data_type(centred.shape[1], IntFormat(4), fmt)


def test_zero_centring_gains_one_bit_with_unsigned_activations() -> None:
    """The budget grows 2^(N+1) / (2^N - 1) times (arXiv 2401.10432): 127 to 256 for P = 16, N = 8, by hand."""
    fmt = IntFormat(8, signed=False)
    assert (a2q_budget(16, fmt), a2q_plus_budget(16, fmt)) == (127, 256)
    codes = np.array([[127, -127]])
    assert (dot_range(codes, fmt).bits, a2q_plus_bits(codes, fmt), a2q_bits(codes, fmt)) == (16, 16, 17)


def test_rows_that_do_not_sum_to_zero_have_no_zero_centred_bound() -> None:
    with pytest.raises(AccumulatorError, match=r"row 1 sums to 3; use a2q_bits or dot_range\."):
        a2q_plus_bits(np.array([[1, -1], [1, 2]]), IntFormat(4))
    with pytest.raises(AccumulatorError, match="at least 1 bit, but got bits=0"):
        a2q_budget(0, IntFormat(4))


def test_minifloats_beyond_64_bits_stay_exact() -> None:
    fmt = Minifloat(5, 2)
    codes = np.array([[fmt.max_code, -fmt.max_code]])
    assert a2q_bits(codes, fmt) == a2q_plus_bits(codes, fmt) == (2 * fmt.max_code**2).bit_length() + 1


@settings(deadline=None, max_examples=60)
@given(
    matrices,
    st.sampled_from([IntFormat(2), IntFormat(2, signed=False), Minifloat(2, 0)]),
    st.integers(1, 5),
    st.integers(2, 7),
    st.sampled_from([Overflow.WRAP, Overflow.SATURATE]),
)
def test_outer_range_equals_brute_force_or_bounds_it(
    matrix: list[list[int]], fmt: ElementFormat, tile: int, bits: int, overflow: Overflow
) -> None:
    codes = np.array(matrix)[:, :5]
    low, high = code_range(fmt)
    half, inner = 1 << bits - 1, dot_range(codes, fmt, tile).bits
    ends = {0}
    for row in codes:
        for x in product({low, 0, high}, repeat=len(row)):
            total = 0
            for start in range(0, len(row), tile):
                running = 0
                for w, value in zip(row[start : start + tile], x[start : start + tile], strict=True):
                    running += int(w) * value
                    if overflow is Overflow.SATURATE:
                        running = min(max(running, -half), half - 1)
                total += running if overflow is Overflow.SATURATE else (running + half) % (2 * half) - half
                ends.add(total)
    reach = outer_range(codes, fmt, tile, bits, overflow)
    assert reach.low <= min(ends) <= max(ends) <= reach.high
    if overflow is Overflow.SATURATE or inner <= bits:
        assert (reach.low, reach.high) == (min(ends), max(ends))
    assert reach.bits <= outer_bits(bits, codes.shape[1], tile)


@given(matrices, activations, st.integers(1, 12))
def test_a_proved_inner_width_proves_the_outer_one(matrix: list[list[int]], fmt: ElementFormat, tile: int) -> None:
    codes = np.array(matrix)
    inner = dot_range(codes, fmt, tile).bits
    outer = outer_range(codes, fmt, tile, inner)
    assert outer == dot_range(codes, fmt)
    assert outer.bits <= outer_bits(inner, codes.shape[1], tile)
    if inner > 1:
        with pytest.raises(AccumulatorError, match=f"of {inner - 1} bits, but the weights need {inner}"):
            outer_range(codes, fmt, tile, inner - 1)


@given(matrices, activations, st.integers(1, 12), st.integers(1, 14))
def test_a_tiled_counterexample_overflows_its_tile_and_none_means_none_can(
    matrix: list[list[int]], fmt: ElementFormat, tile: int, bits: int
) -> None:
    codes = np.array(matrix)
    found = counterexample(codes, fmt, bits, tile)
    if found is None:
        assert dot_range(codes, fmt, tile).bits <= bits
        return
    row, x = found
    low, high = code_range(fmt)
    assert ((low <= x) & (x <= high)).all()
    sums = [int(codes[row, s : s + tile] @ x[s : s + tile]) for s in range(0, codes.shape[1], tile)]
    assert len([s for s in sums if s]) == 1
    assert bits_for_range(min(0, *sums), max(0, *sums)) > bits


def test_a_tile_must_have_a_product() -> None:
    with pytest.raises(AccumulatorError, match="at least 1 product, but got tile_size=0"):
        dot_range(np.ones((1, 4), int), IntFormat(4), 0)
