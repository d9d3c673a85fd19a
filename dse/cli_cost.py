"""`dse cost`: one operator from options, one per row of a CSV, a whole network from an ONNX file, or a point of a sweep."""

from __future__ import annotations

import csv
import math
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from dse.corrections import SHIPPED_NAME, load_correction
from dse.cost_compare import compare_rows, print_comparison
from dse.cost_print import print_report
from dse.files import as_json
from dse.operator_rows import MAX_DIGITS, CostError, cost_rows, of_a_size
from hwmodels.accumulator import bits_by_data_type, bits_for_product
from hwmodels.calibration.vivado import Correction
from hwmodels.catalog import parse_format
from hwmodels.compare import compare_operator
from hwmodels.corrected import correct
from hwmodels.datapath import Accumulator, Datapath, Multiplier, parse_accumulator, parse_scaling, tensor_quant
from hwmodels.devices import get_device
from hwmodels.estimate import CostModel, CostOptions, estimate_operator
from hwmodels.fmax import relative_fmax
from hwmodels.formats import BlockFormat, Minifloat
from hwmodels.ops import Folding, MatVec
from hwmodels.options import UnitStyle
from hwmodels.primitives.memory import MemoryStyle


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
    accumulator: Annotated[
        str, typer.Option(help="P in bits; auto: the width proved by data type; float:e6m10: a floating-point sum.")
    ] = "auto",
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
    results: Annotated[
        Path | None, typer.Option(help="The results folder of a sweep; one of its points is taken apart.")
    ] = None,
    point: Annotated[str, typer.Option(help="Which one: its id, or knee.")] = "knee",
    target_fps: Annotated[
        str | None, typer.Option(help="Frames per second that --network is folded for; max: the most that fit.")
    ] = None,
    clock_mhz: Annotated[
        float | None, typer.Option(help="Clock in MHz (default: 100 for finn, else the part's).")
    ] = None,
    units: Annotated[
        UnitStyle,
        typer.Option(
            help="rtl: built of what this project generates; hls: as FINN builds it, layers by its HLS library."
        ),
    ] = UnitStyle.RTL,
    shell: Annotated[
        bool, typer.Option("--shell", help="Count what moves data on and off the chip (with --network).")
    ] = False,
    label: Annotated[
        bool,
        typer.Option(
            "--label", help="Count scale, bias and label select of the last layer (with --network); else sums leave."
        ),
    ] = False,
    pixels: Annotated[
        bool,
        typer.Option(
            "--pixels",
            help="Count what makes pixels of 8 bits the input's format (with --network); else it arrives so.",
        ),
    ] = False,
    correction: Annotated[
        str | None, typer.Option(help=f"A file of dse calibrate, or {SHIPPED_NAME}; every corrected line says so.")
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit code 1 if a row of --batch has no cost, not only if all have none.")
    ] = False,
    compare: Annotated[
        bool, typer.Option("--compare", help="Both models side by side, folded alike, and why they differ.")
    ] = False,
    json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document on stdout and nothing else there.")
    ] = False,
) -> None:
    """Cost one operator, a CSV of operators, a network, or a point of a sweep: LUT, CARRY8, FF, DSP, BRAM18, URAM, cycles;
    every line with its formula, source and error band.

    Examples:
      dse cost --rows 64 --cols 576 --vectors 196 --pe 8 --simd 16 --weight int4 --activation uint4 --device XCZU3EG
      dse cost --rows 64 --cols 576 --weight mxfp4_e2m1 --activation e2m1
      dse cost --batch operators.csv --model finn > costed.csv
      dse cost --network model.onnx --device XCZU3EG --target-fps 1000 --shell
      dse cost --network model.onnx --device XC7Z020 --target-fps max --multiplier dsp
      dse cost --batch operators.csv --compare > both.csv
      dse cost --results results/sweep --point knee
    """
    part = get_device(device)
    modes = [
        name
        for name, given in (
            ("--rows/--cols", rows is not None or cols is not None),
            ("--batch", batch),
            ("--network", network),
            ("--results", results),
        )
        if given
    ]
    if len(modes) != 1:
        given = " and ".join(modes) or "none of them"
        raise CostError(
            f"one of --rows with --cols, --batch, --network and --results must say what to cost, but got {given}."
        )
    known = None if correction is None else load_correction(correction)
    _refuse_pairs(
        model,
        whole=network is not None,
        corrected=known is not None,
        target=target_fps,
        shell=shell,
        ends=label or pixels,
        compare=compare,
    )
    if strict and batch is None:
        raise CostError("--strict is of a table: it must come with --batch, but does not.")
    if batch is not None:
        _batch(batch, model, known, compare=compare, strict=strict, json=json)
        return
    if results is not None:
        if known is not None or compare or model is CostModel.FINN:
            raise CostError(
                "a point of a sweep is costed as the sweep did: --results must come without --model, --correction and --compare."
            )
        from dse.cost_point import cost_point

        cost_point(results, point, json)
        return
    options = CostOptions(model=model, multiplier=multiplier, memory=memory, units=units, shell=shell)
    if network is not None:
        clock = _clock(clock_mhz, 100.0 if model is CostModel.FINN else part.clock_mhz)
        from dse.cost_file import cost_file

        cost_file(
            network,
            part,
            target_fps,
            options,
            clock,
            label=label,
            pixels=pixels,
            correction=known,
            side_by_side=compare,
            json=json,
        )
        return
    if rows is None or cols is None:
        raise CostError(f"both --rows and --cols must be given, but got rows={rows}, cols={cols}.")
    with of_a_size("an operator"):
        if max(rows, cols, vectors, pe, simd) >= 10**MAX_DIGITS:
            raise OverflowError(f"at most {MAX_DIGITS} digits")
        op = MatVec("matvec", rows, cols, vectors, "input")
        path = _datapath(weight, activation, weight_scaling, accumulator, tile, multiplier, cols)
    asked = {"rows": rows, "cols": cols, "vectors": vectors, "pe": pe, "simd": simd, "weight": path.weight.name}
    asked |= {
        "activation": path.activation.name,
        "accumulator": path.accumulator.bits if path.accumulator.mantissa_bits is None else path.accumulator.name,
        "tile": path.accumulator.tile_size,
    }
    folding, clock = Folding(pe, simd), _clock(clock_mhz, part.clock_mhz)
    if compare:
        print_comparison(compare_operator(op, path, folding, part, options), asked, json)
        return
    report = estimate_operator(op, path, folding, part, options)
    if known is not None:
        report = correct(report, [op], options, known)
    fmax = relative_fmax(path)
    if fmax is not None and model is CostModel.CALIBRATED and units is UnitStyle.RTL:
        report = replace(report, notes=(*report.notes, f"Fmax is about {fmax}; not this part's clock"))
    print_report(report, part, clock, asked, json)


