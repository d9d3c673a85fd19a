"""Online block Hadamard rotations in front of layers, their inverse merged into the weights behind (MixQuant, arXiv 2601.22347).

A rotation spreads the outliers of each block of b channels over the block, so that |X R|_inf <= max_j |X_j|_1 / sqrt(b). It
stands in front of every dense layer whose input channels are a multiple of b, but for those that read the model's input and
those whose input is rotated already (:mod:`workloads.rotate`); layers that read one tensor share one. Rotations of whole
vectors stand where their channels are a power of two, which is what hardware has a unit for. The quantizer of the layers
stands behind it. In front it reads integers of a format of their own (`rotation` of :class:`workloads.numerics.NumericsSpec`).

The gain of a norm in front is merged into the layers behind, as in :mod:`workloads.rotate`: rotated, it would be an outlier of
the weights.

Where a rotation is free, there is none at run time: blocks that lie within attention heads are merged into the projection
in front of the attention, which mixes values and never looks into their channels. A larger block takes the place of what
:mod:`workloads.rotate` has merged there: one after the other, the two would undo each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, fx

from workloads.graph import label
from workloads.hadamard import BlockHadamard, hadamard
from workloads.plan import INPUT_SITE, Layer, Plan, Site
from workloads.replan import PreparationError, copied, replanned
from workloads.rotate import ROTATED, find_heads, fold_gain, head_rotation, turn_columns, turn_heads


@dataclass(frozen=True)
class Place:
    """A site with the layers that read it, rotated in blocks of `block` channels."""

    site: Site
    layers: tuple[Layer, ...]
    block: int


def places(plan: Plan, number: int | None) -> tuple[Place, ...]:
    """The sites that blocks of `number` channels (None: of all of a site's) can rotate and nothing has rotated as far yet."""
    nodes = {node.name: node for node in plan.graph.graph.nodes}
    found = []
    for site in plan.sites:
        layers = tuple(layer for layer in plan.layers if layer.site == site.name)
        block = number or site.channels
        fits = block.bit_count() == 1 and block > 1 and site.channels % block == 0
        dense = all(not layer.depthwise and layer.in_channels == site.channels for layer in layers)
        rotated = max(nodes[producer].meta.get(ROTATED, 1) for producer, _ in site.edges)
        if layers and fits and dense and site.name != INPUT_SITE and rotated < block:
            found.append(Place(site, layers, block))
    return tuple(found)


def online_hadamard(plan: Plan, samples: Tensor, number: int | None) -> Plan:
    """The plan with block Hadamard rotations of `number` channels; None: of each site's whole vector.

    Raises:
        PreparationError: there is no layer that it can stand in front of.
    """
    found = places(plan, number)
    if not found:
        channels = sorted({layer.in_channels for layer in plan.layers})
        what = "a power of two" if number is None else f"a multiple of {number}"
        raise PreparationError(
            f"hadamard{number or ''} must find a dense layer behind the first one whose input channels are {what} and not "
            f"rotated as far yet, but there is none among layers of {', '.join(map(str, channels))} channels; use hadamardN "
            "with another N."
        )
    graph = copied(plan)
    bare = Plan(graph, plan.sites, (), plan.floating)
    nodes = {node.name: node for node in graph.graph.nodes}
    for place in found:
        origin = nodes[place.site.edges[0][0]]
        fold_gain(bare, origin)
        heads = find_heads(bare, origin)
        if heads is not None and heads.dim % place.block == 0:
            whole = torch.kron(torch.eye(heads.dim // place.block, dtype=torch.float64), _normalized(place.block))
            turn_heads(bare, heads, whole)
            origin.meta[ROTATED] = place.block
        else:
            if heads is not None and ROTATED in origin.meta:
                turn_heads(bare, heads, head_rotation(heads).T)
            targets = {layer.module for layer in place.layers}
            _insert(graph, place.block, [n for n in graph.graph.nodes if n.op == "call_module" and n.target in targets])
    return replanned(plan, graph)


def _insert(graph: fx.GraphModule, block: int, readers: Sequence[fx.Node]) -> None:
    """Let layers read their inputs through a rotation, and their weights undo it; those of one input share one."""
    for source in dict.fromkeys(reader.all_input_nodes[0] for reader in readers):
        target = f"hadamard.{label(source).replace('.', '_')}"
        graph.add_submodule(target, BlockHadamard(block))
        with graph.graph.inserting_after(source):
            rotation = graph.graph.call_module(target, (source,))
        rotation.meta |= {"tensor_meta": source.meta["tensor_meta"], ROTATED: block}
        for reader in readers:
            if reader.all_input_nodes[0] is source:
                reader.replace_input_with(source, rotation)
                turn_columns(graph, reader, _normalized(block))


def _normalized(block: int) -> Tensor:
    made: Tensor = hadamard(block) / block**0.5
    return made
