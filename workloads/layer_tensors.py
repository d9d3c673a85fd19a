"""What the layers of a quantized network compute on real inputs: their input codes, sums, and the codes behind them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn

from hwmodels.codec import quantize
from hwmodels.datapath import TensorQuant
from workloads.fake_quant import channel_axis
from workloads.graph import Kind
from workloads.matrices import layer_windows
from workloads.network import site_target
from workloads.plan import Layer, Plan, PlanError
from workloads.quantized import QuantizedModel
from workloads.scales import to_codes


@dataclass(frozen=True, eq=False)
class Requantized:
    """What stands behind a layer's sums.

    Args:
        site: its quantizer's.
        quant: format and scaling there.
        values: what the network itself made of the outputs, on a scale of 1 with the zero point added, (vectors, rows).
        apply: the same function of any float32 outputs, in the network's own modules (rectification, quantizer).
    """

    site: str
    quant: TensorQuant
    values: NDArray[np.float64]
    apply: Callable[[NDArray[np.float32]], NDArray[np.float64]]


@dataclass(frozen=True, eq=False)
class LayerTensors:
    """One layer on some inputs; a vector is an output pixel or a token.

    Args:
        inputs: in units of the activation step, zero points included, (vectors, cols), of a depthwise layer (vectors, rows,
            cols); columns in hardware order.
        outputs: float32, (vectors, rows), with the bias.
        bias: float32, (rows,), zeros where there is none.
        requantized: None: what follows computes in floating point, or on a scale that is not a constant.
    """

    layer: Layer
    inputs: NDArray[Any]
    outputs: NDArray[np.float32]
    bias: NDArray[np.float32]
    requantized: Requantized | None


def layer_tensors(quantized: QuantizedModel, plan: Plan, layer: Layer, inputs: Tensor) -> LayerTensors:
    """A layer of a quantized network on samples of the network's inputs.

    Raises:
        PlanError: its input has no constant scale.
    """
    network = quantized.network
    activation = quantized.numerics.sites[layer.site]
    if activation.scaling.dynamic:
        raise PlanError(
            f"the codes of a layer's inputs are known where their scale is a constant, but {layer.name} reads {layer.site} in "
            f"{activation}; use tensor or tensor_po2."
        )
    chain = _chain(network, plan, layer)
    seen = _Recorder(network, layer.module, chain[-1] if chain else None)
    module = plan.graph.get_submodule(layer.module)  # for its geometry
    assert isinstance(module, nn.Conv2d | nn.Linear)
    with torch.inference_mode():
        seen.run(inputs)
        windows = [each.reshape(-1, layer.cols) for each in layer_windows(seen.seen_input, layer, module)]
    output = seen.seen_output
    scale, zero = quantized.site_scales[layer.site], quantized.zero_points.get(layer.site, 0)
    if layer.depthwise:  # of each batch (rows * vectors, cols)
        windows = [each.reshape(layer.rows, -1, layer.cols).transpose(0, 1) for each in windows]
    codes = to_codes(_values(torch.cat(windows).numpy(), activation, scale, zero), activation.format)
    given = network.get_submodule(layer.module).bias
    bias = np.zeros(layer.rows) if given is None else np.asarray(torch.as_tensor(given).detach())
    requantized = None
    if chain and (site := _site_of(plan, chain[-1])) in quantized.site_scales:
        quant = quantized.numerics.sites[site]
        if not quant.scaling.dynamic:
            grid = (quant, quantized.site_scales[site], quantized.zero_points.get(site, 0))
            values = _values(_by_vector(seen.seen_quantized.reshape(output.shape)).numpy(), *grid)
            requantized = Requantized(site, quant, values, partial(_apply, network, chain, grid))
    return LayerTensors(layer, codes, _by_vector(output).numpy(), bias.astype(np.float32), requantized)


def _values(x: NDArray[np.float32], quant: TensorQuant, scale: float, zero: int) -> NDArray[np.float64]:
    """Values on a scale of 1 of numbers that a quantizer made; exact, because they are within half a step of one."""
    return quantize(quant.format, x.astype(np.float64) / scale + zero)


def _by_vector(x: Tensor) -> Tensor:
    """(vectors, channels)."""
    return x.movedim(channel_axis(x), -1).reshape(-1, x.shape[channel_axis(x)])


def _apply(
    network: fx.GraphModule, chain: list[fx.Node], grid: tuple[TensorQuant, float, int], outputs: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Run the elementwise nodes of a chain on outputs of any shape."""
    x = torch.from_numpy(outputs).clone()
    with torch.inference_mode():
        for node in chain:
            if node.op == "call_module":
                x = network.get_submodule(str(node.target))(x)
            elif node.op == "call_method":
                x = getattr(x, str(node.target))()
            else:
                assert callable(node.target)
                x = node.target(x)
    return _values(x.numpy(), *grid)


def _chain(network: fx.GraphModule, plan: Plan, layer: Layer) -> list[fx.Node]:
    """The nodes from a layer to the quantizer that reads its sums, that one last; none where there is no such quantizer."""
    kinds = {node.name: plan.kind(node) for node in plan.graph.graph.nodes}
    quantizers = {site_target(site.name) for site in plan.sites}
    for node in network.graph.nodes:
        if str(node.target) not in quantizers:
            continue
        found, source = [node], node.all_input_nodes[0]
        while kinds.get(source.name) in (Kind.RELU, Kind.PASS):
            if kinds[source.name] is Kind.RELU:  # a tensor that is only reshaped keeps its values
                found.append(source)
            source = source.all_input_nodes[0]
        if str(source.target) == layer.module:
            return found[::-1]
    return []


def _site_of(plan: Plan, quantizer: fx.Node) -> str:
    return next(site.name for site in plan.sites if site_target(site.name) == str(quantizer.target))


class _Recorder(fx.Interpreter):
    """Runs a network and keeps the input and output of a layer, and what the quantizer behind it made."""

    def __init__(self, network: fx.GraphModule, module: str, quantizer: fx.Node | None) -> None:
        super().__init__(network)
        self.path, self.quantizer = module, quantizer
        self.seen_input = self.seen_output = self.seen_quantized = torch.empty(0)

    def run_node(self, n: fx.Node) -> object:
        if str(n.target) == self.path:
            self.seen_input = self.env[n.all_input_nodes[0]]
        out = super().run_node(n)
        if str(n.target) == self.path:
            self.seen_output = out.clone()  # a ReLU behind it may write to it
        elif n is self.quantizer:
            self.seen_quantized = out
        return out
