"""`dse cost --compare`: FINN's estimate and the calibrated one side by side, and why they differ."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.table import Table

from dse.files import as_json
from dse.operator_rows import CostError, line_of, plain, read_csv, with_columns
from hwmodels.compare import Comparison, Unit, compare_row
from hwmodels.resources import NAMES

_WIDTH = 160
_RESOURCES = (*NAMES, "cycles")


def print_comparison(comparison: Comparison, asked: Mapping[str, Any], json: bool) -> None:
    """Print both estimates of every operator, then the reasons of the differences."""
    if json:
        typer.echo(as_json({**asked, **comparison.as_dict()}), nl=False)
        return
    console = Console(width=None if Console().is_terminal else _WIDTH)
    title = ", ".join(f"{name} {value}" for name, value in asked.items() if value is not None)
    table = Table(title=f"{title} on {comparison.device}: FINN v0.10.1 | calibrated", title_justify="left")
    for name in ("operator", "in FINN", *(name.upper() if name != "cycles" else name for name in _RESOURCES)):
        table.add_column(name, justify="left" if name in ("operator", "in FINN") else "right", overflow="fold")
    for unit in comparison.units:
        ours = unit.calibrated.as_dict() | {"cycles": unit.cycles}
        table.add_row(unit.name, _finn_name(unit, comparison), *_pairs(_finn_counts(unit), ours))
        for cost in unit.costs:
            counts = [f"{count:,.0f}" if count else "" for count in cost.resources.as_dict().values()]
            table.add_row(f"  {cost.component}", "", *counts, "", style="dim")
    table.add_section()
    total = None if comparison.finn is None else comparison.finn.as_dict()
    table.add_row("total", "", *_pairs(total, comparison.calibrated.as_dict()), "", style="bold")
    console.print(table)
    if comparison.refusal is not None:
        typer.echo(f"FINN has no estimate: {comparison.refusal}")
    reasons = _reasons(comparison.units)
    if reasons.row_count:
        console.print(reasons)


def compare_rows(path: Path) -> tuple[list[str], list[dict[str, Any]], list[dict[str, Any]]]:
    """(columns, rows, rows in full) of a table: both estimates of every operator and why they differ, or why it has none.

    The rows in full are for JSON. A row that cannot be costed has its reason under `error` in both.
    """
    header, lines = read_csv(path)
    rows: list[dict[str, Any]] = []
    full: list[dict[str, Any]] = []
    for number, row in lines:
        try:
            with line_of(path, number, row):
                unit = compare_row(row)
        except CostError as error:
            rows.append({**row, "error": str(error)})
            full.append(rows[-1])
            continue
        pair = {"finn": _finn_counts(unit) or {}, "calibrated": unit.calibrated.as_dict() | {"cycles": unit.cycles}}
        counts = {f"{model}_{name}": plain(count) for model, own in pair.items() for name, count in own.items()}
        why = {f"{entry.resource}: {entry.why}": None for entry in unit.differences()}
        rows.append({**row, **counts, "why": "; ".join(why)})
        full.append({**row, **unit.as_dict()})
    added = [f"{model}_{name}" for name in _RESOURCES for model in ("finn", "calibrated")] + ["why"]
    return with_columns(header, added, rows), rows, full


def _finn_counts(unit: Unit) -> dict[str, float] | None:
    return None if unit.finn is None else unit.finn.as_dict() | {"cycles": unit.finn_cycles or 0}


def _finn_name(unit: Unit, comparison: Comparison) -> str:
    return unit.finn_name or ("no such format" if comparison.refusal is not None else "not counted")


def _pairs(finn: Mapping[str, float] | None, ours: Mapping[str, float]) -> list[str]:
    """``finn | calibrated`` of every resource."""
    return [f"{'-' if finn is None else format(finn[name], ',.0f')} | {count:,.0f}" for name, count in ours.items()]


def _reasons(units: tuple[Unit, ...]) -> Table:
    """One line for each component, resource and reason: in how many operators, and how much of it there is."""
    table = Table(title="where they differ, and why", title_justify="left")
    for name in ("resource", "component", "calibrated", "operators", "why"):
        table.add_column(name, justify="right" if name in ("calibrated", "operators") else "left", overflow="fold")
    sums: dict[tuple[str, str, str], list[float]] = {}
    for unit in units:
        for entry in unit.differences():
            for component, count in entry.components.items():
                sums.setdefault((entry.resource, component, entry.why), []).append(count)
    for resource in _RESOURCES:
        for (name, component, why), counts in sums.items():
            if name == resource:
                amount = "" if name == "cycles" else f"{sum(counts):,.0f}"
                table.add_row(name if name == "cycles" else name.upper(), component, amount, str(len(counts)), why)
    return table
