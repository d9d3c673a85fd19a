"""Networks whose accumulators overflow: equal to loops over single products, and to the plain network where nothing can."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_networks import images, spec, tiny_resnet
from torch import Tensor, nn

from hwmodels.accumulator import AccumulatorError, bits_for_product
from hwmodels.codec import decode_all
from hwmodels.datapath import Accumulator, DatapathError, Overflow
from hwmodels.formats import IntFormat, Minifloat
from hwmodels.rtl.reference import expected_sums, finite_codes
from hwmodels.rtl.unit import DotUnit
from workloads.accumulation import AccumulatedLayer, input_codes, step
from workloads.cache import Cache
from workloads.calibration import SiteScale
from workloads.plan import make_plan
from workloads.quantize import Engine, QuantizedModel

MODEL = tiny_resnet()
PLAN = make_plan(MODEL, images(1))
ENGINE = Engine(MODEL, PLAN, images(), Cache())
OVERFLOWS = (Overflow.SATURATE, Overflow.WRAP)


def clamp(value: int, bits: int, overflow: Overflow) -> int:
    half = 1 << bits - 1
    return min(max(value, -half), half - 1) if overflow is Overflow.SATURATE else (value + half) % (2 * half) - half


def elements(layer: AccumulatedLayer, x: Tensor) -> np.ndarray:
    """Inputs as whole numbers of steps of their format, from Python's own exact arithmetic."""
    fmt, scale = layer.result.activation.format, Fraction(float(layer.site.scale))
    unit = Fraction(1) if isinstance(fmt, IntFormat) else fmt.step
    exact = [round(Fraction(v) / scale / unit) + layer.site.zero_point for v in x.double().flatten().tolist()]
    return np.array(exact, dtype=object).reshape(x.shape)


def product(layer: AccumulatedLayer, w: int, x: int) -> int:
    """One product, the low bits dropped towards minus infinity before a minifloat's sign is applied."""
    sign = 1
    if isinstance(layer.result.weight.format, Minifloat):
        sign, w = sign * (-1 if w < 0 else 1), abs(w)
    if isinstance(layer.result.activation.format, Minifloat):
        sign, x = sign * (-1 if x < 0 else 1), abs(x)
    return sign * (w * x >> layer.dropped)


