"""Which units of a table are fitted and which test the fit: planned or drawn ones, and others drawn at random."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

Unit = TypeVar("Unit")


def others(fitted: Iterable[Unit], drawn: Iterator[Unit], count: int) -> list[Unit]:
    """The first `count` different units of those drawn that are not fitted."""
    taken, found = set(fitted), dict[Unit, None]()
    while len(found) < count:
        unit = next(drawn)
        if unit not in taken:
            found[unit] = None
    return list(found)


def with_uses(fitted: Iterable[Unit], drawn: Iterator[Unit], count: int) -> list[tuple[Unit, str]]:
    """Every unit once, with its use: those to fit, and behind them `count` drawn others to test."""
    once = dict.fromkeys(fitted)
    return [*((unit, "fit") for unit in once), *((unit, "test") for unit in others(once, drawn, count))]
