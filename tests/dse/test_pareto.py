"""Fronts and hypervolumes against brute force and Optuna's own (other people's numbers first)."""

import itertools
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna._hypervolume import compute_hypervolume

from dse.objectives import OBJECTIVES
from dse.pareto import ParetoError, front_mask, hypervolume, knee, losses

vectors = st.integers(2, 4).flatmap(
    lambda d: st.lists(st.tuples(*[st.integers(0, 6).map(float)] * d), min_size=1, max_size=9)
)


@given(vectors)
def test_hypervolume_equals_optunas(points):
    reference = (5.0,) * len(points[0])
    inside = [p for p in points if all(x < 5 for x in p)]
    expected = compute_hypervolume(np.array(inside), np.array(reference)) if inside else 0.0
    assert hypervolume(points, reference) == pytest.approx(expected)


@given(vectors)
def test_hypervolume_counts_the_unit_cells_that_are_dominated(points):
    dimension = len(points[0])
    cells = itertools.product(range(5), repeat=dimension)
    covered = sum(any(all(p[i] <= cell[i] for i in range(dimension)) for p in points) for cell in cells)
    assert hypervolume(points, (5.0,) * dimension) == pytest.approx(covered)


@given(vectors)
def test_front_is_what_nothing_dominates(points):
    mask = front_mask(points)
    for i, p in enumerate(points):
        dominated = any(all(a <= b for a, b in zip(q, p, strict=True)) and q != p for q in points)
        assert mask[i] == (not dominated and p not in points[:i])


def test_the_front_alone_covers_the_whole_hypervolume():
    rng = random.Random(3)
    points = [(rng.random(), rng.random(), rng.random()) for _ in range(60)]
    front = [p for p, on in zip(points, front_mask(points), strict=True) if on]
    assert hypervolume(front, (1.0, 1.0, 1.0)) == pytest.approx(hypervolume(points, (1.0, 1.0, 1.0)))


def test_the_knee_is_the_point_farthest_below_the_chord():
    assert knee([(0.0, 10.0), (1.0, 2.0), (9.0, 1.0), (10.0, 0.0)]) == 1


def test_a_knee_of_nothing_is_refused():
    with pytest.raises(ParetoError, match="at least one feasible point"):
        knee([])


def test_directions_turn_into_losses():
    assert losses([0.9, 100.0], [OBJECTIVES["top1"], OBJECTIVES["lut"]]) == (-0.9, 100.0)
