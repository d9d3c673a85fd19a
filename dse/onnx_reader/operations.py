"""What each kind of ONNX node is to hardware: one function a kind, and the table of all kinds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from dse.onnx_reader import layers
from dse.onnx_reader.errors import OnnxReadError, quoted
from dse.onnx_reader.graph import Node, OnnxGraph
from dse.onnx_reader.quantizers import (
    clipped,
    code_range,
    constant,
    quant_format,
    quantized_weight,
    range_format,
    refuse_zero_point,
    scale_of,
    stored_codes,
)
from dse.onnx_reader.tensors import Codes, Constant, Stream, Tensor, Weight
from dse.onnx_reader.walk import PASSING, Walk
from hwmodels.ops import Add, Duplicate, Pool, Window


def follow(graph: OnnxGraph) -> Walk:
    """The operators and formats found by following every node of a graph.

    Raises:
        OnnxReadError: a node is not in :data:`OPERATIONS`, or reads what its operator cannot; names the node.
    """
    walk = Walk(graph)
    for node in graph.nodes:
        if node.op not in OPERATIONS:
            raise OnnxReadError(
                f"{node} must be one of {', '.join(sorted(OPERATIONS))}, but no dataflow operator covers {quoted(node.op)}."
            )
        walk.tensors[node.outputs[0]] = OPERATIONS[node.op](walk, node)
    for name in graph.outputs:
        if not isinstance(walk.tensors.get(name), Stream):
            raise OnnxReadError(f"output {quoted(name)} must come from the network's input, but it does not.")
    if not walk.numerics:
        raise OnnxReadError("the network must have a layer with weights, but no node has any.")
    return walk


def _constant(walk: Walk, node: Node) -> Tensor:
    value = node.attributes.get("value", node.attributes.get("value_float", node.attributes.get("value_int")))
    if value is None or isinstance(value, str):
        raise OnnxReadError(f"{node} must hold numbers, but it does not.")
    return Constant(np.asarray(value))


def _quant(walk: Walk, node: Node) -> Tensor:
    source, fmt, scale = walk.tensor(node), quant_format(node, walk.tensors), scale_of(node, walk.tensors)
    if isinstance(source, Constant):
        return quantized_weight(node, source.array, scale, fmt)
    return walk.quantize(node, walk.stream(node), fmt, scale, node.outputs[0])


def _quantize_linear(walk: Walk, node: Node) -> Tensor:
    source = walk.tensor(node)
    if not isinstance(source, Stream | Constant):
        raise OnnxReadError(f"{node} must read activations or constants, but its input is quantized already.")
    refuse_zero_point(node, walk.tensors)
    low, high = code_range(node, constant(node, 2, "zero point", walk.tensors).dtype)
    return Codes(source, low, high, scale_of(node, walk.tensors), _axis(node))


def _clip(walk: Walk, node: Node) -> Tensor:
    """The range of codes; of activations that are not quantized (yet), an activation function."""
    source = walk.tensor(node)
    if isinstance(source, Constant):
        source = stored_codes(node, source)
    if isinstance(source, Codes):
        low, high = clipped(node, source, walk.tensors)
        return replace(source, low=low, high=high)
    return _pointwise(walk, node)


def _dequantize_linear(walk: Walk, node: Node) -> Tensor:
    source, scale = walk.tensor(node), scale_of(node, walk.tensors)
    if isinstance(source, Constant):
        source = stored_codes(node, source)
    if not isinstance(source, Codes) or not (source.scale is None or np.array_equal(source.scale, scale)):
        raise OnnxReadError(f"{node} must undo a QuantizeLinear of the same scale, but it does not.")
    refuse_zero_point(node, walk.tensors)
    fmt = range_format(node, source.low, source.high)
    if isinstance(source.source, Stream):
        return walk.quantize(_maker(walk, node), source.source, fmt, scale, node.outputs[0])
    array = source.source.array
    if source.scale is not None:  # rounded from floating point by the QuantizeLinear
        return quantized_weight(node, array, layers.along_axis(node, scale, source.axis, array.ndim), fmt)
    codes = np.clip(array.astype(np.int64), source.low, source.high)
    return Weight(codes, fmt, layers.along_axis(node, scale, _axis(node), codes.ndim))


def _maker(walk: Walk, node: Node) -> Node:
    """The QuantizeLinear in front of a DequantizeLinear; it names the site."""
    makers = {n.outputs[0]: n for n in walk.graph.nodes}
    while node.op != "QuantizeLinear":
        node = makers[node.inputs[0]]  # only Clip lies between, or there would be no Codes
    return node


def _axis(node: Node) -> int:
    return node.integer("axis", 1)


def _transpose(walk: Walk, node: Node) -> Tensor:
    source = walk.tensor(node)
    if not isinstance(source, Weight):
        raise OnnxReadError(
            f"{node} must transpose weights, but it reads something else; images must stay channels first."
        )
    return layers.transposed(node, source)


def _conv(walk: Walk, node: Node) -> Tensor:
    stream, grid = walk.on_grid(node)
    weight = layers.weight_input(node, walk.tensor(node, 1))
    output, operators = layers.convolution(node, walk.new_name(node), stream, grid.site, weight)
    return replace(output, op=walk.layer(node, grid, weight, operators))


def _matmul(walk: Walk, node: Node) -> Tensor:
    stream, grid = walk.on_grid(node)
    weight = layers.weight_input(node, walk.tensor(node, 1))
    weight = layers.rows_first(node, weight)
    output, operators = layers.linear(node, walk.new_name(node), stream, grid.site, weight)
    return replace(output, op=walk.layer(node, grid, weight, operators))


def _add(walk: Walk, node: Node) -> Tensor:
    """A residual add of two streams; of a stream and a constant, part of the requantizer that follows."""
    if not all(isinstance(walk.tensor(node, i), Stream) for i in (0, 1)):
        return _pointwise(walk, node)
    (left, left_grid), (right, right_grid) = walk.on_grid(node, 0), walk.on_grid(node, 1)
    if left.size != right.size or left_grid.scale != right_grid.scale or left_grid.quant != right_grid.quant:
        raise OnnxReadError(
            f"both inputs of {node} must have one shape, format and scale, but they are {left.size} of {left_grid.quant} and "
            f"{right.size} of {right_grid.quant}; quantize both by one shared quantizer."
        )
    for name in node.inputs:
        if (requantizer := walk.pending.pop(name, None)) is not None:
            walk.emit(requantizer)
    name = walk.emit(Add(walk.new_name(node), left.channels, left.vectors, left_grid.site))
    return replace(left, op=name, grid=None)


def _pool(walk: Walk, node: Node) -> Tensor:
    stream, grid = walk.on_grid(node)
    name = walk.new_name(node)
    output, window, pixels = layers.pooling(node, name, stream, grid.site)
    if isinstance(window, Window):
        walk.emit(window)  # its pool follows at once, so the reference holds when the network is made
    kind = "max" if node.op in ("MaxPool", "GlobalMaxPool") else "average"
    walk.emit(Pool(name, stream.channels, pixels, output.vectors, kind, grid.site))
    if kind == "max":
        readers = walk.count_readers(node.outputs[0])
        if readers > 1:
            name = walk.emit(Duplicate(f"{name}.duplicate", output.channels, output.vectors, readers, grid.site))
        return replace(output, op=name, grid=grid)  # the largest of some values is one of them
    return replace(output, op=name, grid=None)


def _pointwise(walk: Walk, node: Node) -> Tensor:
    """Scale, bias, activation function: part of the requantizer that follows."""
    streams = [t for name in node.inputs if isinstance(t := walk.tensors.get(name), Stream)]
    others = [
        t for name in node.inputs if name and not isinstance(t := walk.tensors.get(name), Constant | Stream | Weight)
    ]
    if len(streams) != 1 or others:
        raise OnnxReadError(
            f"{node} must read activations and constants, but it reads {len(streams)} activations and other tensors."
        )
    if streams[0].grid is None and walk.count_readers(node.outputs[0]) > 1:
        raise OnnxReadError(f"{node} must be read once or be quantized, but several nodes read its sums.")
    return replace(streams[0], grid=None)


def _passing(walk: Walk, node: Node) -> Tensor:
    """Values and their order stay as they are."""
    if isinstance(source := walk.tensor(node), Weight | Constant):
        return source if node.op == "Identity" else layers.reshaped_constant(node, source, walk.tensors)
    return layers.reshaped_stream(node, walk.stream(node), walk.tensors)


def _head(walk: Walk, node: Node) -> Tensor:
    """What compares or normalizes the logits; done by the host."""
    return replace(walk.stream(node), grid=None)


OPERATIONS: Mapping[str, Callable[[Walk, Node], Tensor]] = {
    "Constant": _constant,
    "Quant": _quant,
    "IntQuant": _quant,
    "FloatQuant": _quant,
    "QuantizeLinear": _quantize_linear,
    "DequantizeLinear": _dequantize_linear,
    "Clip": _clip,
    "Transpose": _transpose,
    "Conv": _conv,
    "MatMul": _matmul,
    "Gemm": _matmul,
    "Add": _add,
    "GlobalAveragePool": _pool,
    "AveragePool": _pool,
    "MaxPool": _pool,
    "BatchNormalization": _pointwise,
    "Relu": _pointwise,
    "Mul": _pointwise,
    "Div": _pointwise,
    "Sub": _pointwise,
    **dict.fromkeys(PASSING, _passing),
    **dict.fromkeys(("Softmax", "LogSoftmax", "ArgMax", "TopK"), _head),
}
"""The ONNX and QONNX operators that are understood."""
