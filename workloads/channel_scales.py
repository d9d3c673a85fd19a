"""Preparations that scale the channels of a float network, so that less of it is lost when it is quantized.

All three leave the function as it is: what they divide in one place they multiply in another (:mod:`workloads.scale_regions`).
Regions are treated in the order in which they are read. What no writer can absorb, the output of attention, stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, fx

from hwmodels.datapath import Granularity, Scaling, TensorQuant
from hwmodels.formats import IntFormat
from workloads.fake_quant import round_in_place
from workloads.float_walk import Seen, walk_float
from workloads.matrices import as_problems, layer_hessian, weight_to_matrix
from workloads.plan import Layer, Plan
from workloads.replan import PreparationError, copied, replanned, weight_at
from workloads.scale_regions import ScaleRegion, find_scale_regions, read_maxima, scale, spread, written_maxima
from workloads.scales import weight_scales

T = TypeVar("T")

ROUNDS, CLOSE = 100, 1e-4
"""Equalization ends after so many rounds over all regions, or when no factor differs from 1 by more."""

GRID = 20
"""Exponents that AWQ tries, from 0 (the authors' number)."""


def equalize(plan: Plan, samples: Tensor, number: int | None) -> Plan:
    """The plan with the largest weight that writes a channel as large as the largest that reads it (arXiv 1906.04721).

    Factor ``sqrt(r_written / r_read)`` of each channel (equation 11), r the largest magnitudes; over and over, because a
    depthwise layer stands between two regions. Regions that a norm writes have nothing to even out.

    Raises:
        PreparationError: there is no region between layers.
    """
    graph = copied(plan)
    bare = Plan(graph, (), (), plan.floating)
    regions = [region for region in find_scale_regions(bare) if written_maxima(bare, region) is not None]
    if not regions:
        raise _refused("equalize", "a layer whose outputs go to layers alone")
    for _ in range(ROUNDS):
        moved = 0.0
        for region in regions:
            written, read = written_maxima(bare, region), read_maxima(bare, region)
            assert written is not None
            by = _quotient(written, read).sqrt()
            scale(bare, region, by)
            moved = max(moved, float((by - 1).abs().max()))
        if moved < CLOSE:
            break
    return replanned(plan, graph)


def smoothquant(plan: Plan, samples: Tensor, number: int | None) -> Plan:
    """The plan with outliers of activations moved into the weights that read them (SmoothQuant, arXiv 2211.10438).

    Factor ``max|X_j|^alpha / max|W_j|^(1 - alpha)`` of each channel (equation 4), alpha = `number` percent (the paper's for most
    models: 50).

    Raises:
        PreparationError: nothing can absorb a factor.
    """
    assert number is not None  # Preparation
    alpha = number / 100
    graph = copied(plan)
    bare = Plan(graph, (), (), plan.floating)
    regions = find_scale_regions(bare)
    if not regions:
        raise _refused("smoothquant", "a norm with a gain or a layer whose outputs go to layers alone")
    for region, largest in _read(plan, regions, samples, lambda seen: _magnitudes(seen.inputs).amax(dim=0)):
        activations = torch.stack([_by_channel(region, each).amax(dim=1) for each in largest]).amax(dim=0).double()
        scale(bare, region, _quotient(activations.pow(alpha), read_maxima(bare, region).pow(1 - alpha)))
    return replanned(plan, graph)


def awq(plan: Plan, samples: Tensor, number: int | None) -> Plan:
    """The plan with the channels that carry most scaled up in the weights before they are rounded (AWQ, arXiv 2306.00978).

    Factor ``s = mean|X_j|^a`` of each channel, over the square root of its largest times its smallest value; a is the one of
    :data:`GRID` numbers from 0 with the least error ``|(Q(W s) / s - W) X|^2`` of all readers (equations 4 and 5, and the
    authors' code). Q rounds to integers of `number` bits, one scale per output channel. Unlike there, errors are those of
    the layers' own outputs, and weights are not clipped (the weights' scale rule does that).

    Raises:
        PreparationError: nothing can absorb a factor.
    """
    assert number is not None  # Preparation
    graph = copied(plan)
    bare = Plan(graph, (), (), plan.floating)
    regions = find_scale_regions(bare)
    if not regions:
        raise _refused("awq", "a norm with a gain or a layer whose outputs go to layers alone")
    for region, inputs in _read(plan, regions, samples, _Inputs.of):
        means = torch.stack([_by_channel(region, each.means).mean(dim=1) for each in inputs])
        carried = means.mean(dim=0).double().clamp(min=1e-4)
        candidates = [carried.pow(step / GRID) for step in range(GRID)]
        candidates = [each / (each.max() * each.min()).sqrt() for each in candidates]
        readers = [*zip(region.readers, inputs, strict=True)]
        errors = [sum(_error(bare, reader, each, by, number) for reader, each in readers) for by in candidates]
        scale(bare, region, candidates[min(range(GRID), key=lambda i: errors[i])])
    return replanned(plan, graph)


@dataclass(frozen=True, eq=False)
class _Inputs:
    """What AWQ knows of a layer's inputs: mean magnitudes and second moments."""

    layer: Layer
    means: Tensor
    moments: Tensor

    @staticmethod
    def of(seen: Seen) -> _Inputs:
        return _Inputs(
            seen.layer, _magnitudes(seen.inputs).mean(dim=0), layer_hessian(seen.layer, seen.module, seen.inputs)
        )


def _error(plan: Plan, reader: fx.Node, inputs: _Inputs, by: Tensor, bits: int) -> float:
    """|(Q(W s) / s - W) X|^2 of a layer, by the second moments of its inputs."""
    weight, layer = weight_at(plan.graph, reader), inputs.layer
    factors, matrix = (
        weight_to_matrix(each).float().reshape(layer.rows, layer.cols)
        for each in (spread(plan, reader, by).expand_as(weight), weight)
    )
    quant = TensorQuant(IntFormat(bits), Scaling(Granularity.CHANNEL))
    scales = torch.from_numpy(weight_scales((matrix * factors).numpy(), quant))
    rounded = round_in_place(matrix * factors / scales, quant.format) * scales / factors
    lost = as_problems(rounded - matrix, layer)
    return float((lost.bmm(inputs.moments) * lost).sum())


def _read(
    plan: Plan, regions: Sequence[ScaleRegion], samples: Tensor, look: Callable[[Seen], T]
) -> Iterator[tuple[ScaleRegion, list[T]]]:
    """Every region as soon as the float network has read it, with what `look` sees at each of its readers."""
    read_by = {str(reader.target): region for region in regions for reader in region.readers}
    found: dict[str, T] = {}
    for seen in walk_float(plan, samples):
        region = read_by.get(seen.layer.module)
        if region is None:
            continue
        found[seen.layer.module] = look(seen)
        names = [str(reader.target) for reader in region.readers]
        if all(name in found for name in names):
            yield region, [found.pop(name) for name in names]


def _magnitudes(inputs: Tensor) -> Tensor:
    """Of images (n, channels, height, width) or vectors (..., channels), as (values, channels)."""
    by_channel = inputs.transpose(0, 1).flatten(1).T if inputs.ndim == 4 else inputs.flatten(0, -2)
    return by_channel.abs()


def _by_channel(region: ScaleRegion, statistic: Tensor) -> Tensor:
    """A statistic of a layer's inputs as (channels of the region, inputs of one): more than one behind a flattened image."""
    return statistic.reshape(region.channels, -1)


def _quotient(over: Tensor, under: Tensor) -> Tensor:
    """`over` / `under`; 1 where one of them is zero: a channel that carries nothing."""
    known = (over > 0) & (under > 0)
    return torch.where(known, over, 1.0) / torch.where(known, under, 1.0)


def _refused(name: str, what: str) -> PreparationError:
    return PreparationError(
        f"{name} must find {what} (through ReLU, pooling and adds at most), but there is none; use a recipe without {name}."
    )
