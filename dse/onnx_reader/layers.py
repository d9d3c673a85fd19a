"""Shapes and weight matrices of convolutions, linear layers, pooling and reshapes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dse.onnx_reader.errors import OnnxReadError, quoted
from dse.onnx_reader.graph import Array, Node, OnnxGraph
from dse.onnx_reader.quantizers import constant
from dse.onnx_reader.tensors import Constant, Floating, Scale, Stream, Tensor, Weight, scale_kind
from hwmodels.datapath import Granularity, Scaling
from hwmodels.ops import Depthwise, MatVec, Operator, Window, divisors, with_zeros

Matrix: TypeAlias = NDArray[Any]
"""Integer codes, (rows, cols); Python integers where 64 bits are too few."""


def input_tensor(graph: OnnxGraph) -> Stream | Floating:
    """The network's input: images, or windows of tokens."""
    shape = graph.input_shape
    if not shape:
        return Floating((None, None))
    if len(shape) == 1:
        return Stream(shape[0], 1, 1, flat=True)
    channels, height, width = shape
    return Stream(channels, height, width, flat=False)


def weight_input(node: Node, tensor: Tensor) -> Weight:
    """The weights of a layer.

    Raises:
        OnnxReadError: they are not quantized.
    """
    if not isinstance(tensor, Weight):
        raise OnnxReadError(f"the weights of {node} must be a quantized constant, but they are not; quantize them too.")
    if tensor.codes.size == 0:
        raise OnnxReadError(f"the weights of {node} must not be empty, but they have the shape {tensor.codes.shape}.")
    return tensor


def scaled_matrix(node: Node, weight: Weight, group_size: int | None) -> tuple[Matrix, Scaling]:
    """The weight codes (rows, cols), columns in hardware order, and how they are scaled.

    Scales per tensor and per output channel are known by their shape. One scale per weight means groups along the input
    channels: of `group_size` where that is known, else of the largest size within which all scales are equal.
    """
    codes, scale = weight.codes, weight.scale
    rows, kind = codes.shape[0], weight.kind or scale_kind(weight.scale)
    matrix = _hardware_order(codes)
    if weight.group_size is not None:
        return matrix, Scaling(Granularity.GROUP, kind, weight.group_size)
    if scale.ndim == 0 or (scale.size == 1 and rows > 1):
        return matrix, Scaling(Granularity.TENSOR, kind)
    if scale.ndim == codes.ndim and scale.shape[0] == rows == scale.size:
        if group_size == matrix.shape[1]:
            return matrix, Scaling(Granularity.GROUP, kind, group_size)
        return matrix, Scaling(Granularity.CHANNEL, kind)
    if scale.shape == codes.shape:
        candidates = divisors(codes.shape[1])[::-1] if group_size is None else (group_size,)
        scales = _hardware_order(scale)
        for size in candidates:
            if size > 1 and scales.shape[1] % size == 0 and _equal_within(scales, size):
                return matrix, Scaling(Granularity.GROUP, kind, size)
    raise OnnxReadError(
        f"the weights of {node} must have one scale, one per output channel ({rows}) or one per group of input channels, "
        f"but the scale has the shape {scale.shape}."
    )


def _hardware_order(weights: NDArray[Any]) -> Matrix:
    """(rows, kernel row * kernel column * input channel), FINN's order of a window's values."""
    ordered = weights.transpose(0, 2, 3, 1) if weights.ndim == 4 else weights
    return ordered.reshape(weights.shape[0], -1)


def _equal_within(scales: Matrix, size: int) -> bool:
    blocks = scales.reshape(scales.shape[0], -1, size)
    return bool((blocks == blocks[:, :, :1]).all())


def convolution(
    node: Node, name: str, stream: Stream, site: str, weight: Weight
) -> tuple[Stream, tuple[Operator, ...]]:
    """Output and operators (zeros and window if needed, then matrix) of a Conv node."""
    shape = weight.codes.shape
    if len(shape) != 4 or stream.flat:
        raise OnnxReadError(
            f"{node} must be a 2-D convolution of images, but its weights are {shape} on {stream.size}."
        )
    groups = node.integer("group", 1)
    depthwise = groups > 1
    rows, per_group, *kernel = shape
    if per_group * groups != stream.channels or (depthwise and (groups != stream.channels or rows != groups)):
        raise OnnxReadError(
            f"{node} must be ungrouped or depthwise (as many outputs as inputs) on its {stream.channels} input channels, but "
            f"it has group={groups} and weights {shape}."
        )
    stride, dilation, zeros, padded, output = _window(node, stream, (kernel[0], kernel[1]))
    cols, vectors = per_group * kernel[0] * kernel[1], output[0] * output[1]
    kind = Depthwise if depthwise else MatVec
    compute = kind(name, rows, cols, vectors, site)
    made = Stream(rows, *output, flat=False)
    if kernel == [1, 1] and stride == (1, 1):
        return made, with_zeros(compute, stream.channels, padded, zeros)
    window = Window(
        f"{name}.window",
        name,
        stream.channels,
        padded,
        output,
        (kernel[0], kernel[1]),
        stride,
        dilation,
        depthwise,
        site,
    )
    return made, (*with_zeros(window, stream.channels, padded, zeros), compute)


