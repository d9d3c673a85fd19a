"""The same networks quantized with Brevitas alone, as its users do: its quantizers, statistics, calibration and GPTQ modes.

Only the places of the quantizers and their formats come from bitfront, so that both compute the same function.
"""

# Brevitas has no types, so its classes are Any to the checker:
# mypy: disable-error-code="misc, no-any-return"

from __future__ import annotations

import copy
import warnings

import torch
from torch import Tensor, fx, nn

from hwmodels.formats import ElementFormat, IntFormat
from workloads.assign import assign
from workloads.calibration import batch_size
from workloads.network import insert_sites, site_target
from workloads.numerics import NumericsSpec
from workloads.plan import Plan, Site
from workloads.recipes import Step

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # importing brevitas touches deprecated corners of torch and of itself
    import brevitas.nn as qnn
    from brevitas.graph.calibrate import calibration_mode
    from brevitas.graph.gptq import gptq_mode
    from brevitas.quant import Int8ActPerTensorFloat, Int8WeightPerChannelFloat, Uint8ActPerTensorFloat
    from brevitas.quant.float import Fp8e4m3ActPerTensorFloat, Fp8e4m3WeightPerChannelFloat


def quantize(plan: Plan, spec: NumericsSpec, calibration: Tensor) -> nn.Module:
    """The network of `plan`: weights per channel and activations per tensor on absmax scales, rounded to nearest or by GPTQ.

    Brevitas averages the maxima of several batches, and those of the two inputs of a residual add that share a quantizer. The
    largest is what bitfront takes, and what clips nothing, so it is put in by hand.
    """
    with_gptq = Step.GPTQ in spec.recipe.steps
    model = _build(plan, spec, frozen_scales=with_gptq)
    maxima: dict[nn.Module, Tensor] = {}

    def see(quantizer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        maxima[quantizer] = torch.maximum(inputs[0].abs().max(), maxima.get(quantizer, torch.zeros(())))

    quantizers = [model.get_submodule(site_target(site.name)) for site in plan.sites]
    hooks = [quantizer.register_forward_pre_hook(see) for quantizer in quantizers]
    with torch.no_grad(), calibration_mode(model):
        for batch in torch.split(calibration, batch_size(calibration)):
            model(batch)
    for hook in hooks:
        hook.remove()
    for quantizer in quantizers:
        quantizer.act_quant.fused_activation_quant_proxy.tensor_quant.scaling_impl.value.data.copy_(maxima[quantizer])
    if with_gptq:
        _gptq(model, calibration)
    return model


def _gptq(model: nn.Module, calibration: Tensor) -> None:
    batches = torch.split(calibration, batch_size(calibration))
    with torch.no_grad():
        model(batches[0])  # scales of the weights are taken at the first pass, and then are parameters
        with gptq_mode(model, use_quant_activations=True, act_order=True, create_weight_orig=False) as gptq:
            for _ in range(gptq.num_layers):
                for batch in batches:
                    gptq.model(batch)
                gptq.update()


def _build(plan: Plan, spec: NumericsSpec, *, frozen_scales: bool) -> fx.GraphModule:
    formats, model = assign(plan, spec), copy.deepcopy(plan.graph)
    for layer in plan.layers:
        source = model.get_submodule(layer.module)
        quantizer = _weight_quantizer(formats.layers[layer.name].weight.format, frozen=frozen_scales)
        has_bias = source.bias is not None
        if isinstance(source, nn.Linear):
            made = qnn.QuantLinear(source.in_features, source.out_features, bias=has_bias, weight_quant=quantizer)
        else:
            assert isinstance(source, nn.Conv2d)
            made = qnn.QuantConv2d(
                source.in_channels,
                source.out_channels,
                source.kernel_size,
                stride=source.stride,
                padding=source.padding,
                groups=source.groups,
                bias=has_bias,
                weight_quant=quantizer,
            )
        made.load_state_dict(source.state_dict(), strict=False)
        model.set_submodule(layer.module, made)

    def place(site: Site) -> nn.Module:
        if site.name not in formats.sites:  # keys and values, which keep what they are
            return nn.Identity()
        quantizer = _activation_quantizer(formats.sites[site.name].format)
        return qnn.QuantIdentity(act_quant=quantizer, return_quant_tensor=False)

    insert_sites(model, plan, place)
    return model.eval()


def _weight_quantizer(fmt: ElementFormat, *, frozen: bool) -> type:
    scale = {"scaling_impl_type": "parameter_from_stats"} if frozen else {}
    if isinstance(fmt, IntFormat):
        return Int8WeightPerChannelFloat.let(bit_width=fmt.bits, narrow_range=fmt.narrow, **scale)
    bits = {"exponent_bit_width": fmt.exponent_bits, "mantissa_bit_width": fmt.mantissa_bits}
    return Fp8e4m3WeightPerChannelFloat.let(bit_width=fmt.bits, **bits, **scale)


def _activation_quantizer(fmt: ElementFormat) -> type:
    if isinstance(fmt, IntFormat):
        base = Int8ActPerTensorFloat if fmt.signed else Uint8ActPerTensorFloat
        return base.let(bit_width=fmt.bits, narrow_range=fmt.narrow, scaling_stats_op="max")
    bits = {"exponent_bit_width": fmt.exponent_bits, "mantissa_bit_width": fmt.mantissa_bits}
    return Fp8e4m3ActPerTensorFloat.let(bit_width=fmt.bits, scaling_stats_op="max", **bits)
