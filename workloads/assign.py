"""From the rule (:class:`workloads.numerics.NumericsSpec`) to one format per site and one per layer.

Rules, each visible in the result:

- The first and the last layer with weights are the *edge*: spec.edge for their weights (one scale per output channel) and
  for the site that they read. A site that an edge layer shares with others takes the edge format for all of them.
- Sites of residual adds hold spec.residual, signed, because a branch without a ReLU may be negative.
- An integer activation is unsigned where no value can be negative; minifloats keep their sign.
- Groups of weights lie along the input channels. A depthwise layer, and a layer whose input channels are not a multiple of
  the group size, has one scale per output channel instead, of the same kind.
- Products of different groups have different scales, so a layer with groups sums each group in an accumulator of its own:
  its tile is the group.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from torch import nn

from hwmodels.accumulator import AccumulatorError, bits_for_range, code_range, dot_range
from hwmodels.datapath import Accumulator, DatapathError, Granularity, Scaling, TensorQuant
from hwmodels.formats import ElementFormat, IntFormat
from hwmodels.ops import LayerNumerics, Network, Numerics
from workloads.numerics import NumericsSpec
from workloads.plan import Layer, Plan, Site
from workloads.recipes import CHANGES_WEIGHTS
from workloads.scales import weight_codes, weight_scales


@dataclass(frozen=True)
class LayerFormats:
    """Weights of one layer, the tile its accumulator starts anew after (products), and the rule that said so."""

    weight: TensorQuant
    tile_size: int | None
    rule: str


@dataclass(frozen=True)
class Assignment:
    """The formats of a planned network."""

    sites: Mapping[str, TensorQuant]
    layers: Mapping[str, LayerFormats]


def assign(plan: Plan, spec: NumericsSpec) -> Assignment:
    """The formats that `spec` gives to the sites and layers of `plan`.

    Raises:
        DatapathError: an unsigned minifloat at a site that can be negative.
        AccumulatorError: a tile that is not the group of weights that share a scale.
    """
    edge_names = {plan.layers[0].name, plan.layers[-1].name} if spec.edge is not None else set()
    edge_sites = {layer.site for layer in plan.layers if layer.name in edge_names}
    return Assignment(
        sites={site.name: _site_quant(site, spec, edge=site.name in edge_sites) for site in plan.sites},
        layers={layer.name: _layer_formats(layer, spec, edge=layer.name in edge_names) for layer in plan.layers},
    )


def _site_quant(site: Site, spec: NumericsSpec, *, edge: bool) -> TensorQuant:
    fmt = spec.activation.format
    if site.residual:
        fmt = spec.residual or fmt
    elif edge and spec.edge is not None:
        fmt = spec.edge
    if isinstance(fmt, IntFormat) and site.nonnegative and not site.residual:
        fmt = replace(fmt, signed=False)
    if not fmt.signed and not site.nonnegative:
        raise DatapathError(
            f"the format of site {site.name!r} must be signed, because its values can be negative, but got {fmt}."
        )
    return TensorQuant(fmt, spec.activation.scaling)


def _layer_formats(layer: Layer, spec: NumericsSpec, *, edge: bool) -> LayerFormats:
    scaling = spec.weight.scaling
    per_channel = Scaling(Granularity.CHANNEL, scaling.kind)
    size = scaling.group_size
    if edge and spec.edge is not None:
        formats = LayerFormats(TensorQuant(spec.edge, per_channel), spec.tile_size, "edge")
    elif size is None:
        formats = LayerFormats(spec.weight, spec.tile_size, "as given")
    elif layer.depthwise:
        formats = LayerFormats(TensorQuant(spec.weight.format, per_channel), spec.tile_size, "per channel: depthwise")
    elif layer.in_channels % size:
        rule = f"per channel: {layer.in_channels} input channels are no multiple of {size}"
        formats = LayerFormats(TensorQuant(spec.weight.format, per_channel), spec.tile_size, rule)
    elif spec.tile_size not in (None, size):
        raise AccumulatorError(
            f"the tile of a layer with group scales must be its group of {size} products, but {layer.name} got "
            f"tile_size={spec.tile_size}; leave tile_size out or give {size}."
        )
    else:
        formats = LayerFormats(spec.weight, size, "as given")
    whole_row = formats.tile_size is not None and formats.tile_size >= layer.cols
    return replace(formats, tile_size=None) if whole_row else formats


def weight_matrix(plan: Plan, layer: Layer) -> NDArray[np.float32]:
    """The folded float weights of a layer as (rows, cols), columns in hardware order (see :class:`Layer`)."""
    module = plan.graph.get_submodule(layer.module)
    assert isinstance(module, nn.Conv2d | nn.Linear)
    weight = module.weight.detach()
    ordered = weight.permute(0, 2, 3, 1) if weight.ndim == 4 else weight
    return ordered.reshape(layer.rows, layer.cols).numpy().astype(np.float32)


def provisional_numerics(network: Network, plan: Plan, spec: NumericsSpec) -> Numerics:
    """The numerics before anything is quantized, with accumulators that are never wider than the final ones.

    With spec.accumulator_bits every accumulator has that width. Without, and if the recipe leaves rounded weights alone,
    it is the proved width itself (rounding a weight matrix takes milliseconds). A recipe that chooses the codes by its
    calibration data has no such width yet; one product of a weight of one step is assumed then, the least that a layer
    with any weight that is not zero needs.

    Raises:
        AccumulatorError, DatapathError: as :func:`assign`.
    """
    assignment = assign(plan, spec)
    layers = {layer.name: layer for layer in plan.layers}
    numerics: dict[str, LayerNumerics] = {}
    for op in network.compute:
        formats, activation = assignment.layers[op.name], assignment.sites[op.site].format
        bits = spec.accumulator_bits
        if bits is None and CHANGES_WEIGHTS.isdisjoint(spec.recipe.steps):
            matrix = weight_matrix(plan, layers[op.name])
            codes = weight_codes(matrix, weight_scales(matrix, formats.weight), formats.weight.format)
            bits = dot_range(codes, activation, formats.tile_size).bits
        elif bits is None:
            bits = _one_product_bits(activation)
        numerics[op.name] = LayerNumerics(formats.weight, Accumulator(max(bits, 2), formats.tile_size))
    return Numerics(assignment.sites, numerics)


def _one_product_bits(activation: ElementFormat) -> int:
    low, high = code_range(activation)
    return min(bits_for_range(low, high), bits_for_range(-high, -low))
