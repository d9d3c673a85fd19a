"""Accumulator widths of quantized networks: proved, simulated by brute force, and refused when too narrow."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from small_networks import images, spec, tiny_resnet

from hwmodels.accumulator import AccumulatorError, code_range, counterexample
from workloads.plan import make_plan
from workloads.quantize import LayerResult, QuantizedModel, quantize

MODEL = tiny_resnet()
PLAN = make_plan(MODEL, images(1))


def _quantize(*names: str, **options: object) -> QuantizedModel:
    return quantize(MODEL, PLAN, spec(*names, **options), images())  # type: ignore[arg-type]


def _fits(sums: np.ndarray, bits: int) -> bool:
    return bool((sums >= -(1 << (bits - 1))).all() and (sums < 1 << (bits - 1)).all())


def _partial_sums(layer: LayerResult, inputs: np.ndarray) -> np.ndarray:
    """Every intermediate value of every row's accumulator, (vectors, rows, cols), in hardware order, tile by tile."""
    products = layer.codes[None].astype(object) * inputs[:, None].astype(object)
    tile = layer.tile_size or layer.codes.shape[1]
    starts = range(0, layer.codes.shape[1], tile)
    return np.concatenate([np.cumsum(products[..., s : s + tile], axis=-1) for s in starts], axis=-1)


@pytest.mark.parametrize(
    ("names", "options"),
    [
        (("int4", "int4"), {}),
        (("int4", "int4"), {"tile": 16}),
        (("int3", "int8"), {"scaling": "group8_po2"}),
        (("int8", "int4"), {"edge": None, "residual": None}),
        (("e2m1", "int4"), {}),
        (("e3m2", "e3m2"), {"edge": None}),
        (("int4", "int4", "axe"), {"bits": 12, "edge": "int4", "tile": 24}),
        (("int4", "int4", "axe_gpfq"), {"bits": 12, "edge": "int4", "tile": 24}),
        (
            ("int4", "int4", "axe_gpfq"),
            {"bits": 23, "edge": "e3m2"},
        ),  # layers that axe does not know: proved as they are
    ],
)
def test_no_input_overflows_the_proved_width(names: tuple[str, ...], options: dict[str, object]) -> None:
    rng = np.random.default_rng(0)
    for layer in _quantize(*names, **options).layers:
        low, high = code_range(layer.activation.format)
        cols = layer.codes.shape[1]
        random = rng.integers(low, high, (8, cols), endpoint=True)
        extreme = rng.choice([low, high], (8, cols))
        worst = [np.where(layer.codes[r] > 0, high, low) for r in (layer.range.high_row, layer.range.low_row)]
        inputs = np.concatenate([random, extreme, worst, [low + high - w for w in worst]])
        sums = _partial_sums(layer, inputs)
        assert _fits(sums, layer.bits)
        assert int(sums.max()) <= layer.range.high
        assert int(sums.min()) >= layer.range.low
        assert layer.range.high == int(sums.max()) or layer.range.low == int(sums.min())  # the bound is reached


@pytest.mark.parametrize("names", [("int4", "int4"), ("int8", "int8"), ("e2m1", "e3m2")])
def test_one_bit_less_really_overflows(names: tuple[str, str]) -> None:
    for layer in _quantize(*names).layers:
        assert counterexample(layer.codes, layer.activation.format, layer.bits) is None
        witness = counterexample(layer.codes, layer.activation.format, layer.bits - 1)
        assert witness is not None
        row, vector = witness
        assert not _fits(np.array([int(layer.codes[row] @ vector)]), layer.bits - 1)


@pytest.mark.parametrize(
    ("bits", "options"),
    [
        (14, {}),
        (12, {"edge": "int4"}),
        (10, {"edge": "int4"}),
        (10, {"edge": "int4", "tile": 16}),
        (11, {"edge": "int4", "scaling": "group8"}),  # the group is the tile
        (11, {"edge": "int4", "scaling": "group8", "tile": 8}),
        (15, {"edge": "int8", "residual": None}),
    ],
)
@pytest.mark.parametrize("recipe", ["axe", "axe_gpfq"])
def test_axe_makes_every_layer_fit(recipe: str, bits: int, options: dict[str, object]) -> None:
    quantized = _quantize("int4", "int4", recipe, bits=bits, **options)
    assert max(layer.bits for layer in quantized.layers) <= bits
    for layer in quantized.layers:
        assert quantized.numerics.layers[layer.name].accumulator.bits == bits
        assert layer.codes.any()
    plain = _quantize("int4", "int4", **options)
    if "tile" not in options and "scaling" not in options and bits < 14:
        assert max(layer.bits for layer in plain.layers) > bits  # there was something to do


@pytest.mark.parametrize(("axe", "base"), [("axe", "gptq"), ("axe_gpfq", "gpfq")])
def test_axe_with_room_to_spare_is_what_it_constrains(axe: str, base: str) -> None:
    free, plain = _quantize("int4", "int4", axe, bits=30), _quantize("int4", "int4", base)
    for a, b in zip(free.layers, plain.layers, strict=True):
        assert np.array_equal(a.codes, b.codes)


def test_narrower_accumulators_cost_accuracy() -> None:
    x = images(100, seed=5)
    with torch.no_grad():
        wanted = MODEL(x)
        errors = [
            float((_quantize("int4", "int4", "axe", bits=p, edge="int4").network(x) - wanted).square().mean())
            for p in (14, 11, 9)
        ]
    assert errors == sorted(errors)
    assert errors[2] > 2 * errors[0]


def test_too_narrow_an_accumulator_is_refused_with_layer_and_width() -> None:
    needed = {layer.name: layer.bits for layer in _quantize("int4", "int4").layers}
    widest = max(needed, key=lambda name: needed[name])
    bits = needed[widest]
    message = (
        f"every partial sum of layer {widest} must fit its accumulator of P={bits - 1} bits, but its weights need {bits} bits; "
        f"use accumulator_bits={bits} or the axe recipe \\(integer formats\\)\\."
    )
    with pytest.raises(AccumulatorError, match=message):
        _quantize("int4", "int4", bits=bits - 1)
    with pytest.raises(AccumulatorError, match="must fit its accumulator of P=5 bits"):
        _quantize("int4", "int4", "gptq", bits=5)
    granted = _quantize("int4", "int4", bits=bits)
    assert {layer.accumulator.bits for layer in granted.numerics.layers.values()} == {bits}


@pytest.mark.parametrize("recipe", ["axe", "axe_gpfq"])
def test_axe_refuses_layers_it_does_not_know(recipe: str) -> None:
    with pytest.raises(AccumulatorError, match=r"of layer \w+ must fit .* or integer formats \(axe knows no others\)"):
        _quantize("int4", "int4", recipe, bits=10, edge="e3m2")
    with pytest.raises(AccumulatorError, match="at least 3 bits, but got P=2"):
        _quantize("int4", "int4", recipe, bits=2)