def _refuse_pairs(
    model: CostModel, *, whole: bool, corrected: bool, target: str | None, shell: bool, ends: bool, compare: bool
) -> None:
    """Refuse options that say nothing together; `whole`: a network is costed, `ends`: with what stands at its ends."""
    if corrected and model is CostModel.FINN:
        raise CostError("--correction is one of the calibrated model, but got --model finn; leave one of them out.")
    if target is not None and not whole:
        raise CostError("--target-fps is of a whole network: it must come with --network, but does not.")
    if shell and not whole:
        raise CostError("--shell is of a whole accelerator: it must come with --network, but does not.")
    if ends and (not whole or compare or model is CostModel.FINN):
        raise CostError(
            "--pixels and --label are of a whole accelerator and the calibrated model: they must come with --network, without "
            "--model finn and without --compare."
        )
    if compare and (corrected or model is CostModel.FINN):
        raise CostError("--compare is of both models as they are: it must come without --model and --correction.")


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
    if tile is not None and tile < 1:
        raise CostError(f"--tile must be at least 1 product, but got {tile}.")
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
    elif accumulator.lower().startswith("float:"):
        return Datapath(w, a, replace(parse_accumulator(accumulator), tile_size=tile), multiplier)
    else:
        raise CostError(f"--accumulator must be auto, a width in bits or like float:e6m10, but got {accumulator!r}.")
    return Datapath(w, a, Accumulator(bits, tile), multiplier)


def _batch(
    path: Path, model: CostModel, correction: Correction | None, *, compare: bool, strict: bool, json: bool
) -> None:
    """Cost every row of a table; the rows without a cost are named on stderr, too, with their reasons.

    Exit code 1 if no row has a cost, or with `strict` if one has none.
    """
    document: dict[str, Any]
    if compare:
        columns, costed, full = compare_rows(path)
        document = {"rows": full}
    else:
        columns, costed = cost_rows(path, model, correction)
        document = {"model": str(model), "rows": costed}
    if json:
        typer.echo(as_json(document), nl=False)
    else:
        writer = csv.DictWriter(sys.stdout, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(costed)
    refused = [row["error"] for row in costed if "error" in row]
    if refused:
        typer.echo("\n".join([f"{len(refused)} of {len(costed)} rows have no cost but an error:", *refused]), err=True)
    if len(refused) == len(costed) or (refused and strict):
        raise typer.Exit(1)
