"""`dse export`: take a point of a sweep out as an ONNX file that was executed, compared and costed again."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dse.export.errors import ExportError
from dse.files import as_json

if TYPE_CHECKING:
    from dse.bundle import BundleExport
    from dse.export.rtl import RtlExport
    from dse.export_point import PointExport
    from dse.finn.export import FinnExport


class Target(StrEnum):
    """What a point can be exported to."""

    QONNX = "qonnx"
    QCDQ = "qcdq"
    FINN = "finn"
    RTL = "rtl"
    BUNDLE = "bundle"


def export(
    results: Annotated[Path, typer.Argument(help="The folder of one sweep, such as results/digits.")],
    point: Annotated[str, typer.Option(help="A point's id, or knee: the knee of the front.")],
    to: Annotated[
        Target,
        typer.Option(
            help="qonnx: every format; qcdq: integers and FP8, for onnxruntime; finn: integers, a folder; "
            "rtl: the compute datapath as Verilog, a folder; bundle: all of them in a folder."
        ),
    ] = Target.QONNX,
    output: Annotated[
        Path | None,
        typer.Option(
            help="The file (finn, rtl, bundle: folder) to write (default: RESULTS/exports/POINT.TO.onnx, POINT.TO of folders)."
        ),
    ] = None,
    samples: Annotated[
        int | None, typer.Option(min=1, help="Test images to compare on (default: all of the sweep's; of rtl 4).")
    ] = None,
    layer: Annotated[str | None, typer.Option(help="rtl: only this layer (default: all with weights).")] = None,
    vectors: Annotated[
        int | None,
        typer.Option(min=1, help="rtl: input vectors of each layer to simulate beside corner vectors (default: 4)."),
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document on stdout and nothing else there.")
    ] = False,
) -> None:
    """Export a point, execute the file, compare it with the quantized model, and cost the network again from the file.

    Exit code 1 if any output or the cost differs: the file is then not what was measured. With --to rtl, the folder holds the
    datapath of every layer with self-checking testbenches, which are simulated in Icarus Verilog, or by Yosys (extra synth)
    where that is not installed; exit code 1 if any word differs.

    Examples:
      dse export results/digits --point knee --to qonnx
      dse export results/digits --point 12.0 --to qcdq --output design.onnx
      dse export results/digits --point knee --to finn --output accelerator
      dse export results/digits --point knee --to rtl --layer stem.conv
      dse export results/digits --point knee --to bundle --output design
    """
    if to is not Target.RTL and (layer is not None or vectors is not None):
        raise ExportError(f"--layer and --vectors must come with --to rtl, but got --to {to}; leave them out.")
    report: BundleExport | FinnExport | PointExport | RtlExport
    if to is Target.BUNDLE:
        from dse.bundle import export_bundle

        report = export_bundle(results, point, output=output, samples=samples)
    elif to is Target.FINN:
        from dse.finn.export import export_finn

        report = export_finn(results, point, output=output, samples=samples)
    elif to is Target.RTL:
        from dse.export_rtl import export_rtl

        given = {} if vectors is None else {"vectors": vectors}
        report = export_rtl(results, point, output, layer=layer, samples=samples, **given)
    else:
        from dse.export_point import export_point

        report = export_point(results, point, str(to), output=output, samples=samples)
    typer.echo(as_json(report.as_dict()) if json else report.text(), nl=not json)
    if not report.equal:
        raise typer.Exit(1)
