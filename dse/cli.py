"""The command line: thin commands over the package. Progress goes to stderr, results to files and stdout."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from dse.cli_calibrate import calibrate
from dse.cli_cost import cost
from dse.cli_export import export
from dse.cli_layers import layers
from dse.cli_preflight import preflight
from dse.cli_synth import synth
from dse.cli_verify import verify
from dse.files import as_json, write_text
from dse.records import RecordError

app = typer.Typer(
    name="dse",
    help="bitfront: measured Pareto fronts of number formats, accumulators and quantization recipes for networks on FPGAs.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode="rich",
)
app.command(name="calibrate")(calibrate)
app.command(name="cost")(cost)
app.command(name="export")(export)
app.command(name="preflight")(preflight)
app.command(name="layers")(layers)
app.command(name="synth")(synth)
app.command(name="verify")(verify)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout and nothing else there.")]


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"bitfront {version('bitfront')}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command()
def init(
    path: Annotated[Path, typer.Argument(help="The file to write.")] = Path("sweep.yaml"),
    workload: Annotated[str, typer.Option(help="The network to quantize.")] = "digits-resnet",
    force: Annotated[bool, typer.Option(help="Overwrite an existing file.")] = False,
) -> None:
    """Write a commented configuration.

    Example: dse init sweep.yaml --workload digits-resnet
    """
    from dse.config import ConfigError
    from dse.template import render

    try:
        text = render(workload, path.stem)
    except ConfigError as error:
        raise ConfigError(f"the name of {path} becomes the sweep's and {error}") from None
    if path.exists() and not force:
        raise RecordError(f"{path} must not exist yet, but it does; choose another file or give --force.")
    write_text(path, text)
    typer.echo(f"wrote {path}; next: dse check {path}, then dse run {path}", err=True)


@app.command()
def check(
    config: Annotated[Path, typer.Argument(help="The configuration (YAML).")],
    quick: Annotated[bool, typer.Option("--quick", help="Validate only; do not time a point.")] = False,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes that would evaluate (default: one per core).")
    ] = None,
    json: Json = False,
) -> None:
    """Validate a configuration, print the size of its space and a time estimate.

    Example: dse check sweep.yaml
    """
    from dse.check import describe, describe_text
    from dse.config import load_config

    loaded = load_config(config)
    document = describe(loaded, workers or default_workers(), measure=not quick)
    typer.echo(as_json(document) if json else describe_text(document), nl=not json)


@app.command()
def run(
    config: Annotated[Path, typer.Argument(help="The configuration (YAML).")],
    trials: Annotated[
        int | None, typer.Option(min=1, help="Numerics points to evaluate, instead of the configuration's.")
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes that evaluate (default: one per core).")] = None,
    results: Annotated[Path, typer.Option(help="The folder that sweeps are stored in, one folder each.")] = Path(
        "results"
    ),
    json: Json = False,
) -> None:
    """Run a sweep, or go on with it where it stopped: the same command resumes after Ctrl-C or a kill.

    Example: dse run sweeps/digits.yaml --trials 20
    """
    from dse.config import load_config
    from dse.run import run_sweep

    loaded = load_config(config)
    if trials is not None:
        loaded = loaded.model_copy(update={"search": loaded.search.model_copy(update={"trials": trials})})
    summary, interrupted = run_sweep(loaded, results, workers or default_workers())
    if json:
        typer.echo(as_json(summary), nl=False)
    else:
        typer.echo(_summary_text(summary))
    if interrupted:
        raise typer.Exit(130)


@app.command()
def front(
    results: Annotated[Path, typer.Argument(help="The folder of one sweep, such as results/digits.")],
    plot: Annotated[
        Path | None, typer.Option(help="Also write the front's figure to this file (png, svg or pdf).")
    ] = None,
    json: Json = False,
) -> None:
    """Print the Pareto front of a sweep; write front.json, front.csv and the figures beside its results.

    Example: dse front results/digits --plot front.png
    """
    from dse.plots import front_figure, save
    from dse.report import write_report
    from dse.results import load_results
    from dse.tables import front_table

    loaded = load_results(results)
    document, written = write_report(loaded)
    if plot is not None:
        save(front_figure(loaded.config.name, loaded.rows, loaded.objectives), plot)
        written = [*written, plot]
    if json:
        typer.echo(as_json(document), nl=False)
        return
    Console(width=None if Console().is_terminal else 150).print(
        front_table(loaded.config.name, loaded.rows, loaded.objectives)
    )
    typer.echo(f"hypervolume {document['hypervolume']:.4f}; {_counts_text(document['counts'])}")
    typer.echo("wrote " + ", ".join(map(str, written)), err=True)


def default_workers() -> int:
    """One process per core that this process may use."""
    return len(os.sched_getaffinity(0))


def _counts_text(counts: dict[str, int]) -> str:
    names = {
        "ok": "measured",
        "too_big": "too big for the part",
        "refused": "refused",
        "failed": "failed",
        "reference": "float reference",
    }
    return ", ".join(f"{counts[status]} {text}" for status, text in names.items() if counts.get(status))


def _summary_text(summary: dict[str, object]) -> str:
    counts = summary["counts"]
    assert isinstance(counts, dict)
    volume = summary["hypervolume"]
    text = f"{summary['trials']} numerics points ({_counts_text(counts)}); {summary['quantizations']} quantizations in this run"
    return f"{text}; hypervolume {volume:.4f}\nnext: dse front {summary['folder']}"