def brute(layer: AccumulatedLayer, source: nn.Module, x: Tensor) -> tuple[np.ndarray, int]:
    """(outputs, overflows) of a layer by loops over images, pixels, rows and products, in hardware order."""
    codes, weights = elements(layer, x), layer.result.codes
    accumulator, zero = layer.datapath.accumulator, layer.site.zero_point
    rows, cols = weights.shape
    tile = accumulator.tile_size or cols
    unit = float(layer.site.scale) * step(layer.result.weight.format) * step(layer.result.activation.format)
    scales = np.repeat(layer.result.scale, cols // layer.result.scale.shape[1], axis=1).astype(np.float64)
    scales = np.broadcast_to(scales, (rows, cols))
    overflows = 0

    def dot(row: int, taken: list[int]) -> float:
        nonlocal overflows
        total = 0.0
        for start in range(0, cols, tile):
            stop, register, hit = min(start + tile, cols), 0, False
            for first in range(start, stop, layer.lanes):
                cycle = range(first, min(first + layer.lanes, stop))
                exact = register + sum(product(layer, int(weights[row, k]), taken[k]) for k in cycle)
                register = clamp(exact, accumulator.bits, accumulator.overflow)
                hit |= register != exact
            if accumulator.overflow is Overflow.WRAP:
                exact = sum(product(layer, int(weights[row, k]), taken[k]) for k in range(start, stop))
                hit = register != exact
            overflows += hit
            correction = zero * int(weights[row, start:stop].sum())
            total += (register * 2**layer.dropped - correction) * float(scales[row, start]) * unit
        bias = 0.0 if source.bias is None else float(source.bias[row])  # type: ignore[union-attr, index, arg-type]
        return total + bias

    if isinstance(source, nn.Linear):
        return np.array([[dot(row, list(each)) for row in range(rows)] for each in codes]), overflows
    assert isinstance(source, nn.Conv2d)
    (ky, kx), (sy, sx), (py, px) = source.kernel_size, source.stride, source.padding  # type: ignore[misc]
    n, channels, height, width = codes.shape
    out = np.zeros((n, rows, (height + 2 * py - ky) // sy + 1, (width + 2 * px - kx) // sx + 1))
    for i, row, y, xx in np.ndindex(out.shape):
        taken = []
        for dy, dx in np.ndindex(ky, kx):
            at = y * sy + dy - py, xx * sx + dx - px
            inside = 0 <= at[0] < height and 0 <= at[1] < width
            for c in [row] if layer.layer.depthwise else range(channels):
                taken.append(int(codes[i, c, at[0], at[1]]) if inside else zero)
        out[i, row, y, xx] = dot(row, taken)
    return out, overflows


def inputs_of(quantized: QuantizedModel, x: Tensor) -> dict[str, tuple[AccumulatedLayer, Tensor, Tensor]]:
    """Every simulated layer of a network with its input and output on images."""
    seen: dict[str, tuple[AccumulatedLayer, Tensor, Tensor]] = {}
    for name, module in quantized.network.named_modules():
        if isinstance(module, AccumulatedLayer):
            module.register_forward_hook(
                lambda module, args, out, name=name: seen.setdefault(name, (module, args[0], out)) and None
            )
    with torch.inference_mode():
        quantized.network(x)
    return seen


CASES: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "int4": (("int4", "int4"), {"edge": "int4", "bits": 9}),
    "tiles": (("int4", "int4"), {"edge": "int4", "bits": 8, "tile": 16}),
    "groups": (("int4", "int4", "rtn", "group8"), {"edge": "int4", "bits": 8}),
    "zero point": (("int4", "int4"), {"edge": "int4", "bits": 9, "activation_scaling": "tensor_asym"}),
    "mixed": (("e2m1", "int4"), {"edge": None, "bits": 9}),
    "minifloats": (("e2m1", "e3m2"), {"edge": None, "bits": 11}),
    "gptq": (("int4", "e2m1", "gptq"), {"edge": "int4", "bits": 9}),
}


@pytest.mark.parametrize("overflow", OVERFLOWS)
@pytest.mark.parametrize("name", CASES)
def test_every_layer_equals_loops_over_its_products(name: str, overflow: Overflow) -> None:
    names, options = CASES[name]
    lanes = {"stem": 2, "conv": 16, "depthwise": 3, "pointwise": 1, "head": 4}
    quantized = ENGINE.quantize(spec(*names, **options, overflow=overflow, lanes=tuple(lanes.items())))
    seen = inputs_of(quantized, images(1, seed=3))
    assert len(seen) >= 3
    found = 0
    for layer, x, out in seen.values():
        assert layer.lanes == lanes[layer.layer.name]
        source = ENGINE.plan.graph.get_submodule(layer.layer.module)
        expected, overflows = brute(layer, source, x)
        np.testing.assert_allclose(out.numpy(), expected, rtol=1e-6, atol=1e-6)
        assert quantized.overflows()[layer.layer.name].overflows == overflows
        found += overflows
    assert found > 0
    if name == "minifloats":
        assert max(layer.dropped for layer, _, _ in seen.values()) > 0


@settings(deadline=None, max_examples=12)
@given(
    st.sampled_from([("int4", "int4"), ("int3", "e2m1"), ("e2m1", "e2m1"), ("e3m0", "int5")]),
    st.sampled_from(OVERFLOWS),
    st.sampled_from([None, 16]),
    st.integers(0, 3),
)
def test_a_width_that_is_proved_gives_exactly_the_logits_of_exact_sums(
    names: tuple[str, str], overflow: Overflow, tile: int | None, spare: int
) -> None:
    plain = ENGINE.quantize(spec(*names, tile=tile))
    bits = max(layer.bits for layer in plain.layers) + spare
    summed = ENGINE.quantize(spec(*names, tile=tile, bits=bits, overflow=overflow))
    x = images(8, seed=4)
    with torch.inference_mode():
        assert torch.equal(summed.network(x), plain.network(x))
    assert {(each.sums, each.overflows) for each in summed.overflows().values()} == {(0, 0)}
    assert {layer.accumulator.overflow for layer in summed.numerics.layers.values()} == {Overflow.IMPOSSIBLE}


@pytest.mark.parametrize("names", [("int4", "int4"), ("e2m1", "int4"), ("int4", "int4", "rtn", "group8")])
@pytest.mark.parametrize("overflow", OVERFLOWS)
def test_a_proved_datapath_never_overflows_and_gives_what_the_plain_layer_gives(
    names: tuple[str, ...], overflow: Overflow
) -> None:
    """The shortcut is one: layers that are not simulated because of their proof give the same if they are."""
    plain = ENGINE.quantize(spec(*names))
    x = images(8, seed=5)
    for layer, result in zip(PLAN.layers, plain.layers, strict=True):
        source, seen = plain.network.get_submodule(layer.module), []
        hook = source.register_forward_hook(lambda module, args, out, seen=seen: seen.extend((args[0], out)))
        with torch.inference_mode():
            plain.network(x)
        hook.remove()
        assert isinstance(source, nn.Conv2d | nn.Linear)
        site = SiteScale(torch.tensor(plain.site_scales[layer.site]))
        # minifloat units at this width drop low bits where overflow is possible, so that their window holds any product
        bits = result.bits if isinstance(result.weight.format, IntFormat) else 40
        accumulator = Accumulator(bits, result.tile_size, overflow)
        summed = AccumulatedLayer(layer, source, result, site, accumulator, 4)
        with torch.inference_mode():
            out = summed(seen[0])
        np.testing.assert_allclose(out.numpy(), seen[1].numpy(), rtol=1e-4, atol=1e-5)
        assert summed.counts.overflows == 0
        assert summed.counts.sums == out.numel() * -(-layer.cols // (result.tile_size or layer.cols))


@pytest.mark.parametrize("overflow", OVERFLOWS)
@pytest.mark.parametrize("formats", [(IntFormat(4), IntFormat(4)), (Minifloat(2, 1), Minifloat(3, 1))], ids=str)
def test_sums_are_those_of_the_generated_unit(formats: tuple[Any, Any], overflow: Overflow) -> None:
    """A linear layer against the reference that the Verilog is tested with, cycle by cycle."""
    lanes, quantized = 4, ENGINE.quantize(spec(formats[0].name, formats[1].name, edge=None))
    head, layer = quantized.layers[-1], PLAN.layers[-1]
    source = quantized.network.get_submodule(layer.module)
    assert isinstance(source, nn.Linear)
    activation, scale = head.activation.format, torch.tensor(plain_scale(quantized, layer.site))
    rng = np.random.default_rng(0)
    chosen = rng.choice(finite_codes(activation), (5, layer.cols))
    x = torch.from_numpy(decode_all(activation)[chosen].astype(np.float32)) * scale
    unit = DotUnit(
        AccumulatedLayer(layer, source, head, SiteScale(scale), Accumulator(9, None, overflow), lanes).datapath, 4
    )
    summed = AccumulatedLayer(layer, source, head, SiteScale(scale), Accumulator(9, None, overflow), lanes)
    out = summed(x).double().numpy() - source.bias.double().numpy()
    found = np.rint(out / summed._scales()[:, 0]).astype(int)
    numbers = {
        round(v / step(head.weight.format)): code for code, v in enumerate(decode_all(head.weight.format).tolist())
    }
    weights = np.vectorize(numbers.__getitem__)(head.codes.astype(int))
    cycles = layer.cols // lanes
    pairs = [
        np.stack([codes.reshape(-1, cycles, lanes)[i] for i in order], axis=1)
        for codes, order in (
            (weights, np.tile(np.arange(layer.rows), 5)),
            (chosen, np.repeat(np.arange(5), layer.rows)),
        )
    ]
    expected = expected_sums(unit, *pairs, np.arange(cycles) == 0, np.ones(cycles, dtype=bool))[-1]
    assert found.ravel().tolist() == expected.tolist()
    assert summed.dropped == unit.dropped


def plain_scale(quantized: QuantizedModel, site: str) -> float:
    return quantized.site_scales[site]


def test_codes_are_the_elements_in_units_of_their_step() -> None:
    for fmt in (IntFormat(4, signed=False), IntFormat(8), Minifloat(4, 3), Minifloat(5, 2), Minifloat(6, 1)):
        values = decode_all(fmt)
        scale = torch.tensor(0.0123)
        codes = input_codes(torch.from_numpy(values.astype(np.float32)) * scale, fmt, SiteScale(scale))
        assert codes.tolist() == [int(Fraction(v) / Fraction(step(fmt))) for v in values.tolist()]


def test_recipes_run_on_exact_sums_and_saturation_beats_wrapping() -> None:
    x, errors = images(64, seed=6), []
    plain = ENGINE.quantize(spec("int4", "int4", "gptq", edge="int4"))
    for overflow in OVERFLOWS:
        quantized = ENGINE.quantize(spec("int4", "int4", "gptq", edge="int4", bits=9, overflow=overflow))
        for a, b in zip(quantized.layers, plain.layers, strict=True):
            assert np.array_equal(a.codes, b.codes)
        with torch.inference_mode():
            errors.append(float((quantized.network(x) - plain.network(x)).square().mean()))
        rates = {name: each.rate for name, each in quantized.overflows().items()}
        assert 0 < max(rates.values()) < 1
    assert errors[0] < errors[1]


def test_the_key_knows_what_sums_depend_on() -> None:
    base = spec("int4", "int4", edge="int4")
    assert spec("int4", "int4", edge="int4", bits=12).key == base.key  # proved: P is no matter
    saturate = [
        spec("int4", "int4", edge="int4", bits=p, tile=t, overflow=Overflow.SATURATE)
        for p in (9, 10)
        for t in (None, 8)
    ]
    lanes = spec("int4", "int4", edge="int4", bits=9, overflow=Overflow.SATURATE, lanes=(("conv", 4),))
    wrap = spec("int4", "int4", edge="int4", bits=9, overflow=Overflow.WRAP)
    assert len({each.key for each in (base, *saturate, lanes, wrap)}) == 7
    assert (lanes.depends_on_lanes, wrap.depends_on_lanes) == (True, False)
    assert spec("e2m1", "int4", bits=20, overflow=Overflow.WRAP).depends_on_lanes


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(DatapathError, match=r"overflow \(saturate\) must have a width P, but accumulator is auto"):
        spec("int4", "int4", overflow=Overflow.SATURATE)
    with pytest.raises(DatapathError, match="the axe step makes overflow impossible, but got overflow wrap"):
        spec("int4", "int4", "axe", bits=12, overflow=Overflow.WRAP)
    product = bits_for_product(IntFormat(4), IntFormat(4, signed=False))
    match = (
        f"layer stem must have a compute unit that exists: .* one product, {product} bits .* but got bits={product - 1}"
    )
    with pytest.raises(AccumulatorError, match=match):
        ENGINE.quantize(spec("int4", "int4", edge="int4", bits=product - 1, overflow=Overflow.WRAP))
    with pytest.raises(
        AccumulatorError, match=r"simulated for inputs with a constant scale, but those of layer stem have"
    ):
        ENGINE.quantize(
            spec("int4", "int4", activation_scaling="token", edge="int8", bits=16, overflow=Overflow.SATURATE)
        )
