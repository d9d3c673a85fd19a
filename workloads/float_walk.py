"""The float network, layer by layer: what quantized layers are compared with."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, cast

import torch
from torch import Tensor, fx, nn

from workloads.calibration import batch_size
from workloads.fake_quant import channel_axis
from workloads.graph import ComputeModule
from workloads.plan import Layer, Plan


class Seen(NamedTuple):
    """A layer at work: its inputs and output on all images."""

    layer: Layer
    module: ComputeModule
    inputs: Tensor
    output: Tensor


@torch.no_grad()
def walk_float(plan: Plan, images: Tensor) -> Iterator[Seen]:
    """Run the float network on all images and give every layer, in dataflow order, as soon as it has run.

    A tensor is dropped when its last reader has run.
    """
    layers = {layer.module: layer for layer in plan.layers}
    runner = _Batched(plan.graph)
    runner.args_iter = iter((images,))
    for node in plan.graph.graph.nodes:
        runner.env[node] = output = runner.run_node(node)
        if (layer := layers.get(str(node.target))) is not None:
            module = cast(ComputeModule, plan.graph.get_submodule(layer.module))
            yield Seen(layer, module, runner.env[node.all_input_nodes[0]], output)
        for past in runner.user_to_last_uses.get(node, ()):
            del runner.env[past]


class _Batched(fx.Interpreter):
    def call_module(self, target: object, args: tuple[object, ...], kwargs: dict[str, object]) -> object:
        return in_batches(self.fetch_attr(str(target)), *args)


def float_means(plan: Plan, images: Tensor) -> dict[str, Tensor]:
    """Mean output of every layer and channel in the float network: what bias correction restores (arXiv 1906.04721)."""
    return {seen.layer.name: channel_means(seen.output) for seen in walk_float(plan, images)}


def in_batches(module: nn.Module, *inputs: object) -> Tensor:
    """A module's output for all samples of its inputs, computed :func:`batch_size` at a time."""
    size = batch_size(cast(Tensor, inputs[0]))
    batches = zip(*(torch.split(cast(Tensor, each), size) for each in inputs), strict=True)
    return torch.cat([module(*batch) for batch in batches])


def channel_means(output: Tensor) -> Tensor:
    """The mean of every channel."""
    channels = channel_axis(output)
    return output.mean(dim=[axis for axis in range(output.ndim) if axis != channels])
