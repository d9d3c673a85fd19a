"""What `dse front` leaves in the results folder: tables and figures, all derived from the store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dse.plots import axes_figure, front_figure, has_axes_figure, save
from dse.records import RecordError
from dse.results import Results
from dse.tables import front_document, write_front, write_points


def write_report(results: Results) -> tuple[dict[str, Any], list[Path]]:
    """Write points, front and figures; returns the front's document and the files written.

    The figure of the axes is left out where there is nothing to compare: no INT8 reference that fits, no axis with two choices.

    Raises:
        RecordError: no point was measured that fits its part; the tables are written all the same.
    """
    name, rows, objectives, folder = results.config.name, results.rows, results.objectives, results.folder
    document = front_document(name, rows, objectives)
    write_points(folder, rows)
    write_front(folder, document, rows, objectives)
    if not results.front:
        reason = next((row.reason for row in rows if row.reason), "none was evaluated")
        raise RecordError(
            f"the front of {name} needs at least one measured point that fits its part, but there is none among "
            f"{len(rows)} rows (see {folder / 'points.csv'}); the first reason: {reason}"
        )
    files = [folder / "front.json", folder / "front.csv", folder / "points.csv", folder / "points.parquet"]
    figures = [("front", front_figure)]
    if has_axes_figure(rows):
        figures.append(("axes", axes_figure))
    for stem, make in figures:
        figure = make(name, rows, objectives)
        for suffix in (".png", ".svg"):
            save(figure, folder / f"{stem}{suffix}")
            files.append(folder / f"{stem}{suffix}")
    return document, files
