"""The floating-point parts of a network: their shapes are followed, so that what reads them is known.

Sizes of windows are not known (None): they are the first axes of every tensor.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

import numpy as np

from dse.onnx_reader.errors import OnnxReadError, quoted
from dse.onnx_reader.graph import Node
from dse.onnx_reader.quantizers import constant
from dse.onnx_reader.tensors import Constant, Floating, Stream, Tensor
from dse.onnx_reader.walk import Walk

Shape: TypeAlias = tuple[int | None, ...]

MOST_AXES = 8


def floating(walk: Walk, node: Node) -> Floating:
    """The floating-point tensor that a node makes.

    Raises:
        OnnxReadError: it is none of :data:`FLOATING`, or its shapes do not fit.
    """
    shapes = [_shape(walk, node, position) for position, name in enumerate(node.inputs) if name]
    shape = FLOATING[node.op](walk, node, shapes)
    if len(shape) > MOST_AXES or any(size is not None and not 1 <= size <= 1 << 31 for size in shape):
        raise OnnxReadError(f"{node} must make a tensor of a sane shape, but it makes {quoted(shape)}.")
    return Floating(shape)


def _shape(walk: Walk, node: Node, position: int) -> Shape:
    tensor = walk.tensor(node, position)
    match tensor:
        case Floating(shape):
            return shape
        case Constant():
            return tensor.array.shape
        case Stream(heads=int() as heads):
            return (None, _tokens(walk, tensor), heads, tensor.channels // heads)
        case Stream(tokens=True, group=None):
            return (None, _tokens(walk, tensor), tensor.channels)
        case Stream(flat=False, group=None):
            return (None, tensor.channels, tensor.height, tensor.width)
        case _:
            raise OnnxReadError(f"{node} must read floating-point tensors, but input {position} is none.")


def _tokens(walk: Walk, stream: Stream) -> int | None:
    """Tokens of a window; not known of text."""
    return stream.height if walk.graph.input_shape else None


def _same(walk: Walk, node: Node, shapes: list[Shape]) -> Shape:
    return shapes[0]


def _broadcast(walk: Walk, node: Node, shapes: list[Shape]) -> Shape:
    """numpy's rule; unknown sizes fit everything."""
    rank = max(map(len, shapes))
    made: list[int | None] = []
    for axis in range(-rank, 0):
        sizes = {shape[axis] for shape in shapes if len(shape) >= -axis} - {1}
        known = sizes - {None}
        if len(known) > 1:
            raise OnnxReadError(f"the inputs of {node} must have shapes that fit, but they are {quoted(shapes)}.")
        made.append(None if None in sizes else next(iter(known), 1))
    return tuple(made)


def _gather(walk: Walk, node: Node, shapes: list[Shape]) -> Shape:
    table, index = shapes[0], shapes[1]
    axis = _axis(node, node.integer("axis", 0), len(table))
    return (*table[:axis], *index, *table[axis + 1 :])


def _reduced(walk: Walk, node: Node, shapes: list[Shape]) -> Shape:
    axes = {_axis(node, int(a), len(shapes[0])) for a in np.atleast_1d(constant(node, 1, "axes", walk.tensors))}
    return tuple(1 if axis in axes else size for axis, size in enumerate(shapes[0]))


def _transposed(walk: Walk, node: Node, shapes: list[Shape]) -> Shape:
    order = node.attributes.get("perm")
    if not isinstance(order, list) or sorted(order) != list(range(len(shapes[0]))):
        raise OnnxReadError(
            f"{node} must permute the {len(shapes[0])} axes of its input, but it has perm={quoted(order)}."
        )
    return tuple(shapes[0][int(axis)] for axis in order)