def linear(node: Node, name: str, stream: Stream, site: str, weight: Weight) -> tuple[Stream, tuple[Operator, ...]]:
    """Output and operator of a linear layer; its weights have the output features first."""
    rows, cols = weight.codes.shape
    features, vectors = (stream.channels, stream.vectors) if stream.tokens else (stream.features, 1)
    if not stream.flat or features != cols:
        raise OnnxReadError(f"{node} must read {cols} features, but it reads {stream.size}; flatten images first.")
    return Stream(rows, vectors, 1, flat=True, tokens=stream.tokens), (MatVec(name, rows, cols, vectors, site),)


def rows_first(node: Node, weight: Weight) -> Weight:
    """The weights of a MatMul or Gemm with the output features first."""
    if weight.codes.ndim != 2:
        raise OnnxReadError(f"the weights of {node} must be a matrix, but they have {weight.codes.ndim} axes.")
    if node.op == "Gemm":
        if node.integer("transA", 0) or any(node.attributes.get(k, 1.0) != 1.0 for k in ("alpha", "beta")):
            raise OnnxReadError(f"{node} must multiply its input by its weights, but it has transA, alpha or beta.")
        if node.integer("transB", 0):
            return weight
    return _permuted(weight, (1, 0))


def transposed(node: Node, weight: Weight) -> Weight:
    """Transposed weights."""
    order = node.attributes.get("perm", list(range(weight.codes.ndim))[::-1])
    if not isinstance(order, list) or sorted(order) != list(range(weight.codes.ndim)):
        raise OnnxReadError(
            f"{node} must permute the {weight.codes.ndim} axes of its input, but it has perm={quoted(order)}."
        )
    return _permuted(weight, tuple(int(axis) for axis in order))


def _permuted(weight: Weight, order: tuple[int, ...]) -> Weight:
    scale = weight.scale
    if scale.ndim not in (0, len(order)):  # numpy's rule: missing axes stand in front
        scale = scale.reshape((1,) * (len(order) - scale.ndim) + scale.shape)
    codes, scale = weight.codes.transpose(order), scale.transpose(order) if scale.ndim else scale
    return replace(weight, codes=codes, scale=scale)


def along_axis(node: Node, scale: Scale, axis: int, dimensions: int) -> Scale:
    """The scale of a (De)QuantizeLinear so that it broadcasts to its tensor."""
    if scale.size == 1 and scale.ndim == 0:
        return scale
    if scale.ndim != 1 or not -dimensions <= axis < dimensions:
        raise OnnxReadError(
            f"{node} must have one scale or one per channel, but the scale has the shape {scale.shape}, axis={axis}."
        )
    shape = [1] * dimensions
    shape[axis] = scale.size
    return scale.reshape(shape)


def pooling(node: Node, name: str, stream: Stream, site: str) -> tuple[Stream, tuple[Operator, ...], int]:
    """Output, window (none where all pixels are one) with the zeros around its input, and pixels per output of a pooling node."""
    if stream.flat:
        raise OnnxReadError(f"{node} must pool images, but it reads {stream.size} features.")
    if node.op == "GlobalAveragePool":
        return Stream(stream.channels, 1, 1, flat=False), (), stream.vectors
    kernel_h, kernel_w = node.integers("kernel_shape", 2, 1)
    if node.integer("ceil_mode", 0) or (node.op == "AveragePool" and any(node.integers("pads", 4, 0))):
        raise OnnxReadError(f"{node} must have no ceil_mode and, where it averages, no padding, but it has.")
    stride, dilation, zeros, padded, output = _window(node, stream, (kernel_h, kernel_w))
    if dilation != (1, 1):
        raise OnnxReadError(f"{node} must pool neighbouring pixels, but it has dilations {dilation}.")
    made = Stream(stream.channels, *output, flat=False)
    if (kernel_h, kernel_w) == padded:
        return made, (), kernel_h * kernel_w
    window = Window(
        f"{name}.window",
        name,
        stream.channels,
        padded,
        output,
        (kernel_h, kernel_w),
        stride,
        (1, 1),
        depthwise=True,
        site=site,
    )
    return made, with_zeros(window, stream.channels, padded, zeros), kernel_h * kernel_w


