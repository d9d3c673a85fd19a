"""Foldings that fit a part: compared with every combination of divisors, each costed by a whole estimate."""

import re
from functools import cache
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import conv_window, numerics_of, residual_network

from hwmodels.devices import get_device
from hwmodels.estimate import CostOptions, CostReport, estimate
from hwmodels.folding import fold_for_cycles
from hwmodels.folding_solver import InfeasibleError, fastest_for_device, fold_for_device
from hwmodels.ops import Depthwise, Folding, MatVec, Network, Numerics, Requantize, ShapeError, divisors
from hwmodels.primitives.memory import price

DEVICE = get_device("xc7z020")
RESIDUAL = residual_network()


def chain() -> Network:
    """A convolution, a depthwise one, a linear layer: no branches, so that layers are independent."""
    return Network(
        "chain",
        (
            *conv_window("a", 2, 8, 6, 1, "x"),
            MatVec("a", 4, 18, 36, "x"),
            Requantize("a.requantize", "a", 4, 36, "y"),
            *conv_window("d", 4, 8, 6, 1, "y", depthwise=True),
            Depthwise("d", 4, 9, 36, "y"),
            Requantize("d.requantize", "d", 4, 36, "z"),
            MatVec("b", 6, 4, 36, "z"),
        ),
    )


CHAIN = chain()


CASES = (("int4", "uint4", "lut"), ("int8", "uint8", "dsp"))


@cache
def every_report(case: tuple[str, str, str]) -> list[CostReport]:
    """Estimates of all combinations of divisors."""
    numerics, options = numerics_of(CHAIN, *case[:2]), CostOptions(multiplier=case[2])
    ways = [[Folding(pe, simd) for pe in divisors(op.rows) for simd in divisors(op.cols)] for op in CHAIN.compute]
    names = [op.name for op in CHAIN.compute]
    return [estimate(CHAIN, numerics, dict(zip(names, way, strict=True)), DEVICE, options) for way in product(*ways)]


def fits(report: CostReport, budget) -> bool:
    return not report.total.fits(budget)


@settings(deadline=None, max_examples=30)
@given(st.sampled_from(CASES), st.integers(60, 3_000), st.floats(0.002, 0.05))
def test_it_is_the_cheapest_of_all_foldings_that_fit(case: tuple[str, str, str], cycles: int, share: float) -> None:
    numerics, options = numerics_of(CHAIN, *case[:2]), CostOptions(multiplier=case[2])
    budget = DEVICE.resources * share
    fitting = [r for r in every_report(case) if r.max_cycles <= cycles and fits(r, budget)]
    try:
        found = fold_for_device(CHAIN, numerics, DEVICE, cycles, options, budget=budget)
    except InfeasibleError:
        assert not fitting
        return
    made = estimate(CHAIN, numerics, found, DEVICE, options)
    assert made.max_cycles <= cycles
    assert fits(made, budget)
    assert price(made.total, DEVICE.resources) == pytest.approx(min(price(r.total, DEVICE.resources) for r in fitting))


@settings(deadline=None, max_examples=15)
@given(st.sampled_from(CASES), st.floats(0.004, 0.05))
def test_nothing_that_fits_is_faster(case: tuple[str, str, str], share: float) -> None:
    numerics, options = numerics_of(CHAIN, *case[:2]), CostOptions(multiplier=case[2])
    budget = DEVICE.resources * share
    fitting = [r.max_cycles for r in every_report(case) if fits(r, budget)]
    try:
        found = fastest_for_device(CHAIN, numerics, DEVICE, options, budget=budget)
    except InfeasibleError:
        assert not fitting
        return
    assert found.cycles == min(fitting)
    assert (found.barrier is None) == (found.cycles == min(r.max_cycles for r in every_report(case)))


@pytest.mark.parametrize("multiplier", ["lut", "dsp"])
@pytest.mark.parametrize("cycles", [500_000, 20_000, 5_000])
def test_it_is_never_dearer_than_the_fewest_multipliers(multiplier: str, cycles: int) -> None:
    numerics, device = numerics_of(RESIDUAL, "int4", "uint4"), get_device("xczu7ev")
    options = CostOptions(multiplier=multiplier)
    plain = fold_for_cycles(RESIDUAL, cycles, numerics, dsp=device.dsp if multiplier == "dsp" else None)
    found = fold_for_device(RESIDUAL, numerics, device, cycles, options)
    prices = [
        price(estimate(RESIDUAL, numerics, foldings, device, options).total, device.resources)
        for foldings in (found, plain)
    ]
    assert prices[0] <= prices[1]


def refused(cycles: int, *, part: str = "xc7z020", multiplier: str = "lut", budget=None) -> str:
    numerics = numerics_of(RESIDUAL, "int4", "uint4")
    with pytest.raises(InfeasibleError) as error:
        fold_for_device(RESIDUAL, numerics, get_device(part), cycles, CostOptions(multiplier=multiplier), budget=budget)
    return str(error.value)


def test_the_proof_names_the_operator_that_is_too_slow() -> None:
    assert refused(500).startswith("conv1 must take at most 500 cycles per frame, but takes 512 at full parallelism;")
    # one pixel per cycle is all that a stream brings: 34 x 34 of them and two cycles of latency
    assert refused(1_157).startswith("stem.window must take at most 1,157 cycles per frame, but takes 1,158 at full")
    fastest = fastest_for_device(RESIDUAL, numerics_of(RESIDUAL, "int4", "uint4"), get_device("xcu250"))
    assert (fastest.cycles, fastest.barrier) == (1_158, None)


def test_the_proof_names_the_resource_its_largest_user_and_what_would_do() -> None:
    text = refused(1_200, multiplier="dsp")
    match = re.fullmatch(
        r"residual in at most 1,200 cycles per frame needs at least ([\d,]+) DSP, but XC7Z020 has 220; (\S+) takes "
        r"([\d,]+) of them; lower the frame rate or take a larger part; LUT multipliers would do\.",
        text,
    )
    assert match is not None, text
    needed, layer, most = int(match[1].replace(",", "")), match[2], int(match[3].replace(",", ""))
    assert layer in ("conv1", "conv2")
    assert 220 < needed < 4 * most


def test_a_layer_without_formats_is_refused() -> None:
    numerics = numerics_of(RESIDUAL, "int4", "uint4")
    partial = Numerics(numerics.sites, {n: f for n, f in numerics.layers.items() if n != "head"})
    with pytest.raises(ShapeError, match="layer 'head' with input site 'f' must have formats, but none were given"):
        fold_for_device(RESIDUAL, partial, DEVICE, 10_000)
