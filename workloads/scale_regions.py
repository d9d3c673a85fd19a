"""Where the channels of a float network can be scaled for nothing: divided where they are made, multiplied where they are read.

Channels pass through ReLU, pooling and residual adds with any positive factor (A. Meller et al., "Same, same but different", ICML
2019; M. Nagel et al., arXiv 1906.04721), and through the product of a gated unit by one of its factors. A *region* is
everything that such a factor reaches: its writers are layers (their rows take it) and norms with a gain, its readers are
layers (their columns do). A depthwise layer reads one region and writes the next. A tensor that anything else makes or reads
(the model's input and output, attention, an embedding, ReLU6) belongs to no region.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn

from workloads.graph import Kind, is_depthwise
from workloads.plan import Plan
from workloads.replan import layer_at, set_weight, weight_at


@dataclass(frozen=True, eq=False)
class ScaleRegion:
    """Tensors of `channels` channels that are scaled together, with the nodes that write and read them, in dataflow order."""

    channels: int
    writers: tuple[fx.Node, ...]
    readers: tuple[fx.Node, ...]


def find_scale_regions(plan: Plan) -> tuple[ScaleRegion, ...]:
    """All regions of a network, in the order of their first writers."""
    root: dict[fx.Node, fx.Node] = {}

    def find(node: fx.Node) -> fx.Node:
        while root.setdefault(node, node) is not node:
            node = root[node]
        return node

    joined = {node: _passed_on(plan, node) for node in plan.graph.graph.nodes}
    for node, sources in joined.items():
        for source in sources:
            root[find(node)] = find(source)
    members: dict[fx.Node, list[fx.Node]] = {}
    for node in joined:
        members.setdefault(find(node), []).append(node)
    found = []
    for tensors in members.values():
        writers = [node for node in tensors if not joined[node]]
        uses = [(node, reader) for node in tensors for reader in node.users]
        readers = list(dict.fromkeys(reader for node, reader in uses if node not in joined[reader]))
        sizes = {_written(plan, writer) for writer in writers}
        channels = sizes.pop() if len(sizes) == 1 else None
        if channels is not None and readers and all(_reads(plan, reader, channels) for reader in readers):
            found.append(ScaleRegion(channels, tuple(writers), tuple(readers)))
    order = {node: i for i, node in enumerate(joined)}
    return tuple(sorted(found, key=lambda region: order[region.writers[0]]))


def scale(plan: Plan, region: ScaleRegion, by: Tensor) -> None:
    """Divide the channels of a region by positive factors (channels,), in the graph of `plan`, which computes what it did."""
    for writer in region.writers:
        module = plan.graph.get_submodule(str(writer.target))
        weight, bias = weight_at(plan.graph, writer), getattr(module, "bias", None)
        divided = None if bias is None else bias.detach().double() / by
        set_weight(plan.graph, writer, weight / by.reshape(-1, *[1] * (weight.ndim - 1)), divided)
    for reader in region.readers:
        set_weight(plan.graph, reader, weight_at(plan.graph, reader) * spread(plan, reader, by))


def spread(plan: Plan, reader: fx.Node, by_channel: Tensor) -> Tensor:
    """What belongs to the channels that a layer reads, (channels,), in a shape that its weight broadcasts with."""
    module = layer_at(plan, reader)
    assert module is not None
    if is_depthwise(module):
        return by_channel[:, None, None, None]
    if isinstance(module, nn.Conv2d):
        return by_channel[None, :, None, None]
    return by_channel.repeat_interleave(module.in_features // len(by_channel))[None]


def read_maxima(plan: Plan, region: ScaleRegion) -> Tensor:
    """The largest magnitude among the weights that the readers of a region multiply with each channel, float64 (channels,)."""
    maxima = []
    for reader in region.readers:
        weight, module = weight_at(plan.graph, reader).abs(), layer_at(plan, reader)
        assert module is not None
        by_channel = weight if is_depthwise(module) else weight.transpose(0, 1)
        maxima.append(by_channel.reshape(region.channels, -1).amax(dim=1))
    return torch.stack(maxima).amax(dim=0)


def written_maxima(plan: Plan, region: ScaleRegion) -> Tensor | None:
    """The same of the weights that make each channel; None if one of the writers is a norm, whose gain is not quantized."""
    if any(layer_at(plan, writer) is None for writer in region.writers):
        return None
    weights = [weight_at(plan.graph, writer).abs().flatten(1) for writer in region.writers]
    return torch.stack([weight.amax(dim=1) for weight in weights]).amax(dim=0)


def _passed_on(plan: Plan, node: fx.Node) -> tuple[fx.Node, ...]:
    """The inputs of a node whose factors it passes on."""
    match plan.kind(node):
        case Kind.RELU if node.op == "call_module" and not isinstance(_module(plan, node), nn.ReLU):
            return ()  # ReLU6 cuts at 6
        case Kind.RELU | Kind.MAX_POOL | Kind.AVERAGE_POOL | Kind.PASS | Kind.ADD:
            return tuple(node.all_input_nodes)
        case Kind.FLOAT if node.target is operator.mul:
            layers = [n for n in node.all_input_nodes if layer_at(plan, n) is not None and len(n.users) == 1]
            return tuple(layers[:1])
        case _:
            return ()


def _written(plan: Plan, node: fx.Node) -> int | None:
    """The channels that a node writes, if it can write them scaled."""
    layer = layer_at(plan, node)
    if layer is not None:
        return len(layer.weight)
    module = _module(plan, node)
    if isinstance(module, nn.RMSNorm | nn.LayerNorm) and module.weight is not None and module.weight.ndim == 1:
        return len(module.weight)
    return None


def _reads(plan: Plan, node: fx.Node, channels: int) -> bool:
    """Whether a node can read so many channels scaled."""
    module = layer_at(plan, node)
    if isinstance(module, nn.Linear):
        return module.in_features % channels == 0
    return module is not None and module.in_channels == channels


def _module(plan: Plan, node: fx.Node) -> nn.Module | None:
    return plan.graph.get_submodule(str(node.target)) if node.op == "call_module" else None
