"""A network as the nodes that FINN's compiler makes of it, under the names that FINN gives them.

FINN numbers the nodes of a kind in the order of its graph, which it sorts by depth: the nodes that wait for the input alone
first, then those that wait for them, and so on. So a short branch of a residual block is numbered before a long one.

Names, kinds and order are those of finn-plus 1.6.1 (recorded in ``tests/golden/finn/nodes_finn-plus_1.6.1.json``). FINN v0.10.1
calls ElementwiseAdd AddStreams and has no zero padding in front of the names of windows; both number alike.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from hwmodels import dataflow
from hwmodels.dataflow import Lanes
from hwmodels.datapath import Accumulator, Multiplier
from hwmodels.devices import Device
from hwmodels.finn.folding import fold
from hwmodels.finn.mvau import Mvau
from hwmodels.finn.operators import FinnOperator
from hwmodels.finn.thresholding import ThresholdingRtl
from hwmodels.finn.uncosted import ChannelStream
from hwmodels.finn.uncosted import Pool as FinnPool
from hwmodels.finn.vvau import Vvau
from hwmodels.finn.window_rtl import WindowRtl
from hwmodels.finn_mode import compute_unit, finn_type, refuse_foreign, threshold_unit, unit_name, window_unit
from hwmodels.finn_network import source_bits
from hwmodels.ops import (
    Add,
    Depthwise,
    Duplicate,
    Folding,
    MatVec,
    Network,
    Numerics,
    Operator,
    Pad,
    Pool,
    Requantize,
    Window,
)
from hwmodels.options import CostOptions

_BYTE = 8


@dataclass(frozen=True)
class FinnNode:
    """One node.

    Attributes:
        name: FINN's, once it is known whether HLS or RTL makes it (``MVAU_hls_0``).
        early_name: before that (``MVAU_0``).
        operator: the name of our operator.
        unit: its sizes and parallelism, which also answer FINN v0.10.1's estimates.
    """

    name: str
    early_name: str
    operator: str
    unit: FinnOperator

    @property
    def backend(self) -> str:
        """hls or rtl."""
        return self.name.rsplit("_", 2)[1]


@dataclass(frozen=True)
class _Made:
    kind: str
    operator: str
    unit: FinnOperator


def finn_nodes(
    network: Network,
    numerics: Numerics,
    device: Device,
    options: CostOptions,
    *,
    foldings: Mapping[str, Folding] | int,
) -> tuple[FinnNode, ...]:
    """The nodes of a network in FINN's order.

    Args:
        foldings: PE and SIMD of every layer with weights, to which everything else is made to keep up; or the cycles per frame
            for which FINN's own SetFolding chooses all of them.

    With LUT multipliers and given foldings all units with weights are HLS units, since FINN's RTL units multiply in DSP slices;
    else it is as FINN prefers.

    Raises:
        CostError: a format or an operator that FINN does not have.
        FinnModelError: a folding that does not divide.
    """
    refuse_foreign(network)
    made = list(_units(network, numerics, device, options))
    if isinstance(foldings, int):
        units = fold([part.unit for part in made], foldings)
        made = [replace(part, unit=unit) for part, unit in zip(made, units, strict=True)]
    else:
        made = list(_widened(network, made, foldings, options))
    levels = _levels(network, {part.operator for part in made})
    made.sort(key=lambda part: levels[part.operator])  # stable: equal depths stay in the order of the data
    early: Counter[str] = Counter()
    late: Counter[str] = Counter()
    nodes = []
    for part in made:
        bare = part.kind.rsplit("_", 1)[0]
        nodes.append(FinnNode(f"{part.kind}_{late[part.kind]}", f"{bare}_{early[bare]}", part.operator, part.unit))
        late[part.kind] += 1
        early[bare] += 1
    return tuple(nodes)


def _units(network: Network, numerics: Numerics, device: Device, options: CostOptions) -> Iterator[_Made]:
    """Every node without parallelism, in the order of the data."""
    windows = {op.layer: op for op in network.operators if isinstance(op, Window)}
    outputs = {op.source: op for op in network.operators if isinstance(op, Requantize)}
    types = {site: finn_type(site, numerics.sites[site]) for site in network.sites}
    operators = {op.name: op for op in network.operators}
    for op in network.operators:
        match op:
            case MatVec() | Depthwise():
                path, last = numerics.datapath(op, options.multiplier), op.name not in outputs
                if last:  # its sums leave the accelerator in whole bytes
                    path = replace(path, accumulator=Accumulator(-(-path.accumulator.bits // _BYTE) * _BYTE))
                output = None if last else types[outputs[op.name].site]
                unit = compute_unit(op, path, Folding(), device, options, output, windows.get(op.name))
                yield _Made(unit_name(unit), op.name, unit)
            case Pad():
                yield _Made("FMPadding_rtl", op.name, _stream("FMPadding_rtl", "SIMD", op.channels, op.vectors))
            case Window():
                yield _Made(
                    "ConvolutionInputGenerator_rtl", op.name, window_unit(op, types[op.site], 1, parallel=False)
                )
            case Requantize():
                source = operators[op.source]
                if not isinstance(source, MatVec | Depthwise):
                    unit_bits = source_bits(source, numerics)
                    yield _Made("Thresholding_rtl", op.name, threshold_unit(op, 1, unit_bits, types[op.site]))
            case Pool() if op.name in windows:
                pooled = FinnPool(
                    channels=op.channels, kernel=windows[op.name].kernel, out_dim=windows[op.name].output_size
                )
                yield _Made("Pool_hls", op.name, pooled)
            case Pool():
                sums = _stream("GlobalAccPool_hls", "PE", op.channels, op.window, extra_pixels=1)
                yield _Made("GlobalAccPool_hls", op.name, sums)
            case Add():
                yield _Made("ElementwiseAdd_hls", op.name, _stream("ElementwiseAdd_hls", "PE", op.channels, op.vectors))
            case Duplicate():
                yield _Made(
                    "DuplicateStreams_hls", op.name, _stream("DuplicateStreams_hls", "PE", op.channels, op.vectors)
                )


def _stream(op: str, parallel_name: str, channels: int, pixels: int, extra_pixels: int = 0) -> ChannelStream:
    return ChannelStream(
        op=op, parallel_name=parallel_name, parallel=1, channels=channels, pixels=pixels, extra_pixels=extra_pixels
    )


def _widened(
    network: Network, made: list[_Made], foldings: Mapping[str, Folding], options: CostOptions
) -> Iterator[_Made]:
    """The nodes with the given foldings; those without weights as wide as they must be to keep up with the slowest layer."""
    operators = {op.name: op for op in network.operators}
    windows = {op.layer: op for op in network.operators if isinstance(op, Window)}
    target = max(dataflow.layer_cycles(op, windows.get(op.name), foldings[op.name]) for op in network.compute)
    for part in made:
        op, unit = operators.get(part.operator), part.unit
        match unit:
            case Mvau() | Vvau():
                folding = foldings[part.operator]
                backend = "hls" if options.multiplier is Multiplier.LUT else unit.backend
                unit = replace(unit, pe=folding.pe, simd=folding.simd, backend=backend)
                yield _Made(unit_name(unit), part.operator, unit)
            case WindowRtl():
                assert isinstance(op, Window)
                lanes = _window_lanes(op, operators[op.layer], foldings, target)
                yield replace(part, unit=replace(unit, simd=lanes.count, parallel_window=lanes.parallel))
            case ThresholdingRtl():
                assert isinstance(op, Requantize)
                yield replace(part, unit=replace(unit, pe=dataflow.free_lanes(op, target).count))
            case FinnPool():
                assert isinstance(op, Pool)
                lanes = _window_lanes(windows[op.name], op, foldings, target)
                yield replace(part, unit=replace(unit, pe=lanes.count))
            case ChannelStream():
                lanes = dataflow.channel_lanes(unit.channels, unit.pixels + unit.extra_pixels, target)
                yield replace(part, unit=replace(unit, parallel=lanes.count))
            case _:
                raise AssertionError(f"{part.kind} is not made here")


def _window_lanes(window: Window, reader: Operator, foldings: Mapping[str, Folding], target: int) -> Lanes:
    """How wide a window generator runs. In front of depthwise layers and of pools it takes as many channels at a time as they do,
    since it gives all pixels of those before it goes on: no width converter could put them in another order.
    """
    if isinstance(reader, Pool):
        pooled = dataflow.free_lanes(reader, target).count
        return Lanes(max(pooled, dataflow.free_lanes(window, target).count))
    if window.depthwise:
        return dataflow.depthwise_lanes(foldings[window.layer])
    return dataflow.free_lanes(window, target)


def _levels(network: Network, nodes: set[str]) -> dict[str, int]:
    """How many nodes stand on the longest way from the input to each node, itself included."""
    levels: dict[str, int] = {}
    for op in network.operators:
        level = max((levels[name] for name in dataflow.inputs(network)[op.name]), default=0)
        levels[op.name] = level + (op.name in nodes)
    return levels
