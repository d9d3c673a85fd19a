"""Post-training quantization of a planned network through Brevitas, with every accumulator width proved afterwards."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn

from hwmodels.accumulator import AccumulatorError, Codes, DotRange, dot_range
from hwmodels.codec import quantize as quantize_values
from hwmodels.datapath import Accumulator, TensorQuant
from hwmodels.ops import LayerNumerics, Numerics
from workloads.assign import Assignment, assign, weight_matrix
from workloads.calibration import activation_scale, observe
from workloads.graph import PlanError
from workloads.numerics import NumericsSpec
from workloads.plan import Layer, Plan, Site
from workloads.quantizers import activation_quantizer, qnn, weight_quantizer
from workloads.recipes import CHANGES_WEIGHTS, Step
from workloads.scales import Scales, expand, to_codes, weight_codes, weight_scales
from workloads.steps import QuantLayer, apply_steps, keeps_rounded_codes, matrix_to_weight, weight_to_matrix


@dataclass(frozen=True, eq=False)
class LayerResult:
    """One quantized layer.

    Args:
        name: of the layer.
        codes: weights in units of scale times the format's step, integers, shape (rows, cols), columns in hardware order.
        scale: float32, shape (1, 1), (rows, 1) or (rows, cols / group_size).
        weight: format and scaling of the weights.
        rule: why it has these and not the ones asked for in general ("as given", "edge", "per channel: ...").
        activation: format and scaling of its input.
        tile_size: products after which the accumulator starts anew, or None.
        range: exact range of every partial sum over all inputs, in units of the two steps' product.
        qsnr_db: -10 log10(||W - Wq||^2 / ||W||^2), the definition of arXiv 2510.25602; infinite if nothing was lost.
    """

    name: str
    codes: Codes
    scale: Scales
    weight: TensorQuant
    rule: str
    activation: TensorQuant
    tile_size: int | None
    range: DotRange
    qsnr_db: float

    @property
    def bits(self) -> int:
        """The accumulator width that is proved to suffice, P."""
        return self.range.bits


@dataclass(frozen=True, eq=False)
class QuantizedModel:
    """A quantized network.

    Args:
        module: in eval mode, images to logits; Brevitas layers on frozen scales, weights already on their grid.
        layers: one result per layer with weights, in dataflow order.
        numerics: formats of all sites and layers with their accumulators: what the cost model takes.
        site_scales: the static scale of every activation quantizer.
    """

    module: fx.GraphModule
    layers: tuple[LayerResult, ...]
    numerics: Numerics
    site_scales: Mapping[str, float]


def quantize(model: nn.Module, plan: Plan, spec: NumericsSpec, calibration_images: Tensor) -> QuantizedModel:
    """The network of `plan` quantized as `spec` says. The same arguments give the same codes and logits.

    Weights are rounded on absolute-maximum scales (:mod:`workloads.scales`), activations on the scale of least squared error
    (:mod:`workloads.calibration`); then the recipe's steps run, and each layer's width is proved from its final codes.
    Biases stay float: the requantizer behind the layer absorbs them.

    Args:
        model: the float model that the plan was made of.
        plan: of that model.
        spec: formats, scales, recipe, accumulator.
        calibration_images: (images, channels, height, width), never those that accuracy is measured on.

    Raises:
        PlanError: the plan is of another model.
        AccumulatorError: a layer needs more than spec.accumulator_bits; the message names it and the width.
        CalibrationError, DatapathError, StepError: see :func:`observe`, :func:`assign`, :func:`apply_steps`.
    """
    _check_same(model, plan, calibration_images[:1])
    assignment = assign(plan, spec)
    rounded = {layer.name: _round(plan, layer, assignment) for layer in plan.layers}
    _prove(plan, assignment, spec, {name: codes for name, (codes, _) in rounded.items()}, final=False)
    observed = observe(plan, calibration_images)
    site_scales = {name: activation_scale(observed[name], quant) for name, quant in assignment.sites.items()}
    module = build(plan, assignment, {name: scale for name, (_, scale) in rounded.items()}, site_scales, spec)
    apply_steps(module, plan, assignment, spec, calibration_images)
    codes = {layer.name: _freeze(module, layer, assignment, rounded[layer.name][1]) for layer in plan.layers}
    ranges = _prove(plan, assignment, spec, codes, final=True)
    layers = []
    for layer in plan.layers:
        formats = assignment.layers[layer.name]
        float_weights = weight_matrix(plan, layer).astype(np.float64)
        error = float_weights - _values(codes[layer.name], rounded[layer.name][1], formats.weight)
        layers.append(
            LayerResult(
                name=layer.name,
                codes=codes[layer.name],
                scale=rounded[layer.name][1],
                weight=formats.weight,
                rule=formats.rule,
                activation=assignment.sites[layer.site],
                tile_size=formats.tile_size,
                range=ranges[layer.name],
                qsnr_db=_ratio_db(float_weights, error),
            )
        )
    accumulators = {r.name: Accumulator(max(spec.accumulator_bits or r.bits, 2), r.tile_size) for r in layers}
    numerics = Numerics(assignment.sites, {r.name: LayerNumerics(r.weight, accumulators[r.name]) for r in layers})
    return QuantizedModel(module, tuple(layers), numerics, {name: float(scale) for name, scale in site_scales.items()})


def build(
    plan: Plan,
    assignment: Assignment,
    weight_scale: Mapping[str, Scales],
    site_scale: Mapping[str, Tensor],
    spec: NumericsSpec,
) -> fx.GraphModule:
    """The plan's graph with Brevitas layers in place of the float ones and a quantizer at every site, weights not rounded yet."""
    module = copy.deepcopy(plan.graph)
    with torch.random.fork_rng(devices=[]):  # building layers draws weights; the caller's generator must not notice
        for layer in plan.layers:
            with_bias = Step.BIAS_CORRECTION in spec.recipe.steps
            quant_layer = _quant_layer(module, layer, assignment, weight_scale[layer.name], with_bias=with_bias)
            module.set_submodule(layer.module, quant_layer)
    module.add_module("quantizers", nn.Module())
    # residual adds first: a tensor's own quantizer then comes to stand in front of theirs
    for site in sorted(plan.sites, key=lambda site: not site.residual):
        quantizer = activation_quantizer(assignment.sites[site.name].format, site_scale[site.name])
        _insert(module, site, qnn.QuantIdentity(act_quant=quantizer, return_quant_tensor=False))
    module.recompile()
    for parameter in module.parameters():
        parameter.requires_grad_(False)
    return module.eval()


