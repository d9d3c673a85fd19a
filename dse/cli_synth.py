"""`dse synth`: generate, simulate and synthesize compute units; print what was measured beside what the model predicts."""

from __future__ import annotations

import os
from itertools import product
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from dse.files import as_json, write_text
from hwmodels.catalog import parse_element
from hwmodels.datapath import Accumulator, Datapath, Overflow, tensor_quant
from hwmodels.devices import Family
from hwmodels.dot_product import dot_product_unit
from hwmodels.errors import BitfrontError
from hwmodels.primitives.cost import ErrorBand
from hwmodels.resources import Resources
from hwmodels.rtl.check import check_unit, vectors
from hwmodels.rtl.testbench import testbench
from hwmodels.rtl.unit import DotUnit, unit_verilog
from hwmodels.synth import TIME_LIMIT_S, Design, Synthesis, synthesize_all
from hwmodels.yosys import SynthError

MOST_POINTS = 4096


class SynthOptionError(BitfrontError):
    """Options of `dse synth` that do not say what to synthesize."""


def synth(
    weight: Annotated[str, typer.Option(help="Weight format, or several with commas: int4,e2m1.")],
    activation: Annotated[
        str, typer.Option(help="Activation format, or several; every combination of all lists is a point.")
    ],
    accumulator: Annotated[str, typer.Option(help="P in bits, or several.")] = "24",
    lanes: Annotated[str, typer.Option(help="Products per cycle, or several.")] = "8",
    family: Annotated[Family, typer.Option(help="Primitive family: xc7 or xcup.")] = Family.XCUP,
    overflow: Annotated[
        Overflow, typer.Option(help="What the accumulator does; impossible is built as wrap.")
    ] = Overflow.WRAP,
    drop: Annotated[
        int | None, typer.Option(help="Low product bits of minifloats left out (default: as few as let the sum fit P).")
    ] = None,
    pipeline: Annotated[bool, typer.Option("--pipeline", help="A register behind the multipliers.")] = False,
    rtl: Annotated[
        Path | None, typer.Option(help="Also write dot.v and its testbench dot_test.v here (one point only).")
    ] = None,
    cache: Annotated[Path, typer.Option(help="Folder of finished syntheses, by content.")] = Path("results/.synth"),
    workers: Annotated[int | None, typer.Option(min=1, help="Processes (default: one per core).")] = None,
    time_limit: Annotated[float, typer.Option(min=1, help="Seconds per synthesis.")] = TIME_LIMIT_S,
    json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document on stdout and nothing else there.")
    ] = False,
) -> None:
    """Generate compute units, simulate them against the number formats, synthesize them with Yosys: measured beside predicted.

    Needs the extra synth, or `yosys` on the PATH. Exit code 1 if a synthesis failed or ran out of time.

    Examples:
      dse synth --weight int4,e2m1 --activation int4 --accumulator 20 --lanes 8
      dse synth --weight e2m1 --activation e2m1 --rtl build --json
    """
    units = [
        DotUnit(
            Datapath(tensor_quant(parse_element(w)), tensor_quant(parse_element(x)), Accumulator(p, overflow=overflow)),
            n,
            dropped_bits=drop,
            pipeline=pipeline,
        )
        for w, x, p, n in product(
            _names(weight), _names(activation), _numbers("--accumulator", accumulator), _numbers("--lanes", lanes)
        )
    ]
    if len(units) > MOST_POINTS:
        raise SynthOptionError(f"at most {MOST_POINTS} points can be asked for at once, but got {len(units)}.")
    if rtl is not None and len(units) != 1:
        raise SynthOptionError(f"--rtl must come with one point, but got {len(units)}.")
    # fewer cycles for many lanes: seconds, not minutes
    checked = {unit: check_unit(unit, cycles=max(4, min(16, 1024 // unit.lanes))) for unit in units}
    measured: dict[DotUnit, Synthesis | SynthError] = {}
    designs = [Design(unit_verilog(unit), family) for unit in units]
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("synthesis", total=len(units))
        for index, outcome in synthesize_all(designs, cache, workers or _cores(), time_limit):
            measured[units[index]] = outcome
            progress.advance(task)
    rows = [_row(unit, measured[unit], family, checked[unit]) for unit in units]
    if rtl is not None:
        _write_rtl(rtl, units[0])
    if json:
        typer.echo(as_json({"family": str(family), "points": rows}), nl=False)
    else:
        _print(rows, family)
    if any("error" in row for row in rows):
        raise typer.Exit(1)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",")]


def _numbers(option: str, text: str) -> list[int]:
    if not all(name.isdecimal() for name in _names(text)):
        raise SynthOptionError(f"{option} must be a number or several with commas, but got {text!r}.")
    return [int(name) for name in _names(text)]


def _cores() -> int:
    return len(os.sched_getaffinity(0))


def _row(unit: DotUnit, outcome: Synthesis | SynthError, family: Family, checked: int) -> dict[str, Any]:
    predicted, band = dot_product_unit(unit.weight, unit.activation, unit.lanes, unit.bits, family)
    row: dict[str, Any] = {
        "weight": unit.weight.name,
        "activation": unit.activation.name,
        "accumulator": unit.bits,
        "lanes": unit.lanes,
        "overflow": str(unit.overflow),
        "dropped_bits": unit.dropped,
        "pipeline": unit.pipeline,
        "simulated_sums": checked,
        "predicted": _predicted(predicted, band),
    }
    if isinstance(outcome, SynthError):
        return row | {"error": str(outcome)}
    return row | {"measured": outcome.as_dict()}


def _predicted(resources: Resources, band: ErrorBand) -> dict[str, Any]:
    return {"lut": resources.lut, "carry8": resources.carry8, "ff": resources.ff, "error_band": band.as_dict()}


def _print(rows: list[dict[str, Any]], family: Family) -> None:
    tool = next((row["measured"]["tool"] for row in rows if "measured" in row), "no synthesis")
    table = Table(
        title=f"compute units on {family}, {tool}: measured, predicted by the cost model", title_justify="left"
    )
    for name in ("weight", "activation"):
        table.add_column(name)
    for name in (
        "P",
        "lanes",
        "dropped",
        "LUT",
        "predicted",
        "off by",
        "LUT raw",
        "CARRY8",
        "pred.",
        "FF",
        "pred.",
        "s",
    ):
        table.add_column(name, justify="right")
    for row in rows:
        about = [row["weight"], row["activation"], *(str(row[k]) for k in ("accumulator", "lanes", "dropped_bits"))]
        if "error" in row:
            table.add_row(*about, "failed")
            continue
        found, model = row["measured"], row["predicted"]
        table.add_row(
            *about,
            f"{found['lut_packed']:,}",
            f"{model['lut']:,.0f}",
            f"{model['lut'] / found['lut_packed'] - 1:+.1%}",
            f"{found['lut']:,}",
            f"{found['carry8']:g}",
            f"{model['carry8']:g}",
            f"{found['ff']:,}",
            f"{model['ff']:g}",
            f"{found['seconds']:.1f}",
        )
    Console(width=None if Console().is_terminal else 150).print(table)
    for row in rows:
        if "error" in row:
            typer.echo(f"{row['weight']} x {row['activation']}, {row['lanes']} lanes: {row['error']}", err=True)
    if any(row["pipeline"] for row in rows):
        typer.echo("the model's unit has no pipeline register: predicted FF leave it out")
    typer.echo(
        f"every unit computed what its formats say on {sum(row['simulated_sums'] for row in rows):,} simulated sums"
    )


def _write_rtl(folder: Path, unit: DotUnit) -> None:
    weights, activations, clear, enable = vectors(unit, cycles=64, batch=17, seed=0)
    # the last sequence is the random one behind the corners
    bench = testbench(unit, weights[:, -1], activations[:, -1], clear, enable)
    for name, text in (("dot.v", unit_verilog(unit)), ("dot_test.v", bench)):
        write_text(folder / name, text)
        typer.echo(f"wrote {folder / name}", err=True)