def _window(
    node: Node, stream: Stream, kernel: tuple[int, int]
) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int, int, int], tuple[int, int], tuple[int, int]]:
    """Stride, dilation, zeros (top, left, bottom, right), padded input size and output size, the others (height, width)."""
    if node.text("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        raise OnnxReadError(
            f"{node} must state its padding in numbers, but it has auto_pad={quoted(node.text('auto_pad', ''))}."
        )
    if node.integers("kernel_shape", 2, 0) not in ((0, 0), kernel):
        raise OnnxReadError(f"{node} must have the kernel of its weights, {kernel}, but kernel_shape says otherwise.")
    stride, dilation = node.integers("strides", 2, 1), node.integers("dilations", 2, 1)
    pads = node.integers("pads", 4, 0)
    if min(pads) < 0:
        raise OnnxReadError(f"{node} must have pads of at least 0, but it has {pads}; crop its input in front of it.")
    padded = (stream.height + pads[0] + pads[2], stream.width + pads[1] + pads[3])
    if min(*kernel, *stride, *dilation) < 1:
        raise OnnxReadError(
            f"{node} must have kernel, strides and dilations of at least 1, but it has {kernel}, {stride}, {dilation}."
        )
    output = tuple((p - d * (k - 1) - 1) // s + 1 for p, d, k, s in zip(padded, dilation, kernel, stride, strict=True))
    if min(output) < 1:
        raise OnnxReadError(
            f"the window of {node} must fit its padded input {padded}, but kernel {kernel} with dilation {dilation} does not."
        )
    top, left, bottom, right = pads
    return (
        (stride[0], stride[1]),
        (dilation[0], dilation[1]),
        (top, left, bottom, right),
        padded,
        (output[0], output[1]),
    )


def reshaped_stream(node: Node, stream: Stream, tensors: Mapping[str, Tensor]) -> Stream:
    """Activations behind a Flatten, Reshape, Identity or Dropout: images stay images or become vectors of all values."""
    if node.op in ("Identity", "Dropout"):
        return stream
    if node.op == "Flatten":
        shape = [0, -1] if node.integer("axis", 1) == 1 else [-1]
    else:
        shape = _sizes(node, constant(node, 1, "shape", tensors))
    # the first axis is the batch, whatever number stands there
    if (grouped := _regrouped(stream, shape)) is not None:
        return grouped
    if stream.group is not None:
        raise OnnxReadError(
            f"{node} must join the groups of {stream.group} channels, but it gives them the shape {shape}."
        )
    if shape[1:] in ([-1], [stream.features]):
        return Stream(stream.channels, stream.height, stream.width, flat=True, op=stream.op, grid=stream.grid)
    if shape[1:] == [stream.channels, stream.height, stream.width]:
        return stream
    raise OnnxReadError(f"{node} must flatten each image, but it gives {stream.size} the shape {shape}.")


def _regrouped(stream: Stream, shape: list[int]) -> Stream | None:
    """Channels split into groups, or groups joined again; None if the shape does neither."""
    tail = [] if stream.flat else [stream.height, stream.width]
    if not stream.flat and len(shape) == 4 and shape[-1] == -1:
        tail = [-1]  # pixels in one row
    ahead = shape[: len(shape) - len(tail)]
    if tail != shape[len(ahead) :]:
        return None
    kept = [size for size in ahead if size == 0]
    if stream.group is not None and ahead[len(kept) :] == [stream.channels] and kept:
        return replace(stream, group=None)
    sizes = ahead[len(kept) :]
    if stream.group is None and len(sizes) == 2 and kept and sizes[1] > 1 and sizes[0] * sizes[1] == stream.channels:
        return replace(stream, group=sizes[1])
    return None


def reshaped_constant(node: Node, source: Constant | Weight, tensors: Mapping[str, Tensor]) -> Constant | Weight:
    """A reshaped constant; of quantized weights, groups are joined."""
    if isinstance(source, Weight) and node.op == "Reshape":
        return _joined_groups(node, source, _sizes(node, constant(node, 1, "shape", tensors)))
    if isinstance(source, Weight) or node.op != "Reshape":
        raise OnnxReadError(
            f"{node} must not reshape quantized weights, but it does; reshape them before they are quantized."
        )
    try:
        return Constant(source.array.reshape(_sizes(node, constant(node, 1, "shape", tensors))))
    except ValueError:
        raise OnnxReadError(
            f"{node} must give its {source.array.size} values a shape of as many, but it does not."
        ) from None


def _joined_groups(node: Node, weight: Weight, shape: list[int]) -> Weight:
    """Weights whose axes (groups, values of one) become one."""
    codes, scale = weight.codes, weight.scale
    for axis in range(codes.ndim - 1):
        groups, size = codes.shape[axis : axis + 2]
        joined = [*codes.shape[:axis], groups * size, *codes.shape[axis + 2 :]]
        apart = scale.ndim == codes.ndim and scale.shape[axis : axis + 2] == (groups, 1)
        if joined == shape and apart and size > 1 and weight.group_size is None:
            whole = np.broadcast_to(scale, codes.shape)
            return replace(weight, codes=codes.reshape(shape), scale=whole.reshape(shape), group_size=size)
    raise OnnxReadError(
        f"{node} must join the groups of quantized weights, but it gives {codes.shape} with scales {scale.shape} the shape "
        f"{shape}; reshape weights before they are quantized."
    )


def _sizes(node: Node, shape: Array) -> list[int]:
    if shape.ndim != 1 or shape.size > 8 or shape.dtype.kind not in "iu":
        raise OnnxReadError(f"the shape of {node} must be a short list of integers, but it is not.")
    return [int(size) for size in shape]