def _reshaped(walk: Walk, node: Node, shapes: list[Shape]) -> Shape:
    """0 keeps an axis, -1 takes what is left; windows and tokens must be kept."""
    source, sizes = (
        shapes[0],
        [int(size) for size in constant(node, 1, "shape", walk.tensors).reshape(-1)[: MOST_AXES + 1]],
    )
    kept = 0
    while kept < min(len(sizes), len(source)) and sizes[kept] == 0:
        kept += 1
    left, rest = source[kept:], sizes[kept:]
    known = [size for size in left if size is not None]
    total = int(np.prod([1, *known], dtype=object))
    given = int(np.prod([1, *(size for size in rest if size != -1)], dtype=object))
    open_axes = rest.count(-1)
    fits = len(known) == len(left) and open_axes <= 1 and given > 0 and min([1, *rest]) >= -1
    if not fits or (total % given if open_axes else total != given):
        raise OnnxReadError(
            f"{node} must give {quoted(source)} a shape of as many values, but it gives it {quoted(sizes)}."
        )
    return (*source[:kept], *(total // given if size == -1 else size for size in rest))


def _sliced(walk: Walk, node: Node, shapes: list[Shape]) -> Shape:
    start, end, axis = (
        int(constant(node, i, role, walk.tensors).reshape(-1)[0]) for i, role in ((1, "start"), (2, "end"), (3, "axis"))
    )
    made = list(shapes[0])
    place = _axis(node, axis, len(made))
    size = made[place]
    if size is None or not 0 <= start < end <= size or len(node.inputs) > 4:
        raise OnnxReadError(f"{node} must cut a part out of an axis, but it cuts {start} to {end} of {quoted(size)}.")
    made[place] = end - start
    return tuple(made)


def _padded(walk: Walk, node: Node, shapes: list[Shape]) -> Shape:
    pads = [int(size) for size in constant(node, 1, "pads", walk.tensors).reshape(-1)]
    rank = len(shapes[0])
    if (
        len(pads) != 2 * rank
        or min(pads) < 0
        or any(pads[i] + pads[i + rank] and shapes[0][i] is None for i in range(rank))
    ):
        raise OnnxReadError(f"{node} must pad known axes, but it pads {quoted(shapes[0])} by {quoted(pads)}.")
    return tuple(s if s is None else s + pads[i] + pads[i + rank] for i, s in enumerate(shapes[0]))


def _joined(walk: Walk, node: Node, shapes: list[Shape]) -> Shape:
    axis = _axis(node, node.integer("axis"), len(shapes[0]))
    sizes = [shape[axis] for shape in shapes if len(shape) == len(shapes[0])]
    if None in sizes or len(sizes) != len(shapes):
        raise OnnxReadError(f"{node} must join known axes, but it joins {quoted(shapes)}.")
    return (*shapes[0][:axis], sum(size for size in sizes if size is not None), *shapes[0][axis + 1 :])


def _widened(walk: Walk, node: Node, shapes: list[Shape]) -> Shape:
    axes = [int(axis) for axis in np.atleast_1d(constant(node, 1, "axes", walk.tensors))]
    made = list(shapes[0])
    for axis in sorted(axes):
        made.insert(_axis(node, axis, len(made) + 1), 1)
    return tuple(made)


def _product(walk: Walk, node: Node, shapes: list[Shape]) -> Shape:
    left, right = shapes
    if min(len(left), len(right)) < 2 or not _agree(left[-1], right[-2]):
        raise OnnxReadError(f"{node} must multiply matrices that fit, but they are {quoted(left)} and {quoted(right)}.")
    return (*_broadcast(walk, node, [left[:-2], right[:-2]]), left[-2], right[-1])


def _sizes(walk: Walk, node: Node, shapes: list[Shape]) -> Shape:
    return (len(shapes[0]),)


def _count(walk: Walk, node: Node, shapes: list[Shape]) -> Shape:
    return (None,)


def _agree(left: int | None, right: int | None) -> bool:
    return left is None or right is None or left == right


def _axis(node: Node, axis: int, rank: int) -> int:
    if not -rank <= axis < rank:
        raise OnnxReadError(f"{node} must name one of {rank} axes, but it names {axis}.")
    return axis % rank


FLOATING: Mapping[str, Callable[[Walk, Node, list[Shape]], Shape]] = {
    **dict.fromkeys(("Add", "Sub", "Mul", "Div", "Where", "LessOrEqual"), _broadcast),
    **dict.fromkeys(
        ("Sqrt", "Sigmoid", "Gelu", "Cos", "Sin", "Cast", "LayerNormalization", "Softmax", "Identity"), _same
    ),
    "Gather": _gather,
    "Pad": _padded,
    "ReduceMean": _reduced,
    "Transpose": _transposed,
    "Reshape": _reshaped,
    "Slice": _sliced,
    "Concat": _joined,
    "Unsqueeze": _widened,
    "MatMul": _product,
    "Shape": _sizes,
    "Range": _count,
}
"""The operators of floating-point parts, and the shapes they make."""


def is_floating(walk: Walk, node: Node) -> bool:
    """Whether a node belongs to a floating-point part: by what it reads, or because nothing else in a network has it."""
    if node.op not in FLOATING:
        return False
    tensors: list[Tensor | None] = [walk.tensors.get(name) for name in node.inputs]
    if any(isinstance(tensor, Floating) or (isinstance(tensor, Stream) and tensor.heads) for tensor in tensors):
        return True
    streams = [tensor for tensor in tensors if isinstance(tensor, Stream)]
    if len(streams) == 2:
        return any(stream.tokens for stream in streams)
    if not streams or streams[0].grid is not None:
        return False
    if node.op == "Reshape" and not streams[0].flat:  # patches become tokens
        return constant(node, 1, "shape", walk.tensors).size == 3
    return streams[0].tokens and node.op in ("Sigmoid", "Gelu", "Reshape", "LayerNormalization")
