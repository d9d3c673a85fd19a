"""How the operators of a network are connected, how wide each runs, and when each gives its first output.

Operators stand in dataflow order; tensors are named by their site. A stream is consumed by the first operators that ask
for its site, a `Duplicate` gives it to several. Operators without weights are made just wide enough to keep up with the
slowest one with weights, since more would cost and gain nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from math import isqrt

from hwmodels.ops import (
    Add,
    Attention,
    Compute,
    Depthwise,
    Duplicate,
    Folding,
    LabelSelect,
    Lookup,
    MatMul,
    MatVec,
    Multiply,
    Network,
    Normalize,
    Pad,
    Pixels,
    Pool,
    Requantize,
    Rope,
    Rotate,
    Softmax,
    Table,
    Unfolded,
    Window,
    divisors,
)
from hwmodels.primitives.hadamard import rotation_lanes
from hwmodels.primitives.scale import SCALE_BITS
from hwmodels.window_shape import WindowShape


@dataclass(frozen=True, slots=True)
class Lanes:
    """Values per cycle of an operator; `parallel` windows leave whole; `passes` cycles go into each value of a requantizer."""

    count: int
    parallel: bool = False
    passes: int = 1


@lru_cache(maxsize=256)
def inputs(network: Network) -> Mapping[str, tuple[str, ...]]:
    """The operators that feed each operator, in dataflow order; empty for the network's input.

    A window feeds its layer or pool, a padding its reader, a requantizer reads its source, everything else reads the streams
    of its sites (of two, the one that is stored or multiplied with comes second).
    """
    before = {op.layer: op.name for op in network.operators if isinstance(op, Window)}
    before |= {op.reader: op.name for op in network.operators if isinstance(op, Pad)}
    waiting: dict[str, list[str]] = {}
    latest: dict[str, str] = {}
    edges: dict[str, tuple[str, ...]] = {}

    def take(site: str, count: int = 1) -> tuple[str, ...]:
        queue = waiting.get(site, [])
        taken, waiting[site] = tuple(queue[:count]), queue[count:]
        # a stream read again without a Duplicate: its latest producer
        return taken or ((latest[site],) if site in latest else ())

    for op in network.operators:
        match op:
            case MatMul():
                edges[op.name] = take(op.site) + take(op.stored)
            case Multiply():
                edges[op.name] = take(op.site) + take(op.second)
            case Lookup() | Pixels():
                edges[op.name] = ()
            case MatVec() | Depthwise() | Pool() | Window():
                edges[op.name] = (before[op.name],) if op.name in before else take(op.site)
            case Pad() | LabelSelect() | Duplicate() | Normalize() | Softmax() | Rope() | Table() | Rotate():
                edges[op.name] = take(op.site)
            case Add():
                edges[op.name] = take(op.site, 2)
            case Requantize():
                edges[op.name] = (op.source,)
        if isinstance(op, Requantize | Duplicate | Table | Lookup | Pixels) or (
            isinstance(op, Pool) and op.kind == "max"
        ):
            site = op.output if isinstance(op, Table) else op.site
            waiting.setdefault(site, []).extend([op.name] * (op.copies if isinstance(op, Duplicate) else 1))
            latest[site] = op.name
    return edges


@lru_cache(maxsize=4096)
def window_shape(op: Window) -> WindowShape:
    """The geometry of a window generator."""
    return WindowShape(
        op.channels, op.input_size, op.output_size, op.kernel, op.stride, op.dilation, depthwise=op.depthwise
    )


def depthwise_lanes(folding: Folding) -> Lanes:
    """How a depthwise layer's window generator must run: PE channels at a time, whole windows if SIMD > 1 (FINN)."""
    return Lanes(folding.pe, parallel=folding.simd > 1)


@lru_cache(maxsize=8192)
def window_lanes(shape: WindowShape, target: int) -> Lanes:
    """The fewest channels per cycle with which a dense layer's window generator takes at most `target` cycles.

    Whole windows at once where channel by channel is too slow (they need all channels); that is the fastest there is.
    """
    for lanes in divisors(shape.channels):
        if shape.cycles(lanes, parallel=False) <= target:
            return Lanes(lanes)
    parallel, plain = (shape.cycles(shape.channels, parallel=whole) for whole in (True, False))
    return Lanes(shape.channels, parallel=parallel < plain)


@lru_cache(maxsize=8192)
def channel_lanes(channels: int, steps: int, target: int) -> Lanes:
    """The fewest channels per cycle that take at most `target` cycles for `steps` passes over all channels, else all."""
    return Lanes(next((d for d in divisors(channels) if channels // d * steps <= target), channels))


def requantize_passes(values: int, target: int) -> int:
    """Cycles that a lane with `values` values per frame may spend on each within `target`: 1 to 16, the bits of a scale."""
    return max(1, min(SCALE_BITS, target // values))


def steps(op: Pad | Requantize | Add | Pool | Duplicate | Pixels | LabelSelect | Attention) -> int:
    """Passes over the channels per frame."""
    return op.vectors * (op.window if isinstance(op, Pool) else 1)


def layer_cycles(op: Compute, window: Window | None, folding: Folding) -> int:
    """Cycles of what the folding of a layer decides: of the layer and, if it is depthwise, of its window generator."""
    cycles = folding.cycles(op)
    if window is None or not window.depthwise:
        return cycles
    lanes = depthwise_lanes(folding)
    return max(cycles, window_shape(window).cycles(lanes.count, lanes.parallel))


def free_lanes(op: Unfolded, target: int) -> Lanes:
    """Values per cycle of an operator without folding, so that it takes at most `target` cycles where it can."""
    match op:
        case Window():
            return window_lanes(window_shape(op), target)
        case Requantize():
            lanes = channel_lanes(op.channels, steps(op), target)
            return replace(lanes, passes=requantize_passes(op.channels // lanes.count * op.vectors, target))
        case Rotate():
            widths = rotation_lanes(op.channels, op.block)
            return Lanes(next((width for width in widths if op.channels // width * op.vectors <= target), widths[-1]))
        case _:
            return channel_lanes(op.channels, steps(op), target)


def free_cycles(op: Unfolded, lanes: Lanes) -> int:
    """Cycles per frame of an operator without folding."""
    match op:
        case Window():
            return window_shape(op).cycles(lanes.count, lanes.parallel)
        case _:
            return op.channels // lanes.count * steps(op) * lanes.passes


def collecting_cycles(op: Window | Pool, interval: int) -> int:
    """Cycles from the first input of `op` to its first output, when a frame arrives spread over `interval` cycles.

    A window waits for the pixels up to its last one, a pool for a row of windows (square maps assumed). Derived.
    """
    match op:
        case Window():
            pixels = op.input_size[0] * op.input_size[1]
            return -(-(window_shape(op).span + 1) * interval // pixels)
        case Pool():
            return -(-interval // pool_row(op))


def pool_row(op: Pool) -> int:
    """Output pixels of one row of a pooled map, taken as square (assumed: the operator does not know its shape)."""
    return max(1, isqrt(op.vectors))
