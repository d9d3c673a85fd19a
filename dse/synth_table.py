"""What `dse synth` shows of a unit, as one row: simulated, synthesized, timed, and what the cost model predicts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import typer
from rich.console import Console
from rich.table import Table

from hwmodels.devices import Family
from hwmodels.timing import PART, SEEDS

Row = dict[str, Any]
"""A unit and what is known of it: `simulated_sums`, `predicted`, `measured`, `timing`; or the `error` that ended it."""


_ABOUT: Mapping[str, str] = {"P": "accumulator", "lanes": "lanes", "dropped": "dropped_bits"}
_CUT: Mapping[str, str] = {"segment": "segment", "outer P": "outer"}
_SYNTHESIS: Mapping[str, Callable[[Row], str]] = {
    "LUT": lambda row: f"{row['measured']['lut_packed']:,}",
    "pred. LUT": lambda row: f"{row['predicted']['lut']:,.0f}",
    "off by": lambda row: f"{row['predicted']['lut'] / row['measured']['lut_packed'] - 1:+.1%}",
    "LUT raw": lambda row: f"{row['measured']['lut']:,}",
    "CARRY8": lambda row: f"{row['measured']['carry8']:g}",
    "pred. C8": lambda row: f"{row['predicted']['carry8']:g}",
    "FF": lambda row: f"{row['measured']['ff']:,}",
    "pred. FF": lambda row: f"{row['predicted']['ff']:g}",
    "s": lambda row: f"{row['measured']['seconds']:.1f}",
}
_TIMING: Mapping[str, Callable[[Row], str]] = {
    "ECP5 MHz": lambda row: f"{row['timing']['fmax_mhz']:.0f}",
    "LUT4": lambda row: f"{row['timing']['comb']:,}",
    "CCU2C": lambda row: f"{row['timing']['ccu2c']:,}",
}


def print_rows(rows: Sequence[Row], family: Family, simulators: Sequence[str]) -> None:
    """The table on stdout, then what to know about it; the errors on stderr."""
    tool = next((row["measured"]["tool"] for row in rows if "measured" in row), "no synthesis")
    columns = {**_SYNTHESIS, **(_TIMING if any("timing" in row for row in rows) else {})}
    table = Table(
        title=f"compute units on {family}, {tool}: measured, predicted by the cost model", title_justify="left"
    )
    for name in ("weight", "activation"):
        table.add_column(name, no_wrap=True)
    facts = {**_ABOUT, **(_CUT if any("segment" in row for row in rows) else {})}
    for name in (*facts, *columns):
        table.add_column(name, justify="right")
    for row in rows:
        about = [row["weight"], row["activation"], *(str(row[field]) for field in facts.values())]
        table.add_row(*about, *(["failed"] if "error" in row else [show(row) for show in columns.values()]))
    Console(width=None if Console().is_terminal else 150).print(table)
    for row in rows:
        if "error" in row:
            typer.echo(f"{row['weight']} x {row['activation']}, {row['lanes']} lanes: {row['error']}", err=True)
    if any(row["pipeline"] for row in rows):
        typer.echo("the model's unit has no pipeline register: predicted FF leave it out")
    if any("timing" in row for row in rows):
        typer.echo(
            f"ECP5 MHz, LUT4 and CCU2C: placed and routed on a Lattice ECP5 ({PART}), median of {len(SEEDS)} seeds; compare "
            "formats by them, they are not those of a Xilinx part"
        )
    simulated = [row["simulated_sums"] for row in rows if "simulated_sums" in row]
    whole = len(simulated) == len(rows)
    units = "every unit computed what its" if whole else f"{len(simulated)} of {len(rows)} units computed what their"
    typer.echo(f"{units} formats say on {sum(simulated):,} simulated sums ({' and '.join(simulators)})")
