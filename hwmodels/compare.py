"""FINN's estimate and the calibrated one side by side: unit by unit, with the reason wherever they differ.

Both are of the same network, folded alike, so that what differs is the model and not the design. What stands in one line is
what FINN estimates as one: a requantizer behind a layer with weights belongs to its unit, and the streams into an
operator belong to the operator.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, replace
from typing import Any

from hwmodels.batch import calibrated_costs
from hwmodels.compare_reasons import MADE_OF, reason
from hwmodels.datapath import Datapath
from hwmodels.devices import Device
from hwmodels.estimate import estimate, estimate_operator
from hwmodels.finn.errors import FinnModelError
from hwmodels.finn.rows import cost_row
from hwmodels.ops import Compute, Folding, Network, Numerics, Pad, Requantize
from hwmodels.options import CostModel, CostOptions
from hwmodels.primitives.cost import Cost
from hwmodels.report import CostError, CostReport
from hwmodels.resources import Resources


@dataclass(frozen=True)
class Difference:
    """A resource (or the cycles) of one unit in which the models differ.

    Attributes:
        components: the calibrated model's components that the reason is about, with what each needs of the resource.
    """

    resource: str
    finn: float
    calibrated: float
    components: Mapping[str, float]
    why: str

    def as_dict(self) -> dict[str, Any]:
        """A plain description for JSON."""
        return {
            "resource": self.resource,
            "finn": self.finn,
            "calibrated": self.calibrated,
            "components": dict(self.components),
            "why": self.why,
        }


@dataclass(frozen=True)
class Unit:
    """An operator as FINN estimates it and as the calibrated model does.

    Attributes:
        finn_name: what FINN calls it; None where it has no such unit or cannot have the format.
        finn: its resources in FINN's estimate, None exactly with `finn_name`; likewise `finn_cycles`.
        costs: the calibrated model's components.
    """

    name: str
    finn_name: str | None
    finn: Resources | None
    finn_cycles: int | None
    costs: tuple[Cost, ...]
    cycles: int

    @property
    def calibrated(self) -> Resources:
        """The sum of the components."""
        return Resources.sum(cost.resources for cost in self.costs)

    def differences(self) -> tuple[Difference, ...]:
        """Where the models differ and why, one entry for each resource and reason; none if FINN has no estimate."""
        if self.finn is None or self.finn_name is None or self.finn_cycles is None:
            return ()
        found: list[Difference] = []
        ours = self.calibrated.as_dict() | {"cycles": self.cycles}
        for resource, theirs in (self.finn.as_dict() | {"cycles": self.finn_cycles}).items():
            if theirs == ours[resource]:
                continue
            parts: dict[str, dict[str, float]] = {}
            for component, count in self._needing(resource).items():
                parts.setdefault(reason(self.finn_name, component, resource), {})[component] = count
            found += [Difference(resource, theirs, ours[resource], counts, why) for why, counts in parts.items()]
        return tuple(found)

    def _needing(self, resource: str) -> dict[str, float]:
        """The components with their counts of a resource; where none has any, those that might have been made of it."""
        counts: dict[str, float] = {}
        for cost in self.costs:
            counts[cost.component] = counts.get(cost.component, 0) + cost.resources.as_dict().get(resource, 0)
        needing = {component: count for component, count in counts.items() if count}
        return needing or {c: 0 for c in counts if c in MADE_OF.get(resource, counts)} or dict.fromkeys(counts, 0)

    def as_dict(self) -> dict[str, Any]:
        """A plain description for JSON."""
        return {
            "layer": self.name,
            "finn_unit": self.finn_name,
            "finn": None if self.finn is None else self.finn.as_dict() | {"cycles": self.finn_cycles},
            "calibrated": self.calibrated.as_dict() | {"cycles": self.cycles},
            "components": [{"component": cost.component, **cost.resources.as_dict()} for cost in self.costs],
            "differences": [difference.as_dict() for difference in self.differences()],
        }


@dataclass(frozen=True)
class Comparison:
    """All units of a network; `refusal` is why FINN's model has no estimate of it, or None."""

    device: str
    units: tuple[Unit, ...]
    refusal: str | None = None

    @property
    def finn(self) -> Resources | None:
        """FINN's total, or None if it has none."""
        if self.refusal is not None:
            return None
        return Resources.sum(unit.finn for unit in self.units if unit.finn is not None)

    @property
    def calibrated(self) -> Resources:
        """The calibrated total."""
        return Resources.sum(unit.calibrated for unit in self.units)

    def as_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        return {
            "device": self.device,
            "finn_total": None if self.finn is None else self.finn.as_dict(),
            "finn_refusal": self.refusal,
            "calibrated_total": self.calibrated.as_dict(),
            "units": [unit.as_dict() for unit in self.units],
        }


