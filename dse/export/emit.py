"""From a quantized network to an ONNX graph: one function for each kind of node, and the table of them.

The network is followed node by node as it runs, so the file has its structure: every layer, quantizer and floating-point part
is a node, or a few that carry its name.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch
from torch import Tensor, fx, nn

from dse.export.build import Array, Build
from dse.export.errors import ExportError
from dse.export.floating import FLOATING
from dse.export.quantizers import Dialect
from dse.onnx_reader.names import GROUPS_SUFFIX, QUANTIZER_SUFFIX, unique
from hwmodels.datapath import Granularity
from hwmodels.formats import IntFormat
from workloads.fake_quant import DynamicFakeQuant, FakeQuant, HeadFakeQuant, channel_axis
from workloads.graph import label, pair, shape
from workloads.hadamard import BlockHadamard
from workloads.network import QUANTIZERS, site_target
from workloads.quantized import LayerResult, QuantizedModel

Inputs: TypeAlias = list[str]


@dataclass
class Emission:
    """A graph being written from a network.

    Args:
        model: the network.
        dialect: how quantizers are written.
        source: the name of the network's input.
        build: the ONNX graph so far.
        tensors: by node of the network, the tensor of the file that holds its value.
    """

    model: QuantizedModel
    dialect: Dialect
    source: str
    build: Build = field(default_factory=Build)
    tensors: dict[fx.Node, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.layers: Mapping[str, LayerResult] = {layer.name: layer for layer in self.model.layers}
        self.sites: Mapping[str, str] = {site_target(name): name for name in self.model.numerics.sites}

    def run(self) -> str:
        """Write every node; the name of the output."""
        for node in self.model.network.graph.nodes:
            if node.op == "output":
                return self.tensors[node.args[0]]
            self.tensors[node] = self.source if node.op == "placeholder" else self._emit(node)
        raise AssertionError("a graph ends in its output")

    def _emit(self, node: fx.Node) -> str:
        what: Any = self.module(node) if node.op == "call_module" else node.target
        emitter = EMITTERS.get(type(what) if isinstance(what, nn.Module) else what)
        if emitter is None:
            kind = type(what).__name__ if isinstance(what, nn.Module) else getattr(what, "__name__", what)
            raise ExportError(f"node {label(node)!r} must be of a kind that exports know, but it is {kind}.")
        return emitter(self, node, what, [self.tensors[source] for source in node.all_input_nodes])

    def module(self, node: fx.Node) -> nn.Module:
        """The module that a node calls."""
        return self.model.network.get_submodule(str(node.target))

    def name(self, node: fx.Node) -> str:
        """A new name for a node of the file, after the node of the network."""
        return self.unused(label(node))

    def unused(self, name: str) -> str:
        """`name`, or `name_1`, ... where it is taken."""
        return unique(name, self.build.made | {self.source})

    def shape(self, node: fx.Node) -> tuple[int, ...]:
        """The shape of a node's tensor for one frame; quantizers leave it as it is."""
        while str(node.target).startswith(f"{QUANTIZERS}."):
            (node,) = node.all_input_nodes
        return shape(node)


Emitter: TypeAlias = Callable[[Emission, fx.Node, Any, Inputs], str]


