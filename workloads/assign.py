"""From the rule (:class:`workloads.numerics.NumericsSpec`) to one format per site and one per layer.

Rules, each visible in the result:

- The layers that read the model's input, and the last one, are the *edge*: spec.edge for their weights (one scale per output
  channel, or per tensor where that is asked for) and for the site that they read. A site that an edge layer shares with others
  takes the edge format for all of them.
- What an online rotation reads holds spec.rotation, on one constant scale.
- Sites of residual adds hold spec.residual, signed, because a branch without a ReLU may be negative, on one constant scale.
- An integer activation is unsigned where no value can be negative, and where it has a zero point. Minifloats keep their sign,
  unless an unsigned one is asked for: then the sites that can be negative hold the signed one of the same width instead
  (:func:`signed_counterpart`).
- Groups of weights lie along the input channels. A depthwise layer, and a layer whose input channels are not a multiple of
  the group size, has one scale per output channel instead, of the same kind.
- Groups of activations lie along the channels. Where they do not fit all readers of a site (depthwise layers, pooling, another
  number of channels), and at the edge, there is one dynamic scale per token or pixel instead, and where that does not fit
  either, one per frame.
- Products of different groups, or of pixels with scales of their own, have different scales, so such a layer sums each of
  them in an accumulator of its own: its tile is the group, or the pixel.
- Keys and values that attention stores hold spec.kv_cache, or are not quantized.
- Overrides come on top of all that, in order. One for the inputs of a layer holds for all readers of its site.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray
from torch import nn

from hwmodels.accumulator import AccumulatorError, Codes, bits_for_range, code_range, dot_range
from hwmodels.datapath import Accumulator, DatapathError, Granularity, Overflow, ScaleKind, Scaling, TensorQuant
from hwmodels.formats import ElementFormat, IntFormat, Minifloat
from hwmodels.ops import LayerNumerics, MatMul, Network, Numerics
from workloads.graph import Kind
from workloads.numerics import LAYER_TYPES, NumericsSpec, Override, check_activation, check_weight
from workloads.plan import Layer, Plan, Site
from workloads.recipes import CHOOSES_CODES
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
        DatapathError: an override that matches no layer or contradicts
            another one, or groups of weights and activations that do not nest.
        AccumulatorError: a tile that is not the group of products that share their scales.
    """
    for override in spec.overrides:
        if not any(override.matches(layer.name, _type(plan, layer)) for layer in plan.layers):
            names = ", ".join(layer.name for layer in plan.layers[:8])
            raise DatapathError(
                f"an override must match a layer, but {override.match!r} matches none of {names}, ...; give a pattern with * "
                f"or one of {', '.join(LAYER_TYPES)}."
            )
    sites = {site.name: _site_quant(plan, site, spec) for site in plan.sites}
    if spec.kv_cache is not None:
        if not plan.caches:
            raise DatapathError(
                f"kv_cache must be none for a network without attention, because it stores neither keys nor values, but got "
                f"{spec.kv_cache}."
            )
        sites |= {site.name: spec.kv_cache for site in plan.caches}
    return Assignment(
        sites, {layer.name: _layer_formats(plan, layer, spec, sites[layer.site]) for layer in plan.layers}
    )


def _type(plan: Plan, layer: Layer) -> str:
    """Of :data:`LAYER_TYPES`."""
    if layer.depthwise:
        return "depthwise"
    return "linear" if isinstance(plan.graph.get_submodule(layer.module), nn.Linear) else "conv"


def _overrides(plan: Plan, layer: Layer, spec: NumericsSpec) -> list[Override]:
    return [override for override in spec.overrides if override.matches(layer.name, _type(plan, layer))]


