"""What a network costs for a frame rate, and the same from an ONNX file: one path for both, so that equal means equal."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from dse.point import Hardware
from hwmodels.datapath import Multiplier
from hwmodels.devices import Device, get_device
from hwmodels.estimate import estimate
from hwmodels.finn_network import finn_network_cost
from hwmodels.float_parts import with_float_parts
from hwmodels.folding import fold_for_cycles, target_cycles
from hwmodels.ops import Folding, MatMul, Network, Numerics
from hwmodels.options import CostModel, CostOptions
from hwmodels.primitives.memory import MemoryStyle
from hwmodels.report import CostReport

COVERS = ("all operators", "layers with weights")
"""What can be costed of a network: what transformers compute in floating point is not read off a file yet."""


def cost_options(hardware: Hardware) -> CostOptions:
    """The cost model's options of a hardware choice."""
    return CostOptions(CostModel(hardware.model), hardware.multiplier, MemoryStyle(hardware.memory))


def cost_on(hardware: Hardware, network: Network, numerics: Numerics, covers: str) -> CostReport:
    """The cost of a network, or of what is asked for of it (:data:`COVERS`), on a hardware choice.

    Raises:
        BitfrontError: as :func:`cost_network`.
    """
    if covers != COVERS[0]:
        network = layers_with_weights(network)
    numerics = with_float_parts(network, numerics, hardware.float_bits)
    device, options = get_device(hardware.device), cost_options(hardware)
    return cost_network(network, numerics, device, hardware.target_fps, options, hardware.clock_mhz)


def layers_with_weights(network: Network) -> Network:
    """The matrix layers of a network alone, in order."""
    return Network(
        network.name, tuple(op for op in network.operators if op in network.compute and not isinstance(op, MatMul))
    )


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
