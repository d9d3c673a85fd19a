"""`dse cost`: one operator from options, one per row of a CSV, or a whole network from an ONNX file."""

from __future__ import annotations

import csv
import io
import math
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from dse.files import as_json
from hwmodels.accumulator import bits_by_data_type, bits_for_product
from hwmodels.catalog import parse_format
from hwmodels.datapath import Accumulator, Datapath, Multiplier, parse_scaling, tensor_quant
from hwmodels.devices import Device, get_device
from hwmodels.errors import BitfrontError
from hwmodels.estimate import CostModel, CostOptions, CostReport, estimate_operator
from hwmodels.formats import BlockFormat, Minifloat
from hwmodels.ops import Folding, MatVec
from hwmodels.primitives.memory import MemoryStyle

MAX_CSV_BYTES = 256 << 20
MAX_DIGITS = 12
"""Of a number that is costed: larger ones are no hardware, and would take ages to look for divisors of."""


_TOO_LONG = re.compile(rf"(?<![.\d])\d{{{MAX_DIGITS + 1},}}")


class CostError(BitfrontError):
    """Options of `dse cost` that do not say what to cost."""


def cost(
    rows: Annotated[int | None, typer.Option(help="Matrix rows MH (output channels).")] = None,
    cols: Annotated[
        int | None, typer.Option(help="Matrix columns MW (kernel height x width x input channels).")
    ] = None,
    vectors: Annotated[int, typer.Option(help="Input vectors per frame (output pixels).")] = 1,
    pe: Annotated[int, typer.Option(help="Rows computed in parallel; divides rows.")] = 1,
    simd: Annotated[int, typer.Option(help="Columns computed in parallel; divides cols.")] = 1,
    weight: Annotated[str, typer.Option(help="Weight format: int4, e2m1, ocp_e4m3, mxfp4_e2m1, ...")] = "int8",
    activation: Annotated[str, typer.Option(help="Activation format.")] = "uint8",
    weight_scaling: Annotated[
        str, typer.Option(help="channel, groupN, each with or without _po2; block formats bring theirs.")
    ] = "channel",
    accumulator: Annotated[str, typer.Option(help="P in bits, or auto: the width proved by data type.")] = "auto",
    tile: Annotated[int | None, typer.Option(help="T, products per inner accumulator.")] = None,
    multiplier: Annotated[Multiplier, typer.Option(help="Primitive of the multipliers.")] = Multiplier.LUT,
    memory: Annotated[MemoryStyle, typer.Option(help="Weight memory style.")] = MemoryStyle.AUTO,
    device: Annotated[str, typer.Option(help="Part: XC7Z020, XCZU3EG, XCZU7EV, XCU250, XCU55C, XCVC1902.")] = "XCZU3EG",
    model: Annotated[
        CostModel, typer.Option(help="calibrated, or finn: FINN v0.10.1 compatible.")
    ] = CostModel.CALIBRATED,
    batch: Annotated[
        Path | None, typer.Option(help="A CSV with one operator per row, columns as in FINN's node attributes.")
    ] = None,
    network: Annotated[Path | None, typer.Option(help="A QONNX or QCDQ file; its whole network is costed.")] = None,
    target_fps: Annotated[float | None, typer.Option(help="Frames per second that --network is folded for.")] = None,
    clock_mhz: Annotated[
        float | None, typer.Option(help="Clock in MHz (default: 100 for finn, else the part's).")
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document on stdout and nothing else there.")
    ] = False,
) -> None:
    """Cost one operator, a CSV of operators, or a network: LUT, CARRY8, FF, DSP, BRAM18, URAM, cycles; every line with its
    formula, source and error band.

    Examples:
      dse cost --rows 64 --cols 576 --vectors 196 --pe 8 --simd 16 --weight int4 --activation uint4 --device XCZU3EG
      dse cost --rows 64 --cols 576 --weight mxfp4_e2m1 --activation e2m1
      dse cost --batch operators.csv --model finn > costed.csv
      dse cost --network model.onnx --device XCZU3EG --target-fps 1000
    """
    part = get_device(device)
    modes = [
        name
        for name, given in (
            ("--rows/--cols", rows is not None or cols is not None),
            ("--batch", batch),
            ("--network", network),
        )
        if given
    ]
    if len(modes) != 1:
        given = " and ".join(modes) or "none of them"
        raise CostError(f"one of --rows with --cols, --batch and --network must say what to cost, but got {given}.")
    if batch is not None:
        _batch(batch, model, json)
        return
    if network is not None:
        from dse.recost import cost_onnx

        if target_fps is None or target_fps <= 0:
            raise CostError(
                f"--network must come with a positive --target-fps, but got {target_fps}; for example --target-fps 1000."
            )
        clock = _clock(clock_mhz, 100.0 if model is CostModel.FINN else part.clock_mhz)
        report = cost_onnx(
            network, part, target_fps, CostOptions(model=model, multiplier=multiplier, memory=memory), clock
        )
        _print(report, part, clock, {"network": str(network), "target_fps": target_fps}, json)
        return
    if rows is None or cols is None:
        raise CostError(f"both --rows and --cols must be given, but got rows={rows}, cols={cols}.")
    with _of_a_size("an operator"):
        if max(rows, cols, vectors, pe, simd) >= 10**MAX_DIGITS:
            raise OverflowError(f"at most {MAX_DIGITS} digits")
        op = MatVec("matvec", rows, cols, vectors, "input")
        path = _datapath(weight, activation, weight_scaling, accumulator, tile, multiplier, cols)
        report = estimate_operator(
            op, path, Folding(pe, simd), part, CostOptions(model=model, multiplier=multiplier, memory=memory)
        )
    asked = {"rows": rows, "cols": cols, "vectors": vectors, "pe": pe, "simd": simd, "weight": path.weight.name}
    asked |= {
        "activation": path.activation.name,
        "accumulator": path.accumulator.bits,
        "tile": path.accumulator.tile_size,
    }
    _print(report, part, _clock(clock_mhz, part.clock_mhz), asked, json)


