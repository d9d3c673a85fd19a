"""`dse synth`: generate, simulate, synthesize and time compute units; print what was measured beside what the model predicts."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from enum import StrEnum
from itertools import product
from math import prod
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from rich.console import Console
from rich.progress import Progress

from dse.files import as_json, write_text
from dse.synth_table import Row, print_rows
from dse.synth_units import BlockScale, Cut, Unit, bench, build, check, top_of, unit_row, verilog
from hwmodels.datapath import Overflow
from hwmodels.devices import Family
from hwmodels.errors import BitfrontError
from hwmodels.nextpnr import nextpnr_version
from hwmodels.rtl.check import Simulator
from hwmodels.synth import TIME_LIMIT_S, Design, Synthesis, check_family, synthesize_all
from hwmodels.timing import Timing, time_all
from hwmodels.yosys import yosys_version

MOST_POINTS = 4096
MOST_DIGITS = 6
Input = TypeVar("Input")


class Simulators(StrEnum):
    """Which simulators a unit must satisfy."""

    YOSYS = "yosys"
    ICARUS = "icarus"
    BOTH = "both"

    @property
    def each(self) -> tuple[Simulator, ...]:
        """They."""
        return tuple(Simulator) if self is Simulators.BOTH else (Simulator(self.value),)


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
    pipeline: Annotated[
        bool, typer.Option("--pipeline", help="A register behind the multipliers: --stages 1.")
    ] = False,
    stages: Annotated[
        int | None,
        typer.Option(
            min=0, max=2, help="Pipeline registers: 1 behind the multipliers, 2 in front of the accumulator, too."
        ),
    ] = None,
    tile: Annotated[
        int | None, typer.Option(min=1, help="Products per inner accumulator (P); their sums go to an outer one.")
    ] = None,
    block: Annotated[int | None, typer.Option(min=2, help="Products that share scales, applied to their sum.")] = None,
    block_scale: Annotated[
        BlockScale | None,
        typer.Option(
            help="mx (default): E8M0 of weights and activations; po2: of weights; float: 16 bits, of weights."
        ),
    ] = None,
    outer: Annotated[
        int | None, typer.Option(min=2, max=1024, help="Outer accumulator in bits (default: room for 256 segments).")
    ] = None,
    simulator: Annotated[
        Simulators, typer.Option(help="What simulates every unit against its formats; icarus: `iverilog` on the PATH.")
    ] = Simulators.YOSYS,
    fmax: Annotated[
        bool, typer.Option("--fmax", help="Also place and route on a Lattice ECP5: relative timing (extra timing).")
    ] = False,
    rtl: Annotated[
        Path | None, typer.Option(help="Also write the Verilog and a testbench here (one point only).")
    ] = None,
    cache: Annotated[Path, typer.Option(help="Folder of finished syntheses, by content.")] = Path("results/.synth"),
    workers: Annotated[int | None, typer.Option(min=1, help="Processes (default: one per core).")] = None,
    time_limit: Annotated[
        float, typer.Option(min=1, max=86400, help="Seconds per synthesis, simulation, place and route.")
    ] = TIME_LIMIT_S,
    json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document on stdout and nothing else there.")
    ] = False,
) -> None:
    """Generate compute units, simulate them against the number formats, synthesize them with Yosys: measured beside predicted.

    Needs the extra synth, or `yosys` on the PATH. Exit code 1 if a unit failed or ran out of time; the others are printed.

    Examples:
      dse synth --weight int4,e2m1 --activation int4 --accumulator 20 --lanes 8
      dse synth --weight e2m1 --activation e2m1 --rtl build --json
      dse synth --weight int4 --activation int4 --accumulator 10 --tile 32
      dse synth --weight e2m1 --activation e2m1 --accumulator 15 --block 32
      dse synth --weight int4,int8 --activation uint4 --pipeline --fmax --simulator both
      dse synth --weight e2m1 --activation e2m1 --stages 2 --fmax
    """
    formats = _names(weight), _names(activation)
    numbers = _numbers("--accumulator", accumulator), _numbers("--lanes", lanes)
    points = prod(map(len, formats)) * prod(map(len, numbers))
    if points > MOST_POINTS:
        raise SynthOptionError(f"at most {MOST_POINTS} points can be asked for at once, but got {points}.")
    if pipeline and stages == 0:
        raise SynthOptionError("--pipeline is a register, but got --stages 0 as well; leave one of them out.")
    cut = Cut(tile, block, block_scale, outer)
    units = [
        build(w, x, p, n, cut, overflow=overflow, dropped=drop, stages=int(pipeline) if stages is None else stages)
        for w, x, p, n in product(*formats, *numbers)
    ]
    if rtl is not None and len(units) != 1:
        raise SynthOptionError(f"--rtl must come with one point, but got {len(units)}.")
    check_family(family)
    # an absent tool is a mistake, not the failure of a unit
    yosys_version()
    simulators = [each.tool for each in simulator.each]
    if fmax:
        nextpnr_version()
    rows = [unit_row(unit, family) for unit in units]
    texts, top = [verilog(unit) for unit in units], top_of(units[0])
    for unit, row in zip(units, rows, strict=True):
        _simulate(unit, row, simulator.each, time_limit)
    designs = [Design(text, family, top) for text in texts]
    processes = workers or _cores()
    _run("synthesis", "measured", rows, designs, lambda some: synthesize_all(some, cache, processes, time_limit))
    if fmax:
        _run("place and route", "timing", rows, texts, lambda some: time_all(some, cache, processes, time_limit, top))
    if rtl is not None:
        _write_rtl(rtl, units[0])
    if json:
        typer.echo(as_json({"family": str(family), "simulators": simulators, "points": rows}), nl=False)
    else:
        print_rows(rows, family, simulators)
    if any("error" in row for row in rows):
        raise typer.Exit(1)


def _simulate(unit: Unit, row: Row, simulators: Sequence[Simulator], limit_s: float) -> None:
    """Enter the number of simulated sums, all of them equal to the codec's, or the error."""
    # fewer vectors for many lanes: seconds, not minutes; Icarus takes them one by one
    cycles, batches = max(4, min(16, 1024 // unit.lanes)), {Simulator.ICARUS: max(17, min(128, 1024 // unit.lanes))}
    try:
        row["simulated_sums"] = sum(check(unit, cycles, batches.get(each, 128), each, limit_s) for each in simulators)
    except BitfrontError as error:
        row["error"] = str(error)


def _run(
    what: str,
    field: str,
    rows: Sequence[Row],
    inputs: Sequence[Input],
    run: Callable[[Sequence[Input]], Iterator[tuple[int, Synthesis | Timing | BitfrontError]]],
) -> None:
    """Enter into each row what `run` gives for its input, or the error; rows that failed already are left out."""
    chosen = [index for index, row in enumerate(rows) if "error" not in row]
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(what, total=len(chosen))
        for index, outcome in run([inputs[index] for index in chosen]):
            row = rows[chosen[index]]
            if isinstance(outcome, BitfrontError):
                row["error"] = str(outcome)
            else:
                row[field] = outcome.as_dict()
            progress.advance(task)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",")]


def _numbers(option: str, text: str) -> list[int]:
    if not all(name.isdecimal() and len(name) <= MOST_DIGITS for name in _names(text)):
        raise SynthOptionError(
            f"{option} must be a number of at most {MOST_DIGITS} digits or several with commas, but got {text[:80]!r}."
        )
    return [int(name) for name in _names(text)]


def _cores() -> int:
    return len(os.sched_getaffinity(0))


def _write_rtl(folder: Path, unit: Unit) -> None:
    for name, text in ((f"{top_of(unit)}.v", verilog(unit)), (f"{top_of(unit)}_test.v", bench(unit))):
        write_text(folder / name, text)
        typer.echo(f"wrote {folder / name}", err=True)
