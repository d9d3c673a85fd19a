"""What the recipes do to codes and outputs: effects, not just that they run."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from small_networks import images, spec, tiny_resnet
from torch import Tensor, nn

from workloads import adaround, gptq, qronos, steps
from workloads.plan import make_plan
from workloads.quantize import QuantizedModel, quantize
from workloads.recipes import RECIPES, Recipe, RecipeError, Step, parse_recipe

MODEL = tiny_resnet()
PLAN = make_plan(MODEL, images(1))
CALIBRATION = images(200)
FRESH = images(200, seed=7)


def _quantize(*names: str, **options: object) -> QuantizedModel:
    return quantize(MODEL, PLAN, spec(*names, **options), CALIBRATION)  # type: ignore[arg-type]


def _outputs(module: nn.Module, x: Tensor, layer: str) -> tuple[Tensor, Tensor]:
    """Input and output of a layer inside a network."""
    caught: list[Tensor] = []
    handle = module.get_submodule(layer).register_forward_hook(lambda _, inputs, out: caught.extend([inputs[0], out]))
    with torch.no_grad():
        module(x)
    handle.remove()
    return caught[0], caught[1]


def _logit_error(quantized: QuantizedModel) -> float:
    with torch.no_grad():
        return float((quantized.network(FRESH) - MODEL(FRESH)).square().mean())


@pytest.mark.parametrize(("weight", "scaling"), [("int3", "channel"), ("int3", "group8"), ("e2m0", "channel_po2")])
def test_gptq_lowers_the_output_error_of_every_dense_layer(weight: str, scaling: str) -> None:
    """GPTQ minimizes the error of a layer's output on its inputs; fresh images show whether it does."""
    rounded, treated = (_quantize(weight, "int8", recipe, scaling=scaling) for recipe in ("rtn", "gptq"))
    for layer in ("conv", "depthwise", "pointwise"):
        inputs, _ = _outputs(treated.network, FRESH, layer)
        module = PLAN.graph.get_submodule(layer)
        exact = module(inputs)
        errors = [float((q.network.get_submodule(layer)(inputs) - exact).square().mean()) for q in (rounded, treated)]
        assert errors[1] < 0.9 * errors[0], layer
    assert _logit_error(treated) < _logit_error(rounded)