def _conv(to: Emission, node: fx.Node, conv: nn.Conv2d, inputs: Inputs) -> str:
    layer, build = to.layers[str(node.target)], to.build
    values: Array = conv.weight.detach().numpy()
    rows, channels, *kernel = values.shape
    size = layer.weight.scaling.group_size
    if size is None:
        weight = to.dialect.weight(build, layer, values, _rows(layer.scale, 4, 0))
    else:
        # (rows, groups, channels of one, kernel); scales lie in hardware order: kernel, groups
        groups = values.reshape(rows, channels // size, size, *kernel)
        scale = layer.scale.reshape(rows, *kernel, -1).transpose(0, 3, 1, 2)[:, :, None]
        split = to.dialect.weight(build, layer, groups, scale)
        weight = build.node("Reshape", [split, build.sizes(*values.shape)], f"{layer.name}.weight.whole")
    (top, left), stride, dilation = pair(conv.padding), pair(conv.stride), pair(conv.dilation)  # type: ignore[arg-type]
    name = build.node(
        "Conv",
        [inputs[0], weight],
        to.unused(layer.name),
        kernel_shape=kernel,
        strides=list(stride),
        dilations=list(dilation),
        pads=[top, left, top, left],
        group=conv.groups,
    )
    return _with_bias(to, layer, name, conv.bias, (1, -1, 1, 1))


def _linear(to: Emission, node: fx.Node, linear: nn.Linear, inputs: Inputs) -> str:
    layer, build = to.layers[str(node.target)], to.build
    values: Array = linear.weight.detach().numpy().T  # (cols, rows), as MatMul takes it
    size = layer.weight.scaling.group_size
    if size is None:
        weight = to.dialect.weight(build, layer, values, _rows(layer.scale, 2, 1))
    else:
        cols, rows = values.shape
        groups = values.reshape(cols // size, size, rows)
        split = to.dialect.weight(build, layer, groups, layer.scale.T[:, None])
        weight = build.node("Reshape", [split, build.sizes(cols, rows)], f"{layer.name}.weight.whole")
    name = build.node("MatMul", [inputs[0], weight], to.unused(layer.name))
    return _with_bias(to, layer, name, linear.bias, (-1,))


def _rows(scale: Array, dimensions: int, axis: int) -> Array:
    """Scales per tensor as one number, per output channel along `axis`."""
    if scale.size == 1:
        return scale.reshape(())
    sizes = [1] * dimensions
    sizes[axis] = -1
    return scale.reshape(sizes)


def _with_bias(to: Emission, layer: LayerResult, sums: str, bias: Tensor | None, sizes: tuple[int, ...]) -> str:
    """The sums, whose data type is the proved accumulator, and behind them the bias."""
    accumulator = to.model.numerics.layers[layer.name].accumulator
    to.build.datatype(sums, f"SCALEDINT<{accumulator.bits}>")
    if bias is None:
        return sums
    added = to.build.constant(f"{layer.name}.bias", bias.detach().numpy().reshape(sizes))
    return to.build.node("Add", [sums, added], to.unused(f"{layer.name}.with_bias"))


def _static(to: Emission, node: fx.Node, quantizer: FakeQuant, inputs: Inputs) -> str:
    site = to.sites[str(node.target)]
    fmt, build = quantizer.format, to.build
    source = _rectified(
        to, site, inputs[0], rectify=quantizer.nonnegative or not (fmt.signed or isinstance(fmt, IntFormat))
    )
    scale = quantizer.scale.numpy()
    assert scale.size == 1  # constant activation scales are those of tensors
    name = to.unused(f"{site}{QUANTIZER_SUFFIX}")
    return to.dialect.static(build, fmt, float(scale.reshape(())), quantizer.zero_point, source, name, site)


def _dynamic(to: Emission, node: fx.Node, quantizer: DynamicFakeQuant, inputs: Inputs) -> str:
    site, build, quant = to.sites[str(node.target)], to.build, quantizer.quant
    source = _rectified(to, site, inputs[0], rectify=quantizer.nonnegative)
    sizes = to.shape(node)
    per_head = isinstance(
        quantizer, HeadFakeQuant
    )  # their channels are the last axis of (windows, tokens, heads, channels)
    axis = len(sizes) - 1 if per_head else channel_axis(torch.empty(sizes, device="meta"))
    name = to.unused(f"{site}{QUANTIZER_SUFFIX}")
    match quant.scaling.granularity:
        case Granularity.GROUP:
            size = quant.scaling.group_size or sizes[axis]
            tail = sizes[axis + 1 :]
            groups = build.sizes(*[0] * axis, sizes[axis] // size, size, *tail)
            split = build.node("Reshape", [source, groups], f"{name}{GROUPS_SUFFIX}")
            blocks = to.dialect.dynamic(build, quant, quantizer.tensor, split, [axis + 1], name)
            whole = build.sizes(*[0] * axis, sizes[axis], *tail)
            return build.node("Reshape", [blocks, whole], f"{name}.whole")
        case Granularity.TENSOR if len(sizes) == 4 and not per_head:
            axes = [1, 2, 3]
        case _:
            axes = [axis]
    return to.dialect.dynamic(build, quant, quantizer.tensor, source, axes, name)


def _rotate(to: Emission, node: fx.Node, rotation: BlockHadamard, inputs: Inputs) -> str:
    """Blocks of channels, as an axis of their own, times the Hadamard matrix, which is symmetric."""
    build, name, sizes, block = to.build, to.name(node), to.shape(node), rotation.block
    axis = channel_axis(torch.empty(sizes, device="meta"))
    ahead, tail = [0] * axis, sizes[axis + 1 :]
    pixels = [-1] if tail else []
    matrix = build.constant(f"hadamard.{block}", rotation.matrix.numpy())
    blocks = build.node(
        "Reshape", [inputs[0], build.sizes(*ahead, sizes[axis] // block, block, *pixels)], f"{name}.blocks"
    )
    turned = build.node("MatMul", [matrix, blocks] if tail else [blocks, matrix], name)
    return build.node("Reshape", [turned, build.sizes(*ahead, sizes[axis], *tail)], f"{name}.whole")


def _rectified(to: Emission, site: str, source: str, *, rectify: bool) -> str:
    """The ReLU that a quantizer stands for, as a node of its own."""
    return to.build.node("Relu", [source], to.unused(site)) if rectify else source


def _add(to: Emission, node: fx.Node, _: Any, inputs: Inputs) -> str:
    return to.build.node("Add", _both(to, node, inputs), to.name(node))


def _multiply(to: Emission, node: fx.Node, _: Any, inputs: Inputs) -> str:
    return to.build.node("Mul", _both(to, node, inputs), to.name(node))


def _both(to: Emission, node: fx.Node, inputs: Inputs) -> Inputs:
    """The two operands in their order, also where they are one tensor."""
    operands = [to.tensors[a] for a in node.args if isinstance(a, fx.Node)]
    if len(operands) != 2:
        raise ExportError(f"node {label(node)!r} must have two tensors, but it has {len(operands)}.")
    return operands


def _relu(to: Emission, node: fx.Node, _: Any, inputs: Inputs) -> str:
    return to.build.node("Relu", inputs, to.name(node))


def _relu6(to: Emission, node: fx.Node, _: Any, inputs: Inputs) -> str:
    return to.build.node("Clip", [*inputs, to.build.number(0.0), to.build.number(6.0)], to.name(node))


def _max_pool(to: Emission, node: fx.Node, pool: nn.MaxPool2d, inputs: Inputs) -> str:
    return to.build.node("MaxPool", inputs, to.name(node), **_window(pool))


def _average_pool(to: Emission, node: fx.Node, pool: Any, inputs: Inputs) -> str:
    if isinstance(pool, nn.AvgPool2d):
        return to.build.node("AveragePool", inputs, to.name(node), **_window(pool))
    return to.build.node("GlobalAveragePool", inputs, to.name(node))


def _window(pool: nn.MaxPool2d | nn.AvgPool2d) -> dict[str, list[int]]:
    top, left = pair(pool.padding)
    stride = pool.kernel_size if pool.stride is None else pool.stride
    return {"kernel_shape": list(pair(pool.kernel_size)), "strides": list(pair(stride)), "pads": [top, left, top, left]}


def _flatten(to: Emission, node: fx.Node, module: Any, inputs: Inputs) -> str:
    start = module.start_dim if isinstance(module, nn.Flatten) else _argument(node, 1, "start_dim", 0)
    end = module.end_dim if isinstance(module, nn.Flatten) else _argument(node, 2, "end_dim", -1)
    source = node.all_input_nodes[0]
    dimensions = len(to.shape(source))
    if end % dimensions != dimensions - 1 or start % dimensions == 0:
        raise ExportError(
            f"node {label(node)!r} must flatten the last axes and keep the first, but it has {start} to {end}."
        )
    if start % dimensions == 1:
        return to.build.node("Flatten", inputs, to.name(node), axis=1)
    return to.build.node("Reshape", [*inputs, to.build.sizes(*[0] * (start % dimensions), -1)], to.name(node))


def _unflatten(to: Emission, node: fx.Node, _: Any, inputs: Inputs) -> str:
    axis, sizes = _argument(node, 1, "dim", None), _argument(node, 2, "sizes", None)
    dimensions = len(to.shape(node.all_input_nodes[0]))
    if axis % dimensions != dimensions - 1:
        raise ExportError(f"node {label(node)!r} must split the last axis, but it splits axis {axis}.")
    return to.build.node("Reshape", [*inputs, to.build.sizes(*[0] * (dimensions - 1), *sizes)], to.name(node))


def _argument(node: fx.Node, position: int, name: str, default: Any) -> Any:
    return node.args[position] if position < len(node.args) else node.kwargs.get(name, default)


def _same(to: Emission, node: fx.Node, _: Any, inputs: Inputs) -> str:
    return inputs[0]


def _floating(to: Emission, node: fx.Node, module: nn.Module, _: Inputs) -> str:
    read = [argument for argument in node.args if isinstance(argument, fx.Node)]
    tensors, shapes = [to.tensors[source] for source in read], [to.shape(source) for source in read]
    return FLOATING[type(module)](to.build, to.name(node), module, tensors, shapes, to.source)


EMITTERS: Mapping[Any, Emitter] = {
    nn.Conv2d: _conv,
    nn.Linear: _linear,
    FakeQuant: _static,
    DynamicFakeQuant: _dynamic,
    HeadFakeQuant: _dynamic,
    BlockHadamard: _rotate,
    nn.ReLU: _relu,
    nn.ReLU6: _relu6,
    nn.MaxPool2d: _max_pool,
    nn.AvgPool2d: _average_pool,
    nn.AdaptiveAvgPool2d: _average_pool,
    nn.functional.adaptive_avg_pool2d: _average_pool,
    torch.relu: _relu,
    nn.functional.relu: _relu,
    "relu": _relu,
    **dict.fromkeys((operator.add, operator.iadd, torch.add, "add"), _add),
    operator.mul: _multiply,
    nn.Flatten: _flatten,
    torch.flatten: _flatten,
    "flatten": _flatten,
    "unflatten": _unflatten,
    nn.Identity: _same,
    nn.Dropout: _same,
    **dict.fromkeys(FLOATING, _floating),
}
"""By module, function or method of the network (:mod:`workloads.graph`): what writes it."""
