"""What a network costs on a part: the only place that sums.

The calibrated model costs every operator and every stream between them; the finn model repeats FINN v0.10.1's estimates.
Not counted in either: the shell that moves data on and off the chip (about 1,000 LUT per DMA engine in FINN's CNV), zero
padding in front of windows, a converter of the input where it does not arrive in its site's format, scale and bias of the
last layer (its sums leave the chip), and what placement and routing change.

A stream between operators passes a FIFO of the least depth, and a width converter where the two widths differ. Three
pairs are one unit and have no FIFO: a window and its layer, and whatever feeds a requantizer. The earlier of the two
streams into a residual add waits in a deeper FIFO: ceil(difference of first-output cycles * words per frame / interval)
words, since it keeps producing at the frame rate while the other branch fills (derived).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from hwmodels import dataflow, finn_mode
from hwmodels.compute_cost import compute_costs, sum_bits
from hwmodels.dataflow import Lanes
from hwmodels.datapath import Datapath, Granularity, Multiplier, ScaleKind
from hwmodels.devices import Device
from hwmodels.ops import (
    Add,
    Compute,
    Depthwise,
    Duplicate,
    Folding,
    MatVec,
    Network,
    Numerics,
    Operator,
    Pool,
    Requantize,
    ShapeError,
    Window,
)
from hwmodels.options import CostModel, CostOptions
from hwmodels.primitives.cost import Cost
from hwmodels.primitives.elementwise import add, pool, pool_sum_bits
from hwmodels.primitives.memory import MemoryStyle
from hwmodels.primitives.operands import fixed_point_bits
from hwmodels.primitives.requantize import Rescale, requantize
from hwmodels.primitives.stream import MINIMUM_DEPTH, duplicate, fifo, width_converter
from hwmodels.primitives.window import window
from hwmodels.report import CostError, CostLine, CostReport

__all__ = ["CostError", "CostLine", "CostModel", "CostOptions", "CostReport", "estimate", "estimate_operator"]


def estimate(
    network: Network,
    numerics: Numerics,
    foldings: Mapping[str, Folding],
    device: Device,
    options: CostOptions | None = None,
) -> CostReport:
    """The cost of `network`: resources line by line, cycles of every operator.

    Args:
        foldings: PE and SIMD of every layer with weights, by name. Everything else is made wide enough to keep up.
        options: default: calibrated, LUT multipliers, memories of what is cheapest on the part.

    Raises:
        ShapeError: a layer without folding or format, or a folding that does not divide it.
        CostError: the finn model and a format that FINN does not have.
        DatapathError: DSP multipliers and a minifloat.
        MemoryStyleError: URAM on a part without.
    """
    options = options or CostOptions()
    for op in network.compute:
        if op.name not in foldings:
            raise ShapeError(f"every layer with weights must have a folding, but {op.name!r} has none.")
    build = _Build.of(network, numerics, foldings, device, options)
    if options.model is CostModel.FINN:
        sums = {op.name: build.sum_bits(op) for op in network.operators}
        costs = finn_mode.network_costs(
            network, numerics, build.datapaths, foldings, build.lanes, sums, device=device, options=options
        )
        finn_lines = tuple(CostLine.of(name, cost) for name, cost, _ in costs)
        cycles = {name: count for name, _, count in costs}
        return CostReport(options.model.value, device.name, finn_lines, cycles, build.fill)
    return CostReport(options.model.value, device.name, tuple(build.calibrated_lines()), build.cycles, build.fill)


def estimate_operator(
    op: Compute, datapath: Datapath, folding: Folding, device: Device, options: CostOptions | None = None
) -> CostReport:
    """The cost of one layer with weights by itself: no window, no requantizer, no streams.

    Raises:
        As :func:`estimate`.
    """
    options = options or CostOptions()
    folding.check(op)
    if options.multiplier is not datapath.multiplier:
        datapath = replace(datapath, multiplier=options.multiplier)
    if options.model is CostModel.FINN:
        unit = finn_mode.compute_unit(op, datapath, folding, device, options, None, None)
        costs: tuple[Cost, ...] = (finn_mode.finn_cost(finn_mode.unit_name(unit), unit),)
    else:
        costs = compute_costs(op, datapath, folding, device, options)
    lines = tuple(CostLine.of(op.name, cost) for cost in costs)
    cycles = folding.cycles(op)
    return CostReport(options.model.value, device.name, lines, {op.name: cycles}, -(-cycles // op.vectors))


@dataclass(frozen=True, slots=True)
class _Stream:
    """What leaves an operator: values per cycle, bits of each, values per frame."""

    lanes: int
    bits: int
    values: int

    @property
    def width(self) -> int:
        return self.lanes * self.bits


@dataclass(frozen=True)
class _Build:
    """One estimate in progress: everything derived from the arguments once."""

    network: Network
    numerics: Numerics
    foldings: Mapping[str, Folding]
    device: Device
    options: CostOptions
    datapaths: Mapping[str, Datapath]
    lanes: Mapping[str, Lanes]
    cycles: Mapping[str, int]
    ready: Mapping[str, int]

    @classmethod
    def of(
        cls,
        network: Network,
        numerics: Numerics,
        foldings: Mapping[str, Folding],
        device: Device,
        options: CostOptions,
    ) -> _Build:
        datapaths = {op.name: numerics.datapath(op, options.multiplier) for op in network.compute}
        for site in network.sites:
            if site not in numerics.sites:
                raise ShapeError(f"every site must have a format, but {site!r} has none.")
        target = dataflow.weights_cycles(network, foldings)
        lanes = {op.name: dataflow.operator_lanes(op, foldings, target) for op in network.operators}
        cycles = {op.name: dataflow.operator_cycles(op, foldings, lanes[op.name]) for op in network.operators}
        interval, feeds = max(cycles.values(), default=1), dataflow.inputs(network)
        ready: dict[str, int] = {}
        for op in network.operators:
            start = max((ready[name] for name in feeds[op.name]), default=0)
            ready[op.name] = start + dataflow.fill_cycles(op, cycles[op.name], interval)
        return cls(network, numerics, foldings, device, options, datapaths, lanes, cycles, ready)

    @property
    def fill(self) -> int:
        """Cycles until the last operator gives its first output."""
        return max(self.ready.values(), default=0)

    def _bits(self, site: str) -> int:
        return self.numerics.sites[site].bits

    def sum_bits(self, op: Operator) -> int:
        """Width of the integer that a requantizer behind `op` reads."""
        match op:
            case MatVec() | Depthwise():
                return sum_bits(op, self.datapaths[op.name])
            case Add():
                return fixed_point_bits(self.numerics.sites[op.site].format) + 1
            case Pool():
                return pool_sum_bits(self.numerics.sites[op.site].format, op.window, op.kind)
            case Window() | Requantize() | Duplicate():
                return fixed_point_bits(self.numerics.sites[op.site].format)

    def _output(self, op: Operator) -> _Stream:
        lanes = self.lanes[op.name].count
        match op:
            case MatVec() | Depthwise():
                return _Stream(lanes, self.sum_bits(op), op.rows * op.vectors)
            case Window():
                taps = op.kernel[0] * op.kernel[1]
                whole = taps if self.lanes[op.name].parallel else 1
                pixels = op.output_size[0] * op.output_size[1]
                return _Stream(lanes * whole, self._bits(op.site), op.channels * taps * pixels)
            case Add() | Pool():
                return _Stream(lanes, self.sum_bits(op), op.channels * op.vectors)
            case Requantize() | Duplicate():
                return _Stream(lanes, self._bits(op.site), op.channels * op.vectors)

    def _input_lanes(self, op: Operator) -> int:
        """Values per cycle that `op` reads from each of its inputs."""
        match op:
            case MatVec():
                return self.foldings[op.name].simd
            case Depthwise():
                return self.foldings[op.name].pe * self.foldings[op.name].simd
            case Window() | Requantize() | Add() | Pool() | Duplicate():
                return self.lanes[op.name].count

    def calibrated_lines(self) -> list[CostLine]:
        """One operator after the other: the streams into it, then the operator."""
        operators = {op.name: op for op in self.network.operators}
        feeds = dataflow.inputs(self.network)
        lines: list[CostLine] = []
        for op in self.network.operators:
            costs: list[Cost] = []
            producers = [operators[name] for name in feeds[op.name]]
            for producer in producers:
                costs += self._stream(producer, op, slack=self._slack(producer, producers))
            costs += self._operator(op, operators)
            lines += [CostLine.of(op.name, cost) for cost in costs]
        return lines

    def _slack(self, producer: Operator, producers: list[Operator]) -> int:
        """Cycles by which `producer` gives its first output before the last of the operators it is joined with."""
        return max(self.ready[other.name] for other in producers) - self.ready[producer.name]

    def _stream(self, producer: Operator, consumer: Operator, slack: int) -> list[Cost]:
        """The FIFO (at the narrower side) and the width converter of one edge."""
        stream = self._output(producer)
        wanted = self._input_lanes(consumer) * stream.bits
        costs: list[Cost] = []
        fused = isinstance(consumer, Requantize) or isinstance(producer, Window)
        if not fused:
            width = min(stream.width, wanted)
            words = -(-stream.values * stream.bits // width)
            waiting = -(-slack * words // max(self.cycles.values()))
            depth = MINIMUM_DEPTH + waiting
            name = "residual FIFO" if waiting else "FIFO"
            costs.append(fifo(name, depth, width, MemoryStyle.AUTO, self.device.resources))
        if stream.width != wanted:
            costs.append(width_converter(stream.width, wanted))
        return costs

    def _operator(self, op: Operator, operators: Mapping[str, Operator]) -> tuple[Cost, ...]:
        lanes, family = self.lanes[op.name], self.device.family.value
        match op:
            case MatVec() | Depthwise():
                return compute_costs(op, self.datapaths[op.name], self.foldings[op.name], self.device, self.options)
            case Window():
                shape, bits = dataflow.window_shape(op), self._bits(op.site)
                resources = self.device.resources
                return (window(shape, bits, lanes.count, lanes.parallel, MemoryStyle.AUTO, resources),)
            case Requantize():
                source, output = operators[op.source], self.numerics.sites[op.site]
                if output.scaling.granularity is Granularity.GROUP:
                    raise CostError(
                        f"activations that are requantized must have tensor or channel scales, but site {op.site!r} has "
                        f"{output}; give the group scale to the weights."
                    )
                rescale = self._rescale(source, op)
                bits = self.sum_bits(source)
                return (
                    requantize(
                        bits,
                        output.format,
                        op.channels,
                        lanes.count,
                        rescale,
                        passes=lanes.passes,
                        family=family,
                        capacity=self.device.resources,
                    ),
                )
            case Add():
                return (add(self.numerics.sites[op.site].format, lanes.count, family),)
            case Pool():
                fmt, row = self.numerics.sites[op.site].format, dataflow.pool_row(op)
                return (pool(fmt, op.channels, op.window, row, op.kind, lanes.count, family),)
            case Duplicate():
                return (duplicate(lanes.count * self._bits(op.site), op.copies),)

    def _rescale(self, source: Operator, op: Requantize) -> Rescale:
        """The scale of the source's sums over that of the site: a product of weight, input and output scales."""
        scalings = [self.numerics.sites[op.site].scaling, self.numerics.sites[source.site].scaling]
        if isinstance(source, MatVec | Depthwise):
            scalings.append(self.datapaths[source.name].weight.scaling)
        return Rescale(
            power_of_two=all(scaling.kind is ScaleKind.POWER_OF_TWO for scaling in scalings),
            per_channel=any(scaling.granularity is not Granularity.TENSOR for scaling in scalings),
            dsp=self.device.dsp if self.options.multiplier is Multiplier.DSP else None,
        )
