"""What Brevitas 0.13.4 lets through, and this must not: each test names the trap. Others stand beside what they are about.

(MXINT scales by floor: `test_quantize_grid`. Scales that follow the weights, inverses that fail: `test_recipes`.)
"""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
from small_networks import images, spec, tiny_resnet

from hwmodels.accumulator import AccumulatorError, code_range
from hwmodels.catalog import parse_element
from hwmodels.datapath import DatapathError, TensorQuant, parse_scaling
from hwmodels.formats import IntFormat
from workloads import adaround
from workloads.calibration import FLOAT_FACTORS, Observed, activation_scale
from workloads.fake_quant import FakeQuant
from workloads.numerics import Override
from workloads.plan import make_plan
from workloads.quantize import Engine
from workloads.recipes import RecipeError
from workloads.scale_rule import MSE
from workloads.scales import FACTORS, weight_scales


@cache
def _engine() -> Engine:
    model = tiny_resnet()
    return Engine(model, make_plan(model, images(1)), images())


def _worst_sums(codes: np.ndarray, fmt: IntFormat, tile: int) -> tuple[int, int]:
    """The largest and the smallest partial sum of any tile over all inputs of a format."""
    low, high = code_range(fmt)
    products = np.stack([codes * low, codes * high])
    starts = range(0, codes.shape[1], tile)
    most = max(int(products.max(axis=0)[:, s : s + tile].sum(axis=1).max()) for s in starts)
    least = min(int(products.min(axis=0)[:, s : s + tile].sum(axis=1).min()) for s in starts)
    return least, most


@pytest.mark.parametrize("recipe", ["axe", "axe_gpfq"])
@pytest.mark.parametrize("activation_scaling", ["tensor_asym", "token", "tensor_po2"])
def test_axe_holds_for_codes_as_hardware_has_them(recipe: str, activation_scaling: str) -> None:
    """AXE takes the range of inputs from the quantizer in front: with zero points and dynamic scales, too."""
    made = _engine().quantize(
        spec("int4", "int4", recipe, bits=12, tile=8, edge=None, residual=None, activation_scaling=activation_scaling)
    )
    for layer in made.layers:
        assert isinstance(layer.activation.format, IntFormat)
        least, most = _worst_sums(layer.codes, layer.activation.format, layer.tile_size or layer.codes.shape[1])
        assert least >= -(1 << 11)
        assert most < 1 << 11
        assert layer.codes.any()


@pytest.mark.parametrize("recipe", ["axe", "axe_gpfq"])
def test_axe_without_quantized_integer_inputs_is_an_error_and_never_a_warning(recipe: str) -> None:
    """Brevitas needs `use_quant_activations=True`, and a layer that it cannot constrain is left as it is."""
    with pytest.raises(RecipeError, match=f"the {recipe} step works on integer formats, but got e2m1; use intN"):
        spec("int4", "e2m1", recipe, bits=16)
    overrides = (Override("pointwise", activation=parse_element("e3m2")),)
    with pytest.raises(AccumulatorError, match=r"of layer pointwise must fit .* \(axe knows no others\)"):
        _engine().quantize(spec("int4", "int4", recipe, bits=13, edge="int4", overrides=overrides))
    wide = _engine().quantize(spec("int4", "int4", recipe, bits=18, edge="int4", overrides=overrides))
    assert max(layer.bits for layer in wide.layers) <= 18  # proved as it was rounded


@pytest.mark.parametrize("recipe", ["qronos", "adaround", "gpfq", "gptq", "gptq_float"])
def test_a_step_that_does_not_know_accumulators_is_proved_all_the_same(
    recipe: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Brevitas' Qronos takes the width of an accumulator and ignores it."""
    monkeypatch.setattr(adaround, "STEPS", 20)
    free = _engine().quantize(spec("int4", "int4", recipe, edge="int4"))
    needed = max(layer.bits for layer in free.layers)
    with pytest.raises(AccumulatorError, match=rf"P={needed - 1} bits, but its weights need {needed} bits"):
        _engine().quantize(spec("int4", "int4", recipe, bits=needed - 1, edge="int4"))
    granted = _engine().quantize(spec("int4", "int4", recipe, bits=needed, edge="int4"))
    assert {layer.accumulator.bits for layer in granted.numerics.layers.values()} == {needed}


def test_no_step_after_axe_changes_its_codes() -> None:
    plain, corrected = (
        _engine().quantize(spec("int4", "int4", recipe, bits=12, edge="int4"))
        for recipe in ("axe", "axe+bias_correction")
    )
    assert np.array_equal(plain.layers[0].codes, corrected.layers[0].codes)  # the others see other inputs
    assert max(layer.bits for layer in corrected.layers) <= 12
    for name in ("axe+gptq", "bias_correction+axe", "axe+equalize", "axe+axe_gpfq"):
        with pytest.raises(RecipeError, match=r"must come first|may choose the weight codes"):
            spec("int4", "int4", name, bits=12)


def test_axe_on_groups_takes_a_group_as_its_tile() -> None:
    with pytest.raises(AccumulatorError, match="must be its group of 8 products, but conv got tile_size=16"):
        _engine().quantize(spec("int4", "int4", "axe_gpfq", bits=12, scaling="group8", tile=16, edge="int4"))


def test_zero_points_do_not_meet_groups() -> None:
    """Brevitas' issue 1130: zero point, least squared error and groups together give wrong scales. Two by two, they are right."""
    with pytest.raises(DatapathError, match="a zero point must be a constant of a whole tensor, but got group8_asym"):
        parse_scaling("group8_asym")
    with pytest.raises(DatapathError, match="constant scales around zero"):
        spec("int4", "int4", scaling="tensor_asym")
    random = np.random.default_rng(0)
    matrix = random.standard_t(3, (6, 32)).astype(np.float32)
    quant = TensorQuant(IntFormat(3), parse_scaling("group8"))
    found, blocks = weight_scales(matrix, quant, MSE), matrix.reshape(6, 4, 8)
    widest = weight_scales(matrix, quant)
    for row, group in np.ndindex(6, 4):
        block, candidates = (
            blocks[row, group],
            [np.float32(widest[row, group] * f) for f in FACTORS[quant.scaling.kind]],
        )
        errors = [np.square((block / s).round().clip(-4, 3) * s - block).sum() for s in candidates]
        assert found[row, group] == pytest.approx(candidates[int(np.argmin(errors))], rel=1e-5)
    sample = torch.from_numpy(random.standard_t(3, 4000).astype(np.float32)) + 0.7
    low, high = float(sample.min()), float(sample.max())
    fmt = IntFormat(4, signed=False)
    site = activation_scale(Observed(low, high, sample), TensorQuant(fmt, parse_scaling("tensor_asym")), MSE)

    def error(scale: float, zero_point: int) -> float:
        return float((FakeQuant(fmt, torch.tensor(scale), zero_point=zero_point)(sample) - sample).square().mean())

    tried = [((high - low) * f / 15, round(-low * f / ((high - low) * f / 15))) for f in FLOAT_FACTORS]
    best = min(error(scale, zero_point) for scale, zero_point in tried)
    assert error(float(site.scale), site.zero_point) == pytest.approx(best, rel=1e-5)
    assert 0 < site.zero_point < 15