def compare(
    network: Network,
    numerics: Numerics,
    foldings: Mapping[str, Folding],
    device: Device,
    options: CostOptions | None = None,
) -> Comparison:
    """Both estimates of a network with the same foldings; `options` are those of the calibrated model.

    Raises:
        As :func:`hwmodels.estimate.estimate`, but no CostError for a format that FINN does not have: it has no estimate then.
    """
    ours = replace(options or CostOptions(), model=CostModel.CALIBRATED)
    calibrated = estimate(network, numerics, foldings, device, ours)
    finn, refusal = _finn(lambda theirs: estimate(network, numerics, foldings, device, theirs), ours)
    layers = {op.name for op in network.compute}
    within = {op.name: op.source for op in network.operators if isinstance(op, Requantize) and op.source in layers}
    zeros = {op.name for op in network.operators if isinstance(op, Pad)}
    return Comparison(device.name, _units(calibrated, finn, within, zeros), refusal)


def compare_operator(
    op: Compute, datapath: Datapath, folding: Folding, device: Device, options: CostOptions | None = None
) -> Comparison:
    """Both estimates of one layer by itself; see :func:`compare`."""
    ours = replace(options or CostOptions(), model=CostModel.CALIBRATED)
    calibrated = estimate_operator(op, datapath, folding, device, ours)
    finn, refusal = _finn(lambda theirs: estimate_operator(op, datapath, folding, device, theirs), ours)
    return Comparison(device.name, _units(calibrated, finn, {}, set()), refusal)


def compare_row(row: Mapping[str, str], device: Device | None = None) -> Unit:
    """Both estimates of the operator of a table row (see :func:`hwmodels.batch.calibrated_costs`).

    Raises:
        FinnModelError: a row that cannot be read.
        CostError: an operator that only FINN's model knows.
    """
    resources, finn_cycles = cost_row(row)
    costs, cycles = calibrated_costs(row, device)
    return Unit(row["op"], row["op"], resources, finn_cycles, costs, cycles)


def _finn(estimated: Callable[[CostOptions], CostReport], ours: CostOptions) -> tuple[CostReport | None, str | None]:
    """(FINN's estimate, None) or (None, why there is none)."""
    try:
        return estimated(CostOptions(CostModel.FINN, ours.multiplier, ours.memory)), None
    except (CostError, FinnModelError) as error:
        return None, str(error)


def _units(
    calibrated: CostReport, finn: CostReport | None, within: Mapping[str, str], zeros: Set[str]
) -> tuple[Unit, ...]:
    """The units of two reports.

    Args:
        within: the operator whose unit another is part of.
        zeros: paddings, which FINN inserts and gives cycles alone, those of ours with as many channels per cycle.
    """
    costs: dict[str, list[Cost]] = {}
    for line in calibrated.lines:
        cost = Cost(line.component, line.resources, line.formula, line.source, line.band)
        costs.setdefault(within.get(line.layer, line.layer), []).append(cost)
    theirs: dict[str, tuple[str, Resources, int]] = {}
    if finn is not None:
        theirs = {line.layer: (line.component, line.resources, finn.cycles[line.layer]) for line in finn.lines}
        theirs |= {name: ("FMPadding_rtl", Resources(), calibrated.cycles[name]) for name in zeros}
    units = []
    for name, parts in costs.items():
        unit, resources, cycles = theirs.get(name, (None, None, None))
        units.append(Unit(name, unit, resources, cycles, tuple(parts), calibrated.cycles.get(name, 0)))
    return tuple(units)
