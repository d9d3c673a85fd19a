"""Dynamic scales and zero points: against the codec on the same scale, the weights' rules, Brevitas and published numbers."""

from __future__ import annotations

import warnings
from dataclasses import replace

import brevitas.nn as qnn
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_networks import images, spec, tiny_resnet
from torch import Tensor

from hwmodels.catalog import integers, minifloats, parse_element, parse_format
from hwmodels.codec import quantize as codec
from hwmodels.datapath import ScaleKind, TensorQuant, parse_scaling, tensor_quant
from hwmodels.formats import IntFormat
from workloads.calibration import Observed, activation_scale
from workloads.fake_quant import DynamicFakeQuant, FakeQuant, dynamic_scales
from workloads.plan import make_plan
from workloads.quantize import Engine
from workloads.quantizers import activation_quantizer
from workloads.scale_rule import ABSMAX, MSE, parse_scale_rule
from workloads.scales import block_scales, tensor_scale

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # importing brevitas touches deprecated corners of torch
    from brevitas.quant.mx_quant_ocp import MXFloat8e4m3Act

FORMATS = (*integers(), *minifloats(), *(parse_element(name) for name in ("ocp_e4m3", "ocp_e5m2", "ue3m2")))
SCALINGS = (
    "tensor_dynamic",
    "tensor_po2_dynamic",
    "token",
    "token_po2",
    "group8_dynamic",
    "group8_po2_dynamic",
    "group8_e4m3_dynamic",
)
finite = st.floats(-(2.0**100), 2.0**100, width=32)


@settings(deadline=None)
@given(
    ends=st.tuples(finite, finite),
    fmt=st.sampled_from(FORMATS),
    scaling=st.sampled_from(SCALINGS),
    tensor=st.floats(2**-20, 2**20, width=32),
)
def test_dynamic_scales_are_those_of_weights(ends: tuple[float, float], fmt, scaling: str, tensor: float) -> None:
    quant = TensorQuant(fmt, parse_scaling(scaling))
    low, high = min(ends), max(ends)
    if not fmt.signed:
        low, high = abs(low), max(abs(low), abs(high))
    given_tensor = tensor if quant.scaling.kind is ScaleKind.E4M3 else None
    expected = block_scales(quant, np.array([low]), np.array([high]), given_tensor)
    made = dynamic_scales(quant, torch.tensor([low]), torch.tensor([high]), given_tensor)
    assert made.numpy().tobytes() == expected.tobytes()


def _blocks(x: Tensor, scaling: str) -> Tensor:
    """The values that share a scale along the last axis, written out by hand for each shape."""
    if scaling.startswith("group"):
        return (x.permute(0, 2, 3, 1) if x.ndim == 4 else x).reshape(-1, 8)
    if x.ndim == 4:
        return x.reshape(len(x), -1) if scaling.startswith("tensor") else x.permute(0, 2, 3, 1).reshape(-1, x.shape[1])
    return x.reshape(-1, x.shape[-1])  # a token is a frame


@pytest.mark.parametrize("scaling", SCALINGS)
@pytest.mark.parametrize("shape", [(5, 16), (3, 7, 16), (4, 16, 3, 5)])
@pytest.mark.parametrize("name", ["int4", "uint8", "int8_narrow", "e2m1", "e3m0", "ocp_e4m3"])
def test_dynamic_quantizers_equal_the_codec_on_the_same_scales(name: str, shape: tuple[int, ...], scaling: str) -> None:
    quant = TensorQuant(parse_element(name), parse_scaling(scaling))
    x = (
        torch.randn(shape, generator=torch.Generator().manual_seed(0))
        * torch.linspace(0.1, 9, shape[0])[(..., *[None] * (len(shape) - 1))]
    )
    x[0] = 0.0
    if not quant.format.signed:
        x = x.abs()
    bounds = np.array(float(x.min())), np.array(float(x.max()))
    tensor = tensor_scale(quant.format, *bounds) if quant.scaling.kind is ScaleKind.E4M3 else None
    made = DynamicFakeQuant(quant, tensor)(x)
    blocks = _blocks(x, scaling).numpy()
    ends = blocks.min(axis=1).astype(np.float64), blocks.max(axis=1).astype(np.float64)
    scales = block_scales(quant, *ends, tensor)[:, None]
    expected = codec(quant.format, blocks / scales).astype(np.float32) * scales
    assert np.array_equal(_blocks(made, scaling).numpy(), expected)
    for one in range(shape[0]):  # whatever else is in the batch
        assert torch.equal(DynamicFakeQuant(quant, tensor)(x[one : one + 1])[0], made[one])
    rectified = DynamicFakeQuant(quant, tensor, nonnegative=True)(x)
    assert torch.equal(rectified, DynamicFakeQuant(quant, tensor)(x.relu()))


