"""What a network costs for a frame rate, and the same from an ONNX file: one path for both, so that equal means equal."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from hwmodels.datapath import Multiplier
from hwmodels.devices import Device
from hwmodels.estimate import estimate
from hwmodels.finn_network import finn_network_cost
from hwmodels.folding import fold_for_cycles, target_cycles
from hwmodels.ops import Folding, Network, Numerics
from hwmodels.options import CostModel, CostOptions
from hwmodels.report import CostReport


def cost_network(
    network: Network, numerics: Numerics, device: Device, target_fps: float, options: CostOptions, clock_mhz: float
) -> CostReport:
    """The cost of a network folded for a frame rate: by FINN's own SetFolding for the finn model, else the cheapest folding.

    Args:
        target_fps: frames per second.
        options: model, multiplier, memory.
        clock_mhz: clock frequency (MHz).

    Raises:
        BitfrontError: no folding reaches the rate (calibrated), or the model does not cover the formats.
    """
    if options.model is CostModel.FINN:
        return finn_network_cost(network, numerics, device, options, target_cycles(target_fps, clock_mhz))
    return estimate(
        network, numerics, fold_network(network, numerics, device, target_fps, options, clock_mhz), device, options
    )


def fold_network(
    network: Network, numerics: Numerics, device: Device, target_fps: float, options: CostOptions, clock_mhz: float
) -> Mapping[str, Folding]:
    """The foldings of :func:`cost_network` in the calibrated model.

    Raises:
        FoldingError: no folding reaches the rate.
    """
    dsp = device.dsp if options.multiplier is Multiplier.DSP else None
    return fold_for_cycles(network, target_cycles(target_fps, clock_mhz), numerics, dsp=dsp)


def cost_onnx(path: Path, device: Device, target_fps: float, options: CostOptions, clock_mhz: float) -> CostReport:
    """The cost of the network in a QONNX or QCDQ file; see :func:`dse.onnx_network.read_network`, :func:`cost_network`.

    Raises:
        OnnxReadError: the file is no network that can be read.
        BitfrontError: as :func:`cost_network`.
    """
    from dse.onnx_network import read_network

    network, numerics = read_network(path)
    return cost_network(network, numerics, device, target_fps, options, clock_mhz)
