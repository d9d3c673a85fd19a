"""The operators of a network joined to an accelerator: how wide each runs, and when each gives its first output.

Everything here is a :class:`~hwmodels.varying.Varying`: it may differ from design point to design point. A single estimate is
the case in which nothing varies; :mod:`hwmodels.vector` is the other.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from functools import reduce
from operator import attrgetter

from hwmodels import dataflow
from hwmodels.compute_cost import sum_bits
from hwmodels.dataflow import Lanes
from hwmodels.datapath import Datapath, TensorQuant
from hwmodels.devices import Device
from hwmodels.image_operators import SCORES
from hwmodels.moments import Moment, latest
from hwmodels.ops import (
    Add,
    Compute,
    Depthwise,
    Duplicate,
    Folding,
    LabelSelect,
    LayerNumerics,
    Lookup,
    MatMul,
    MatVec,
    Multiply,
    Network,
    Normalize,
    Numerics,
    Operator,
    Pad,
    Pixels,
    Pool,
    Requantize,
    Rope,
    Rotate,
    ShapeError,
    Softmax,
    Table,
    Window,
)
from hwmodels.options import CostModel, CostOptions, UnitStyle
from hwmodels.primitives.cost import ceil_log2
from hwmodels.primitives.elementwise import pool_sum_bits
from hwmodels.primitives.hadamard import rotated_bits
from hwmodels.primitives.operands import fixed_point_bits
from hwmodels.primitives.transformer import FRACTION_BITS, normalize_bits, product_bits, rope_bits
from hwmodels.uncosted import refuse_uncosted
from hwmodels.varying import Varying, derive, highest


def require_choices(network: Network, numerics: Numerics, foldings: Container[str]) -> None:
    """Refuse a layer without folding or format, a site without format, and scales that are not modelled.

    Raises:
        ShapeError, CostError: names it.
    """
    for op in network.compute:
        if op.name not in foldings:
            raise ShapeError(f"every layer with weights must have a folding, but {op.name!r} has none.")
        if op.name not in numerics.layers or op.site not in numerics.sites:
            raise ShapeError(f"layer {op.name!r} with input site {op.site!r} must have formats, but none were given.")
        stored = numerics.sites.get(op.stored) if isinstance(op, MatMul) else None
        if stored is not None and stored != numerics.layers[op.name].weight:
            raise ShapeError(
                f"the matrices of {op.name!r} are the tensor of a site and must have its format {stored}, but got "
                f"{numerics.layers[op.name].weight}."
            )
    for site in network.sites:
        if site not in numerics.sites:
            raise ShapeError(f"every site must have a format, but {site!r} has none.")
    refuse_uncosted(network, numerics)


class Pacing:
    """How wide the operators of a network run, and when.

    Args:
        sites: format of every site.
        layers: weights and accumulator of every layer with weights.
        foldings: of every layer with weights; each depends on one choice at most.
        target: cycles per frame that operators without folding are made for; None: those of the slowest layer.

    Attributes:
        datapaths: of every layer with weights.
        lanes: how wide every operator runs.
        cycles: per frame, of every operator.
        slowest: the choice of the slowest layer's cycles, which follows from all foldings; None where nothing varies.
        interval: cycles of the slowest operator.
        ready: when every operator gives its first output.
    """

    def __init__(
        self,
        network: Network,
        sites: Mapping[str, Varying[TensorQuant]],
        layers: Mapping[str, Varying[LayerNumerics]],
        foldings: Mapping[str, Varying[Folding]],
        device: Device,
        options: CostOptions,
        target: int | None = None,
    ) -> None:
        self.network, self.sites, self.foldings, self.device, self.options = network, sites, foldings, device, options
        self.operators = {op.name: op for op in network.operators}
        self.feeds = dataflow.inputs(network)
        self.datapaths = {op.name: self._datapath(op, layers[op.name]) for op in network.compute}
        aim = Varying((target,)) if target is not None else self._slowest_layer()
        self.slowest = next(iter(aim.classes), None)
        self.lanes = {op.name: self._lanes(op, aim) for op in network.operators}
        self.cycles = {op.name: self._cycles(op) for op in network.operators}
        free = [self.cycles[op.name] for op in network.operators if not self._is_folded(op)]
        self.interval = reduce(lambda a, b: derive(max, a, b), free, aim)
        self.ready: dict[str, Moment] = {}
        for op in network.operators:
            start = latest([self.ready[name] for name in self.feeds[op.name]])
            self.ready[op.name] = start.after(self._fill(op))

    def _slowest_layer(self) -> Varying[int]:
        """The most cycles of any layer with weights, or of a depthwise layer's window."""
        windows = {op.layer: op for op in self.network.operators if isinstance(op, Window)}
        cycles = [
            derive(
                lambda folding, op=op: dataflow.layer_cycles(op, windows.get(op.name), folding), self.foldings[op.name]
            )
            for op in self.network.compute
        ]
        return highest([Varying((1,)), *cycles])

    def _datapath(self, op: Compute, layer: Varying[LayerNumerics]) -> Varying[Datapath]:
        multiplier = self.options.multiplier
        return derive(
            lambda numerics, quant: Datapath(numerics.weight, quant, numerics.accumulator, multiplier),
            layer,
            self.sites[op.site],
        )

    def _is_folded(self, op: Operator) -> bool:
        """Whether a folding decides how wide `op` runs: layers with weights, windows of depthwise ones (a pool's is free)."""
        is_window = isinstance(op, Window) and op.depthwise and op.layer in self.foldings
        return op.name in self.foldings or is_window or self.is_inside(op)

    def is_inside(self, op: Operator) -> bool:
        """Whether `op` requantizes inside an HLS unit with weights, one lane for each of its rows."""
        is_hls = self.options.model is CostModel.CALIBRATED and self.options.units is UnitStyle.HLS
        return is_hls and isinstance(op, Requantize) and op.source in self.foldings and op.site != SCORES

    def _lanes(self, op: Operator, target: Varying[int]) -> Varying[Lanes]:
        match op:
            case MatVec() | Depthwise():
                return derive(lambda folding: Lanes(folding.pe), self.foldings[op.name])
            case Window() if self._is_folded(op):
                return derive(dataflow.depthwise_lanes, self.foldings[op.layer])
            case Requantize() if self.is_inside(op):
                return derive(lambda folding: Lanes(folding.pe), self.foldings[op.source])
            case _:
                return derive(lambda cycles: dataflow.free_lanes(op, cycles), target)

    def _cycles(self, op: Operator) -> Varying[int]:
        match op:
            case MatVec() | Depthwise():
                return derive(lambda folding: folding.cycles(op), self.foldings[op.name])
            case _:
                return derive(lambda lanes: dataflow.free_cycles(op, lanes), self.lanes[op.name])

    def _fill(self, op: Operator) -> Varying[int]:
        """Cycles from the first input of `op` to its first output."""
        match op:
            case Window() | Pool():
                return derive(lambda interval: dataflow.collecting_cycles(op, interval), self.interval)
            case _:  # one vector, or all channels
                return derive(lambda cycles: -(-cycles // op.vectors), self.cycles[op.name])

    def count(self, op: Operator) -> Varying[int]:
        """Values per cycle."""
        return derive(attrgetter("count"), self.lanes[op.name])

    def bits(self, site: str) -> Varying[int]:
        """Stored bits of a value of a site."""
        return derive(attrgetter("bits"), self.sites[site])

    def sum_bits(self, op: Operator) -> Varying[int]:
        """Width of the integer that a requantizer behind `op` reads."""
        bits: Varying[int]
        match op:
            case MatVec() | Depthwise():
                bits = derive(lambda path: sum_bits(op, path), self.datapaths[op.name])
            case Add():
                bits = derive(lambda quant: fixed_point_bits(quant.format) + 1, self.sites[op.site])
            case Pool():
                bits = derive(lambda quant: pool_sum_bits(quant.format, op.window, op.kind), self.sites[op.site])
            case Normalize():
                bits = Varying((normalize_bits(op.channels),))
            case Softmax():
                bits = Varying((FRACTION_BITS,))
            case Rope():
                bits = derive(lambda quant: rope_bits(quant.format), self.sites[op.site])
            case Rotate():
                bits = derive(lambda quant: rotated_bits(quant.format, op.block), self.sites[op.site])
            case Multiply():
                bits = derive(
                    lambda first, second: product_bits(first.format, second.format),
                    self.sites[op.site],
                    self.sites[op.second],
                )
            case LabelSelect():
                bits = Varying((ceil_log2(op.channels),))
            case Table():
                bits = derive(lambda quant: fixed_point_bits(quant.format), self.sites[op.output])
            case Window() | Pad() | Pixels() | Requantize() | Duplicate() | Lookup():
                bits = derive(lambda quant: fixed_point_bits(quant.format), self.sites[op.site])
        return bits
