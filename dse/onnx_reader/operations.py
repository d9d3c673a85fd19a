"""What each kind of ONNX node is to hardware: one function a kind, and the table of all kinds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from dse.onnx_reader import extents, layers
from dse.onnx_reader.errors import OnnxReadError, quoted
from dse.onnx_reader.floating import floating, is_floating
from dse.onnx_reader.graph import FP8_TYPES, Array, Node, OnnxGraph
from dse.onnx_reader.names import GROUPS_SUFFIX
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
    zero_point,
)
from dse.onnx_reader.tensors import Codes, Constant, Extent, Floating, Scale, Stream, Tensor, Weight, scale_kind
from dse.onnx_reader.walk import PASSING, Walk
from hwmodels.codec import quantize
from hwmodels.datapath import Granularity, ScaleKind, Scaling, TensorQuant
from hwmodels.formats import OCP_E4M3, ElementFormat, IntFormat, Minifloat
from hwmodels.ops import Add, Duplicate, Pool, Rotate
from workloads.scales import to_codes

_QUANTIZERS = ("Quant", "IntQuant", "FloatQuant")


def follow(graph: OnnxGraph) -> Walk:
    """The operators and formats found by following every node of a graph.

    Raises:
        OnnxReadError: a node is not in :data:`OPERATIONS`, or reads what its operator cannot; names the node.
    """
    walk = Walk(graph)
    for node in graph.nodes:
        if any(
            isinstance(walk.tensors.get(name), Extent) for name in node.inputs[: 1 if node.op in _QUANTIZERS else None]
        ):
            walk.tensors[node.outputs[0]] = extents.computed(walk, node)
            continue
        if is_floating(walk, node):
            walk.tensors[node.outputs[0]] = floating(walk, node)
            continue
        if node.op not in OPERATIONS:
            raise OnnxReadError(
                f"{node} must be one of {', '.join(sorted(OPERATIONS))}, but no dataflow operator covers {quoted(node.op)}."
            )
        walk.tensors[node.outputs[0]] = OPERATIONS[node.op](walk, node)
    for name in graph.outputs:
        if not isinstance(walk.tensors.get(name), Stream | Floating):
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
    source, fmt, zero = walk.tensor(node), quant_format(node, walk.tensors), zero_point(node, walk.tensors)
    if isinstance(source, Constant):
        refuse_zero_point(node, walk.tensors) if zero else None
        weight = quantized_weight(node, source.array, scale_of(node, walk.tensors), fmt)
        scales = walk.tensors[node.inputs[1]]
        e4m3 = isinstance(scales, Constant) and scales.e4m3
        return replace(weight, kind=ScaleKind.E4M3) if e4m3 else weight
    return _activations(walk, node, source, fmt, node.outputs[0], zero)


def _activations(
    walk: Walk,
    node: Node,
    source: Tensor,
    fmt: ElementFormat,
    output: str,
    zero: int = 0,
    *,
    scaled_by: Node | None = None,
) -> Stream:
    """Activations behind a quantizer, on a constant scale or on one that is computed from them."""
    stream = as_stream(walk, node, source)
    scale = walk.tensor(scaled_by or node, 1)
    if isinstance(scale, Extent):
        if zero:
            raise OnnxReadError(f"{node} must have the zero point 0 where its scale is computed, but it has {zero}.")
        return walk.quantize(
            node, stream, TensorQuant(fmt, extents.dynamic_scaling(walk, node, stream, scale)), None, output
        )
    constant_scale = scale_of(scaled_by or node, walk.tensors)
    if constant_scale.size != 1:
        raise OnnxReadError(f"activations must have one scale per tensor, but {node} has {constant_scale.size}.")
    if zero and not (isinstance(fmt, IntFormat) and fmt.min_code <= zero <= fmt.max_code):
        raise OnnxReadError(f"the zero point of {node} must be a code of {fmt}, but it is {zero}.")
    scaling = Scaling(Granularity.TENSOR, scale_kind(constant_scale), zero_point=zero != 0)
    return walk.quantize(node, stream, TensorQuant(fmt, scaling), float(constant_scale.flat[0]), output)


def as_stream(walk: Walk, node: Node, source: Tensor) -> Stream:
    """Activations in front of a quantizer; of a floating-point part, the channels of one token, or its groups of them."""
    match source:
        case Stream():
            return source
        case Floating((None, int() as channels)):
            return Stream(channels, 1, 1, flat=True, floating=True)
        case Floating((None, tokens, int() as channels)):
            return Stream(channels, tokens or walk.frame, 1, flat=True, floating=True, tokens=True)
        case Floating((None, tokens, int() as groups, int() as size)) if node.inputs[0].endswith(GROUPS_SUFFIX):
            return Stream(groups * size, tokens or walk.frame, 1, flat=True, group=size, floating=True, tokens=True)
        case Floating((None, tokens, int() as heads, int() as size)):
            return Stream(heads * size, tokens or walk.frame, 1, flat=True, floating=True, heads=heads, tokens=True)
        case _:
            raise OnnxReadError(f"{node} must read activations, but its input does not come from the network's input.")


def _absolute(walk: Walk, node: Node) -> Tensor:
    """Magnitudes, for the sake of their largest."""
    source = walk.tensor(node)
    if not isinstance(source, Stream | Floating):
        raise OnnxReadError(f"{node} must read activations, but its input does not come from the network's input.")
    return source


def _multiply(walk: Walk, node: Node) -> Tensor:
    """A scale or activation function of sums; or E4M3 scales of weights, times that of their tensor."""
    pair = [walk.tensor(node, position) for position in (0, 1)]
    if all(isinstance(tensor, Constant) for tensor in pair):
        numbers, tensor = (
            constant(node, position, role, walk.tensors)
            for position, role in ((0, "scales"), (1, "scale of the tensor"))
        )
        if numbers.dtype != np.float32 or tensor.dtype != np.float32 or tensor.size != 1 or not _is_e4m3(numbers):
            raise OnnxReadError(f"{node} must multiply E4M3 scales by one float, but its constants are others.")
        scales: Scale = numbers.astype(np.float32) * np.float32(tensor.reshape(-1)[0])
        return Constant(scales, e4m3=True)
    return _pointwise(walk, node)


def _is_e4m3(numbers: Array) -> bool:
    return bool(np.isfinite(numbers).all() and np.array_equal(quantize(OCP_E4M3, numbers.astype(np.float32)), numbers))


def _quantize_linear(walk: Walk, node: Node) -> Tensor:
    source = walk.tensor(node)
    if not isinstance(source, Stream | Floating | Constant):
        raise OnnxReadError(f"{node} must read activations or constants, but its input is quantized already.")
    refuse_zero_point(node, walk.tensors)
    kind = constant(node, 2, "zero point", walk.tensors).dtype
    low, high = code_range(node, kind)
    return Codes(source, low, high, scale_of(node, walk.tensors), _axis(node), FP8_TYPES.get(kind.name))


def _clip(walk: Walk, node: Node) -> Tensor:
    """The range of codes; of activations that are not quantized (yet), an activation function."""
    source = walk.tensor(node)
    if isinstance(source, Constant):
        source = stored_codes(node, source)
    if isinstance(source, Codes) and source.format is None:
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
    fmt = source.format or range_format(node, source.low, source.high)
    if isinstance(source.source, Stream | Floating):
        return _activations(walk, _maker(walk, node), source.source, fmt, node.outputs[0])
    array = source.source.array
    if source.scale is not None:  # rounded from floating point by the QuantizeLinear
        return quantized_weight(node, array, layers.along_axis(node, scale, source.axis, array.ndim), fmt)
    if isinstance(fmt, Minifloat):
        values = array.astype(np.float32)
        if not np.isfinite(values).all():
            raise OnnxReadError(f"the weights of {node} must be finite, but some are not.")
        return Weight(
            to_codes(values.astype(np.float64), fmt), fmt, layers.along_axis(node, scale, _axis(node), values.ndim)
        )
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


def _rotation(walk: Walk, node: Node, position: int) -> Stream:
    """Blocks of channels times a Hadamard matrix."""
    stream, grid = walk.on_grid(node, position)
    matrix = constant(node, 1 - position, "matrix", walk.tensors).astype(np.float64)
    block = stream.group or 0
    if matrix.shape != (block, block) or not _is_hadamard(matrix):
        raise OnnxReadError(
            f"{node} must multiply groups of channels by a Hadamard matrix of their size, but it does not."
        )
    name = walk.emit(Rotate(walk.new_name(node), stream.channels, block, stream.vectors, grid.site))
    return replace(stream, op=name, grid=None)


def _is_hadamard(matrix: NDArray[np.float64]) -> bool:
    """Whether all entries are +-1 / sqrt(size), and rows orthogonal."""
    size = len(matrix)
    flat = np.allclose(np.abs(matrix), size**-0.5, rtol=1e-6, atol=0)
    return size.bit_count() == 1 and flat and np.allclose(matrix @ matrix.T, np.eye(size), rtol=0, atol=1e-5)


def _matmul(walk: Walk, node: Node) -> Tensor:
    constants = [isinstance(walk.tensor(node, position), Constant) for position in (0, 1)]
    if any(constants):
        return _rotation(walk, node, constants.index(False) if not all(constants) else 0)
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
    output, before, pixels = layers.pooling(node, name, stream, grid.site)
    for operator in before:
        walk.emit(operator)  # its pool follows at once, so the reference holds when the network is made
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
    if streams[0].grid is None and walk.count_readers(node.outputs[0]) > 1 and not streams[0].tokens:
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
    "Mul": _multiply,
    "Abs": _absolute,
    **dict.fromkeys(extents.MEASURES, extents.measured),
    "Div": _pointwise,
    "Sub": _pointwise,
    **dict.fromkeys(PASSING, _passing),
    **dict.fromkeys(("Softmax", "LogSoftmax", "ArgMax", "TopK"), _head),
}
"""The ONNX and QONNX operators that are understood."""
