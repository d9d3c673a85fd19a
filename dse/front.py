"""The front of a sweep: which rows stand on it, the share of the reference box they cover, and the knee."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from dse.objectives import Objective
from dse.pareto import Vector, front_mask, hypervolume, losses
from dse.records import Row


def feasible_losses(rows: Iterable[Row], objectives: Sequence[Objective]) -> tuple[list[Row], list[Vector]]:
    """The rows that were measured and fit, with their objective values turned to minimization."""
    feasible = [row for row in rows if row.status == "ok"]
    return feasible, [losses([o.read(row.model_dump()) for o in objectives], objectives) for row in feasible]


def front_rows(rows: Iterable[Row], objectives: Sequence[Objective]) -> list[Row]:
    """The Pareto front among the rows, best first objective first."""
    feasible, vectors = feasible_losses(rows, objectives)
    chosen = (
        [(v, row) for v, row, on in zip(vectors, feasible, front_mask(vectors), strict=True) if on] if feasible else []
    )
    return [row for _, row in sorted(chosen, key=lambda pair: pair[0])]


def reference_box(rows: Iterable[Row], objectives: Sequence[Objective]) -> tuple[Vector, Vector] | None:
    """Ideal and worst corner (minimization) that the hypervolume is a share of, or None until INT8 was measured.

    Ideal: accuracy 1, perplexity 1, loss and cost 0. Worst: accuracy 0, and where there is no end to it, twice what the best
    INT8 reference has (a loss or divergence below 1 nat counts as 1).
    """
    int8 = [
        row for row in rows if row.id.startswith("int8.") and None not in (getattr(row, o.name) for o in objectives)
    ]
    if not int8:
        return None
    worst = [
        2.0 * max(min(o.read(row.model_dump()) for row in int8), 1.0) if o.worst is None else o.worst
        for o in objectives
    ]
    return losses([o.ideal for o in objectives], objectives), losses(worst, objectives)


def front_volume(rows: Sequence[Row], objectives: Sequence[Objective]) -> float | None:
    """The hypervolume of the feasible rows as a share of the reference box, or None until that is known."""
    box = reference_box(rows, objectives)
    if box is None:
        return None
    ideal, worst = box
    size = 1.0
    for low, high in zip(ideal, worst, strict=True):
        size *= high - low
    return hypervolume(feasible_losses(rows, objectives)[1], worst) / size