@pytest.mark.parametrize(("name", "size"), [("ocp_e4m3", 32), ("e3m2", 16), ("e2m3", 32), ("e2m1", 8)])
def test_mx_activations_are_those_of_brevitas(name: str, size: int) -> None:
    fmt = parse_element(name)
    quantizer = MXFloat8e4m3Act.let(
        bit_width=fmt.bits, exponent_bit_width=fmt.exponent_bits, mantissa_bit_width=fmt.mantissa_bits, group_size=size
    )
    x = torch.randn(20, 96, generator=torch.Generator().manual_seed(1)) * 3
    theirs = qnn.QuantIdentity(act_quant=quantizer.let(group_dim=-1), return_quant_tensor=False).eval()(x)
    ours = DynamicFakeQuant(TensorQuant(fmt, parse_scaling(f"group{size}_po2_dynamic")))(x)
    assert torch.equal(ours, theirs)


@pytest.mark.parametrize(
    ("name", "gaussian", "heavy"),
    [
        ("mxint8", 41.6, None),
        ("mxfp8_e4m3", 30.7, None),
        ("mxfp4_e2m1", 18.8, None),
        ("mxint4_narrow", 16.8, None),
        ("nvint4_narrow", None, 18.8),
        ("nvfp4_e2m1", None, 20.8),
    ],
)
def test_signal_to_noise_of_block_formats(name: str, gaussian: float | None, heavy: float | None) -> None:
    """dB on 2^18 samples, Gaussian and Student t with 3 degrees of freedom; measured with an independent implementation, and
    in line with arXiv 2510.25602, which clips integers symmetrically."""
    quant = tensor_quant(parse_format(name))
    quant = replace(quant, scaling=replace(quant.scaling, dynamic=True))
    random = np.random.default_rng(0)
    for wanted, sample in (
        (gaussian, random.standard_normal((2048, 128))),
        (heavy, random.standard_t(3, (2048, 128))),
    ):
        x = torch.from_numpy(sample.astype(np.float32))
        bounds = np.array(float(x.min())), np.array(float(x.max()))
        tensor = tensor_scale(quant.format, *bounds) if quant.scaling.kind is ScaleKind.E4M3 else None
        error = DynamicFakeQuant(quant, tensor)(x) - x
        if wanted is not None:
            assert 10 * float(torch.log10(x.square().sum() / error.square().sum())) == pytest.approx(wanted, abs=0.1)


