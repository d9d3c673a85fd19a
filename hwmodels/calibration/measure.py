"""Measure a calibration table: ``python -m hwmodels.calibration.measure TABLE [--workers N] [--cache FOLDER]``.

A table is a module that lists its points: each a row of what the design is and its Verilog. All are synthesized (finished
ones are read from the cache) and written to ``TABLE.csv`` beside this file, in the order of the list, with the tool and its
counts. A table is whole or not written.
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from hwmodels.synth import TIME_LIMIT_S, Design, Synthesis, synthesize_all
from hwmodels.yosys import SynthError

FOLDER = Path(__file__).parent

TABLES: Mapping[str, str] = {
    "dot_units": "hwmodels.calibration.dot_points",
    "dsp_units": "hwmodels.calibration.dsp_points",
    "float_units": "hwmodels.calibration.float_points",
    "requantize_units": "hwmodels.calibration.requantize_points",
    "hadamard_units": "hwmodels.calibration.hadamard_points",
    "elementwise_units": "hwmodels.calibration.elementwise_points",
    "segment_units": "hwmodels.calibration.segment_points",
    "operator_units": "hwmodels.calibration.operator_points",
    "stream_units": "hwmodels.calibration.stream_points",
    "window_units": "hwmodels.calibration.window_points",
    "transformer_units": "hwmodels.calibration.transformer_points",
}
"""The module that lists the points of each table: its function ``points()`` returns them."""

COUNTS = ("lut_packed", "lut", "muxf7", "muxf8", "carry4", "carry8", "ff", "lutram", "dsp", "bram18")
"""Columns of a table behind those that say what was synthesized: fields of :class:`hwmodels.synth.Synthesis`."""

STORAGE_COUNTS = ("route_through", "memory_luts")
"""Columns that tables of units with memories and shift registers have besides."""


@dataclass(frozen=True)
class Point:
    """One row: what the design is, by column name, and the design."""

    columns: Mapping[str, str | int]
    design: Design


def measure(
    points: Sequence[Point],
    cache: Path | None,
    workers: int,
    limit_s: float = TIME_LIMIT_S,
    tick: Callable[[int], None] = lambda done: None,
) -> list[dict[str, str | int | float]]:
    """One row per point, in order.

    Args:
        tick: is told how many points are finished.

    Raises:
        SynthError: a point failed; all others are in the cache.
    """
    found: dict[int, Synthesis] = {}
    failed: dict[int, SynthError] = {}
    outcomes = synthesize_all([point.design for point in points], cache, workers, limit_s)
    for done, (index, outcome) in enumerate(outcomes, 1):
        if isinstance(outcome, SynthError):
            failed[index] = outcome
        else:
            found[index] = outcome
        tick(done)
    if failed:
        index, error = min(failed.items())
        raise SynthError(f"{len(failed)} of {len(points)} points failed, first {dict(points[index].columns)}: {error}")
    rows = []
    for index, point in enumerate(points):
        result = found[index]
        names = COUNTS + STORAGE_COUNTS if point.design.shift_registers else COUNTS
        counts = {name: getattr(result, name) for name in names}
        rows.append({"tool": result.tool, "family": result.family, **point.columns, **counts})
    return rows


def write_table(rows: Sequence[Mapping[str, str | int | float]], path: Path) -> None:
    """Rows as CSV, whole or not at all."""
    part = path.with_suffix(".part")
    with part.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    part.replace(path)


def points_of(table: str) -> Sequence[Point]:
    """All points of a table of :data:`TABLES`."""
    points: Sequence[Point] = import_module(TABLES[table]).points()
    return points


def main() -> int:
    """Measure one table."""
    parser = argparse.ArgumentParser(prog="python -m hwmodels.calibration.measure", description="Synthesize a table.")
    parser.add_argument("table", choices=TABLES)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--cache", type=Path, default=Path("results/.synth"))
    parser.add_argument("--limit", type=float, default=TIME_LIMIT_S, help="seconds per synthesis")
    asked = parser.parse_args()
    points = points_of(asked.table)

    def tick(done: int) -> None:
        print(f"\r{done} / {len(points)}", end="", file=sys.stderr, flush=True)

    rows = measure(points, asked.cache, asked.workers, asked.limit, tick)
    write_table(rows, FOLDER / f"{asked.table}.csv")
    print(f"\nwrote {asked.table}.csv, {len(rows)} points", file=sys.stderr)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