def _quant_layer(
    module: fx.GraphModule, layer: Layer, assignment: Assignment, scale: Scales, *, with_bias: bool
) -> QuantLayer:
    source = module.get_submodule(layer.module)
    assert isinstance(source, nn.Conv2d | nn.Linear)
    if scale.shape[1] > 1:  # groups: one scale per weight, so that slices of both go together
        frozen = matrix_to_weight(torch.from_numpy(expand(scale, (layer.rows, layer.cols)).copy()), source.weight.shape)
    else:
        frozen = torch.from_numpy(scale.copy()).reshape(-1, *([1] * (source.weight.ndim - 1)))
    quantizer = weight_quantizer(assignment.layers[layer.name].weight.format, frozen)
    has_bias = source.bias is not None or with_bias
    made: QuantLayer
    if isinstance(source, nn.Linear):
        made = qnn.QuantLinear(source.in_features, source.out_features, bias=has_bias, weight_quant=quantizer)
    else:
        made = qnn.QuantConv2d(
            source.in_channels,
            source.out_channels,
            source.kernel_size,
            stride=source.stride,
            padding=source.padding,
            dilation=source.dilation,
            groups=source.groups,
            bias=has_bias,
            weight_quant=quantizer,
        )
    with torch.no_grad():
        made.weight.copy_(source.weight)
        if made.bias is not None:
            made.bias.copy_(torch.zeros_like(made.bias) if source.bias is None else source.bias)
    return made


