"""PE and SIMD for a frame rate: the cheapest of every layer that keeps up, exactly.

Cycles are rows * cols * vectors / (PE * SIMD), so the cheapest folding is the one with the least product PE * SIMD, which
is the number of multipliers. Among equal products: the larger SIMD for dense layers (fewer accumulators and narrower
sums to requantize), the larger PE for depthwise ones (SIMD > 1 needs a whole window per cycle).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from functools import lru_cache

from hwmodels.dataflow import depthwise_lanes, window_lanes, window_shape
from hwmodels.errors import BitfrontError
from hwmodels.ops import Compute, Depthwise, Folding, Network, Numerics, Window, divisors

MOST_STREAM_BITS = 8192
"""Bits of weights that a unit may read per cycle: the practical limit of FINN's streams (PE * SIMD * weight bits)."""

_DEFAULT_WEIGHT_BITS = 8


class FoldingError(BitfrontError):
    """A frame rate that no folding reaches."""


def target_cycles(fps: float, clock_mhz: float) -> int:
    """The cycles that a frame may take at most at `fps` frames per second and a clock in MHz.

    Raises:
        FoldingError: a rate or clock that is not positive, or less than one cycle per frame.
    """
    if not (fps > 0 and clock_mhz > 0):
        raise FoldingError(f"fps and clock_mhz must be positive, but got fps={fps}, clock_mhz={clock_mhz}.")
    cycles = int(clock_mhz * 1e6 / fps)
    if cycles < 1:
        raise FoldingError(
            f"a frame must take at least one cycle, but got fps={fps} at clock_mhz={clock_mhz}; at most "
            f"{clock_mhz * 1e6:g} frames per second would do."
        )
    return cycles


@lru_cache(maxsize=4096)
def _options(
    rows: int, cols: int, most_products: int, prefer_simd: bool
) -> tuple[tuple[int, ...], tuple[Folding, ...]]:
    """(products PE * SIMD ascending, the preferred folding of each), none above `most_products`."""
    best: dict[int, Folding] = {}
    for pe in divisors(rows):
        for simd in divisors(cols):
            product = pe * simd
            wider = product in best and (simd > best[product].simd if prefer_simd else pe > best[product].pe)
            if product <= most_products and (product not in best or wider):
                best[product] = Folding(pe, simd)
    products = tuple(sorted(best))
    return products, tuple(best[product] for product in products)


def fold_for_cycles(network: Network, target_cycles: int, numerics: Numerics | None = None) -> Mapping[str, Folding]:
    """The cheapest folding of every layer with weights such that every layer takes at most `target_cycles`.

    Args:
        target_cycles: cycles per frame.
        numerics: weight widths for the stream limit of 8192 bits; None: 8 bits each.

    A depthwise layer's window generator runs as wide as the layer, so it must keep up too; any other window generator only
    has to be able to.

    Raises:
        FoldingError: a layer or window cannot reach the target; names it, its least cycles and the target.
    """
    windows = {op.layer: op for op in network.operators if isinstance(op, Window)}
    foldings: dict[str, Folding] = {}
    for op in network.compute:
        known = numerics is not None and op.name in numerics.layers
        bits = numerics.layers[op.name].weight.bits if numerics is not None and known else _DEFAULT_WEIGHT_BITS
        foldings[op.name] = _fold(op, windows.get(op.name), target_cycles, bits)
    for window in windows.values():
        if not (window.depthwise and window.layer in foldings):
            lanes = window_lanes(window_shape(window), target_cycles)
            _require(window.name, window_shape(window).cycles(lanes.count, lanes.parallel), target_cycles)
    return foldings


def _fold(op: Compute, window: Window | None, target: int, weight_bits: int) -> Folding:
    depthwise = isinstance(op, Depthwise)
    products, foldings = _options(op.rows, op.cols, MOST_STREAM_BITS // weight_bits, not depthwise)
    needed = -(-op.macs // target) if target > 0 else op.macs + 1
    first = bisect_left(products, needed)
    if first == len(products):
        _require(op.name, foldings[-1].cycles(op), target)
    if not depthwise or window is None:
        return foldings[first]
    shape, fastest = window_shape(window), None
    for folding in foldings[first:]:
        lanes = depthwise_lanes(folding)
        cycles = shape.cycles(lanes.count, lanes.parallel)
        if cycles <= target:
            return folding
        fastest = min(cycles, fastest or cycles)
    assert fastest is not None  # there is at least one folding from `first` on
    _require(window.name, fastest, target)
    raise AssertionError("the fastest window generator misses the target")


def _require(name: str, least: int, target: int) -> None:
    if least > target:
        raise FoldingError(
            f"{name} must take at most {target} cycles per frame, but takes {least} at full parallelism; "
            "lower the frame rate or raise the clock."
        )