def _site_quant(plan: Plan, site: Site, spec: NumericsSpec) -> TensorQuant:
    readers = [layer for layer in plan.layers if layer.site == site.name]
    quant, kind = spec.activation, _plain(spec.activation.scaling.kind)
    if site.name in plan.rotated_sites:
        quant = TensorQuant(spec.rotation, Scaling(kind=kind))
    elif site.residual:
        quant = TensorQuant(spec.residual or quant.format, Scaling(kind=kind))
    elif spec.edge is not None and any(layer.name in plan.edges for layer in readers):
        scaling = quant.scaling
        if scaling.granularity is Granularity.GROUP:
            scaling = Scaling(Granularity.TOKEN, kind, dynamic=True)
        if not isinstance(spec.edge, IntFormat):
            scaling = replace(scaling, zero_point=False)
        quant = TensorQuant(spec.edge, scaling)
    quant = _overridden_site(plan, site, readers, spec, quant)
    if quant.scaling.granularity is Granularity.GROUP and not _groups_fit(
        plan, site, readers, quant.scaling.group_size
    ):
        quant = replace(quant, scaling=Scaling(Granularity.TOKEN, _plain(quant.scaling.kind), dynamic=True))
    if quant.scaling.granularity is Granularity.TOKEN and not _tokens_fit(plan, site, readers):
        quant = replace(quant, scaling=Scaling(kind=quant.scaling.kind, dynamic=True))
    fmt = quant.format
    if isinstance(fmt, IntFormat) and not site.residual and (site.nonnegative or quant.scaling.zero_point):
        fmt = replace(fmt, signed=False)
    if isinstance(fmt, Minifloat) and not fmt.signed and not site.nonnegative:
        fmt = signed_counterpart(fmt)
    return replace(quant, format=fmt)


def signed_counterpart(fmt: Minifloat) -> Minifloat:
    """The signed minifloat as wide as an unsigned one: the sign takes a mantissa bit, or where there is none an exponent bit.

    Raises:
        DatapathError: there is neither: an unsigned minifloat of one bit.
    """
    if fmt.mantissa_bits:
        return replace(fmt, mantissa_bits=fmt.mantissa_bits - 1, signed=True)
    if fmt.exponent_bits == 1:
        raise DatapathError(f"a minifloat of one bit has no room for a sign, but got {fmt}; use ue2m0 or wider.")
    bias = None if fmt.exponent_bias == fmt.default_bias else fmt.exponent_bias
    return replace(fmt, exponent_bits=fmt.exponent_bits - 1, bias=bias, signed=True)


def _overridden_site(
    plan: Plan, site: Site, readers: Sequence[Layer], spec: NumericsSpec, quant: TensorQuant
) -> TensorQuant:
    """What overrides make of the inputs of the layers that read a site."""
    found: dict[TensorQuant, str] = {}
    for layer in readers:
        changed = quant
        for override in _overrides(plan, layer, spec):
            changed = override.activation_quant(changed)
        if changed != quant:
            check_activation(changed, spec.activation_rule)
            found.setdefault(changed, layer.name)
    if len(found) > 1:
        listed = " and ".join(f"{name} {given}" for given, name in found.items())
        raise DatapathError(
            f"the layers that read site {site.name!r} must have one format for it, but overrides give {listed}; match both."
        )
    return next(iter(found), quant)


def _plain(kind: ScaleKind) -> ScaleKind:
    """The kind of a scale that is not one of groups: E4M3 scales become floats."""
    return ScaleKind.FLOAT if kind is ScaleKind.E4M3 else kind


def _groups_fit(plan: Plan, site: Site, readers: Sequence[Layer], size: int | None) -> bool:
    dense = not any(layer.depthwise for layer in readers)
    return dense and site.channels % (size or 1) == 0 and _tokens_fit(plan, site, readers)


def _tokens_fit(plan: Plan, site: Site, readers: Sequence[Layer]) -> bool:
    """Whether every sum over values of the site can be taken pixel by pixel."""
    nodes = {node.name: node for node in plan.graph.graph.nodes}
    consumers = [reader for producer, _ in site.edges for reader in plan.consumers(nodes[producer])]
    pooled = any(plan.kind(reader) in (Kind.AVERAGE_POOL, Kind.MAX_POOL) for reader in consumers)
    return not pooled and all(
        layer.cols == 1 if layer.depthwise else layer.in_channels == site.channels for layer in readers
    )


def _layer_formats(plan: Plan, layer: Layer, spec: NumericsSpec, activation: TensorQuant) -> LayerFormats:
    quant, rule = spec.weight, "as given"
    per_channel = Scaling(Granularity.CHANNEL, _plain(quant.scaling.kind))
    if spec.edge is not None and layer.name in plan.edges:
        whole = quant.scaling.granularity is Granularity.TENSOR
        quant, rule = TensorQuant(spec.edge, quant.scaling if whole else per_channel), "edge"
    for override in _overrides(plan, layer, spec):
        changed = override.weight_quant(quant)
        if changed != quant:
            quant, rule = changed, f"override {override.match}"
    check_weight(quant)
    size = quant.scaling.group_size
    reason = None
    if size is not None and layer.depthwise:
        reason = "depthwise"
    elif size is not None and layer.in_channels % size:
        reason = f"{layer.in_channels} input channels are no multiple of {size}"
    if reason is not None:
        quant, rule = (
            replace(quant, scaling=replace(per_channel, kind=_plain(quant.scaling.kind))),
            f"per channel: {reason}",
        )
    tile, asked = _segment(layer, quant.scaling.group_size, activation), spec.tile_size
    if tile is None:
        tile = asked
    elif asked is not None and activation.scaling.granularity is Granularity.TOKEN and quant.scaling.group_size is None:
        tile = min(asked, tile) if tile % min(asked, tile) == 0 else _refuse_tile(layer, tile, asked)
    elif asked not in (None, tile):
        _refuse_tile(layer, tile, asked)
    return LayerFormats(quant, None if tile is not None and tile >= layer.cols else tile, rule)


