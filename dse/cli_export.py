"""`dse export`: take a point of a sweep out as an ONNX file that was executed, compared and costed again."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from dse.files import as_json


class Target(StrEnum):
    """What a point can be exported to."""

    QONNX = "qonnx"
    QCDQ = "qcdq"
    FINN = "finn"


def export(
    results: Annotated[Path, typer.Argument(help="The folder of one sweep, such as results/digits.")],
    point: Annotated[str, typer.Option(help="A point's id, or knee: the knee of the front.")],
    to: Annotated[
        Target,
        typer.Option(help="qonnx: integers and minifloats; qcdq: integers, for onnxruntime; finn: integers, a folder."),
    ] = Target.QONNX,
    output: Annotated[
        Path | None, typer.Option(help="The file (finn: folder) to write (default: RESULTS/exports/POINT.TO.onnx).")
    ] = None,
    samples: Annotated[
        int | None, typer.Option(min=1, help="Test images to compare on (default: all of the sweep's).")
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document on stdout and nothing else there.")
    ] = False,
) -> None:
    """Export a point, execute the file, compare it with the quantized model, and cost the network again from the file.

    Exit code 1 if any output or the cost differs: the file is then not what was measured.

    Examples:
      dse export results/digits --point knee --to qonnx
      dse export results/digits --point 12.0 --to qcdq --output design.onnx
      dse export results/digits --point knee --to finn --output accelerator
    """
    from dse.export_point import PointExport, export_point
    from dse.finn.export import FinnExport, export_finn

    report: PointExport | FinnExport
    if to is Target.FINN:
        report = export_finn(results, point, output=output, samples=samples)
    else:
        report = export_point(results, point, str(to), output=output, samples=samples)
    typer.echo(as_json(report.as_dict()) if json else report.text(), nl=not json)
    if not report.equal:
        raise typer.Exit(1)
