"""GPTQ and AXE against Brevitas' own classes: the same codes, on dense and depthwise layers, integers and minifloats."""

from __future__ import annotations

import warnings
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from hwmodels.accumulator import dot_range
from hwmodels.catalog import parse_element
from hwmodels.datapath import TensorQuant, parse_scaling
from hwmodels.formats import ElementFormat, IntFormat
from workloads.axe import Budget
from workloads.gptq import SingularError, gptq, hessian
from workloads.quantizers import FrozenScale, qnn, weight_quantizer
from workloads.scales import expand, to_codes, weight_scales

with warnings.catch_warnings():
    warnings.simplefilter(
        "ignore", DeprecationWarning
    )  # importing brevitas touches deprecated corners of torch and itself
    warnings.filterwarnings("ignore", message="fast_hadamard_transform")  # an optional kernel, not used
    from brevitas.graph.gptq import GPTQ
    from brevitas.graph.gpxq import LayerHandler
    from brevitas_examples.common.axe import A2GPTQ


class _SlicedScale(FrozenScale):
    """A scale of every weight, cut to the column that Brevitas' GPTQ asks for."""

    subtensor_slice_list = (None,)  # set and reset by QuantWeightMixin.quant_weight

    def forward(self, placeholder: Tensor, threshold: Tensor | None = None) -> Tensor:
        if list(self.subtensor_slice_list) == [None]:
            return self.value
        return self.value[tuple(slice(None) if cut is None else slice(*cut) for cut in self.subtensor_slice_list)]


def _linear(weight: Tensor, scale: Tensor, fmt: ElementFormat) -> qnn.QuantLinear:
    quantizer = weight_quantizer(fmt, scale.expand_as(weight).clone()).let(scaling_impl=_SlicedScale)
    layer = qnn.QuantLinear(weight.shape[1], weight.shape[0], bias=False, weight_quant=quantizer).eval()
    layer.weight.data = weight.clone()
    return layer


def _layer(rows: int, cols: int, samples: int) -> tuple[Tensor, list[Tensor]]:
    """Weights, and correlated non-negative inputs in three batches; one input is always zero."""
    random = torch.Generator().manual_seed(rows + cols)
    mixing = torch.randn(cols, cols, generator=random) * torch.linspace(0.1, 3, cols)
    inputs = (torch.randn(samples, cols, generator=random) @ mixing).relu()
    inputs[:, 3] = 0.0
    return torch.randn(rows, cols, generator=random), list(inputs.split([samples // 2, samples // 3, samples // 6]))


@pytest.mark.parametrize(
    ("name", "scaling"),
    [("int3", "channel"), ("int4_narrow", "group16"), ("e2m1", "channel"), ("e3m0", "group8_po2"), ("e3m2", "tensor")],
)
def test_codes_are_those_of_brevitas(name: str, scaling: str) -> None:
    quant = TensorQuant(parse_element(name), parse_scaling(scaling))
    weight, batches = _layer(24, 208, 600)
    scale = torch.from_numpy(expand(weight_scales(weight.numpy(), quant), (24, 208)).copy())
    theirs = _linear(weight, scale, quant.format)
    _run_brevitas(GPTQ, theirs, [(batch,) for batch in batches])
    ours = gptq(weight[None], hessian([b[None] for b in batches], 1, 208), scale[None], quant.format)
    with torch.no_grad():
        assert torch.equal(ours[0], theirs.quant_weight().value)
    assert not torch.equal(ours[0], torch.from_numpy(_rounded(weight, scale, quant)))  # there was something to do


def test_depthwise_codes_are_those_of_brevitas() -> None:
    random = torch.Generator().manual_seed(0)
    weight, images = torch.randn(6, 1, 3, 3, generator=random), torch.rand(20, 6, 8, 8, generator=random)
    fmt, scale = IntFormat(3), weight.abs().amax(dim=(1, 2, 3), keepdim=True) / 3
    theirs = qnn.QuantConv2d(6, 6, 3, groups=6, bias=False, weight_quant=weight_quantizer(fmt, scale)).eval()
    theirs.weight.data = weight.clone()
    _run_brevitas(GPTQ, theirs, [(images,)])
    taps = nn.functional.unfold(images, 3).view(20, 6, 9, -1).permute(1, 0, 3, 2)
    ours = gptq(weight.view(6, 1, 9), hessian([taps], 6, 9), scale.view(6, 1, 1), fmt)
    assert torch.equal(ours.view_as(weight), theirs.quant_weight().value)


@pytest.mark.parametrize(
    ("signed", "bits", "tile"), [(False, 12, None), (True, 11, None), (False, 10, 32), (True, 10, 16)]
)
def test_axe_codes_are_those_of_brevitas_and_fit(signed: bool, bits: int, tile: int | None) -> None:
    weight, batches = _layer(16, 96, 420)
    fmt, activation = IntFormat(4), IntFormat(4, signed=signed)
    scale = weight.abs().amax(dim=1, keepdim=True) / 7
    theirs = _linear(weight, scale, fmt)
    limits = {"max_accumulator_bit_width": bits, "max_accumulator_tile_size": tile}
    _run_brevitas(A2GPTQ, theirs, [(batch,) for batch in batches], activation=activation, **limits)
    budget = partial(Budget, scale=scale[None], activation=activation, bits=bits, tile=tile or 96)
    statistics = hessian([b[None] for b in batches], 1, 96)
    ours = gptq(weight[None], statistics, scale[None], fmt, budget)[0]
    assert torch.equal(ours, theirs.quant_weight().value)
    codes = to_codes((ours / scale).round().double().numpy(), fmt)
    assert dot_range(codes, activation, tile).bits <= bits
    free = gptq(weight[None], statistics, scale[None], fmt)[0]
    assert dot_range(to_codes((free / scale).round().double().numpy(), fmt), activation, tile).bits > bits


def test_a_hessian_without_inverse_is_refused() -> None:
    with pytest.raises(SingularError):
        gptq(torch.ones(1, 2, 2), -torch.eye(2)[None], torch.ones(1, 1, 1), IntFormat(4))


def _rounded(weight: Tensor, scale: Tensor, quant: TensorQuant) -> np.ndarray:
    from hwmodels.codec import quantize

    return quantize(quant.format, (weight / scale).numpy()).astype(np.float32) * scale.numpy()


class _Metadata:
    def __init__(self, fmt: IntFormat) -> None:
        self.bit_width, self.signed = torch.tensor(float(fmt.bits)), fmt.signed


def _run_brevitas(kind, layer, batches, activation=None, **limits) -> None:  # type: ignore[no-untyped-def]
    optimizer = kind(
        layer=layer,
        name="layer",
        act_order=True,
        len_parallel_layers=1,
        create_weight_orig=False,
        num_blocks=100,
        **limits,
    )
    if activation is not None:
        optimizer.quant_metadata = _Metadata(activation)
    with torch.no_grad():
        for batch in batches:
            optimizer.compute_iterative_covariance(layer, batch, LayerHandler())
        optimizer.single_layer_update()
