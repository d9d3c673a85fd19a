"""PE and SIMD of every layer for a frame rate, as FINN v0.10.1's SetFolding chooses them.

Source: FINN `transformation/fpgadataflow/set_folding.py` and, for the cycles of a frame rate,
`builder/build_dataflow_config.py`. The algorithm is greedy and looks at one layer at a time; it never lowers one layer's
parallelism for another's, except through its second pass.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import prod
from typing import TypeVar, assert_never

from hwmodels.finn.errors import FinnModelError
from hwmodels.finn.mvau import Mvau
from hwmodels.finn.operators import FinnOperator
from hwmodels.finn.streams import Fifo, WidthConverter
from hwmodels.finn.thresholding import ThresholdingHls, ThresholdingRtl
from hwmodels.finn.uncosted import ChannelStream, Pool, StreamingMaxPool
from hwmodels.finn.vvau import Vvau
from hwmodels.finn.window_hls import WindowHls
from hwmodels.finn.window_rtl import WindowRtl
from hwmodels.ops import divisors

FINN_WEIGHT_STREAM_BITS = 36
"""FINN's default for the bits of weights that one PE may take per cycle (mvau_wwidth_max)."""

FINN_EXAMPLES_WEIGHT_STREAM_BITS = 80
"""The same limit as FINN's own end-to-end examples set it. The sampled whole networks were folded with a limit between 72
and 95 (inferred: within it, and only within it, `fold` repeats every PE and SIMD of all nine)."""

AnyOperator = TypeVar("AnyOperator", bound=FinnOperator)


def target_cycles(target_fps: float, clock_period_ns: float = 10.0) -> int:
    """Cycles that one frame may take at a frame rate and a clock period; FINN's default clock is 100 MHz.

    Raises:
        FinnModelError: a rate or period that is not positive, or less than one cycle per frame.
    """
    if not (target_fps > 0 and clock_period_ns > 0):
        raise FinnModelError(
            f"frame rate and clock period must be positive, but got target_fps={target_fps}, "
            f"clock_period_ns={clock_period_ns}."
        )
    cycles = int(10**9 / clock_period_ns / target_fps)
    if cycles < 1:
        raise FinnModelError(
            f"a frame must take at least one cycle, but got target_fps={target_fps} at clock_period_ns="
            f"{clock_period_ns}; at most {10**9 / clock_period_ns:g} frames per second would do."
        )
    return cycles


def fold(
    layers: Sequence[FinnOperator],
    target: int,
    *,
    max_weight_stream_bits: int = FINN_WEIGHT_STREAM_BITS,
    two_pass: bool = True,
) -> tuple[FinnOperator, ...]:
    """The layers with PE, SIMD and parallel windows set so that each takes fewer than `target` cycles where it can.

    What PE and SIMD the given layers have is not looked at. Per kind of layer:

    - MVAU: SIMD rises over the divisors of MW until the target is met or a PE would take more than
      `max_weight_stream_bits` bits of weights per cycle, then PE over the divisors of MH.
    - VVAU and Pool: PE over the divisors of the channels, then (VVAU) SIMD over those of the window; the window
      generator right before follows.
    - window generators: SIMD over the divisors of the channels, then (RTL) a parallel window.
    - thresholds, element-wise, label selection, padding: their one parallelism.
    - max pooling in streams, FIFOs and width converters stay as they are.

    Args:
        layers: in the order of the data; the producer of a layer is the one before it.
        target: cycles per frame, at least 1.
        two_pass: fold again for the slowest layer's cycles if that misses the target, so that no layer is faster than
            the pipeline needs.

    Raises:
        FinnModelError: a target below 1, or a depthwise layer without a window generator right before it.
    """
    if target < 1:
        raise FinnModelError(f"target must be at least 1 cycle, but got {target}.")
    folded = list(layers)
    for index, layer in enumerate(layers):
        match layer:
            case Mvau():
                folded[index] = _fold_mvau(layer, target, max_weight_stream_bits)
            case Vvau() | Pool():
                depthwise = _fold_depthwise(layer, target)
                folded[index] = depthwise
                _follow(folded, index, depthwise)
            case WindowHls() | WindowRtl():
                if not layer.depthwise:
                    folded[index] = _fold_window(layer, target)
            case ThresholdingHls() | ThresholdingRtl():
                folded[index] = _raise(layer, layer.channels, target, lambda op, pe: replace(op, pe=pe))
            case ChannelStream():
                folded[index] = _raise(layer, layer.channels, target, lambda op, lanes: replace(op, parallel=lanes))
            case StreamingMaxPool() | Fifo() | WidthConverter():
                pass
            case _:
                assert_never(layer)
    slowest = max((layer.cycles() for layer in folded), default=0)
    if two_pass and slowest > target:
        return fold(layers, slowest, max_weight_stream_bits=max_weight_stream_bits, two_pass=False)
    return tuple(folded)


def _raise(op: AnyOperator, most: int, target: int, set_to: Callable[[AnyOperator, int], AnyOperator]) -> AnyOperator:
    """The operator with the smallest divisor of `most` that meets the target, or else with `most`."""
    for value in divisors(most):
        op = set_to(op, value)
        if op.cycles() < target:
            break
    return op


def _fold_mvau(op: Mvau, target: int, max_weight_stream_bits: int) -> Mvau:
    op = replace(op, pe=1, simd=1)
    for simd in divisors(op.cols):
        wider = replace(op, simd=simd)
        if wider.cycles() >= target and wider.weight_stream_bits > max_weight_stream_bits:
            break
        op = wider
        if op.cycles() < target:
            break
    return _raise(op, op.rows, target, lambda unit, pe: replace(unit, pe=pe))


def _fold_depthwise(op: Vvau | Pool, target: int) -> Vvau | Pool:
    if isinstance(op, Pool):
        return _raise(op, op.channels, target, lambda pool, pe: replace(pool, pe=pe))
    op = _raise(replace(op, pe=1, simd=1), op.channels, target, lambda unit, pe: replace(unit, pe=pe))
    if op.pe == op.channels and op.cycles() > target:
        op = _raise(op, prod(op.kernel), target, lambda unit, simd: replace(unit, simd=simd))
    return op


def _follow(folded: list[FinnOperator], index: int, op: Vvau | Pool) -> None:
    """Give the window generator right before a depthwise layer that layer's parallelism."""
    before = folded[index - 1] if index else None
    match before:
        case WindowRtl():
            parallel = isinstance(op, Vvau) and op.simd > 1
            folded[index - 1] = replace(before, simd=op.pe, parallel_window=parallel)
        case WindowHls():
            folded[index - 1] = replace(before, simd=op.pe)
        case _ if prod(op.kernel) != 1:
            raise FinnModelError(
                f"a depthwise layer with a {op.kernel[0]}x{op.kernel[1]} kernel needs a window generator right before "
                f"it, but got {type(before).__name__ if before is not None else 'nothing'} at position {index - 1}."
            )


def _fold_window(op: WindowHls | WindowRtl, target: int) -> WindowHls | WindowRtl:
    if isinstance(op, WindowHls):
        return _raise(op, op.channels, target, lambda window, simd: replace(window, simd=simd))
    op = replace(op, parallel_window=False)
    op = _raise(op, op.channels, target, lambda window, simd: replace(window, simd=simd))
    if op.simd == op.channels and op.cycles() > target:
        op = replace(op, parallel_window=True)
    return op
