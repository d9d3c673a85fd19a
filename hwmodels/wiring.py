"""What an accelerator consists of and what each part costs: operators, and the streams between them.

A stream between operators passes a FIFO of the least depth, and a width converter where the two widths differ. Three
pairs are one unit and have no FIFO: a window and its layer, and whatever feeds a requantizer. The earlier of the two
streams into a residual add waits in a deeper FIFO: ceil(difference of first-output cycles * words per frame / interval)
words, since it keeps producing at the frame rate while the other branch fills (derived).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from operator import attrgetter, mul
from typing import TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from hwmodels.compute_cost import compute_costs
from hwmodels.datapath import Granularity, Multiplier, ScaleKind, Scaling
from hwmodels.devices import Device
from hwmodels.image_operators import PIXEL_BITS
from hwmodels.moments import Lead, lead
from hwmodels.operators import other_sites
from hwmodels.ops import (
    Compute,
    Depthwise,
    Duplicate,
    Lookup,
    MatMul,
    MatVec,
    Norm,
    Normalize,
    Operator,
    Pad,
    Pixels,
    Requantize,
    Rotate,
    Table,
    Window,
)
from hwmodels.options import UnitStyle
from hwmodels.pacing import Pacing, require_choices
from hwmodels.primitives.cost import Cost
from hwmodels.primitives.dsp_packing import DspBlock
from hwmodels.primitives.finn_stream import finn_fifo, finn_width_converter
from hwmodels.primitives.hls import parallel_thresholds
from hwmodels.primitives.memory import MemoryStyle
from hwmodels.primitives.requantize import Rescale
from hwmodels.primitives.shell import shell
from hwmodels.primitives.stream import MINIMUM_DEPTH, fifo, width_converter
from hwmodels.requantize_cost import finds_maximum, requantize_costs, ungrouped
from hwmodels.stream_unit import stream_unit_cost
from hwmodels.varying import Varying, derive

__all__ = ["Component", "Waiting", "Wiring", "require_choices", "waiting_fifo", "waiting_words"]

Costs: TypeAlias = tuple[Cost, ...]
Whole = TypeVar("Whole", int, NDArray[np.int64])


@dataclass(frozen=True, eq=False)
class Component:
    """What costs something in the operator `layer`."""

    layer: str
    costs: Varying[Costs]


@dataclass(frozen=True, eq=False)
class Waiting:
    """The FIFO of a stream that comes `leads` cycles before others it is joined with, at most 0 if it is the last.

    Attributes:
        width: of a word, in bits.
        words: per frame.
    """

    layer: str
    leads: tuple[Lead, ...]
    width: Varying[int]
    words: Varying[int]


@dataclass(frozen=True, eq=False)
class _Stream:
    """What leaves an operator: values per cycle, bits of each, values per frame."""

    lanes: Varying[int]
    bits: Varying[int]
    values: int


class Wiring(Pacing):
    """The accelerator of a network; arguments and attributes as of :class:`~hwmodels.pacing.Pacing`."""

    @cached_property
    def _known(self) -> dict[Compute, dict[Hashable, Sequence[Costs]]]:
        """What layers cost, by shape."""
        return {}

    def _output(self, op: Operator) -> _Stream:
        match op:
            case MatVec() | Depthwise():
                return _Stream(self.count(op), self.sum_bits(op), op.rows * op.vectors)
            case Window():
                taps, pixels = op.kernel[0] * op.kernel[1], op.output_size[0] * op.output_size[1]
                lanes = derive(lambda lanes: lanes.count * (taps if lanes.parallel else 1), self.lanes[op.name])
                return _Stream(lanes, self.bits(op.site), op.channels * taps * pixels)
            case Pad() | Pixels() | Requantize() | Duplicate() | Lookup():
                return _Stream(self.count(op), self.bits(op.site), op.channels * op.vectors)
            case Table():
                return _Stream(self.count(op), self.bits(op.output), op.channels * op.vectors)
            case _:
                return _Stream(self.count(op), self.sum_bits(op), op.channels * op.vectors)

    def _input_lanes(self, op: Operator) -> Varying[int]:
        """Values per cycle that `op` reads from each of its inputs."""
        match op:
            case MatVec():
                return derive(attrgetter("simd"), self.foldings[op.name])
            case Depthwise():
                return derive(lambda folding: folding.pe * folding.simd, self.foldings[op.name])
            case _:
                return self.count(op)

    def components(self) -> Iterator[Component | Waiting]:
        """One operator after the other: the streams into it, then the operator; the shell if it is asked for."""
        for op in self.network.operators:
            producers = [self.operators[name] for name in self.feeds[op.name]]
            for place, producer in enumerate(producers):
                # what is stored is written as it comes, into memory instead of a FIFO
                stored = isinstance(op, MatMul) and place == 1
                leads = [lead(self.ready[producer.name], self.ready[other.name]) for other in producers if not stored]
                yield from self._stream(producer, op, tuple(each for each in leads if each.most > 0), stored)
            yield Component(op.name, self._operator(op))
        if self.options.shell:
            yield Component("shell", Varying((shell(),)))

    def _stream(
        self, producer: Operator, consumer: Operator, leads: tuple[Lead, ...], stored: bool
    ) -> Iterator[Component | Waiting]:
        """The FIFO (at the narrower side) and the width converter of one edge."""
        stream = self._output(producer)
        convert = finn_width_converter if self.options.units is UnitStyle.HLS else width_converter
        width = derive(mul, stream.lanes, stream.bits)
        wanted = width if stored else derive(mul, self._input_lanes(consumer), stream.bits)
        fused = isinstance(consumer, Requantize) or isinstance(producer, Window)
        if not fused:
            narrow = derive(min, width, wanted)
            if leads:
                words = derive(lambda bits, width: -(-stream.values * bits // width), stream.bits, narrow)
                yield Waiting(consumer.name, leads, narrow, words)
            else:
                yield Component(
                    consumer.name,
                    derive(lambda bits: (waiting_fifo(0, bits, self.device, self.options.units),), narrow),
                )
        yield Component(
            consumer.name,
            derive(lambda given, taken: () if given == taken else (convert(given, taken),), width, wanted),
        )

    def _operator(self, op: Operator) -> Varying[Costs]:
        match op:
            case MatVec() | Depthwise():
                nameless = replace(op, name="", site="")  # layers of equal shape are costed once
                return derive(
                    lambda path, folding: compute_costs(nameless, path, folding, self.device, self.options),
                    self.datapaths[op.name],
                    self.foldings[op.name],
                    known=self._known.setdefault(nameless, {}),
                )
            case Requantize():
                return self._requantizer(op)
            case Pixels():
                scale = Rescale(power_of_two=False, per_channel=False, bias=False, dsp=self._slice)
                return derive(
                    lambda output, lanes: requantize_costs(
                        op, PIXEL_BITS, output, scale, lanes, self.device, self._slice
                    ),
                    self.sites[op.site],
                    self.lanes[op.name],
                )
            case _:
                return derive(
                    lambda lanes, *quants: (
                        stream_unit_cost(op, lanes, quants, self.device, self._slice, self.options.units),
                    ),
                    self.lanes[op.name],
                    *(self.sites[site] for site in (op.site, *other_sites(op))),
                )

    def _requantizer(self, op: Requantize) -> Varying[Costs]:
        source, lanes = self.operators[op.source], self.lanes[op.name]
        bits, output = self.sum_bits(source), self.sites[op.site]
        if self.is_inside(op):
            return derive(
                lambda bits, output, lanes: (
                    parallel_thresholds(bits, ungrouped(op, output).bits, op.channels // lanes.count, lanes.count),
                ),
                bits,
                output,
                lanes,
            )
        return derive(
            lambda bits, output, rescale, lanes: requantize_costs(
                op, bits, output, rescale, lanes, self.device, self._slice
            ),
            bits,
            output,
            self._rescale(source, op),
            lanes,
        )

    @property
    def _slice(self) -> DspBlock | None:
        """The slice that multiplies outside of layers with weights, or None for LUTs."""
        return self.device.dsp if self.options.multiplier is Multiplier.DSP else None

    def _rescale(self, source: Operator, op: Requantize) -> Varying[Rescale]:
        """The scale of the source's sums over that of the site: a product of weight, input and output scales.

        A layer with weights has a bias per channel (its own, or that of the normalization folded into it), a normalization a
        gain per channel, LayerNorm a bias as well. 1 / sqrt(block) of a rotation is no power of two where log2(block) is odd.
        A matrix whose columns have scales of their own (stored values, one per token) is multiplied with values that carry them:
        theirs is the output's scale per channel, and none is left behind the product.
        """
        gained = isinstance(source, Normalize)
        biased = isinstance(source, MatVec | Depthwise) and not isinstance(source, MatMul)
        biased |= isinstance(source, Normalize) and source.kind is Norm.LAYER
        even = not (isinstance(source, Rotate) and source.block.bit_length() % 2 == 0)
        quants = [self.sites[op.site], self.sites[source.site]]
        if isinstance(source, MatVec | Depthwise):
            quants.append(derive(attrgetter("weight"), self.datapaths[source.name]))

        def rescale(output: Scaling, *read: Scaling) -> Rescale:
            if isinstance(source, MatMul) and read[0].granularity is Granularity.CHANNEL:
                read = ()
            # the scale that an output is given as its values arise is not that of its requantizer
            scalings = read if finds_maximum(output) else (output, *read)
            constant = [scaling for scaling in scalings if not scaling.dynamic]
            return Rescale(
                power_of_two=even and all(scaling.kind is ScaleKind.POWER_OF_TWO for scaling in scalings),
                per_channel=gained or any(scaling.granularity is not Granularity.TENSOR for scaling in constant),
                bias=biased,
                dsp=self._slice,
                dynamic=len(constant) < len(scalings),
            )

        return derive(rescale, *(derive(attrgetter("scaling"), quant) for quant in quants))


def waiting_words(lead: Whole, words: Whole, interval: Whole) -> Whole:
    """Words of a stream that come in during its `lead` cycles, of `words` in the `interval` cycles of a frame."""
    return -(-lead * words // interval)


def waiting_fifo(words: int, width: int, device: Device, units: UnitStyle) -> Cost:
    """The FIFO in which `words` words of `width` bits wait: this project's, or FINN's (hls)."""
    name = "residual FIFO" if words else "FIFO"
    return (finn_fifo if units is UnitStyle.HLS else fifo)(
        name, MINIMUM_DEPTH + words, width, MemoryStyle.AUTO, device.resources
    )
