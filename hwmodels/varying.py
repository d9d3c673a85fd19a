"""Quantities that differ from design point to design point, as small tables over the choices that they depend on.

An :class:`Axis` is one choice that a point makes (its numerics, the folding of a layer). A :class:`Varying` knows its value for
every combination of the choices it depends on, and nothing about points. :func:`derive` applies a function to such
quantities: once for every combination of *different* argument values, however many points there are. So one description
of a network's cost serves both a single estimate, where nothing varies, and millions of points.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import cached_property
from itertools import count
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.intp]
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

_CONSTANT = np.zeros((), np.intp)
_order = count()


class Axis:
    """One choice out of `size`; with `parts` it follows from others: the largest of the ranks that these choices have."""

    def __init__(self, name: str, size: int, parts: Mapping[Axis, Indices] | None = None) -> None:
        self.name, self.size, self.parts = name, size, parts or {}
        self.order = next(_order)


class Varying(Generic[T_co]):
    """A value for every combination of choices on some axes.

    Choices that make no difference share a class: the value at choices c1, c2, ... on the axes a1, a2, ... (in the order in
    which the axes were made) is ``values[codes[classes[a1][c1], classes[a2][c2], ...]]``.
    """

    def __init__(
        self, values: Sequence[T_co], codes: Indices = _CONSTANT, classes: Mapping[Axis, Indices] | None = None
    ):
        self.values, self.codes, self.classes = values, codes, classes or {}

    @property
    def only(self) -> T_co:
        """The value of a quantity that does not vary."""
        (value,) = self.values
        return value

    @cached_property
    def distinct(self) -> Varying[T_co]:
        """The same quantity with every value listed once, and no axis that makes no difference."""
        numbers: dict[T_co, int] = {}
        renumbered = np.array([numbers.setdefault(value, len(numbers)) for value in self.values], np.intp)
        values, codes, classes = tuple(numbers), renumbered[self.codes], dict(self.classes)
        if len(values) == 1:
            return Varying(values)
        if len(classes) == 1:
            ((axis, own),) = classes.items()
            classes, codes = {axis: codes[own]}, np.arange(len(values))
        return Varying(values, codes, classes)


def chosen(axis: Axis, values: Sequence[T]) -> Varying[T]:
    """What is chosen on `axis`; a constant where there is a single choice."""
    return Varying(values) if len(values) == 1 else Varying(values, np.arange(axis.size), {axis: np.arange(axis.size)})


def derive(
    function: Callable[..., T], *arguments: Varying[Any], known: dict[Hashable, Sequence[T]] | None = None
) -> Varying[T]:
    """`function` of quantities, called once for every combination of different values on their axes.

    Args:
        known: what the same function gave for other axes with the same values; what it gives now is added.
    """
    if not any(argument.classes for argument in arguments):
        return Varying((function(*[argument.values[0] for argument in arguments]),))
    quantities = [argument.distinct for argument in arguments]
    classes, grids = align(quantities)
    sizes = tuple(len(quantity.values) for quantity in quantities)
    keys = np.ravel_multi_index(tuple(np.broadcast_arrays(*grids)), sizes)
    found, codes = np.unique(keys, return_inverse=True)
    asked = (*(tuple(quantity.values) for quantity in quantities), found.tobytes())
    values = None if known is None else known.get(asked)
    if values is None:
        parts = zip(quantities, np.unravel_index(found, sizes), strict=True)
        columns = [[quantity.values[i] for i in part] for quantity, part in parts]
        values = [function(*combination) for combination in zip(*columns, strict=True)]
    if known is not None:
        known[asked] = values
    return Varying(values, codes.reshape(keys.shape), classes)


def highest(quantities: Sequence[Varying[int]]) -> Varying[int]:
    """The largest of several numbers, each of which depends on one axis at most: a choice on an axis of its own."""
    floor = max(min(quantity.values) for quantity in quantities)
    varying = [quantity.distinct for quantity in quantities if quantity.distinct.classes]
    values = sorted({floor, *(value for quantity in varying for value in quantity.values if value > floor)})
    if len(values) == 1:
        return Varying(values)
    parts: dict[Axis, Indices] = {}
    for quantity in varying:
        ((axis, classes),) = quantity.classes.items()
        ranks = np.searchsorted(values, np.maximum(quantity.values, floor))[quantity.codes][classes]
        parts[axis] = np.maximum(parts[axis], ranks) if axis in parts else ranks
    return chosen(Axis("largest", len(values), parts), values)


class OnAxes(Protocol):
    """Whatever has a code for every combination of classes on some axes."""

    @property
    def codes(self) -> Indices:
        """Of shape (classes of the first axis, of the second, ...)."""

    @property
    def classes(self) -> Mapping[Axis, Indices]:
        """The class of every choice, by axis, in the order in which the axes were made."""


def align(quantities: Sequence[OnAxes]) -> tuple[dict[Axis, Indices], list[Indices]]:
    """(classes on all axes of `quantities`, the codes of each quantity such that they broadcast over these classes)."""
    axes = sorted({axis for quantity in quantities for axis in quantity.classes}, key=lambda axis: axis.order)
    joint: dict[Axis, Indices] = {}
    # per axis: which class of each quantity that depends on it belongs to a joint class
    picks: dict[Axis, dict[int, Indices]] = {}
    for axis in axes:
        members = {i: q.classes[axis] for i, q in enumerate(quantities) if axis in q.classes}
        sizes = tuple(int(classes.max()) + 1 for classes in members.values())
        found, joint[axis] = np.unique(np.ravel_multi_index(tuple(members.values()), sizes), return_inverse=True)
        picks[axis] = dict(zip(members, np.unravel_index(found, sizes), strict=True))
    grids = []
    for i, quantity in enumerate(quantities):
        codes = (
            quantity.codes[np.ix_(*(picks[axis][i] for axis in quantity.classes))] if quantity.classes else _CONSTANT
        )
        grids.append(codes.reshape([len(picks[axis][i]) if axis in quantity.classes else 1 for axis in axes]))
    return joint, grids
