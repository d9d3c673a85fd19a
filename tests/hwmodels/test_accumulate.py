"""Simulated accumulators: equal to the reference of the RTL and to brute force, bit by bit; sensible in speed."""

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from hwmodels.accumulate import accumulate
from hwmodels.accumulator import AccumulatorError, dot_range
from hwmodels.codec import decode_all
from hwmodels.datapath import Accumulator, Datapath, Overflow, TensorQuant
from hwmodels.formats import ElementFormat, IntFormat, Minifloat
from hwmodels.products import exact_type
from hwmodels.rtl.reference import expected_sums, finite_codes
from hwmodels.rtl.unit import DotUnit
from hwmodels.rtl.verilog import RtlError

FORMATS: tuple[ElementFormat, ...] = (
    IntFormat(2),
    IntFormat(4),
    IntFormat(8),
    IntFormat(4, signed=False),
    IntFormat(3, narrow=True),
    Minifloat(2, 1),
    Minifloat(3, 0),
    Minifloat(3, 2),
    Minifloat(4, 3),
    Minifloat(5, 2),
    Minifloat(2, 3, signed=False),
)
OVERFLOWS = (Overflow.WRAP, Overflow.SATURATE)


def path(weight: ElementFormat, activation: ElementFormat, bits: int, overflow: Overflow, tile: int | None = None):
    return Datapath(TensorQuant(weight), TensorQuant(activation), Accumulator(bits, tile, overflow))


def steps(fmt: ElementFormat, codes: np.ndarray) -> np.ndarray:
    """The codes' values in units of the format's step."""
    values = decode_all(fmt)
    if isinstance(fmt, IntFormat):
        return np.asarray(values[codes], dtype=np.int64)
    return np.array([int(v / float(fmt.step)) for v in values[codes].ravel()], dtype=np.int64).reshape(codes.shape)


def clamp(value: int, bits: int, overflow: Overflow) -> int:
    half = 1 << bits - 1
    return min(max(value, -half), half - 1) if overflow is Overflow.SATURATE else (value + half) % (2 * half) - half


@settings(deadline=None, max_examples=80)
@given(
    st.sampled_from(FORMATS),
    st.sampled_from(FORMATS),
    st.integers(4, 40),
    st.sampled_from(OVERFLOWS),
    st.sampled_from([1, 2, 3, 8]),
    st.integers(1, 5),
    st.integers(0, 12),
    st.integers(0, 2**32 - 1),
)
def test_sums_are_those_of_the_reference_of_the_rtl(
    weight: ElementFormat,
    activation: ElementFormat,
    bits: int,
    overflow: Overflow,
    lanes: int,
    cycles: int,
    dropped: int,
    seed: int,
) -> None:
    datapath = path(weight, activation, bits, overflow)
    try:
        unit = DotUnit(datapath, lanes, dropped_bits=dropped)
    except RtlError:
        assume(False)
        raise
    rng, rows, batch = np.random.default_rng(seed), 3, 4
    codes = [rng.choice(finite_codes(fmt), (n, cycles * lanes)) for fmt, n in ((weight, rows), (activation, batch))]
    found = accumulate(steps(weight, codes[0]), steps(activation, codes[1]), datapath, lanes, dropped_bits=dropped)
    # the reference takes one pair of vectors per sequence: (cycles, batch * rows, lanes)
    pairs = np.repeat(codes[1], rows, axis=0), np.tile(codes[0], (batch, 1))
    x, w = (c.reshape(batch * rows, cycles, lanes).swapaxes(0, 1) for c in pairs)
    clear = np.arange(cycles) == 0
    expected = expected_sums(unit, w, x, clear, np.ones(cycles, dtype=bool))[-1]
    assert found.sums.ravel().tolist() == expected.tolist()
    assert found.tiles == 1
    assert not found.outer_overflows.any()


