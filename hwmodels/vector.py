"""What a network costs at millions of design points: the calibrated model as tables, read point by point.

A point is one choice of numerics for the whole network and one folding for each layer with weights. The tables are made by the
same wiring as a single estimate and from the same formulas, each called once for every combination of choices that makes a
difference to it. A point's cost is then a sum of table rows. All counts lie on a grid on which sums are exact
(:mod:`hwmodels.resources`), so it equals :func:`hwmodels.estimate.estimate` to the last bit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hwmodels.devices import Device
from hwmodels.ops import Folding, Network, Numerics
from hwmodels.options import CostModel, CostOptions
from hwmodels.report import CostError
from hwmodels.resources import GRID, NAMES
from hwmodels.tables import Clock, Points, Table, WaitingTable, added, numbers, resource_row
from hwmodels.varying import Axis, Indices, chosen
from hwmodels.wiring import Component, Waiting, Wiring, require_choices

POINTS_AT_ONCE = 1 << 15
"""Points that are read from one table before the next: fewer pay for fetching tables, more for larger intermediate arrays
(measured; 2^14 to 2^17 are within 15 %)."""

_EXACT = float((1 << 53) // GRID)


@dataclass(frozen=True)
class BatchCost:
    """Resources and cycles per frame of many points; each array is of shape (points,)."""

    lut: NDArray[np.float64]
    carry8: NDArray[np.float64]
    ff: NDArray[np.float64]
    dsp: NDArray[np.float64]
    bram18: NDArray[np.float64]
    uram: NDArray[np.float64]
    max_cycles: NDArray[np.int64]


class CostTables:
    """The tables of one network on one part.

    Args:
        numerics: the formats to choose from, each of the whole network.
        foldings: the foldings to choose from, by layer.
        options: as of an estimate; the finn model has no tables.

    Every combination of a folding with numerics is costed here, chosen later or not, and raises what its estimate raises.

    Raises:
        ShapeError, DatapathError, MemoryStyleError: as :func:`hwmodels.estimate.estimate`.
        CostError: the finn model, nothing to choose from, or activations that cannot be requantized.
    """

    def __init__(
        self,
        network: Network,
        numerics: Sequence[Numerics],
        foldings: Mapping[str, Sequence[Folding]],
        device: Device,
        options: CostOptions | None = None,
    ) -> None:
        options = options or CostOptions()
        if options.model is not CostModel.CALIBRATED:
            raise CostError(f"tables are of the calibrated model, but got model={options.model}; use estimate for it.")
        for each in numerics:
            require_choices(network, each, foldings)
        names = [op.name for op in network.compute]
        if not numerics or not all(foldings[name] for name in names):
            raise CostError("there must be numerics, and foldings of every layer, to choose from, but there are none.")
        self._numerics = Axis("numerics", len(numerics))
        self._foldings = {name: Axis(name, len(foldings[name])) for name in names}
        wiring = Wiring(
            network,
            {site: chosen(self._numerics, [each.sites[site] for each in numerics]) for site in network.sites},
            {name: chosen(self._numerics, [each.layers[name] for each in numerics]) for name in names},
            {name: chosen(axis, foldings[name]) for name, axis in self._foldings.items()},
            device,
            options,
        )
        parts, clock = list(wiring.components()), Clock()
        # layers of equal shape share their list of costs
        lists = {id(part.costs.values): part.costs.values for part in parts if isinstance(part, Component)}
        rows = {key: np.array([resource_row(costs) for costs in values]) for key, values in lists.items()}
        self._tables = added(
            Table.of(part.costs, rows[id(part.costs.values)]) for part in parts if isinstance(part, Component)
        )
        self._waiting = [
            WaitingTable(part, clock, device, options.units) for part in parts if isinstance(part, Waiting)
        ]
        self._interval = numbers(wiring.interval)
        self._slowest = wiring.slowest

    def at(self, numerics: ArrayLike, foldings: Mapping[str, ArrayLike]) -> BatchCost:
        """The cost of points.

        Args:
            numerics: which of the numerics each point has, of shape (points,).
            foldings: by layer, which of its foldings each point has, of shape (points,).

        Raises:
            CostError: arrays of other shapes or types, choices that do not exist, or more than 2^33 of a primitive.
        """
        columns = {self._numerics: _column("numerics", numerics)}
        for name, axis in self._foldings.items():
            if name not in foldings:
                raise CostError(f"every layer with weights must have a folding at every point, but {name!r} has none.")
            columns[axis] = _column(name, foldings[name])
        points = len(columns[self._numerics])
        for axis, column in columns.items():
            if len(column) != points or (points and not 0 <= column.min() <= column.max() < axis.size):
                raise CostError(
                    f"{axis.name} must have one choice of 0 to {axis.size - 1} at each of {points} points, but has "
                    f"{len(column)}" + (f" of {column.min()} to {column.max()}." if len(column) else ".")
                )
        resources, cycles = np.empty((points, len(NAMES))), np.empty(points, np.int64)
        for start in range(0, points, POINTS_AT_ONCE):
            part = slice(start, start + POINTS_AT_ONCE)
            choices = {axis: column[part].astype(np.intp) for axis, column in columns.items()}
            resources[part], cycles[part] = self._cost(choices)
        if points and resources.max() >= _EXACT:
            raise CostError(
                f"a point must need fewer than 2^33 of each primitive, but one needs {resources.max():.3g}."
            )
        lut, carry8, ff, dsp, bram18, uram = resources.T
        return BatchCost(lut, carry8, ff, dsp, bram18, uram, cycles)

    def _cost(self, choices: dict[Axis, Indices]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """(resources, cycles) of a few points."""
        if self._slowest is not None:
            ranks = (ranks.take(choices[axis]) for axis, ranks in self._slowest.parts.items())
            choices[self._slowest] = np.maximum.reduce(list(ranks))
        points = Points(choices)
        total = np.zeros((len(choices[self._numerics]), len(NAMES)))
        for table in self._tables:
            total += table.at(points)
        interval = self._interval.at(points)
        for waiting in self._waiting:
            total += waiting.at(points, interval)
        return total, interval


def _column(name: str, choices: ArrayLike) -> NDArray[np.integer]:
    column = np.asarray(choices)
    if column.ndim != 1 or not np.issubdtype(column.dtype, np.integer):
        raise CostError(
            f"{name} must be a one-dimensional array of whole numbers, but got {column.ndim} dimensions of {column.dtype}."
        )
    return column
