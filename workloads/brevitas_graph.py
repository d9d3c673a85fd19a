"""A quantized network in Brevitas' own modules, which somebody else wrote: it must compute what :mod:`workloads.network` does."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import fx, nn

from hwmodels.datapath import TensorQuant
from hwmodels.errors import BitfrontError
from workloads.assign import Assignment
from workloads.calibration import SiteScale
from workloads.matrices import matrix_to_weight
from workloads.network import insert_sites
from workloads.plan import Layer, Plan
from workloads.quantizers import activation_quantizer, qnn, weight_quantizer
from workloads.scales import Scales, expand


def brevitas_graph(
    plan: Plan,
    assignment: Assignment,
    weight_scale: Mapping[str, Scales],
    site_scale: Mapping[str, SiteScale],
    network: fx.GraphModule,
) -> fx.GraphModule:
    """The plan's graph with Brevitas layers that hold the weights and biases of `network`, and a quantizer at every site.

    Raises:
        BitfrontError: a site has dynamic scales, which have no module here.
    """
    dynamic = [f"{name} {quant}" for name, quant in assignment.sites.items() if quant.scaling.dynamic]
    if dynamic:
        raise BitfrontError(
            f"a network must have constant activation scales to be built of Brevitas' modules, but it has {dynamic[0]}."
        )
    module = copy.deepcopy(plan.graph)
    with torch.random.fork_rng(devices=[]):  # building layers draws weights; the caller's generator must not notice
        for layer in plan.layers:
            source = network.get_submodule(layer.module)
            assert isinstance(source, nn.Conv2d | nn.Linear)
            module.set_submodule(layer.module, _layer(source, layer, assignment, weight_scale[layer.name]))
    insert_sites(
        module,
        plan,
        lambda site: (
            _site(assignment.sites[site.name], site_scale[site.name])
            if site.name in assignment.sites
            else nn.Identity()
        ),  # keys or values that nobody asked to quantize
    )
    for parameter in module.parameters():
        parameter.requires_grad_(False)
    return module.eval()


def _site(quant: TensorQuant, site: SiteScale) -> nn.Module:
    quantizer = activation_quantizer(quant.format, site.scale, site.zero_point)
    made: nn.Module = qnn.QuantIdentity(act_quant=quantizer, return_quant_tensor=False)
    return made


def _layer(source: nn.Conv2d | nn.Linear, layer: Layer, assignment: Assignment, scale: Scales) -> nn.Module:
    if scale.shape[1] > 1:  # groups: one scale per weight
        frozen = matrix_to_weight(torch.from_numpy(expand(scale, (layer.rows, layer.cols)).copy()), source.weight.shape)
    else:
        frozen = torch.from_numpy(scale.copy()).reshape(-1, *([1] * (source.weight.ndim - 1)))
    quantizer = weight_quantizer(assignment.layers[layer.name].weight.format, frozen)
    made: nn.Conv2d | nn.Linear
    if isinstance(source, nn.Linear):
        made = qnn.QuantLinear(
            source.in_features, source.out_features, bias=source.bias is not None, weight_quant=quantizer
        )
    else:
        made = qnn.QuantConv2d(
            source.in_channels,
            source.out_channels,
            source.kernel_size,
            stride=source.stride,
            padding=source.padding,
            dilation=source.dilation,
            groups=source.groups,
            bias=source.bias is not None,
            weight_quant=quantizer,
        )
    with torch.no_grad():
        made.weight.copy_(source.weight)
        if source.bias is not None and made.bias is not None:
            made.bias.copy_(source.bias)
    return made
