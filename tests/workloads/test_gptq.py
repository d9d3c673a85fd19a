"""GPTQ and AXE against Brevitas' own classes: the same codes, on dense and depthwise layers, integers and minifloats."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from brevitas_layers import A2GPTQ, GPTQ, correlated, linear, run_brevitas
from torch import Tensor, nn

from hwmodels.accumulator import dot_range
from hwmodels.catalog import parse_element
from hwmodels.datapath import TensorQuant, parse_scaling
from hwmodels.formats import IntFormat
from workloads.axe import Budget
from workloads.gptq import SingularError, gptq, hessian
from workloads.problem import Problem
from workloads.quantizers import qnn, weight_quantizer
from workloads.scales import expand, to_codes, weight_scales


@pytest.mark.parametrize(
    ("name", "scaling"),
    [("int3", "channel"), ("int4_narrow", "group16"), ("e2m1", "channel"), ("e3m0", "group8_po2"), ("e3m2", "tensor")],
)
def test_codes_are_those_of_brevitas(name: str, scaling: str) -> None:
    quant = TensorQuant(parse_element(name), parse_scaling(scaling))
    weight, batches = correlated(24, 208, 600)
    scale = torch.from_numpy(expand(weight_scales(weight.numpy(), quant), (24, 208)).copy())
    theirs = linear(weight, scale, quant.format)
    run_brevitas(GPTQ, theirs, [(batch,) for batch in batches])
    ours = gptq(
        Problem(
            weight=weight[None],
            statistics=hessian([b[None] for b in batches], 1, 208),
            scale=scale[None],
            format=quant.format,
        )
    )
    with torch.no_grad():
        assert torch.equal(ours[0], theirs.quant_weight().value)
    assert not torch.equal(ours[0], torch.from_numpy(_rounded(weight, scale, quant)))  # there was something to do


def test_depthwise_codes_are_those_of_brevitas() -> None:
    random = torch.Generator().manual_seed(0)
    weight, images = torch.randn(6, 1, 3, 3, generator=random), torch.rand(20, 6, 8, 8, generator=random)
    fmt, scale = IntFormat(3), weight.abs().amax(dim=(1, 2, 3), keepdim=True) / 3
    theirs = qnn.QuantConv2d(6, 6, 3, groups=6, bias=False, weight_quant=weight_quantizer(fmt, scale)).eval()
    theirs.weight.data = weight.clone()
    run_brevitas(GPTQ, theirs, [(images,)])
    taps = nn.functional.unfold(images, 3).view(20, 6, 9, -1).permute(1, 0, 3, 2)
    ours = gptq(
        Problem(weight=weight.view(6, 1, 9), statistics=hessian([taps], 6, 9), scale=scale.view(6, 1, 1), format=fmt)
    )
    assert torch.equal(ours.view_as(weight), theirs.quant_weight().value)


@pytest.mark.parametrize(
    ("signed", "bits", "tile"), [(False, 12, None), (True, 11, None), (False, 10, 32), (True, 10, 16)]
)
def test_axe_codes_are_those_of_brevitas_and_fit(signed: bool, bits: int, tile: int | None) -> None:
    weight, batches = correlated(16, 96, 420)
    fmt, activation = IntFormat(4), IntFormat(4, signed=signed)
    scale = weight.abs().amax(dim=1, keepdim=True) / 7
    theirs = linear(weight, scale, fmt)
    limits = {"max_accumulator_bit_width": bits, "max_accumulator_tile_size": tile}
    run_brevitas(A2GPTQ, theirs, [(batch,) for batch in batches], activation=activation, **limits)
    budget = partial(Budget, scale=scale[None], activation=activation, bits=bits, tile=tile or 96)
    statistics = hessian([b[None] for b in batches], 1, 96)
    ours = gptq(Problem(weight=weight[None], statistics=statistics, scale=scale[None], format=fmt, budget=budget))[0]
    assert torch.equal(ours, theirs.quant_weight().value)
    codes = to_codes((ours / scale).round().double().numpy(), fmt)
    assert dot_range(codes, activation, tile).bits <= bits
    free = gptq(Problem(weight=weight[None], statistics=statistics, scale=scale[None], format=fmt))[0]
    assert dot_range(to_codes((free / scale).round().double().numpy(), fmt), activation, tile).bits > bits


def test_a_hessian_without_inverse_is_refused() -> None:
    with pytest.raises(SingularError):
        gptq(
            Problem(
                weight=torch.ones(1, 2, 2),
                statistics=-torch.eye(2)[None],
                scale=torch.ones(1, 1, 1),
                format=IntFormat(4),
            )
        )


def _rounded(weight: Tensor, scale: Tensor, quant: TensorQuant) -> np.ndarray:
    from hwmodels.codec import quantize

    return quantize(quant.format, (weight / scale).numpy()).astype(np.float32) * scale.numpy()
