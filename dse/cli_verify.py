"""`dse verify`: is this file still the point that was measured, or this bundle still what was exported?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dse.export.errors import ExportError
from dse.files import as_json


def verify(
    target: Annotated[Path, typer.Argument(help="An ONNX file, or the folder of a design bundle.")],
    against: Annotated[
        Path | None, typer.Option(help="Of a file: the folder of the sweep, such as results/digits.")
    ] = None,
    point: Annotated[str | None, typer.Option(help="Of a file: the point's id, or knee.")] = None,
    samples: Annotated[
        int | None, typer.Option(min=1, help="Of a file: test samples to compare on (default: all of the sweep's).")
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document on stdout and nothing else there.")
    ] = False,
) -> None:
    """Repeat the gate of an export on a file, or check a bundle: its hashes, its outputs and its cost.

    A file is executed on the sweep's test set and compared node by node with the point, which is quantized again. A bundle needs
    nothing but itself. Exit code 1 if anything differs.

    Examples:
      dse verify design.onnx --against results/digits --point knee
      dse verify results/digits/exports/12.0.bundle
    """
    if target.is_dir():
        from dse.bundle_check import verify_bundle

        if against is not None or point is not None or samples is not None:
            raise ExportError(
                "a bundle must be verified by itself, but got --against, --point or --samples; leave them out."
            )
        checked = verify_bundle(target)
        typer.echo(as_json(checked.as_dict()) if json else checked.text(), nl=not json)
        if not checked.equal:
            raise typer.Exit(1)
        return
    from dse.export_point import verify_file

    if against is None or point is None:
        raise ExportError("a file must be verified against a point, but --against or --point is missing; give both.")
    report = verify_file(target, against, point, samples)
    typer.echo(as_json(report.as_dict()) if json else report.text(), nl=not json)
    if not report.equal:
        raise typer.Exit(1)