@pytest.mark.parametrize("recipe", ["gpfq", "qronos", "adaround"])
@pytest.mark.parametrize(("weight", "scaling"), [("int3", "channel"), ("int3", "group8"), ("e2m0", "channel_po2")])
def test_steps_that_compare_with_the_float_network_bring_outputs_closer_to_it(
    recipe: str, weight: str, scaling: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of every dense layer, on fresh images and on the inputs that the layers in front have left."""
    monkeypatch.setattr(adaround, "STEPS", 120)
    rounded, treated = (_quantize(weight, "int4", each, scaling=scaling) for each in ("rtn", recipe))
    for layer in ("conv", "depthwise", "pointwise"):
        exact = _outputs(PLAN.graph, FRESH, layer)[1]
        errors = [float((_outputs(q.network, FRESH, layer)[1] - exact).square().mean()) for q in (rounded, treated)]
        assert errors[1] < 0.9 * errors[0], layer
    assert _logit_error(treated) < _logit_error(rounded)


@pytest.mark.parametrize("recipe", ["gptq", "gptq_float", "gpfq", "qronos", "adaround", "axe", "axe_gpfq"])
def test_steps_leave_scales_alone(recipe: str) -> None:
    bits = 13 if recipe.startswith("axe") else None
    rounded, treated = _quantize("int3", "int4", edge="int4"), _quantize("int3", "int4", recipe, edge="int4", bits=bits)
    for before, after in zip(rounded.layers, treated.layers, strict=True):
        assert np.array_equal(before.scale, after.scale)
        assert not np.array_equal(before.codes, after.codes)


def test_bias_correction_restores_output_means() -> None:
    before, after = _quantize("int2", "int4"), _quantize("int2", "int4", "bias_correction")
    for layer in ("stem", "conv", "depthwise", "pointwise", "head"):
        wanted, *got = (
            _outputs(module, CALIBRATION, layer)[1].mean(dim=0)
            for module in (PLAN.graph, before.network, after.network)
        )
        wanted, shifted, corrected = (m.mean(dim=[1, 2]) if m.ndim == 3 else m for m in (wanted, *got))
        torch.testing.assert_close(corrected, wanted, rtol=1e-3, atol=1e-4)
        if layer != "stem":  # at 8 bits nothing much is shifted
            assert (shifted - wanted).abs().max() > 100 * (corrected - wanted).abs().max()
    assert _logit_error(after) < _logit_error(before)
    for a, b in zip(before.layers, after.layers, strict=True):
        assert np.array_equal(a.codes, b.codes)


def test_bias_correction_gives_a_layer_without_bias_one() -> None:
    model = nn.Sequential(nn.Conv2d(2, 4, 3, bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3, bias=False)).eval()
    quantized = quantize(model, make_plan(model, images(1)), spec("int2", "int8", "bias_correction"), images())
    assert quantized.network.get_submodule("3").bias.abs().max() > 0  # type: ignore[union-attr, operator]


@pytest.mark.parametrize(
    ("names", "options"),
    [
        (("int3", "int4"), {}),
        (("e2m1", "e3m2", "gptq+bias_correction"), {"scaling": "group8"}),
        (("int4", "int4", "axe"), {"bits": 13}),
        (("int3", "int4", "gptq_float+bias_correction"), {}),
        (("e2m1", "e2m1", "gpfq+bias_correction"), {}),
        (("int3", "int4", "qronos"), {"scaling": "group8_po2"}),
    ],
)
def test_same_specification_same_codes_and_logits(names: tuple[str, ...], options: dict[str, object]) -> None:
    torch.manual_seed(1)
    first = _quantize(*names, **options)
    state = torch.random.get_rng_state()
    torch.manual_seed(2)
    second = _quantize(*names, **options)
    torch.manual_seed(1)
    assert torch.equal(torch.random.get_rng_state(), state)  # the caller's random numbers are not touched
    for a, b in zip(first.layers, second.layers, strict=True):
        assert np.array_equal(a.codes, b.codes)
        assert np.array_equal(a.scale, b.scale)
        assert a.range == b.range
    assert first.site_scales == second.site_scales
    with torch.no_grad():
        assert torch.equal(first.network(FRESH), second.network(FRESH))


def test_neither_model_nor_plan_is_changed() -> None:
    before = {k: v.clone() for k, v in (*MODEL.state_dict().items(), *PLAN.graph.state_dict().items())}
    _quantize("int3", "int4", "gptq+bias_correction")
    after = dict((*MODEL.state_dict().items(), *PLAN.graph.state_dict().items()))
    assert all(torch.equal(before[k], after[k]) for k in before)


def test_more_bits_lose_less() -> None:
    quantized = [_quantize(f"int{bits}", "int8") for bits in range(2, 9)]
    errors = [_logit_error(q) for q in quantized[:4]]  # from 6 bits on, the activations' 8 bits are what is lost
    assert errors == sorted(errors, reverse=True)
    for layer in (1, 2, 3):
        qsnr = [q.layers[layer].qsnr_db for q in quantized]
        steps = np.diff(qsnr)
        assert (abs(steps[2:] - 6.02) < 2).all()  # one bit is 6.02 dB (arXiv 2510.25602); INT2 and 3 are coarser


def test_a_step_that_cannot_be_carried_out_says_so_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Damping makes every Hessian of finite inputs invertible; and torch would add lines of its own to an error in a graph."""
    monkeypatch.setattr(gptq, "DAMPING", -1.0)
    monkeypatch.setattr(qronos, "DAMPING", -1.0)
    for recipe, bits in (
        ("gptq", None),
        ("qronos", None),
        ("axe", 24),
    ):  # AXE: never a layer that is left unconstrained
        message = (
            rf"^the weights of layer stem must be determined by .* to be chosen by {recipe}, .*; give more images\.$"
        )
        with pytest.raises(steps.StepError, match=message):
            _quantize("int4", "int4", recipe, bits=bits)


@pytest.mark.parametrize("name", RECIPES)
def test_names_are_read_back(name: str) -> None:
    assert parse_recipe(name).name == name


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: parse_recipe("gtpq"),
            "must be rtn or steps of adaround, axe, axe_gpfq, bias_correction, .* joined by [+], but got 'gtpq'",
        ),
        (lambda: Recipe((Step.BIAS_CORRECTION, Step.GPTQ)), "must come first"),
        (lambda: Recipe((Step.GPTQ, Step.AXE)), "one step may choose the weight codes"),
        (lambda: parse_recipe("smoothquant"), "must have alpha in percent, .* write smoothquant50"),
        (lambda: parse_recipe("smoothquant101"), "must be alpha in percent, from 0 to 100, but got smoothquant101"),
        (lambda: parse_recipe("awq1"), "must be a width of integers, from 2 to 8 bits, but got awq1"),
        (lambda: parse_recipe("magr0"), "must be alpha in thousandths, from 1, but got magr0"),
        (lambda: parse_recipe("equalize+awq4"), "one preparation may scale the channels, but .* has equalize and awq"),
        (lambda: parse_recipe("awq4+rotate"), "must be scaled after they are rotated, .* write rotate in front of awq"),
        (lambda: parse_recipe("magr10+awq4"), "magr must be the last preparation, .* write awq4 in front of it"),
        (lambda: Recipe((Step.ADAROUND, Step.AXE_GPFQ)), "one step may choose the weight codes"),
        (lambda: spec("int4", "int4", "axe"), "the axe step must be given an accumulator width P"),
        (lambda: spec("int4", "int4", "axe_gpfq"), "the axe_gpfq step must be given an accumulator width P"),
        (lambda: spec("int4", "e2m1", "axe_gpfq", bits=16), "axe_gpfq step works on integer formats, but got e2m1"),
        (lambda: spec("e2m1", "int4", "axe", bits=16), "works on integer formats, but got e2m1"),
    ],
)
def test_recipes_that_cannot_work_are_refused(make, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(RecipeError, match=message):
        make()
