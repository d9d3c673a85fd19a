"""Post-training quantization of a planned network, with every accumulator width proved afterwards."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import cast

import torch
from torch import Tensor, fx, nn

from hwmodels.accumulator import AccumulatorError, Codes, DotRange, dot_range
from hwmodels.datapath import Overflow, ScaleKind, TensorQuant
from hwmodels.ops import LayerNumerics, Numerics
from workloads.accumulation import overflowing
from workloads.assign import Assignment, assign, weight_matrix
from workloads.cache import Cache, Scope
from workloads.calibration import Observed, SiteScale, activation_scale, observe
from workloads.fake_quant import DynamicFakeQuant, FakeQuant, HeadFakeQuant
from workloads.float_walk import float_means, walk_float
from workloads.graph import PlanError
from workloads.matrices import as_problems, layer_hessian, problem_scales, weight_to_matrix
from workloads.network import Template, make_template, with_parameters
from workloads.numerics import NumericsSpec
from workloads.plan import Layer, Plan
from workloads.prepare import prepare
from workloads.problem import Problem
from workloads.quantized import LayerResult, QuantizedModel
from workloads.recipes import Preparation, Recipe, Step
from workloads.rounded import Rounded, float_weight, on_grid
from workloads.scale_rule import MSE, ScaleRule
from workloads.scales import Scales, weight_scales
from workloads.steps import apply_steps, choose_codes, keeps_rounded_codes

__all__ = ["Engine", "LayerResult", "QuantizedModel", "quantize"]


def quantize(model: nn.Module, plan: Plan, spec: NumericsSpec, calibration_images: Tensor) -> QuantizedModel:
    """The network of `plan` quantized as `spec` says, by an :class:`Engine` of its own: for one point, not for a sweep.

    Raises:
        As :class:`Engine` and its :meth:`Engine.quantize`.
    """
    return Engine(model, plan, calibration_images, Cache(0)).quantize(spec)


class Engine:
    """A float network with its calibration images: quantizes it in any number of ways, and computes once what those share.

    Kept in `cache`, by key: what calibration shows at every site, the scale of each (site, format), the rounded weights of
    each (layer, format) with the range of their sums, and the float network's mean outputs. No result depends on what is
    kept.

    Args:
        model: the float model that the plan was made of.
        plan: of that model.
        calibration_images: (images, channels, height, width), never those that accuracy is measured on.
        cache: default: one of :data:`workloads.cache.DEFAULT_BYTES`.

    Raises:
        PlanError: the plan is of another model.
        CalibrationError: see :func:`observe`.
    """

    def __init__(self, model: nn.Module, plan: Plan, calibration_images: Tensor, cache: Cache | None = None) -> None:
        _check_same(model, plan, calibration_images[:1])
        self.plan, self.images = plan, calibration_images
        self.cache: Cache | Scope = Cache() if cache is None else cache
        self.template: Template = make_template(plan)

    def prepared(self, preparations: tuple[Preparation, ...]) -> Engine:
        """The engine of the network after these preparations: of its plan, on the same images, in the same memory.

        Raises:
            PreparationError: see :func:`workloads.prepare.prepare`.
        """
        if not preparations:
            return self

        def make() -> tuple[Plan, Template]:
            plan = prepare(self.prepared(preparations[:-1]).plan, preparations[-1], self.images)
            return plan, make_template(plan)

        engine = copy.copy(self)
        engine.plan, engine.template = self.cache.get(("prepared", preparations), make)
        engine.cache = self.cache.scope(preparations)
        return engine

    def quantize(self, spec: NumericsSpec) -> QuantizedModel:
        """The network quantized as `spec` says. The same arguments give the same codes and logits.

        First the recipe's preparations make another network of the same function, and everything else is done to that one.
        Weights are rounded on scales of spec.weight_rule (:mod:`workloads.scales`), activations on those of
        spec.activation_rule (:mod:`workloads.calibration`); then the recipe's steps run, and each layer's width is proved
        from its final codes. Biases stay float: the requantizer behind the layer absorbs them, and zero points with them.
        Where spec.overflow allows it, layers that do not fit are summed bit by bit (:mod:`workloads.accumulation`) in the
        network that all this makes with exact sums.

        Raises:
            AccumulatorError: a layer needs more than spec.accumulator_bits; the message names it and the width. Or its sums
                may overflow, but see :func:`workloads.accumulation.dropped_bits`.
            DatapathError, StepError: see :func:`assign`, :func:`apply_steps`.
            PreparationError: see :func:`workloads.prepare.prepare`.
        """
        if spec.recipe.preparations:
            rest = replace(spec, recipe=Recipe(spec.recipe.steps))
            return self.prepared(spec.recipe.preparations).quantize(rest)
        if spec.overflow is not Overflow.IMPOSSIBLE:  # every P, T and way to overflow shares one quantization
            free = replace(spec, overflow=Overflow.IMPOSSIBLE, accumulator_bits=None, tile_size=None, lanes=())
            exact = self.cache.get(("exact", free), lambda: self.quantize(free))
            return overflowing(exact, self.plan, spec)
        plan, assignment = self.plan, assign(self.plan, spec)
        weights = {layer.name: assignment.layers[layer.name].weight for layer in plan.layers}
        rounded = {layer.name: self.rounded(layer, weights[layer.name], spec.weight_rule) for layer in plan.layers}
        if Step.GPTQ_FLOAT in spec.recipe.steps:
            rounded = self._gptq_float(rounded, weights, spec.weight_rule)
        settled = [layer for layer in plan.layers if keeps_rounded_codes(layer, assignment, spec)]
        ranges = {layer.name: self._range(layer, assignment, spec, rounded[layer.name].codes) for layer in settled}
        _refuse_too_narrow(ranges, spec)
        site_scales = self._site_scales(assignment, spec)
        network = self._network(assignment, spec, rounded, site_scales)
        scales = {name: layer.scale for name, layer in rounded.items()}
        apply_steps(network, plan, assignment, spec, scales, self._float_means, self.images)
        for layer in plan.layers:
            if layer.name not in ranges:
                formats = assignment.layers[layer.name]
                chosen = self._frozen(network, layer, formats.weight, scales[layer.name])
                activation = assignment.sites[layer.site].format
                rounded[layer.name] = chosen
                ranges[layer.name] = dot_range(chosen.codes, activation, formats.tile_size)
        _refuse_too_narrow(ranges, spec)

        def module() -> fx.GraphModule:
            from workloads.brevitas_graph import brevitas_graph

            return brevitas_graph(plan, assignment, scales, site_scales, network)

        results = tuple(_result(layer, assignment, rounded[layer.name], ranges[layer.name]) for layer in plan.layers)
        layers = {r.name: LayerNumerics(r.weight, spec.accumulator(r.bits, r.tile_size)) for r in results}
        numerics = Numerics(assignment.sites, layers)
        numbers = {name: float(site.scale) for name, site in site_scales.items()}
        zero_points = {name: site.zero_point for name, site in site_scales.items() if site.zero_point}
        return QuantizedModel(network, results, numerics, numbers, zero_points, module)

    def rounded(self, layer: Layer, quant: TensorQuant, rule: ScaleRule) -> Rounded:
        """The layer's float weights rounded to nearest, on scales of the rule."""

        def make() -> Rounded:
            matrix = weight_matrix(self.plan, layer)
            return on_grid(self.plan, layer, quant.format, weight_scales(matrix, quant, rule), matrix)

        return self.cache.get(("rtn", layer.name, quant, rule), make)

    def _gptq_float(
        self, nearest: Mapping[str, Rounded], quants: Mapping[str, TensorQuant], rule: ScaleRule
    ) -> dict[str, Rounded]:
        """The weights of every layer, rounded by GPTQ on its inputs in the float network, on the scales of `nearest`."""
        keys = {name: ("gptq_float", name, quant, rule) for name, quant in quants.items()}
        found = {name: self.cache.peek(key) for name, key in keys.items()}
        missing = [layer for layer in self.plan.layers if found[layer.name] is None]

        def choose(layer: Layer, statistics: Tensor) -> None:
            quant, scale = quants[layer.name], nearest[layer.name].scale
            weight, wide = float_weight(self.plan, layer), problem_scales(scale, layer)
            matrix = as_problems(weight_to_matrix(weight), layer)
            problem = Problem(weight=matrix, statistics=statistics, scale=wide, format=quant.format)
            values = choose_codes(Step.GPTQ_FLOAT, layer, weight.shape, problem)
            chosen = on_grid(self.plan, layer, quant.format, scale, weight_to_matrix(values).numpy())
            found[layer.name] = self.cache.get(keys[layer.name], lambda: chosen)

        hessians = [self.cache.peek(("hessian", layer.name)) for layer in missing]
        if any(statistics is None for statistics in hessians):
            for seen in walk_float(self.plan, self.images):
                if found[seen.layer.name] is None:
                    make = partial(layer_hessian, seen.layer, seen.module, seen.inputs)
                    choose(seen.layer, self.cache.get(("hessian", seen.layer.name), make))
        else:
            for layer, statistics in zip(missing, hessians, strict=True):
                assert isinstance(statistics, Tensor)
                choose(layer, statistics)
        return cast(dict[str, Rounded], found)

    def _frozen(self, network: fx.GraphModule, layer: Layer, quant: TensorQuant, scale: Scales) -> Rounded:
        """What the steps have chosen for a layer; its weights in the network are on their grid already."""
        weight = network.get_parameter(f"{layer.module}.weight").detach()
        weights = on_grid(self.plan, layer, quant.format, scale, weight_to_matrix(weight).numpy())
        assert torch.equal(weights.values, weight)  # what is proved is what runs
        return weights

    def _range(self, layer: Layer, assignment: Assignment, spec: NumericsSpec, codes: Codes) -> DotRange:
        """The range of the sums of a layer whose codes are known before any step runs."""
        formats, activation = assignment.layers[layer.name], assignment.sites[layer.site].format
        chosen_by = Step.GPTQ_FLOAT in spec.recipe.steps, spec.weight_rule
        key = ("range", *chosen_by, layer.name, formats.weight, activation, formats.tile_size)
        return self.cache.get(key, lambda: dot_range(codes, activation, formats.tile_size))

    def _site_scales(self, assignment: Assignment, spec: NumericsSpec) -> dict[str, SiteScale]:
        """Of every site that has a constant one."""
        observed: dict[bool, Mapping[str, Observed]] = {}
        caches = {site.name for site in self.plan.caches}

        def scale(name: str, quant: TensorQuant, rule: ScaleRule) -> SiteScale:
            stored = name in caches  # seen by themselves: what is sampled elsewhere must not depend on them
            if stored not in observed:  # once, even if the cache keeps nothing
                key, sites = ("observed caches", self.plan.caches) if stored else ("observed", self.plan.sites)
                observed[stored] = self.cache.get(key, lambda: observe(self.plan, self.images, sites))
            return activation_scale(observed[stored][name], quant, rule)

        rule = spec.activation_rule or MSE
        return {
            name: self.cache.get(("scale", name, quant, rule), partial(scale, name, quant, rule))
            for name, quant in assignment.sites.items()
            if not quant.scaling.dynamic or quant.scaling.kind is ScaleKind.E4M3
        }

    def _float_means(self) -> Mapping[str, Tensor]:
        return self.cache.get("means", lambda: float_means(self.plan, self.images))

    def _network(
        self,
        assignment: Assignment,
        spec: NumericsSpec,
        rounded: Mapping[str, Rounded],
        site_scales: Mapping[str, SiteScale],
    ) -> fx.GraphModule:
        """The network on its rounded weights, those that a step will choose still float."""
        layers: dict[str, nn.Module] = {}
        for layer in self.plan.layers:
            source = self.plan.graph.get_submodule(layer.module)
            assert isinstance(source, nn.Conv2d | nn.Linear)
            kept = keeps_rounded_codes(layer, assignment, spec)
            weight, bias = rounded[layer.name].values if kept else source.weight, source.bias
            if Step.BIAS_CORRECTION in spec.recipe.steps:  # it writes to the bias
                bias = torch.zeros(layer.rows) if bias is None else bias.clone()
            layers[layer.module] = with_parameters(source, weight, bias)
        caches = {site.name for site in self.plan.caches}
        quantizers = {
            name: HeadFakeQuant(quant)
            if quant.scaling.dynamic and name in caches
            else _quantizer(quant, site_scales.get(name), nonnegative=name in self.template.rectifies)
            for name, quant in assignment.sites.items()
        }
        return self.template.fill(layers, quantizers)


