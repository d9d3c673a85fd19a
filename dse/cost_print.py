"""How `dse cost` prints a report: every line with its formula, source and error band, then rate and what does not fit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import typer
from rich.console import Console
from rich.table import Table

from dse.files import as_json
from hwmodels.devices import Device
from hwmodels.estimate import CostReport


def print_report(report: CostReport, device: Device, clock_mhz: float, asked: Mapping[str, Any], json: bool) -> None:
    """Print a report as a table, or as one JSON document.

    Args:
        asked: what it is a report of, for the title and the document.
    """
    over = [shortage._asdict() for shortage in report.exceeded(device, clock_mhz)]
    if json:
        document = {
            **asked,
            "device": device.name,
            "clock_mhz": clock_mhz,
            "fps": report.fps(clock_mhz),
            "weight_bandwidth_gbs": report.bandwidth_gbs(clock_mhz),
            "exceeds": over,
            **report.as_dict(),
        }
        typer.echo(as_json(document), nl=False)
        return
    console = Console(width=None if Console().is_terminal else 160)
    table = Table(
        title=f"{', '.join(f'{k} {v}' for k, v in asked.items() if v is not None)} on {device.name}",
        title_justify="left",
    )
    for name in (
        "layer",
        "component",
        "LUT",
        "CARRY8",
        "FF",
        "DSP",
        "BRAM18",
        "URAM",
        "formula [source]",
        "error band",
    ):
        table.add_column(name, justify="right" if name.isupper() or name == "BRAM18" else "left", overflow="fold")
    for line in report.lines:
        numbers = [f"{v:,.0f}" for v in line.resources.as_dict().values()]
        table.add_row(
            line.layer, line.component, *numbers, f"{line.formula} [{line.source}]".replace("[", r"\["), str(line.band)
        )
    table.add_section()
    table.add_row("total", "", *[f"{v:,.0f}" for v in report.total.as_dict().values()], style="bold")
    console.print(table)
    rate = f"{report.fps(clock_mhz):,.1f} fps at {clock_mhz:g} MHz"
    typer.echo(f"{report.max_cycles:,} cycles per frame (bottleneck {report.bottleneck}): {rate}")
    if report.weight_stream_bits:
        stated = "no bandwidth stated" if device.memory_gbs is None else f"{device.memory_gbs:g} GB/s"
        bandwidth = report.bandwidth_gbs(clock_mhz)
        typer.echo(f"off-chip weights: {bandwidth:,.2f} GB/s while all units work; memory of {device.name}: {stated}")
    for note in report.notes:
        typer.echo(note)
    for shortage in over:
        typer.echo(
            f"exceeds {device.name}: {shortage['needed']:,.0f} {shortage['name']} of {shortage['available']:,.0f}"
        )