@pytest.mark.parametrize("bits", range(2, 9))
@pytest.mark.parametrize("scale", [1.0, 0.25, 0.0371])
def test_zero_points_equal_codec_and_brevitas(bits: int, scale: float) -> None:
    fmt, number = IntFormat(bits, signed=False), torch.tensor(scale)
    x = (
        torch.cat([torch.arange(-300, 300) / 4, torch.randn(300, generator=torch.Generator().manual_seed(0)) * 9])
        * scale
    )
    for zero_point in {0, 1, fmt.max_code // 2, fmt.max_code}:
        ours = FakeQuant(fmt, number, zero_point=zero_point)(x)
        codes = codec(fmt, (x / number + zero_point).numpy())
        assert torch.equal(ours, torch.from_numpy((codes - zero_point).astype(np.float32)) * number)
        quantizer = activation_quantizer(fmt, number, zero_point)
        theirs = qnn.QuantIdentity(act_quant=quantizer, return_quant_tensor=True).eval()(x)
        assert torch.equal(ours, theirs.value)
        assert theirs.zero_point.item() == zero_point


def _observed(values: Tensor) -> Observed:
    return Observed(float(values.min()), float(values.max()), values)


def test_a_zero_point_puts_the_range_on_the_codes() -> None:
    quant = TensorQuant(IntFormat(4, signed=False), parse_scaling("tensor_asym"))
    site = activation_scale(_observed(torch.linspace(-1.0, 2.0, 1001)), quant, ABSMAX)
    assert (float(site.scale), site.zero_point) == (pytest.approx(0.2), 5)
    above = activation_scale(_observed(torch.linspace(1.0, 2.0, 1001)), quant, ABSMAX)  # zero must have a code
    assert (float(above.scale), above.zero_point) == (pytest.approx(2 / 15), 0)
    power = activation_scale(
        _observed(torch.linspace(-1.0, 2.0, 1001)), replace(quant, scaling=parse_scaling("tensor_po2_asym")), ABSMAX
    )
    assert (float(power.scale), power.zero_point) == (0.25, 4)


@pytest.mark.parametrize(("name", "scaling"), [("int4", "tensor"), ("e2m1", "tensor_po2"), ("uint4", "tensor_asym")])
def test_rules_of_activation_scales(name: str, scaling: str) -> None:
    quant = TensorQuant(parse_element(name), parse_scaling(scaling))
    values = torch.from_numpy(np.random.default_rng(0).standard_t(3, 20_000).astype(np.float32)) + 0.5

    def error_and_scale(rule: str) -> tuple[float, float]:
        site = activation_scale(_observed(values), quant, parse_scale_rule(rule))
        made = FakeQuant(quant.format, site.scale, zero_point=site.zero_point)(values)
        return float((made - values).square().mean()), float(site.scale)

    (widest, absmax), (best, mse), (_, clipped) = map(error_and_scale, ("absmax", "mse", "percentile99"))
    assert best < widest
    assert mse < absmax
    assert clipped < absmax
    if scaling == "tensor":
        bound = float(np.quantile(values.abs().double().numpy(), 0.99))
        assert clipped == pytest.approx(bound / 7)
    assert activation_scale(_observed(values), quant).scale == activation_scale(_observed(values), quant, MSE).scale


def test_a_network_with_zero_points_computes_integer_sums_within_the_proved_width() -> None:
    """sum w (q - z) = sum w q - z sum w: hardware sums the codes q, padded with z, and the bias absorbs the rest."""
    model = tiny_resnet()
    model.relu1 = torch.nn.Identity()  # so that values are negative somewhere
    quantized = Engine(model, make_plan(model, images(1)), images()).quantize(
        spec("int4", "int5", activation_scaling="tensor_asym", edge=None, residual=None)
    )
    layer = next(result for result in quantized.layers if result.name == "conv")
    site = next(name for name in quantized.zero_points if quantized.numerics.sites[name] == layer.activation)
    scale, zero = quantized.site_scales[site], quantized.zero_points[site]
    assert layer.activation.format == IntFormat(5, signed=False)
    assert 0 < zero < 31
    caught: list[Tensor] = []
    module = quantized.network.get_submodule("conv")
    handle = module.register_forward_hook(lambda _, inputs, output: caught.extend([inputs[0], output]))
    with torch.inference_mode():
        logits = quantized.network(images(4, seed=2))
        assert torch.equal(quantized.module(images(4, seed=2)), logits)  # in Brevitas, too
    handle.remove()
    codes = (caught[0].double() / np.float32(scale)).round() + zero
    assert codes.min() >= 0
    assert codes.max() <= 31
    weight = torch.from_numpy(layer.codes).view(16, 3, 3, 16).permute(0, 3, 1, 2).double()
    padded = torch.nn.functional.pad(codes, (1, 1, 1, 1), value=zero)
    sums = torch.nn.functional.conv2d(padded, weight)
    assert sums.min() >= layer.range.low
    assert sums.max() <= layer.range.high
    absorbed = sums - zero * weight.sum(dim=(1, 2, 3)).view(-1, 1, 1)
    steps = torch.from_numpy(layer.scale).double().view(-1, 1, 1) * float(np.float32(scale))
    expected = absorbed * steps + module.bias.double().view(-1, 1, 1)
    torch.testing.assert_close(caught[1].double(), expected, rtol=1e-5, atol=1e-5)
