"""The tables of a sweep: tidy CSV and Parquet of every point, the front as JSON, CSV and for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from rich import box
from rich.table import Table

from dse.files import as_json, atomic, write_text
from dse.front import front_rows, front_volume
from dse.objectives import Objective
from dse.pareto import knee, losses
from dse.records import Row


def frame(rows: Sequence[Row]) -> pd.DataFrame:
    """One line per point, one column per field of :class:`dse.records.Row`; absent numbers stay absent."""
    return pd.DataFrame([row.model_dump() for row in rows], columns=list(Row.model_fields)).convert_dtypes()


def write_points(folder: Path, rows: Sequence[Row]) -> None:
    """Write points.csv and points.parquet."""
    table = frame(rows)
    with atomic(folder / "points.csv") as temporary:
        table.to_csv(temporary, index=False)
    with atomic(folder / "points.parquet") as temporary:
        table.to_parquet(temporary, index=False)


def front_document(name: str, rows: Sequence[Row], objectives: Sequence[Objective]) -> dict[str, Any]:
    """The front as one JSON document: its points, the references, the knee, and what the numbers rest on."""
    on_front = front_rows(rows, objectives)
    tally: dict[str, int] = {}
    for row in rows:
        tally[row.status] = tally.get(row.status, 0) + 1
    return {
        "sweep": name,
        "objectives": [{"name": o.name, "direction": o.direction, "unit": o.unit} for o in objectives],
        "hypervolume": front_volume(rows, objectives),
        "knee": find_knee(on_front, objectives).id if on_front else None,
        "counts": tally,
        "front": [row.model_dump(mode="json", exclude_none=True) for row in on_front],
        "references": [
            r.model_dump(mode="json", exclude_none=True) for r in rows if r.id == "float" or r.id.startswith("int8.")
        ],
    }


def write_front(folder: Path, document: dict[str, Any], rows: Sequence[Row], objectives: Sequence[Objective]) -> None:
    """Write front.json and front.csv."""
    write_text(folder / "front.json", as_json(document))
    with atomic(folder / "front.csv") as temporary:
        frame(front_rows(rows, objectives)).to_csv(temporary, index=False)


def find_knee(on_front: Sequence[Row], objectives: Sequence[Objective]) -> Row:
    """The knee of a front (see :func:`dse.pareto.knee`)."""
    return on_front[knee([losses([o.read(row.model_dump()) for o in objectives], objectives) for row in on_front])]


def front_table(name: str, rows: Sequence[Row], objectives: Sequence[Objective]) -> Table:
    """The front and the references for the terminal."""
    on_front = front_rows(rows, objectives)
    knee_id = find_knee(on_front, objectives).id if on_front else None
    table = Table(
        title=f"Pareto front of {name}: {' / '.join(o.label for o in objectives)}",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    qualities = [o for o in objectives if o.is_quality]
    for column, justify in (*_DESIGN, *((o.name.replace("_", " "), "right") for o in qualities), *_MEASURED):
        # numbers are never cut: where the terminal is narrow, the design folds between its words
        design = column == "design"
        table.add_column(column, justify=justify, no_wrap=not design, min_width=24 if design else None)
    references = [row for row in rows if row.id == "float" or (row.id.startswith("int8.") and row.lut is not None)]
    for row in references:
        table.add_row(*_cells(row, qualities, ""), style="dim")
    table.add_section()
    for row in on_front:
        note = " (knee)" if row.id == knee_id else ""
        table.add_row(*_cells(row, qualities, note), style="bold" if note else "")
    return table


_DESIGN: tuple[tuple[str, Any], ...] = (("point", "left"), ("design", "left"), ("P", "right"))
_MEASURED: tuple[tuple[str, Any], ...] = (
    ("95 %", "left"),
    ("LUT", "right"),
    ("DSP", "right"),
    ("BRAM18", "right"),
    ("fps", "right"),
)


def _cells(row: Row, qualities: Sequence[Objective], note: str) -> tuple[str, ...]:
    def number(value: float | None, form: str = ",.0f") -> str:
        return "" if value is None else format(value, form)

    design = "float32"
    if row.id != "float":
        design = f"{row.weight}/{row.weight_scaling} x {row.activation}/{row.activation_scaling}, {row.recipe}"
        design += "" if row.kv_cache in (None, "none") else f", KV {row.kv_cache}/{row.kv_scaling}"
        design += ", DSP multipliers" if row.multiplier == "dsp" else ""
        if row.overflow_rate is not None:
            where = "" if row.overflow_layer is None else f" of the sums of {row.overflow_layer}"
            design += f", {row.overflow}s ({row.overflow_rate:.2g}{where})"
    asked = row.accumulator not in (None, "auto")
    interval = row.interval(qualities[0].name)
    return (
        row.id,
        design + note,
        f"{row.accumulator}" if asked else number(row.accumulator_bits),
        *(number(getattr(row, o.name), ".5g") for o in qualities),
        "" if interval is None else f"{interval[0]:.4g}-{interval[1]:.4g}",
        number(row.lut),
        number(row.dsp),
        number(row.bram18),
        number(row.fps),
    )
