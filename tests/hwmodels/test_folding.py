"""Foldings for a frame rate: exact against brute force, and refusals that name what cannot keep up."""

from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import numerics_of, residual_network

from hwmodels.datapath import Multiplier
from hwmodels.devices import get_device
from hwmodels.estimate import estimate, estimate_operator
from hwmodels.folding import MOST_STREAM_BITS, FoldingError, fold_for_cycles, target_cycles
from hwmodels.ops import Depthwise, Folding, MatVec, Network, Window, divisors
from hwmodels.options import CostOptions

NETWORK = residual_network()


@settings(deadline=None)
@given(st.integers(1, 96), st.integers(1, 96), st.integers(1, 50), st.integers(1, 20_000))
def test_the_cheapest_folding_of_all(rows: int, cols: int, vectors: int, target: int) -> None:
    op = MatVec("a", rows, cols, vectors, "x")
    all_foldings = [Folding(pe, simd) for pe, simd in product(divisors(rows), divisors(cols))]
    good = [f for f in all_foldings if f.cycles(op) <= target and f.pe * f.simd * 8 <= MOST_STREAM_BITS]
    if not good:
        with pytest.raises(FoldingError, match=r"^a must take at most"):
            fold_for_cycles(Network("n", (op,)), target)
        return
    best = min(good, key=lambda f: (f.pe * f.simd, -f.simd))
    assert fold_for_cycles(Network("n", (op,)), target) == {"a": best}


@given(st.integers(1_158, 400_000))
def test_every_operator_of_the_network_meets_the_target(target: int) -> None:
    foldings = fold_for_cycles(NETWORK, target)
    made = estimate(NETWORK, numerics_of(NETWORK, "int4", "uint4"), foldings, get_device("xcu250"))
    assert made.max_cycles <= target


@given(st.integers(1_300, 100_000))
def test_a_slower_frame_rate_needs_no_more_multipliers(target: int) -> None:
    fast, slow = fold_for_cycles(NETWORK, target), fold_for_cycles(NETWORK, target + target // 3)
    assert all(slow[n].pe * slow[n].simd <= fast[n].pe * fast[n].simd for n in fast)


def test_a_depthwise_window_generator_must_keep_up_too() -> None:
    """9,216 cycles are enough for the products one at a time, but its window generator takes longer with the fill."""
    window = Window("d.window", "d", 16, (10, 10), (8, 8), (3, 3), (1, 1), (1, 1), True, "x")
    network = Network("n", (window, Depthwise("d", 16, 9, 64, "x")))
    assert fold_for_cycles(Network("n", (Depthwise("d", 16, 9, 64, "x"),)), 9216) == {"d": Folding(1, 1)}
    assert fold_for_cycles(network, 9216) == {"d": Folding(2, 1)}
    assert fold_for_cycles(network, 9216 + (2 * 10 + 2 + 1) * 16) == {"d": Folding(1, 1)}


def test_the_stream_limit_follows_the_weights() -> None:
    op = MatVec("a", 64, 64, 1, "x")
    network = Network("n", (op,))
    with pytest.raises(FoldingError) as error:
        fold_for_cycles(network, 1)
    assert str(error.value) == (
        "a must take at most 1 cycles per frame, but takes 4 at full parallelism; lower the frame rate or raise the clock."
    )
    assert fold_for_cycles(network, 1, numerics_of(network, "int2", "int2")) == {"a": Folding(64, 64)}


@pytest.mark.parametrize("target", [700, 3_000, 20_000])
@pytest.mark.parametrize(("weight", "activation"), [("int4", "uint4"), ("int8", "uint8"), ("int3_narrow", "uint8")])
@pytest.mark.parametrize("part", ["xc7z020", "xczu7ev", "xcvc1902"])
def test_the_fewest_dsp_slices_of_all(weight: str, activation: str, part: str, target: int) -> None:
    op, device, options = MatVec("a", 24, 36, 64, "x"), get_device(part), CostOptions(multiplier=Multiplier.DSP)
    numerics = numerics_of(Network("n", (op,)), weight, activation)
    path = numerics.datapath(op, Multiplier.DSP)

    def slices(folding: Folding) -> float:
        return estimate_operator(op, path, folding, device, options).total.dsp

    pairs = [Folding(pe, simd) for pe, simd in product(divisors(op.rows), divisors(op.cols))]
    chosen = fold_for_cycles(Network("n", (op,)), target, numerics, dsp=device.dsp)["a"]
    assert chosen.cycles(op) <= target
    assert slices(chosen) == min(slices(folding) for folding in pairs if folding.cycles(op) <= target)


def test_minifloats_and_depthwise_layers_fold_as_without_slices() -> None:
    numerics = numerics_of(NETWORK, "e2m1", "e2m1")
    assert fold_for_cycles(NETWORK, 20_000, numerics, dsp="DSP48E2") == fold_for_cycles(NETWORK, 20_000, numerics)
    network = Network("n", (Depthwise("d", 16, 9, 64, "x"),))
    numerics = numerics_of(network, "int4", "uint4")
    assert fold_for_cycles(network, 2_000, numerics, dsp="DSP48E2") == fold_for_cycles(network, 2_000, numerics)


def test_a_window_that_cannot_keep_up_is_named() -> None:
    """One pixel per cycle is all a stream brings: 34 x 34 pixels and two cycles of latency."""
    with pytest.raises(FoldingError) as error:
        fold_for_cycles(NETWORK, 1_000)
    assert str(error.value).startswith("stem.window must take at most 1000 cycles per frame, but takes 1158 at full")


@pytest.mark.parametrize(("fps", "clock", "cycles"), [(1000, 100, 100_000), (30, 200, 6_666_666), (1e6, 1.5, 1)])
def test_target_cycles(fps: float, clock: float, cycles: int) -> None:
    assert target_cycles(fps, clock) == cycles


@pytest.mark.parametrize(
    ("fps", "clock", "text"),
    [
        (0, 100, "must be positive"),
        (float("nan"), 100, "must be positive"),
        (100, float("inf"), "must be positive"),
        (1e-310, 100, "must be positive"),  # more cycles than a float holds
        (2e8, 100, "at most 1e+08 frames"),
    ],
)
def test_impossible_rates_are_refused(fps: float, clock: float, text: str) -> None:
    with pytest.raises(FoldingError) as error:
        target_cycles(fps, clock)
    assert text in str(error.value)
