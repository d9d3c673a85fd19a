"""Pareto fronts: which points nothing else dominates, the hypervolume they cover, and the knee."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dse.objectives import Objective
from hwmodels.errors import BitfrontError

Vector = tuple[float, ...]


class ParetoError(BitfrontError):
    """A front of nothing."""


def losses(values: Sequence[float], objectives: Sequence[Objective]) -> Vector:
    """Objective values with every direction turned to minimization."""
    return tuple(-v if o.maximize else v for v, o in zip(values, objectives, strict=True))


def front_mask(points: Sequence[Vector]) -> list[bool]:
    """For each loss vector (minimization) whether no other dominates it; of equal vectors the first one stands.

    The first of equals stands so that a front has one point per trade-off, independent of how often it was found.
    """
    array = np.asarray(points, dtype=np.float64).reshape(len(points), -1)
    mask = []
    for index, row in enumerate(array):
        no_worse = (array <= row).all(axis=1)
        strictly = (array < row).any(axis=1)
        earlier_equal = bool((array[:index] == row).all(axis=1).any())
        mask.append(not bool((no_worse & strictly).any()) and not earlier_equal)
    return mask


def hypervolume(points: Sequence[Vector], reference: Vector) -> float:
    """The exact volume that loss vectors dominate within the box below `reference` (minimization).

    By slicing along the last objective: sorted by it, each slab is as deep as the gap to the next point and as wide as
    the hypervolume, in one dimension less, of all points up to there. Points not below the reference count nothing.
    """
    inside = np.array([p for p in points if all(x < r for x, r in zip(p, reference, strict=True))], dtype=np.float64)
    return _slice(inside.reshape(-1, len(reference)), np.asarray(reference, dtype=np.float64))


def _slice(points: NDArray[np.float64], reference: NDArray[np.float64]) -> float:
    if not len(points):
        return 0.0
    if points.shape[1] == 1:
        return float(reference[0] - points.min())
    ordered = points[np.argsort(points[:, -1], kind="stable")]
    depths = np.append(ordered[1:, -1], reference[-1]) - ordered[:, -1]
    return float(sum(d * _slice(ordered[: i + 1, :-1], reference[:-1]) for i, d in enumerate(depths) if d > 0))


def knee(points: Sequence[Vector]) -> int:
    """The index of the front's knee: the point farthest below the chord through the extremes, objectives scaled to [0, 1].

    With one or two points, or in more than two objectives, it is the point nearest to the ideal corner instead.

    Raises:
        ParetoError: there is no point.
    """
    if not points:
        raise ParetoError("a knee needs at least one feasible point on the front, but the front is empty.")
    array = np.asarray(points, dtype=np.float64)
    low, high = array.min(axis=0), array.max(axis=0)
    scaled = (array - low) / np.where(high > low, high - low, 1.0)
    if array.shape[1] == 2 and len(points) > 2:
        return int(np.argmin(scaled.sum(axis=1)))  # the chord of the scaled front is x + y = 1
    return int(np.argmin(np.linalg.norm(scaled, axis=1)))
