"""Scales that a file computes: from the largest values of blocks of a tensor, by any arithmetic, to the scale of a quantizer.

What matters to hardware is read off: which axes a block spans, and what kind of scale comes out. A FloatQuant to E4M3 on the
way makes it an E4M3 scale; the difference of a number and slightly less than it, rounded, is a power of two
(:mod:`dse.export.scales`); everything else stays a float.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from dse.onnx_reader.errors import OnnxReadError
from dse.onnx_reader.graph import Node
from dse.onnx_reader.quantizers import constant, quant_format
from dse.onnx_reader.tensors import Constant, Extent, Floating, Stream, Tensor
from dse.onnx_reader.walk import Walk
from hwmodels.datapath import Granularity, ScaleKind, Scaling
from hwmodels.formats import OCP_E4M3

MEASURES = ("ReduceMax", "ReduceMin")
ARITHMETIC = ("Cast", "Div", "FloatQuant", "LessOrEqual", "Max", "Min", "Mul", "Neg", "Sub", "Where")


def measured(walk: Walk, node: Node) -> Tensor:
    """The largest or least values of blocks of activations."""
    source = walk.tensor(node)
    if not isinstance(source, Stream | Floating) or node.integer("keepdims", 1) != 1:
        raise OnnxReadError(f"{node} must take the largest values of activations and keep their axes, but it does not.")
    rank = rank_of(walk, source)
    axes = constant(node, 1, "axes", walk.tensors)
    found = {int(axis) % rank for axis in np.atleast_1d(axes) if -rank <= int(axis) < rank}
    if not found or len(found) != axes.size:
        raise OnnxReadError(f"{node} must reduce different axes of its {rank}, but it does not.")
    return Extent(tuple(sorted(found)), rank)


def computed(walk: Walk, node: Node) -> Extent:
    """What is computed from extents and constants."""
    tensors = [walk.tensor(node, position) for position in range(len(node.inputs))]
    extents = [tensor for tensor in tensors if isinstance(tensor, Extent)]
    others = [tensor for tensor in tensors if not isinstance(tensor, Extent | Constant)]
    if node.op not in ARITHMETIC or others or len({(e.axes, e.rank) for e in extents}) != 1:
        raise OnnxReadError(
            f"{node} must compute a scale from the largest values of one tensor's blocks, but it does not."
        )
    kind = next((e.kind for e in extents if e.kind is not ScaleKind.FLOAT), ScaleKind.FLOAT)
    if node.op == "FloatQuant":
        if quant_format(node, walk.tensors) != OCP_E4M3:
            raise OnnxReadError(f"{node} must round a scale to E4M3 of OCP, but it rounds it to another format.")
        kind = ScaleKind.E4M3
    elif node.op == "Sub" and len(extents) == 2:
        kind = ScaleKind.POWER_OF_TWO
    return replace(extents[0], kind=kind)


def rank_of(walk: Walk, source: Stream | Floating) -> int:
    """How many axes a tensor of activations has."""
    if isinstance(source, Floating):
        return len(source.shape)
    flat = 2 + source.tokens + (source.heads is not None)
    return (flat if source.flat else 4) + (source.group is not None)


def dynamic_scaling(walk: Walk, node: Node, source: Stream, scale: Extent) -> Scaling:
    """The scaling of a quantizer whose scale is computed: per frame, per token or pixel, or per group of channels."""
    rank = rank_of(walk, source)
    channel = rank - 1 - (source.group is not None) if source.flat else 1
    wanted = {
        (channel + 1,) if source.group is not None else (channel,): Granularity.GROUP
        if source.group
        else Granularity.TOKEN,
        tuple(range(1, rank)) if source.group is None else (): Granularity.TENSOR,
    }
    if source.flat and source.group is None:
        wanted = {(channel,): Granularity.TOKEN}
    granularity = wanted.get(scale.axes) if scale.rank == rank else None
    if granularity is None:
        raise OnnxReadError(
            f"the scale of {node} must be one per frame, per token or per group of channels, but its blocks span the axes "
            f"{list(scale.axes)} of {scale.rank}."
        )
    size = source.group if granularity is Granularity.GROUP else None
    return Scaling(granularity, scale.kind, size, dynamic=True)