def _refuse_tile(layer: Layer, tile: int, asked: int | None) -> NoReturn:
    raise AccumulatorError(
        f"the tile of a layer with group scales must be its group of {tile} products, but {layer.name} got "
        f"tile_size={asked}; leave tile_size out or give {tile}."
    )


def _segment(layer: Layer, weights: int | None, activation: TensorQuant) -> int | None:
    """Products that share all their scales; None: all of a row."""
    inputs = activation.scaling.group_size
    if activation.scaling.granularity is Granularity.TOKEN and not layer.depthwise:
        inputs = layer.in_channels
    sizes = sorted(size for size in (weights, inputs) if size is not None)
    if len(sizes) > 1 and sizes[1] % sizes[0]:
        raise DatapathError(
            f"groups of weights and of activations must nest, but layer {layer.name} has groups of {weights} weights and "
            f"{inputs} activations; use sizes of which one divides the other."
        )
    return sizes[0] if sizes else None


def weight_matrix(plan: Plan, layer: Layer) -> NDArray[np.float32]:
    """The folded float weights of a layer as (rows, cols), columns in hardware order (see :class:`Layer`)."""
    module = plan.graph.get_submodule(layer.module)
    assert isinstance(module, nn.Conv2d | nn.Linear)
    weight = module.weight.detach()
    ordered = weight.permute(0, 2, 3, 1) if weight.ndim == 4 else weight
    return ordered.reshape(layer.rows, layer.cols).numpy().astype(np.float32)


def provisional_numerics(
    network: Network, plan: Plan, spec: NumericsSpec, codes: Callable[[Layer, TensorQuant], Codes] | None = None
) -> Numerics:
    """The numerics before anything is quantized, with accumulators that are never wider than the final ones.

    With spec.accumulator_bits every accumulator has that width. Without, and if the recipe leaves rounded weights alone,
    it is the proved width itself (rounding a weight matrix takes milliseconds). A recipe that chooses the codes by its
    calibration data has no such width yet; one product of a weight of one step is assumed then, the least that a layer
    with any weight that is not zero needs. Whether a sum can overflow is not known then either; a wrapping accumulator is
    assumed where it may, the cheapest there is.

    Args:
        codes: rounds the weights of a layer, where a memo of them is kept; None: they are rounded here.

    Raises:
        AccumulatorError, DatapathError: as :func:`assign`.
    """
    assignment = assign(plan, spec)
    layers = {layer.name: layer for layer in plan.layers}

    def rounded(layer: Layer, quant: TensorQuant) -> Codes:
        matrix = weight_matrix(plan, layer)
        return weight_codes(matrix, weight_scales(matrix, quant, spec.weight_rule), quant.format)

    numerics: dict[str, LayerNumerics] = {}
    for op in network.compute:
        if isinstance(op, MatMul):
            continue  # of two activations
        formats, activation = assignment.layers[op.name], assignment.sites[op.site].format
        bits, may_overflow = spec.accumulator_bits, spec.overflow is not Overflow.IMPOSSIBLE
        if (bits is None or may_overflow) and CHOOSES_CODES.isdisjoint(spec.recipe.steps):
            proved = dot_range((codes or rounded)(layers[op.name], formats.weight), activation, formats.tile_size).bits
            accumulator = spec.accumulator(proved, formats.tile_size)
        else:
            bits = _one_product_bits(activation) if bits is None else bits
            overflow = Overflow.WRAP if may_overflow else Overflow.IMPOSSIBLE
            accumulator = Accumulator(max(bits, 2), formats.tile_size, overflow)
        numerics[op.name] = LayerNumerics(formats.weight, accumulator)
    return Numerics(assignment.sites, numerics)


def _one_product_bits(activation: ElementFormat) -> int:
    low, high = code_range(activation)
    return min(bits_for_range(low, high), bits_for_range(-high, -low))
