"""Permutations in front of block rotations (PeRQ, or MixQuant, arXiv 2601.22347): which channels share a block.

A rotation in blocks of b leaves values as large as max_j |X_j|_1 / sqrt(b), so the blocks' masses |X_j|_1 should be even. The
order is found from the channels' mean and largest magnitudes on calibration samples, in the float network, and merged into
the weights of the region around (:mod:`workloads.regions`): nothing moves at run time. Values of attention are permuted
within their heads, where blocks are smaller than heads. The methods are those of Brevitas (`brevitas.graph.permute`), which
the tests compare with.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import torch
from torch import Tensor, fx

from workloads.calibration import batch_size
from workloads.fake_quant import channel_axis
from workloads.online import Place, places
from workloads.plan import Plan
from workloads.recipes import Transform
from workloads.regions import find_regions, permute, permute_columns, permute_rows
from workloads.replan import PreparationError, copied, replanned
from workloads.rotate import Heads, find_heads, fold_gain

RANDOM_SEED = 0


@dataclass(frozen=True, eq=False)
class Magnitudes:
    """Of the values of each channel, float64 (channels,): the mean magnitude and the largest."""

    mean: Tensor
    largest: Tensor


Order: TypeAlias = Callable[[Magnitudes, int], Tensor]
"""Of channels with these magnitudes, in blocks of so many: int64 (channels,), the channel that comes to stand at each place."""


def massdiff(seen: Magnitudes, block: int) -> Tensor:
    """Greedy: from the heaviest channel down, each goes to the block of least mass that has room (section 4 of PeRQ)."""
    count = len(seen.mean) // block
    blocks: list[list[int]] = [[] for _ in range(count)]
    mass = [0.0] * count
    for channel in seen.mean.argsort(descending=True, stable=True).tolist():
        open_ = [i for i in range(count) if len(blocks[i]) < block]
        least = min(open_, key=lambda i: (bool(blocks[i]), mass[i]))  # every block gets a first one
        blocks[least].append(channel)
        mass[least] += float(seen.mean[channel])
    return torch.tensor(blocks).flatten()


def zigzag(seen: Magnitudes, block: int) -> Tensor:
    """Ranked by largest magnitude and dealt out to the blocks, to and fro."""
    dealt = absmax(seen, block).reshape(block, -1)
    dealt[1::2] = dealt[1::2].flip(1)
    return dealt.T.flatten()


def absmax(seen: Magnitudes, block: int) -> Tensor:
    """Ranked by largest magnitude, so that outliers share blocks: the worst case."""
    return seen.largest.argsort(descending=True, stable=True)


def shuffled(seen: Magnitudes, block: int) -> Tensor:
    """Random, seeded."""
    return torch.randperm(len(seen.mean), generator=torch.Generator().manual_seed(RANDOM_SEED))


ORDERS: Mapping[Transform, Order] = {
    Transform.MASSDIFF: massdiff,
    Transform.ZIGZAG: zigzag,
    Transform.ABSMAX: absmax,
    Transform.RANDOM: shuffled,
}


def permutation(transform: Transform) -> Callable[[Plan, Tensor, int | None], Plan]:
    """The preparation that permutes channels so."""
    return partial(_permuted, transform)


def _permuted(transform: Transform, plan: Plan, samples: Tensor, number: int | None) -> Plan:
    """The plan with the channels in front of block rotations of `number` channels in another order.

    Raises:
        PreparationError: there are none of two blocks or more whose order can be changed.
    """
    assert number is not None  # the name has one
    graph = copied(plan)
    bare = Plan(graph, plan.sites, plan.layers, plan.floating)
    nodes = {node.name: node for node in graph.graph.nodes}
    origins = {nodes[place.site.edges[0][0]]: place for place in places(bare, number)}
    for origin in origins:
        fold_gain(bare, origin)  # the rotation will: magnitudes are those without it
    seen = _magnitudes(graph, {origin.name for origin in origins}, samples)
    changed = _permute_regions(bare, origins, seen, ORDERS[transform]) + _permute_heads(
        bare, origins, seen, ORDERS[transform]
    )
    if not changed:
        raise PreparationError(
            f"{transform}{number} must find channels of two blocks or more in front of a rotation whose order can be changed, "
            f"but there are none; use hadamard{number} alone."
        )
    return replanned(plan, graph)


def _permute_regions(plan: Plan, origins: Mapping[fx.Node, Place], seen: Mapping[str, Magnitudes], order: Order) -> int:
    """Permute the regions with rotated tensors, each for all of its; return how many."""
    changed = 0
    for region in find_regions(plan):
        inside = [origin for origin in origins if origin.name in region.tensors]
        if not inside or not _has_blocks(origins[inside[0]]):
            continue
        together = _together([seen[origin.name] for origin in inside])
        permute(plan.graph, region, order(together, origins[inside[0]].block))
        changed += 1
    return changed


def _has_blocks(place: Place) -> bool:
    return place.site.channels > place.block


def _permute_heads(plan: Plan, origins: Mapping[fx.Node, Place], seen: Mapping[str, Magnitudes], order: Order) -> int:
    """Permute values within their heads, where blocks are parts of them; return at how many attentions."""
    changed = 0
    for origin, place in origins.items():
        heads = find_heads(plan, origin)
        if heads is None or heads.dim % place.block or heads.dim == place.block:
            continue
        turned = [order(each, place.block) for each in _by_head(seen[origin.name], heads)]
        permute_rows(plan.graph, heads.source, _inside_heads(turned, heads.dim))
        sharing = place.site.channels // (heads.count * heads.dim)
        shared = [each for each in turned for _ in range(sharing)]
        for reader in heads.readers:
            permute_columns(plan.graph, reader, _inside_heads(shared, heads.dim))
        changed += 1
    return changed


def _by_head(seen: Magnitudes, heads: Heads) -> list[Magnitudes]:
    """What was seen of each head's values, by all query heads that mix them."""
    mean, largest = (x.reshape(heads.count, -1, heads.dim) for x in (seen.mean, seen.largest))
    return [Magnitudes(mean[i].mean(0), largest[i].amax(0)) for i in range(heads.count)]


def _inside_heads(orders: list[Tensor], dim: int) -> Tensor:
    return torch.cat([order + dim * i for i, order in enumerate(orders)])


def _together(seen: list[Magnitudes]) -> Magnitudes:
    """Of several tensors of the same channels, taken alike."""
    return Magnitudes(
        torch.stack([each.mean for each in seen]).mean(0), torch.stack([each.largest for each in seen]).amax(0)
    )


def _magnitudes(graph: fx.GraphModule, watched: set[str], samples: Tensor) -> dict[str, Magnitudes]:
    """Magnitudes of the channels of nodes in the float network."""
    means: dict[str, list[Tensor]] = {name: [] for name in watched}
    peaks: dict[str, list[Tensor]] = {name: [] for name in watched}

    class Watch(fx.Interpreter):
        def run_node(self, n: fx.Node) -> object:
            out = super().run_node(n)
            if n.name in watched:
                assert isinstance(out, Tensor)
                values = out.movedim(channel_axis(out), -1).flatten(0, -2).abs()
                means[n.name].append(values.sum(0, dtype=torch.float64) / len(values) * len(batch))
                peaks[n.name].append(values.amax(0).double())
            return out

    graph.recompile()
    for batch in torch.split(samples, batch_size(samples)):
        Watch(graph).run(batch)
    return {
        name: Magnitudes(torch.stack(means[name]).sum(0) / len(samples), torch.stack(peaks[name]).amax(0))
        for name in watched
    }
