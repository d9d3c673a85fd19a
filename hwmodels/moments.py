"""When things happen within a frame, in cycles after its first input, where delays may vary from design point to design point.

A :class:`Moment` is a sum of delays, so that the time between two moments is known by the delays in which they differ: between a
fork and the add that joins its branches these are few, however deep the network.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import add, sub
from typing import TypeAlias

from hwmodels.varying import Axis, Varying, derive


@dataclass(frozen=True, eq=False)
class Latest:
    """The last of several moments."""

    moments: tuple[Moment, ...]

    @cached_property
    def most(self) -> int:
        """A bound that it never exceeds."""
        return max(moment.most for moment in self.moments)

    @cached_property
    def least(self) -> int:
        """A bound that it never falls below."""
        return max(moment.least for moment in self.moments)


Delay: TypeAlias = Varying[int] | Latest


@dataclass(frozen=True, eq=False)
class Moment:
    """`offset` cycles and all `delays`."""

    offset: int = 0
    delays: tuple[Delay, ...] = ()

    @property
    def most(self) -> int:
        """A bound that it never exceeds."""
        return self.offset + sum(max(d.values) if isinstance(d, Varying) else d.most for d in self.delays)

    @property
    def least(self) -> int:
        """A bound that it never falls below."""
        return self.offset + sum(min(d.values) if isinstance(d, Varying) else d.least for d in self.delays)

    def after(self, delay: Varying[int]) -> Moment:
        """This moment and `delay` cycles more."""
        if delay.classes:
            return Moment(self.offset, (*self.delays, delay))
        return Moment(self.offset + delay.only, self.delays)


def latest(moments: Sequence[Moment]) -> Moment:
    """The last of `moments`; of none, the beginning."""
    if len(moments) == 1:
        return moments[0]
    if not any(moment.delays for moment in moments):
        return Moment(max((moment.offset for moment in moments), default=0))
    return Moment(0, (Latest(tuple(moments)),))


@dataclass(frozen=True, eq=False)
class Lead:
    """Cycles from one moment to another, negative if it comes first: `offset` + `delays` + all `later` - all `earlier`."""

    offset: int
    delays: tuple[Varying[int], ...]
    later: tuple[Latest, ...]
    earlier: tuple[Latest, ...]

    @property
    def most(self) -> int:
        """A bound that it never exceeds."""
        later = sum(last.most for last in self.later) - sum(last.least for last in self.earlier)
        return self.offset + later + sum(max(delay.values) for delay in self.delays)

    @property
    def least(self) -> int:
        """A bound that it never falls below."""
        later = sum(last.least for last in self.later) - sum(last.most for last in self.earlier)
        return self.offset + later + sum(min(delay.values) for delay in self.delays)


def lead(first: Moment, second: Moment) -> Lead:
    """The cycles from `first` to `second`; delays that they share do not count, delays on the same axes are added up."""
    shared = {id(delay) for delay in first.delays} & {id(delay) for delay in second.delays}
    sums: dict[frozenset[Axis], Varying[int]] = {}
    waits: tuple[list[Latest], list[Latest]] = [], []
    for moment, operate, wait in ((second, add, waits[0]), (first, sub, waits[1])):
        for delay in moment.delays:
            if id(delay) in shared:
                continue
            if isinstance(delay, Latest):
                wait.append(delay)
                continue
            axes = frozenset(delay.classes)
            sums[axes] = derive(operate, sums.get(axes, Varying((0,))), delay)
    return Lead(second.offset - first.offset, tuple(sums.values()), tuple(waits[0]), tuple(waits[1]))
