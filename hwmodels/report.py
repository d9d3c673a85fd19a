"""What an estimate returns: lines that say what costs what and why, cycles per operator, and what follows from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import inf
from types import MappingProxyType
from typing import Any

from hwmodels.devices import Device
from hwmodels.errors import BitfrontError
from hwmodels.primitives.cost import Cost, ErrorBand
from hwmodels.resources import Resources, Shortage


class CostError(BitfrontError):
    """Something that the chosen cost model cannot cost, or a question that a report cannot answer."""


@dataclass(frozen=True, slots=True)
class CostLine:
    """The resources of one component of one operator, with formula, source and error band.

    Attributes:
        layer: name of the operator (a FIFO or width converter belongs to the operator it feeds).
    """

    layer: str
    component: str
    resources: Resources
    formula: str
    source: str
    band: ErrorBand

    @staticmethod
    def of(layer: str, cost: Cost) -> CostLine:
        """`cost` as a line of `layer`."""
        return CostLine(layer, cost.component, cost.resources, cost.formula, cost.source, cost.band)

    def as_dict(self) -> dict[str, Any]:
        """A plain description for JSON."""
        return {
            "layer": self.layer,
            "component": self.component,
            **self.resources.as_dict(),
            "formula": self.formula,
            "source": self.source,
            "band": self.band.as_dict(),
        }


def _sum(lines: tuple[CostLine, ...]) -> Resources:
    """The sum of many lines at once, without a `Resources` in between for each of them."""
    parts = [line.resources for line in lines]
    return Resources(
        lut=sum(part.lut for part in parts),
        carry8=sum(part.carry8 for part in parts),
        ff=sum(part.ff for part in parts),
        dsp=sum(part.dsp for part in parts),
        bram18=sum(part.bram18 for part in parts),
        uram=sum(part.uram for part in parts),
    )


def _checked_clock(clock_mhz: float) -> float:
    if not 0 < clock_mhz < inf:
        raise CostError(f"a clock must be a positive number of MHz, but got clock_mhz={clock_mhz}.")
    return clock_mhz


@dataclass(frozen=True)
class CostReport:
    """The cost of a network or of one operator: `total` is the sum of `lines`, and nothing else is ever added.

    Attributes:
        model: calibrated or finn.
        device: short name of the part that the primitives are those of.
        cycles: clock cycles per frame of each operator by name; the slowest sets the frame rate.
        fill_cycles: cycles until the last operator on the longest path gives its first output.
        notes: what the reader must know of what is counted and what is not, one sentence each.
        weight_stream_bits: bits per cycle of weights that each layer with off-chip weights takes while it works, by name.
    """

    model: str
    device: str
    lines: tuple[CostLine, ...]
    cycles: Mapping[str, int]
    fill_cycles: int = 0
    notes: tuple[str, ...] = ()
    weight_stream_bits: Mapping[str, int] = field(default_factory=dict)

    @cached_property
    def total(self) -> Resources:
        """The sum of all lines."""
        return _sum(self.lines)

    def per_layer(self) -> Mapping[str, Resources]:
        """The sum of the lines of each operator, in dataflow order."""
        names = dict.fromkeys(line.layer for line in self.lines)
        return MappingProxyType({n: _sum(tuple(line for line in self.lines if line.layer == n)) for n in names})

    @property
    def max_cycles(self) -> int:
        """Cycles between two frames: those of the slowest operator.

        Raises:
            CostError: the report has no operator with cycles.
        """
        if not self.cycles:
            raise CostError("a frame rate needs at least one operator with cycles, but the report has none.")
        return max(self.cycles.values())

    @property
    def bottleneck(self) -> str:
        """The name of the slowest operator, the first of several."""
        slowest = self.max_cycles
        return next(name for name, cycles in self.cycles.items() if cycles == slowest)

    @property
    def latency(self) -> int:
        """Cycles from the first input to the last output of one frame: until the first output comes, then one interval.

        Derived for streaming operators without stalls; FINN's own figure is the (larger) sum of all operators' cycles.
        """
        return self.fill_cycles + self.max_cycles

    def fps(self, clock_mhz: float) -> float:
        """Frames per second at a clock in MHz: clock / max_cycles.

        Raises:
            CostError: a clock that is not a positive number, or no operator with cycles.
        """
        return _checked_clock(clock_mhz) * 1e6 / self.max_cycles

    def latency_us(self, clock_mhz: float) -> float:
        """Latency of one frame in microseconds at a clock in MHz.

        Raises:
            CostError: as :meth:`fps`.
        """
        return self.latency / _checked_clock(clock_mhz)

    def bandwidth_gbs(self, clock_mhz: float) -> float:
        """GB/s of off-chip weights while all layers work: the sum of PE * SIMD * bits * clock; 0 if all are on chip.

        Raises:
            CostError: a clock that is not a positive number.
        """
        return _checked_clock(clock_mhz) * sum(self.weight_stream_bits.values()) / 8e3

    def exceeded(self, device: Device, clock_mhz: float | None = None) -> tuple[Shortage, ...]:
        """What the total needs more of than `device` has, as (name, needed, available); empty if it fits.

        With a clock, the bandwidth of off-chip weights is compared as well if the device states one (GB/s).
        """
        short = self.total.fits(device.resources)
        if clock_mhz is None or device.memory_gbs is None or self.bandwidth_gbs(clock_mhz) <= device.memory_gbs:
            return short
        return (*short, Shortage("GB/s of off-chip memory", self.bandwidth_gbs(clock_mhz), device.memory_gbs))

    def as_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        return {
            "model": self.model,
            "device": self.device,
            "total": self.total.as_dict(),
            "max_cycles": self.max_cycles,
            "bottleneck": self.bottleneck,
            "latency": self.latency,
            "cycles": dict(self.cycles),
            "notes": list(self.notes),
            "weight_stream_bits": dict(self.weight_stream_bits),
            "lines": [line.as_dict() for line in self.lines],
        }
