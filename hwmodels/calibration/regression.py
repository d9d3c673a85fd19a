"""Fitting a form to measured counts: least squares of relative errors, factors that are not negative, honest errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Errors:
    """Absolute relative errors: their median and 90th percentile."""

    median: float
    p90: float

    @staticmethod
    def of(relative: Matrix) -> Errors:
        """Of the relative errors of some rows."""
        absolute = np.abs(relative)
        return Errors(float(np.median(absolute)), float(np.percentile(absolute, 90)))

    def __str__(self) -> str:
        return f"{self.median:.4f}, {self.p90:.4f}"


def design(counts: Sequence[Mapping[str, float]], measured: Sequence[float], names: Sequence[str]) -> Matrix:
    """The counts of each row divided by what was measured, shape (rows, names): times the factors, it should give ones."""
    table = np.array([[row.get(name, 0) for name in names] for row in counts], dtype=np.float64)
    return table / np.array(measured, dtype=np.float64)[:, None]


def solve(matrix: Matrix, target: Matrix | None = None) -> Matrix:
    """The factors, none negative, with the least squared error (Lawson and Hanson's active set, 1974, chapter 23).

    Args:
        target: what the matrix times the factors should give; None: ones, so that the error is relative.
    """
    columns = matrix.shape[1]
    wanted = np.ones(len(matrix)) if target is None else target
    active, factors = np.zeros(columns, dtype=bool), np.zeros(columns)
    while True:
        gradient = matrix.T @ (wanted - matrix @ factors)
        gradient[active] = -np.inf
        if active.all() or gradient.max() <= 1e-9 * len(matrix):
            return factors
        active[int(np.argmax(gradient))] = True
        while True:
            trial = np.zeros(columns)
            trial[active] = np.linalg.lstsq(matrix[:, active], wanted, rcond=None)[0]
            if (trial[active] > 0).all():
                factors = trial
                break
            # as far towards the trial as every factor stays positive; what reaches zero leaves the set
            blocking = active & (trial <= 0)
            step = (factors[blocking] / (factors[blocking] - trial[blocking])).min()
            factors = factors + step * (trial - factors)
            active &= factors > 1e-12


def rank_correlation(predicted: Matrix, measured: Matrix) -> float:
    """Spearman's rank correlation; ties share their mean rank."""
    ranks = []
    for values in (predicted, measured):
        _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
        last = np.cumsum(counts)
        ranks.append((last - (counts - 1) / 2)[inverse])
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])