@contextmanager
def _of_a_size(what: str) -> Iterator[None]:
    """Numbers of hundreds of digits are a mistake of the user like any other; only Python's own errors say so."""
    try:
        yield
    except BitfrontError:
        raise
    except (OverflowError, ValueError) as error:
        raise CostError(
            f"{what} must have numbers of a size that hardware can have, but it has not: {error}."
        ) from None


def _clock(asked: float | None, default: float) -> float:
    """The clock in MHz; 0 is a mistake, not "none given"."""
    if asked is not None and not 0 < asked < math.inf:
        raise CostError(f"--clock-mhz must be a positive number, but got {asked:g}.")
    return default if asked is None else asked


def _datapath(
    weight: str,
    activation: str,
    weight_scaling: str,
    accumulator: str,
    tile: int | None,
    multiplier: Multiplier,
    cols: int,
) -> Datapath:
    weight_format = parse_format(weight)
    block = isinstance(weight_format, BlockFormat)
    w = tensor_quant(weight_format, None if block else parse_scaling(weight_scaling))
    a = tensor_quant(parse_format(activation))
    if not w.format.signed or any(isinstance(q.format, Minifloat) and not q.format.subnormals for q in (w, a)):
        raise CostError(
            f"weights must be signed and both formats must have a zero, but got weight={w.format}, activation={a.format}; "
            "for example --weight int4 --activation uint4."
        )
    tile = w.scaling.group_size if w.scaling.group_size is not None else tile
    if tile is not None and tile >= cols:
        tile = None
    if accumulator == "auto":
        bits = bits_by_data_type(tile or cols, w.format, a.format)
    elif accumulator.isdecimal():
        bits = int(accumulator)
        least = bits_for_product(w.format, a.format)
        if bits < least:
            raise CostError(
                f"--accumulator must hold at least one product, {least} bits for {w.format} x {a.format}, but got {bits}."
            )
    else:
        raise CostError(f"--accumulator must be auto or a width in bits, but got {accumulator!r}.")
    return Datapath(w, a, Accumulator(bits, tile), multiplier)


def _batch(path: Path, model: CostModel, json: bool) -> None:
    """Cost every row; nothing is printed unless all rows can be costed."""
    from hwmodels.batch import calibrated_row
    from hwmodels.finn.rows import cost_row

    costed: list[dict[str, Any]] = []
    header, lines = _read_csv(path)
    for number, row in lines:
        try:
            with _of_a_size("a row"):
                if any(_TOO_LONG.search(value) for value in row.values()):
                    raise OverflowError(f"at most {MAX_DIGITS} digits")
                resources, cycles = cost_row(row) if model is CostModel.FINN else calibrated_row(row)
        except BitfrontError as error:
            raise CostError(f"{path}, line {number}: {error}") from None
        costed.append({**row, **{k: _plain(v) for k, v in resources.as_dict().items()}, "cycles": cycles})
    if json:
        typer.echo(as_json({"model": str(model), "rows": costed}), nl=False)
        return
    names = [*(n for n in header if n != "cycles"), "lut", "carry8", "ff", "dsp", "bram18", "uram", "cycles"]
    writer = csv.DictWriter(sys.stdout, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(costed)


def _read_csv(path: Path) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    try:
        if path.stat().st_size > MAX_CSV_BYTES:
            raise CostError(
                f"{path} must be at most {MAX_CSV_BYTES >> 20} MiB, but it is {path.stat().st_size >> 20} MiB."
            )
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise CostError(f"--batch must be a readable CSV file, but {path} is not: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise CostError(f"--batch must be a CSV file in UTF-8, but {path} is not.") from None
    try:
        reader = csv.DictReader(io.StringIO(text), strict=True)
        header = list(reader.fieldnames or [])
        lines = [(reader.line_num, row) for row in reader]
    except csv.Error as error:
        raise CostError(f"--batch must be a CSV file, but {path} is not: {error}.") from None
    if "op" not in header or not lines:
        raise CostError(
            f"{path} must have a header with the column op and at least one row below it, but its header is "
            f"{', '.join(header) or 'empty'} and it has {len(lines)} rows."
        )
    for number, row in lines:
        if None in row or None in row.values():
            raise CostError(
                f"{path}, line {number}: a row must have {len(header)} values, one per column of the header, but it has not."
            )
    return header, lines


def _print(report: CostReport, device: Device, clock_mhz: float, asked: Mapping[str, Any], json: bool) -> None:
    over = [shortage._asdict() for shortage in report.exceeded(device)]
    if json:
        document = {
            **asked,
            "device": device.name,
            "clock_mhz": clock_mhz,
            "fps": report.fps(clock_mhz),
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
    for shortage in over:
        typer.echo(
            f"exceeds {device.name}: {shortage['needed']:,.0f} {shortage['name']} of {shortage['available']:,.0f}"
        )


def _plain(value: float) -> float | int:
    """Whole numbers as such: 2700, not 2700.0."""
    return int(value) if float(value).is_integer() else value
