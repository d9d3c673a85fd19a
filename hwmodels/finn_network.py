"""A whole network as FINN v0.10.1 would fold and estimate it: SetFolding for a frame rate, then FINN's own figures.

The difference to :func:`hwmodels.estimate.estimate` with the finn model is the folding, which FINN chooses operator by
operator (windows, thresholds and streams included), and two details of its compiler that show in the figures:

- the sums of the last unit leave the accelerator, so FINN widens its accumulator to whole bytes (`minimize_accumulator_width`
  in FINN's `matrixvectoractivation.py`);
- a mean over the whole image needs no window generator (`GlobalAccPool`), and neither does a maximum over windows that do not
  overlap (`StreamingMaxPool`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from hwmodels.datapath import Accumulator
from hwmodels.devices import Device
from hwmodels.estimate import estimate
from hwmodels.finn.folding import FINN_EXAMPLES_WEIGHT_STREAM_BITS, fold
from hwmodels.finn.mvau import Mvau
from hwmodels.finn.operators import FinnOperator
from hwmodels.finn.uncosted import ChannelStream, StreamingMaxPool
from hwmodels.finn.vvau import Vvau
from hwmodels.finn_mode import (
    compute_unit,
    finn_cost,
    finn_type,
    refuse_foreign,
    threshold_unit,
    uncosted_unit,
    unit_name,
    window_unit,
)
from hwmodels.ops import (
    Add,
    Depthwise,
    Duplicate,
    Folding,
    MatVec,
    Network,
    Numerics,
    Operator,
    Pool,
    Requantize,
    Window,
)
from hwmodels.options import CostOptions
from hwmodels.primitives.elementwise import pool_sum_bits
from hwmodels.primitives.operands import fixed_point_bits
from hwmodels.report import CostLine, CostReport

_BYTE = 8


def finn_network_cost(
    network: Network,
    numerics: Numerics,
    device: Device,
    options: CostOptions,
    target: int,
    *,
    max_weight_stream_bits: int = FINN_EXAMPLES_WEIGHT_STREAM_BITS,
) -> CostReport:
    """The cost of `network`, folded by FINN's SetFolding so that every operator takes fewer than `target` cycles if it can.

    Args:
        target: cycles per frame; FINN does not refuse one that is out of reach, it folds for the slowest operator's.
        max_weight_stream_bits: bits of weights that one PE may take per cycle.

    Raises:
        CostError: a format that FINN does not have.
        FinnModelError: a target below 1, or a layer that FINN cannot fold.
    """
    refuse_foreign(network)
    named = list(_units(network, numerics, device, options))
    folded = fold([unit for _, _, unit in named], target, max_weight_stream_bits=max_weight_stream_bits)
    foldings = {
        name: Folding(unit.pe, unit.simd)
        for (name, _, _), unit in zip(named, folded, strict=True)
        if isinstance(unit, Mvau | Vvau)
    }
    report = estimate(network, numerics, foldings, device, options)  # for the cycles until the first output
    lines = tuple(
        CostLine.of(name, finn_cost(label, unit)) for (name, label, _), unit in zip(named, folded, strict=True)
    )
    cycles = {name: unit.cycles() for (name, _, _), unit in zip(named, folded, strict=True)}
    return replace(report, lines=lines, cycles=cycles)


def _units(
    network: Network, numerics: Numerics, device: Device, options: CostOptions
) -> Iterator[tuple[str, str, FinnOperator]]:
    """(operator, FINN's name, FINN's operator without parallelism) of everything that FINN keeps as a unit of its own."""
    windows = {op.layer: op for op in network.operators if isinstance(op, Window)}
    outputs = {op.source: op for op in network.operators if isinstance(op, Requantize)}
    types = {site: finn_type(site, numerics.sites[site]) for site in network.sites}
    sources = {op.name: op for op in network.operators}
    for op in network.operators:
        match op:
            case Window() if _is_streaming_max_pool(sources[op.layer], op):
                continue
            case MatVec() | Depthwise():
                path, last = numerics.datapath(op, options.multiplier), op.name not in outputs
                if last:
                    whole_bytes = -(-path.accumulator.bits // _BYTE) * _BYTE
                    path = replace(path, accumulator=Accumulator(whole_bytes))
                output = None if last else types[outputs[op.name].site]
                unit = compute_unit(op, path, Folding(), device, options, output, windows.get(op.name))
                yield op.name, unit_name(unit), unit
            case Window():
                yield op.name, "ConvolutionInputGenerator_rtl", window_unit(op, types[op.site], 1, parallel=False)
            case Requantize():
                source = sources[op.source]
                if isinstance(source, MatVec | Depthwise):
                    continue  # the thresholds inside that unit
                yield op.name, "Thresholding_rtl", threshold_unit(op, 1, source_bits(source, numerics), types[op.site])
            case Pool():
                yield op.name, *_pool_unit(op, windows.get(op.name))
            case Add() | Duplicate():
                yield op.name, *uncosted_unit(op, 1)


def source_bits(source: Operator, numerics: Numerics) -> int:
    """Width of what stand-alone thresholds behind `source` read."""
    fmt = numerics.sites[source.site].format
    match source:
        case Add():
            return fixed_point_bits(fmt) + 1
        case Pool():
            return pool_sum_bits(fmt, source.window, source.kind)
        case _:
            return fixed_point_bits(fmt)


def _pool_unit(op: Pool, window: Window | None) -> tuple[str, FinnOperator]:
    """(FINN's name, unit) of a pool; `window` is the window generator in front of it in our network."""
    if _is_streaming_max_pool(op, window):
        image, kernel = (window.input_size, window.kernel) if window else ((1, op.window), (1, op.window))
        return "StreamingMaxPool_hls", StreamingMaxPool(channels=op.channels, in_dim=image, kernel=kernel)
    if window is None:
        mean = ChannelStream(
            op="GlobalAccPool_hls",
            parallel_name="PE",
            parallel=1,
            channels=op.channels,
            pixels=op.window,
            extra_pixels=1,  # the sums leave after the last pixel
        )
        return mean.op, mean
    return uncosted_unit(op, 1)


def _is_streaming_max_pool(op: Operator, window: Window | None) -> bool:
    """Whether `op` is a maximum over the whole image (no window) or over windows that do not overlap."""
    return isinstance(op, Pool) and op.kind == "max" and (window is None or window.kernel == window.stride)
