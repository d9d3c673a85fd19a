"""Tables that give rows of numbers for the choices of many points at once: gathers and sums, no arithmetic on formats."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, reduce
from math import prod
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hwmodels.devices import Device
from hwmodels.moments import Delay, Latest, Lead, Moment
from hwmodels.options import UnitStyle
from hwmodels.primitives.cost import Cost
from hwmodels.primitives.stream import MINIMUM_DEPTH, SRL_WORDS
from hwmodels.report import CostError
from hwmodels.resources import NAMES
from hwmodels.varying import Axis, Indices, Varying, align
from hwmodels.wiring import Waiting, waiting_fifo, waiting_words

Numbers: TypeAlias = NDArray[Any]

_MOST_ROWS = 1 << 16
"""Rows up to which tables are added to one: fewer reads, but tables that outgrow the cache (measured: 2^16 to 2^18)."""

_MOST_INT = 1 << 62


@dataclass(frozen=True, eq=False)
class Points:
    """Some points: what each has chosen on every axis, shape (points,), and the moments that are already known."""

    choices: Mapping[Axis, Indices]
    known: dict[Latest, Numbers] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Table:
    """`rows[codes[classes...]]`: a row of numbers for every combination of classes on some axes (see `Varying`)."""

    rows: Numbers
    codes: Indices
    classes: Mapping[Axis, Indices]

    @staticmethod
    def of(quantity: Varying[Any], rows: Numbers) -> Table:
        """One of `rows` for each value of `quantity`."""
        return Table(rows, quantity.codes, quantity.classes)

    @cached_property
    def _flat(self) -> tuple[Numbers, tuple[tuple[Axis, Indices], ...]]:
        """(a row for every key, per axis the summand of the key for every choice)."""
        if len(self.classes) == 1:
            ((axis, classes),) = self.classes.items()
            return self.rows[self.codes[classes]], ((axis, np.arange(axis.size)),)
        shape = self.codes.shape
        keys = ((axis, own * prod(shape[i + 1 :])) for i, (axis, own) in enumerate(self.classes.items()))
        return self.rows[self.codes.ravel()], tuple(keys)

    def at(self, points: Points) -> Numbers:
        """The rows of all points; of shape (1, ...) if the table has no axes."""
        rows, keys = self._flat
        if not keys:
            return rows
        if len(keys) == 1:
            return rows.take(points.choices[keys[0][0]], axis=0, mode="clip")
        key = reduce(np.add, (summands.take(points.choices[axis], mode="clip") for axis, summands in keys))
        return rows.take(key, axis=0, mode="clip")

    def __add__(self, other: Table) -> Table:
        """The table of the sums of both."""
        classes, (mine, theirs) = align((self, other))
        rows = self.rows[mine] + other.rows[theirs]
        shape = rows.shape[: len(classes)]
        codes = np.arange(prod(shape)).reshape(shape)
        return Table(rows.reshape(codes.size, *self.rows.shape[1:]), codes, classes)


def added(tables: Iterable[Table]) -> list[Table]:
    """Fewer tables with the same sum: those on the same axes become one, and small ones become part of others."""
    groups: dict[frozenset[Axis], Table] = {}
    for table in tables:
        axes = frozenset(table.classes)
        groups[axes] = groups[axes] + table if axes in groups else table
    kept: dict[frozenset[Axis], Table] = {}
    for axes in sorted(groups, key=len, reverse=True):
        into = next((a for a in kept if axes < a and _joint_rows(kept[a], groups[axes]) <= _MOST_ROWS), axes)
        kept[into] = kept[into] + groups[axes] if into in kept else groups[axes]
    return list(kept.values())


def _joint_rows(one: Table, other: Table) -> int:
    classes, _ = align((one, other))
    return prod(int(own.max()) + 1 for own in classes.values())


def resource_row(costs: Iterable[Cost]) -> list[float]:
    """The sum of costs, in the order of the fields of `Resources`."""
    return [
        sum(counts) for counts in zip((0.0,) * len(NAMES), *(cost.resources.counts() for cost in costs), strict=True)
    ]


def numbers(quantity: Varying[int]) -> Table:
    """A table of one whole number per row."""
    return Table.of(quantity, np.array(quantity.values, np.int64))


class Clock:
    """Reads times (cycles) at points; the tables of delays are made when they are first asked for."""

    def __init__(self) -> None:
        self._tables: dict[Varying[int], Table] = {}

    def lead(self, lead: Lead, points: Points) -> Numbers:
        """The cycles of `lead` at all points."""
        delays: tuple[Delay, ...] = (*lead.delays, *lead.later)
        later = (self._delay(delay, points) for delay in delays)
        earlier = (self._delay(delay, points) for delay in lead.earlier)
        return reduce(np.subtract, earlier, reduce(np.add, later, np.array([lead.offset])))

    def _moment(self, moment: Moment, points: Points) -> Numbers:
        return reduce(np.add, (self._delay(delay, points) for delay in moment.delays), np.array([moment.offset]))

    def _delay(self, delay: Delay, points: Points) -> Numbers:
        if isinstance(delay, Varying):
            if delay not in self._tables:
                self._tables[delay] = numbers(delay)
            return self._tables[delay].at(points)
        if delay not in points.known:
            points.known[delay] = reduce(np.maximum, (self._moment(moment, points) for moment in delay.moments))
        return points.known[delay]


class WaitingTable:
    """The FIFO of a :class:`~hwmodels.wiring.Waiting`, whose depth is computed point by point.

    Beyond the least depth a FIFO is as large as its last shift register is deep (see
    :func:`hwmodels.primitives.stream.fifo`), so there is a row for every number of shift registers that occurs.
    """

    def __init__(self, waiting: Waiting, clock: Clock, device: Device, units: UnitStyle) -> None:
        width = waiting.width.distinct
        words, most = numbers(waiting.words), max(lead.most for lead in waiting.leads)
        if most * int(words.rows.max()) >= _MOST_INT:
            raise CostError(
                f"streams must wait for a time that hardware can have, but {waiting.layer} may wait {most} cycles for its "
                f"second stream with {words.rows.max()} words per frame."
            )
        self._waiting, self._clock, self._widths = waiting, clock, width.values
        self._device, self._units = device, units
        self._width, self._words = Table.of(width, np.arange(len(width.values))), words
        self._rows = np.full((0, len(NAMES)), np.nan)

    def at(self, points: Points, interval: Numbers) -> Numbers:
        """The resources of all points, of shape (points, 6); `interval` is in cycles."""
        lead = reduce(np.maximum, (self._clock.lead(each, points) for each in self._waiting.leads), np.array([0]))
        words = waiting_words(lead, self._words.at(points), interval)
        registers = -(-(MINIMUM_DEPTH + words) // SRL_WORDS) * (words > 0)
        keys = registers * len(self._widths) + self._width.at(points)
        missing = int(keys.max()) + 1 - len(self._rows)
        if missing > 0:
            self._rows = np.concatenate([self._rows, np.full((missing, len(NAMES)), np.nan)])
        rows = self._rows.take(keys, axis=0, mode="clip")
        unknown = np.isnan(rows[:, 0])
        if unknown.any():
            for key in np.unique(keys[unknown]).tolist():
                count, width = divmod(key, len(self._widths))
                held = max(SRL_WORDS * count - MINIMUM_DEPTH, 0)
                cost = waiting_fifo(held, self._widths[width], self._device, self._units)
                self._rows[key] = resource_row((cost,))
            rows = self._rows.take(keys, axis=0, mode="clip")
        return rows
