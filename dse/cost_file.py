"""`dse cost --network`: a network from its file, folded for a frame rate, or for the highest that fits the part."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from pathlib import Path
from typing import Any, NoReturn

import typer

from dse.cost_compare import print_comparison
from dse.cost_print import print_report
from dse.operator_rows import CostError
from dse.recost import cost_network, fold_network
from hwmodels.calibration.vivado import Correction
from hwmodels.compare import compare
from hwmodels.corrected import correct
from hwmodels.devices import Device
from hwmodels.ends import with_label_select, with_pixels
from hwmodels.estimate import estimate
from hwmodels.folding import FoldingError, target_cycles
from hwmodels.folding_solver import InfeasibleError, fastest_for_device, fold_for_device
from hwmodels.ops import Folding, Network, Numerics
from hwmodels.options import CostModel, CostOptions

HIGHEST = "max"
"""The frame rate that stands for the highest one that fits."""


def cost_file(
    path: Path,
    device: Device,
    target: str | None,
    options: CostOptions,
    clock_mhz: float,
    *,
    label: bool,
    pixels: bool,
    correction: Correction | None,
    side_by_side: bool,
    json: bool,
) -> None:
    """Cost the network in an ONNX file and print the report, or both models' (`side_by_side`).

    A rate that no folding reaches, or none on this part, ends the program with exit code 1 and the proof on stderr; what
    does not fit is printed all the same.
    """
    from dse.onnx_network import read_network

    fps = _rate(target, options)
    network, numerics = read_network(path)
    if pixels:
        network = with_pixels(network, numerics)
    if label:
        network, numerics = with_label_select(network, numerics)
    asked: dict[str, Any] = {"network": str(path), "target_fps": HIGHEST if fps is None else fps}
    proof = None
    if options.model is CostModel.FINN:
        assert fps is not None  # _rate refuses the highest rate of FINN's model
        report = cost_network(network, numerics, device, fps, options, clock_mhz)
    else:
        try:
            foldings, proof = _foldings(network, numerics, device, fps, options, clock_mhz)
        except FoldingError as error:
            _refuse(str(error), fps, clock_mhz)
        if side_by_side:
            print_comparison(compare(network, numerics, foldings, device, options), asked, json)
            return
        report = estimate(network, numerics, foldings, device, options)
    if fps is None and json:
        asked["no_faster"] = proof
    if correction is not None:
        report = correct(report, network.operators, options, correction)
    print_report(report, device, clock_mhz, asked, json)
    if proof is None:
        return
    if fps is not None:
        _refuse(proof, fps, clock_mhz)
    if not json:
        typer.echo(f"no faster: {proof}")


def _rate(target: str | None, options: CostOptions) -> float | None:
    """Frames per second, or None for the highest rate."""
    if target == HIGHEST:
        if options.model is CostModel.FINN:
            raise CostError("--target-fps max is of the calibrated model, but got --model finn; give it a number.")
        return None
    try:
        fps = float(target or "")
    except ValueError:
        fps = 0
    if not 0 < fps < inf:
        raise CostError(
            f"--network must come with --target-fps, a positive number or max, but got {target}; for example "
            "--target-fps 1000."
        )
    return fps


def _foldings(
    network: Network, numerics: Numerics, device: Device, fps: float | None, options: CostOptions, clock_mhz: float
) -> tuple[Mapping[str, Folding], str | None]:
    """(foldings for the rate, why they do not fit or why nothing faster does).

    Those with the fewest multipliers if they fit, as in a sweep, else the cheapest that fit.

    Raises:
        FoldingError: no folding reaches the rate.
    """
    if fps is None:
        fastest = fastest_for_device(network, numerics, device, options)
        return fastest.foldings, fastest.barrier
    foldings = fold_network(network, numerics, device, fps, options, clock_mhz)
    if not estimate(network, numerics, foldings, device, options).total.fits(device.resources):
        return foldings, None
    try:
        return fold_for_device(network, numerics, device, target_cycles(fps, clock_mhz), options), None
    except InfeasibleError as error:
        return foldings, str(error)


def _refuse(proof: str, fps: float | None, clock_mhz: float) -> NoReturn:
    rate = "" if fps is None else f"{fps:g} fps at {clock_mhz:g} MHz: "
    typer.echo(f"error: {rate}{proof}", err=True)
    raise typer.Exit(1)
