"""`dse preflight`: whether FINN would take a QONNX file, and what it would stumble over."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dse.files import as_json


def preflight(
    file: Annotated[Path, typer.Argument(help="A QONNX file, from this project or from elsewhere.")],
    json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document on stdout and nothing else there.")
    ] = False,
) -> None:
    """Check a QONNX file against what FINN accepts: every node that breaks a rule, the rule, and the mend.

    Exit code 1 if FINN would not take it; advice alone is 0.

    Example: dse preflight knee.onnx
    """
    from dse.finn.preflight import preflight as check

    report = check(file)
    typer.echo(as_json(report.as_dict()) if json else report.text(), nl=not json)
    if not report.passes:
        raise typer.Exit(1)