@settings(deadline=None, max_examples=80)
@given(
    st.sampled_from(FORMATS[:5]),
    st.sampled_from(FORMATS[:5]),
    st.integers(3, 16),
    st.integers(3, 18) | st.none(),
    st.sampled_from(OVERFLOWS),
    st.integers(1, 9),
    st.integers(1, 5),
    st.integers(1, 20),
    st.integers(0, 2**32 - 1),
)
def test_tiled_sums_and_overflows_equal_brute_force(
    weight: IntFormat,
    activation: IntFormat,
    bits: int,
    outer: int | None,
    overflow: Overflow,
    tile: int,
    factor: int,
    length: int,
    seed: int,
) -> None:
    rng = np.random.default_rng(seed)
    # lanes divide the tile or are a multiple of it, as in the RTL
    lanes = tile * factor if factor < 3 else next(n for n in range(factor, 0, -1) if tile % n == 0)
    w = rng.integers(weight.min_code, weight.max_code + 1, (3, length))
    x = rng.integers(activation.min_code, activation.max_code + 1, (4, length))
    found = accumulate(w, x, path(weight, activation, bits, overflow, tile), lanes, outer=outer)
    inner_hits, outer_hits = [0] * 3, [0] * 3
    for b, r in np.ndindex(4, 3):
        tiles = []
        for start in range(0, length, tile):
            end, register, hit = min(start + tile, length), 0, False
            for first in range(start, end, lanes):
                last = min(first + lanes, end)
                exact = register + sum(int(w[r, k]) * int(x[b, k]) for k in range(first, last))
                register = clamp(exact, bits, overflow)
                hit |= register != exact
            if overflow is Overflow.WRAP:
                hit = register != sum(int(w[r, k]) * int(x[b, k]) for k in range(start, end))
            tiles.append(register)
            inner_hits[r] += hit
        total, hit = 0, False
        for first in range(0, len(tiles), max(1, lanes // tile)):
            exact = total + sum(tiles[first : first + max(1, lanes // tile)])
            total = exact if outer is None or len(tiles) == 1 else clamp(exact, outer, overflow)
            hit |= total != exact
        if overflow is Overflow.WRAP:
            hit = total != sum(tiles)
        outer_hits[r] += hit
        assert found.sums[b, r] == total
    assert found.inner_overflows.tolist() == inner_hits
    assert found.outer_overflows.tolist() == outer_hits
    assert found.tiles == -(-length // tile)
    assert found.overflow_rate == pytest.approx(sum(inner_hits) / (12 * found.tiles))


@pytest.mark.parametrize("overflow", OVERFLOWS)
@pytest.mark.parametrize("fmt", [IntFormat(4), Minifloat(4, 3), Minifloat(5, 2)], ids=str)
def test_what_fits_is_exact_in_chunks_and_any_type(fmt: ElementFormat, overflow: Overflow) -> None:
    """More sums than a chunk holds, 5 to 70 bits each: float32, float64 and Python integers."""
    rng = np.random.default_rng(1)
    w, x = (steps(fmt, rng.choice(finite_codes(fmt), shape)) for shape in ((300, 5), (300, 5)))
    exact: Any = x.astype(object) @ w.T.astype(object)
    bits = dot_range(w, fmt).bits
    assert (accumulate(w, x, path(fmt, fmt, bits, overflow), 2).sums == exact).all()
    assert (accumulate(w, x, path(fmt, fmt, bits, Overflow.IMPOSSIBLE, 3), 2).sums == exact).all()
    narrow = accumulate(w, x, path(fmt, fmt, bits - 2, overflow), 5)
    assert narrow.sums.tolist() == [[clamp(int(v), bits - 2, overflow) for v in row] for row in exact.tolist()]
    assert narrow.inner_overflows.sum() == (narrow.sums != exact).sum() > 0


def test_sums_are_taken_in_the_narrowest_exact_type() -> None:
    assert [exact_type(most) for most in (2**24 - 1, 2**24, 2**53, 2**63)] == [np.float32, np.float64, np.int64, object]


def test_order_matters_to_a_saturating_register_and_not_to_a_wrapping_one() -> None:
    w, x = np.array([[7, 7, -7]]), np.array([[1, 1, 1]])
    fmt = IntFormat(4)
    one, all_ = (accumulate(w, x, path(fmt, fmt, 4, Overflow.SATURATE), n) for n in (1, 3))
    assert (one.sums.item(), one.overflow_rate, all_.sums.item(), all_.overflow_rate) == (0, 1, 7, 0)
    for lanes in (1, 3):
        wrapped = accumulate(w, x, path(fmt, fmt, 4, Overflow.WRAP), lanes)
        assert (wrapped.sums.item(), wrapped.overflow_rate) == (7, 0)


@pytest.mark.parametrize("activation", [IntFormat(4), IntFormat(4, signed=False), Minifloat(2, 1)], ids=str)
@pytest.mark.parametrize("lanes", [1, 5])
def test_few_sums_that_can_overflow_are_simulated_as_all_are(activation: ElementFormat, lanes: int) -> None:
    """Beside many samples that cannot leave the register, and alone (where all that share a row are simulated)."""
    rng, fmt = np.random.default_rng(2), IntFormat(4)
    w, x = rng.integers(-8, 8, (6, 24)), steps(activation, rng.choice(finite_codes(activation), (96, 24)))
    x[rng.random(x.shape) < 0.9] = 0
    x[::40] = steps(activation, rng.choice(finite_codes(activation), (3, 24)))
    datapath = path(fmt, activation, 8, Overflow.SATURATE, 12)
    together = accumulate(w, x, datapath, lanes)
    alone = [accumulate(w, x[i : i + 1], datapath, lanes) for i in range(len(x))]
    assert together.sums.tolist() == [each.sums[0].tolist() for each in alone]
    assert together.inner_overflows.tolist() == sum(each.inner_overflows for each in alone).tolist()
    assert 0 < together.overflow_rate < 1 / 16


def test_what_cannot_be_simulated_is_refused() -> None:
    w, x = np.full((1, 4), 7), np.ones((2, 4), dtype=int)
    int4, fp4 = IntFormat(4), Minifloat(2, 1)

    def refused(match: str, *args: Any, **kwargs: Any) -> None:
        with pytest.raises(AccumulatorError, match=match):
            accumulate(*args, **kwargs)

    claimed = path(int4, int4, 8, Overflow.IMPOSSIBLE)
    refused("accumulator of P=8 bits where overflow is impossible, but the weights need 9 bits", w, x, claimed, 1)
    tiled = path(int4, int4, 8, Overflow.IMPOSSIBLE, 2)
    refused("outer accumulator of P=8 bits", w, x, tiled, 1, outer=8)
    wrap = path(int4, int4, 8, Overflow.WRAP)
    refused("weight codes must be a matrix of integers from -8 to 7", w + 1, x, wrap, 1)
    refused(r"activation codes must be a matrix of integers .* float64", w, x / 1.0, wrap, 1)
    refused("must agree, but got shapes", w[:, :3], x, wrap, 1)
    refused("lanes=0", w, x, wrap, 0)
    refused("0 for integer formats, but got dropped_bits=2", w, x, wrap, 1, dropped_bits=2)
    refused("some lie between them", w, x, path(fp4, fp4, 8, Overflow.WRAP), 1, dropped_bits=1)
    empty = accumulate(w, x[:0], wrap, 1)
    assert (empty.sums.shape, empty.overflow_rate) == ((0, 1), 0)