def _quantizer(quant: TensorQuant, site: SiteScale | None, *, nonnegative: bool) -> nn.Module:
    if quant.scaling.dynamic:
        return DynamicFakeQuant(quant, None if site is None else float(site.scale), nonnegative=nonnegative)
    assert site is not None  # static
    return FakeQuant(quant.format, site.scale, zero_point=site.zero_point, nonnegative=nonnegative)


def _result(layer: Layer, assignment: Assignment, weights: Rounded, reach: DotRange) -> LayerResult:
    formats = assignment.layers[layer.name]
    return LayerResult(
        name=layer.name,
        codes=weights.codes,
        scale=weights.scale,
        weight=formats.weight,
        rule=formats.rule,
        activation=assignment.sites[layer.site],
        tile_size=formats.tile_size,
        range=reach,
        qsnr_db=weights.qsnr_db,
    )


def _refuse_too_narrow(ranges: Mapping[str, DotRange], spec: NumericsSpec) -> None:
    """With a P asked for, refuse the widest layer that does not hold it."""
    asked = spec.accumulator_bits
    if asked is None or not ranges:
        return
    widest = max(ranges, key=lambda name: ranges[name].bits)
    needed = ranges[widest].bits
    if needed > asked:
        other = (
            "integer formats (axe knows no others)"
            if spec.recipe.uses_accumulator
            else "the axe recipe (integer formats)"
        )
        raise AccumulatorError(
            f"every partial sum of layer {widest} must fit its accumulator of P={asked} bits, but its weights need "
            f"{needed} bits; use accumulator_bits={needed} or {other}."
        )


def _check_same(model: nn.Module, plan: Plan, image: Tensor) -> None:
    with torch.no_grad():
        same = torch.allclose(copy.deepcopy(model).eval()(image), plan.graph(image), rtol=1e-3, atol=1e-3)
    if not same:
        raise PlanError(
            "the plan must be of the model that is quantized, but their outputs differ; plan it again after training."
        )
