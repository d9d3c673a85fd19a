"""`dse calibrate`: fit a correction of the cost model to operators that were implemented."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from dse.corrections import save_correction
from dse.files import as_json
from dse.operator_rows import line_of, read_csv
from hwmodels.calibration.vivado import Correction, Fitted, fit_correction, read_measured


def calibrate(
    rows: Annotated[Path, typer.Argument(help="A CSV: columns of dse cost --batch, measured_*, tool, part.")],
    out: Annotated[Path | None, typer.Option(help="The correction file to write (JSON).")] = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document on stdout and nothing else there.")
    ] = False,
) -> None:
    """Fit a correction to implemented operators; print the errors before and after, on rows that each fit has not seen.

    Each row is an operator as for dse cost --batch, with measured_lut, measured_ff, measured_bram18 (a RAMB36 counts 2) and
    measured_dsp after place and route, the tool and the part. For each kind of operator and resource the simplest of three laws
    is kept: as it is; a factor (4 rows of the kind at least); an offset and a factor (8 rows). Nothing is corrected silently:
    dse cost --correction FILE says in every corrected line by how much.

    Examples:
      dse calibrate hwmodels/calibration/vivado_cnv_w1a1.csv
      dse calibrate rows.csv --out mine.json && dse cost --batch rows.csv --correction mine.json
    """
    _, lines = read_csv(rows)
    measured = []
    for number, row in lines:
        with line_of(rows, number, row):
            measured.append(read_measured(row))
    correction = fit_correction(measured, (out or rows).stem)
    if out is not None:
        save_correction(correction, out)
        typer.echo(f"wrote {out}; next: dse cost --correction {out}", err=True)
    if json:
        typer.echo(as_json(correction.as_dict()), nl=False)
    else:
        _print(correction)


def _print(correction: Correction) -> None:
    """A line per kind and resource that is there at all."""
    title = f"{correction.name}: {', '.join(correction.tools)}; {', '.join(correction.parts)}"
    table = Table(title=title, title_justify="left")
    for name in ("operator", "resource", "rows", "predicted", "correction"):
        table.add_column(name, justify="right" if name in ("rows", "predicted") else "left")
    for name in ("median before", "worst", "median after", "worst"):
        table.add_column(name, justify="right")
    for fit in correction.fits:
        if fit.high or any(fit.before):
            table.add_row(*_cells(fit))
    Console(width=None if Console().is_terminal else 150).print(table)
    typer.echo("errors are relative; after: each row by a law that was fitted to the others")


def _cells(fit: Fitted) -> tuple[Any, ...]:
    reach = f"{fit.low:,.0f} to {fit.high:,.0f}"
    errors = (f"{error:.1%}" for error in (*fit.before, *fit.after))
    return fit.kind, fit.resource, str(fit.rows), reach, str(fit.law), *errors