def _insert(module: fx.GraphModule, site: Site, quantizer: nn.Module) -> None:
    """Put one quantizer module on all edges of a site."""
    target = f"quantizers.{site.name.replace('.', '_')}"
    module.add_submodule(target, quantizer)
    nodes = {node.name: node for node in module.graph.nodes}
    for producer_name, consumer_name in site.edges:
        producer = nodes[producer_name]
        with module.graph.inserting_after(producer):
            quantized = module.graph.call_module(target, (producer,))
        if consumer_name is None:
            producer.replace_all_uses_with(quantized, delete_user_cb=lambda user, own=quantized: user is not own)
        else:
            nodes[consumer_name].replace_input_with(producer, quantized)


def _round(plan: Plan, layer: Layer, assignment: Assignment) -> tuple[Codes, Scales]:
    matrix, quant = weight_matrix(plan, layer), assignment.layers[layer.name].weight
    scale = weight_scales(matrix, quant)
    return weight_codes(matrix, scale, quant.format), scale


def _freeze(module: fx.GraphModule, layer: Layer, assignment: Assignment, scale: Scales) -> Codes:
    """Put the layer's weights on their grid for good and return their codes."""
    quant, quant_layer = assignment.layers[layer.name].weight, module.get_submodule(layer.module)
    assert isinstance(quant_layer, qnn.QuantConv2d | qnn.QuantLinear)
    with torch.no_grad():
        value = quant_layer.quant_weight().value.clone()
        quant_layer.weight.copy_(value)
    matrix = weight_to_matrix(value).numpy()
    codes = to_codes(quantize_values(quant.format, matrix / expand(scale, matrix.shape)), quant.format)
    assert np.array_equal(_values(codes, scale, quant).astype(np.float32), matrix)  # what is proved is what runs
    return codes


def _values(codes: Codes, scale: Scales, quant: TensorQuant) -> NDArray[np.float64]:
    """The weights that codes stand for. A code and a float32 scale have at most 24 bits each: exact in float64."""
    step = getattr(quant.format, "step", 1)
    rows, cols = codes.shape
    return codes.astype(np.float64) * float(step) * expand(scale, (rows, cols)).astype(np.float64)


def _ratio_db(signal: NDArray[np.float64], error: NDArray[np.float64]) -> float:
    lost = float((error**2).sum())
    return float("inf") if lost == 0 else 10 * float(np.log10((signal**2).sum() / lost))


def _prove(
    plan: Plan, assignment: Assignment, spec: NumericsSpec, codes: Mapping[str, Codes], *, final: bool
) -> dict[str, DotRange]:
    """The range of every layer's sums; with a P asked for, refuse the widest layer that does not hold it.

    Before the steps have run (`final` false), only layers whose codes no step will change are looked at.
    """
    settled = [
        layer
        for layer in plan.layers
        if final or CHANGES_WEIGHTS.isdisjoint(spec.recipe.steps) or keeps_rounded_codes(layer, assignment, spec)
    ]
    ranges = {
        layer.name: dot_range(
            codes[layer.name], assignment.sites[layer.site].format, assignment.layers[layer.name].tile_size
        )
        for layer in settled
    }
    asked = spec.accumulator_bits
    if asked is not None and settled:
        widest = max(settled, key=lambda layer: ranges[layer.name].bits)
        needed = ranges[widest.name].bits
        if needed > asked:
            other = (
                "integer formats (axe knows no others)"
                if spec.recipe.uses_accumulator
                else "the axe recipe (integer formats)"
            )
            raise AccumulatorError(
                f"every partial sum of layer {widest.name} must fit its accumulator of P={asked} bits, but its weights need "
                f"{needed} bits; use accumulator_bits={needed} or {other}."
            )
    return ranges


def _check_same(model: nn.Module, plan: Plan, image: Tensor) -> None:
    with torch.no_grad():
        same = torch.allclose(copy.deepcopy(model).eval()(image), plan.graph(image), rtol=1e-3, atol=1e-3)
    if not same:
        raise PlanError(
            "the plan must be of the model that is quantized, but their outputs differ; plan it again after training."
        )
