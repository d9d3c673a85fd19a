"""A results folder as one value: its configuration, rows and objectives, read from the store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dse.config import SweepConfig, load_config
from dse.front import front_rows
from dse.objectives import OBJECTIVES, Objective
from dse.records import Accuracy, RecordError, Row, Store

CONFIG_FILE = "config.yaml"


@dataclass(frozen=True)
class Results:
    """What a sweep left.

    Attributes:
        widths: the accumulators proved for each layer, by numerics key.
    """

    folder: Path
    config: SweepConfig
    rows: tuple[Row, ...]
    widths: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    @property
    def objectives(self) -> list[Objective]:
        """The objectives of the sweep."""
        return [OBJECTIVES[o] for o in self.config.objectives]

    @property
    def front(self) -> list[Row]:
        """The Pareto front."""
        return front_rows(self.rows, self.objectives)

    def row(self, point_id: str) -> Row:
        """The row of a point.

        Raises:
            RecordError: no such point; names the front's.
        """
        for row in self.rows:
            if row.id == point_id:
                return row
        known = ", ".join(r.id for r in self.front) or "none yet"
        raise RecordError(
            f"a point of {self.config.name} must be named by its id, but got {point_id!r}; on its front: {known}."
        )


def load_results(folder: Path) -> Results:
    """Read a results folder.

    Raises:
        RecordError: it is not one, or its sweep has not stored a point yet.
    """
    if not (folder / CONFIG_FILE).is_file():
        raise RecordError(
            f"{folder} must be the results folder of a sweep, but it has no {CONFIG_FILE}; `dse run` makes one."
        )
    config = load_config(folder / CONFIG_FILE)
    store = Store.open(folder)
    try:
        rows = tuple(store.rows())
        records = [*store.references().values(), *(record for record, _ in store.trials())]
    finally:
        store.close()
    if not rows:
        raise RecordError(
            f"{folder} must hold at least one evaluated point, but its sweep has not stored one yet; `dse run` goes on."
        )
    widths = {each.numerics_key: each.accuracy.widths for each in records if isinstance(each.accuracy, Accuracy)}
    return Results(folder, config, rows, widths)
