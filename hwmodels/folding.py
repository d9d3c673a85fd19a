"""PE and SIMD for a frame rate: of every layer, the folding with the fewest multipliers that keeps up, exactly.

Cycles are rows * cols * vectors / (PE * SIMD), so the fewest LUT multipliers are the least product PE * SIMD. DSP slices
are fewer than products where several rows share one (see :mod:`hwmodels.primitives.dsp_packing`), so there the slices are
counted. Among equals: the larger SIMD for dense layers (fewer accumulators to keep and requantize), the larger PE for
depthwise ones (SIMD > 1 needs a whole window per cycle). Memories are not looked at: on digits-resnet the price of the whole
network, on its part, is within 3 % of what a search over all foldings finds.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from functools import lru_cache
from math import inf

from hwmodels.dataflow import depthwise_lanes, window_lanes, window_shape
from hwmodels.errors import BitfrontError
from hwmodels.formats import IntFormat
from hwmodels.ops import Compute, Depthwise, Folding, MatVec, Network, Numerics, Window, divisors
from hwmodels.primitives.dsp_packing import DspBlock, packed_dsps
from hwmodels.primitives.operands import integer_grid

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
    if not (0 < fps < inf and 0 < clock_mhz * 1e6 / fps < inf):
        raise FoldingError(f"fps and clock_mhz must be positive numbers, but got fps={fps}, clock_mhz={clock_mhz}.")
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


def fold_for_cycles(
    network: Network, target_cycles: int, numerics: Numerics | None = None, *, dsp: DspBlock | None = None
) -> Mapping[str, Folding]:
    """The folding with the fewest multipliers of every layer with weights, such that each takes at most `target_cycles`.

    Args:
        target_cycles: cycles per frame.
        numerics: weight widths for the stream limit of 8192 bits; None: 8 bits each.
        dsp: slice that multiplies, for layers whose numerics are given; None: LUTs.

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
        if dsp is not None and numerics is not None and known and isinstance(op, MatVec):
            foldings[op.name] = _packed(op, foldings[op.name], target_cycles, numerics, dsp)
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


def _packed(op: MatVec, plain: Folding, target: int, numerics: Numerics, dsp: DspBlock) -> Folding:
    """The folding with the fewest DSP slices that keeps up; `plain` where a minifloat keeps the layer out of them.

    Raises:
        DspPackingError: operands that no slice takes.
    """
    path = numerics.datapath(op)
    weight, activation = integer_grid(path.weight.format), integer_grid(path.activation.format)
    if not (isinstance(weight, IntFormat) and isinstance(activation, IntFormat)):
        return plain
    products = -(-op.macs // target), MOST_STREAM_BITS // weight.bits
    return _fewest_slices(op.rows, op.cols, products, max(weight.bits, 2), activation.bits, weight.narrow, dsp)


@lru_cache(maxsize=4096)
def _fewest_slices(
    rows: int, cols: int, products: tuple[int, int], weight_bits: int, activation_bits: int, narrow: bool, dsp: DspBlock
) -> Folding:
    """The folding with `products` (at least, at most) PE * SIMD in the fewest slices, then products, then rows."""

    def rank(folding: Folding) -> tuple[int, int, int]:
        slices = packed_dsps(
            folding.pe, folding.simd, weight_bits=weight_bits, activation_bits=activation_bits, narrow=narrow, dsp=dsp
        )
        return slices, folding.pe * folding.simd, folding.pe

    least, most = products
    pairs = ((pe, simd) for pe in divisors(rows) for simd in divisors(cols) if least <= pe * simd <= most)
    return min((Folding(pe, simd) for pe, simd in pairs), key=rank)


def _require(name: str, least: int, target: int) -> None:
    if least > target:
        raise FoldingError(
            f"{name} must take at most {target} cycles per frame, but takes {least} at full parallelism; "
            "lower the frame rate or raise the clock."
        )
