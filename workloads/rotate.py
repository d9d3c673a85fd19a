"""The rotation of a decoder that costs nothing at run time: merged into the weights on both sides (QuaRot, arXiv 2404.00456).

The residual stream x of a decoder is written by its embedding and by layers, and read through RMS norms alone. An RMS norm does
not see an orthogonal R (|x R| = |x|) once its gain is moved into the layers behind it, so that

    embedding E -> E R,   writers W -> R^T W, b -> R^T b,   readers W -> W diag(g) R,   gains g -> 1

leaves the network's function as it is (section 4, stages 1a and 1b; R1 of SpinQuant, arXiv 2405.16406). Attention mixes values
and never looks into their channels, so each head's values are rotated too, in v_proj against o_proj (R2 there). R is a
Hadamard matrix with random signs, so that what layers read has no outlier channels any more.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn

from workloads.attention import Attention
from workloads.graph import Kind, label, shape
from workloads.hadamard import random_rotation
from workloads.plan import Plan
from workloads.replan import PreparationError, copied, layer_at, replanned, set_weight, weight_at

STREAM_SEED, HEAD_SEED = 0, 1

ROTATED = "rotated"
"""What is known of a node whose output is rotated: the channels that are mixed with each other."""


def rotate(plan: Plan, samples: Tensor, number: int | None) -> Plan:
    """The plan with its residual stream and its heads' values rotated.

    Raises:
        PreparationError: the network has no residual stream that begins in an embedding and is read by RMS norms alone.
        HadamardError: none is known of the width of the stream or of a head.
    """
    graph = copied(plan)
    bare = Plan(graph, (), (), plan.floating)
    stream = _stream(bare)
    turn = random_rotation(stream.width, STREAM_SEED)
    for node in stream.embeddings:
        set_weight(graph, node, weight_at(graph, node) @ turn)
    for node in stream.writers:
        _turn_rows(bare, node, turn)
    for norm in stream.norms:
        fold_gain(bare, norm)
        for reader in bare.consumers(norm):
            turn_columns(graph, reader, turn)
        norm.meta[ROTATED] = stream.width
    for node in graph.graph.nodes:
        heads = find_heads(bare, node)
        if heads is not None:
            turn_heads(bare, heads, head_rotation(heads))
            node.meta[ROTATED] = heads.dim
    return replanned(plan, graph)


def fold_gain(plan: Plan, node: fx.Node) -> None:
    """Move gain and bias of a norm that layers alone read into their weights and biases; another node stays as it is."""
    module, readers = _module(plan.graph, node), plan.consumers(node)
    if not isinstance(module, nn.RMSNorm | nn.LayerNorm) or any(layer_at(plan, reader) is None for reader in readers):
        return
    gain, shift = weight_at(plan.graph, node), getattr(module, "bias", None)
    for reader in readers:
        weight, layer = weight_at(plan.graph, reader), layer_at(plan, reader)
        assert layer is not None
        bias = None
        if shift is not None:
            bias = weight @ shift.detach().double() + (0.0 if layer.bias is None else layer.bias.detach().double())
        set_weight(plan.graph, reader, weight * gain, bias)
    set_weight(plan.graph, node, torch.ones_like(gain), None if shift is None else torch.zeros_like(gain))


@dataclass(frozen=True)
class Heads:
    """An attention between the layer that makes its values and those that read what it mixes of them.

    Args:
        source: makes the values of `count` heads of `dim` channels.
        readers: of heads * dim channels; several heads may read the values of one.
    """

    source: fx.Node
    readers: tuple[fx.Node, ...]
    count: int
    dim: int


def find_heads(plan: Plan, node: fx.Node) -> Heads | None:
    """The heads of an attention whose values stand between layers and go nowhere else, or None."""
    if not isinstance(_module(plan.graph, node), Attention):
        return None
    _, _, values = node.args
    assert isinstance(values, fx.Node)
    source, readers = plan.origin(values), plan.consumers(node)
    between = layer_at(plan, source) is not None and all(layer_at(plan, reader) is not None for reader in readers)
    if not between or plan.consumers(source) != (node,):
        return None
    return Heads(source, readers, *shape(values)[-2:])


def head_rotation(heads: Heads) -> Tensor:
    """What :func:`rotate` multiplies the values of every head with, (dim, dim)."""
    return random_rotation(heads.dim, HEAD_SEED)


def turn_heads(plan: Plan, heads: Heads, turn: Tensor) -> None:
    """Multiply the values of every head with an orthogonal matrix (dim, dim); the layers on both sides take it."""
    _turn_rows(plan, heads.source, torch.block_diag(*[turn] * heads.count))  # type: ignore[no-untyped-call]
    for reader in heads.readers:
        turn_columns(plan.graph, reader, turn)


def turn_columns(graph: fx.GraphModule, reader: fx.Node, turn: Tensor) -> None:
    """Let a layer read its input blocks times `turn`: a matrix (block, block) that is orthogonal."""
    weight = weight_at(graph, reader)
    blocks = weight.reshape(len(weight), -1, len(turn), *weight.shape[2:])
    set_weight(graph, reader, torch.einsum("rbi...,ij->rbj...", blocks, turn).reshape(weight.shape))


@dataclass(frozen=True)
class _Stream:
    """The residual stream of a decoder: the nodes that write to it, and those that read it."""

    width: int
    embeddings: tuple[fx.Node, ...]
    writers: tuple[fx.Node, ...]
    norms: tuple[fx.Node, ...]


def _stream(plan: Plan) -> _Stream:
    """Follow the stream from the embedding through its adds."""
    graph = plan.graph
    embeddings = [n for n in graph.graph.nodes if isinstance(_module(graph, n), nn.Embedding)]
    if not embeddings:
        raise _refused("it has no embedding")
    inside: dict[fx.Node, None] = dict.fromkeys(embeddings)
    norms: list[fx.Node] = []
    queue = list(embeddings)
    while queue:
        node = queue.pop(0)
        for reader in plan.consumers(node):
            module = _module(graph, reader)
            if plan.kind(reader) is Kind.ADD and reader not in inside:
                inside[reader] = None
                queue.append(reader)
            elif isinstance(module, nn.RMSNorm) and reader not in norms:
                norms.append(reader)
            elif reader not in inside and reader not in norms:
                raise _refused(f"{label(node)!r} is read by {label(reader)!r}")
    width = shape(embeddings[0])[-1]
    sources = [plan.origin(s) for add in inside if add not in embeddings for s in add.all_input_nodes]
    writers = list(dict.fromkeys(source for source in sources if source not in inside))
    for writer in writers:
        if layer_at(plan, writer) is None or any(reader not in inside for reader in plan.consumers(writer)):
            raise _refused(f"{label(writer)!r}, which is added to it, is no layer that writes to it alone")
    for norm in norms:
        others = [reader for reader in plan.consumers(norm) if layer_at(plan, reader) is None]
        if others or weight_at(graph, norm).shape != (width,):
            raise _refused(f"norm {label(norm)!r} is not read by layers alone")
    return _Stream(width, tuple(embeddings), tuple(writers), tuple(norms))


def _turn_rows(plan: Plan, node: fx.Node, turn: Tensor) -> None:
    """Let a layer write its outputs times `turn`."""
    module = layer_at(plan, node)
    assert module is not None
    bias = None if module.bias is None else turn.T @ module.bias.detach().double()
    set_weight(plan.graph, node, turn.T @ weight_at(plan.graph, node), bias)


def _module(graph: fx.GraphModule, node: fx.Node) -> nn.Module | None:
    return graph.get_submodule(str(node.target)) if node.op == "call_module" else None


def _refused(why: str) -> PreparationError:
    return PreparationError(
        f"rotate must find a residual stream that begins in an embedding and is read by RMS norms alone, but {why}; use "
        "hadamardN."
    )
