"""Equalization, SmoothQuant and AWQ: against Brevitas and by hand, that they change no function, and what they are good for."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from small_networks import images, spec, tiny_resnet
from test_prepare import MODEL as DECODER
from test_prepare import PLAN as DECODER_PLAN
from test_prepare import TOKENS
from torch import Tensor, nn

from workloads import channel_scales
from workloads.channel_scales import awq, equalize, smoothquant
from workloads.llm.tiny_llama import OUTLIERS
from workloads.plan import Plan, make_plan
from workloads.quantize import quantize
from workloads.replan import PreparationError, copied
from workloads.scale_regions import ScaleRegion, find_scale_regions, read_maxima, written_maxima
from workloads.vision.transformer import VisionTransformer

RESNET = tiny_resnet()
RESNET_PLAN = make_plan(RESNET, images(1))


class Inverted(nn.Module):
    """Expansion, depthwise convolution and projection with channels of very different sizes, as batch norms leave them."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.relu1 = nn.Conv2d(2, 12, 3, padding=1), nn.ReLU()
        self.expand, self.relu2 = nn.Conv2d(12, 48, 1), nn.ReLU()
        self.depthwise, self.relu3 = nn.Conv2d(48, 48, 3, padding=1, groups=48), nn.ReLU()
        self.project, self.pool, self.flatten = nn.Conv2d(48, 12, 1), nn.MaxPool2d(2), nn.Flatten()
        self.head = nn.Linear(12 * 16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu1(self.stem(x))
        y = self.project(self.relu3(self.depthwise(self.relu2(self.expand(x)))))
        return self.head(self.flatten(self.pool(y + x)))


@cache
def _inverted() -> tuple[Inverted, Plan]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Inverted().eval()
        with torch.no_grad():
            for first, second in ((model.expand, model.depthwise), (model.depthwise, model.project)):
                by = torch.logspace(-1, 1, 48)[torch.randperm(48)]
                first.weight *= by[:, None, None, None]
                first.bias *= by  # type: ignore[operator]
                second.weight /= by[:, None, None, None] if second.groups > 1 else by[:, None, None]
    return model, make_plan(model, images(1))


@cache
def _transformer() -> Plan:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        shape = {"size": 8, "patch": 2, "channels": 2, "width": 16, "heads": 2, "layers": 2, "hidden": 32, "classes": 5}
        model = VisionTransformer(**shape).eval()
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if "ln" in name:
                    parameter.uniform_(0.2, 1.5)  # gains and biases that are not trivial
    return make_plan(model, images(1))


def _names(plan: Plan) -> list[tuple[list[str], list[str]]]:
    return [
        ([str(n.target) for n in region.writers], [str(n.target) for n in region.readers])
        for region in find_scale_regions(plan)
    ]


def test_regions_of_a_network_with_an_add_and_a_depthwise_layer() -> None:
    assert _names(RESNET_PLAN) == [
        (["stem", "conv"], ["conv", "depthwise"]),
        (["depthwise"], ["pointwise"]),
        (["pointwise"], ["head"]),
    ]
    assert _names(_inverted()[1])[0] == (
        ["stem", "project"],
        ["expand", "head"],
    )  # a flattened image: 16 columns a channel


def test_regions_of_a_decoder_are_behind_norms_and_in_gated_units() -> None:
    block = "model.layers.0"
    assert _names(DECODER_PLAN)[:3] == [
        ([f"{block}.input_layernorm"], [f"{block}.self_attn.{x}_proj" for x in "qkv"]),
        ([f"{block}.post_attention_layernorm"], [f"{block}.mlp.gate_proj", f"{block}.mlp.up_proj"]),
        ([f"{block}.mlp.up_proj"], [f"{block}.mlp.down_proj"]),
    ]
    assert _names(DECODER_PLAN)[-1] == (["model.norm"], ["lm_head"])
    assert len(_names(DECODER_PLAN)) == 7


def test_relu6_ends_a_region() -> None:
    model = nn.Sequential(nn.Conv2d(2, 4, 1), nn.ReLU6(), nn.Conv2d(4, 4, 1)).eval()
    plan = make_plan(model, images(1))
    assert find_scale_regions(plan) == ()
    for change, number in ((equalize, None), (smoothquant, 50), (awq, 4)):
        name = change.__name__
        with pytest.raises(
            PreparationError, match=f"{name} must find .* but there is none; use a recipe without {name}"
        ):
            change(plan, images(2), number)


@pytest.mark.parametrize(("change", "number"), [(equalize, None), (smoothquant, 0), (smoothquant, 80), (awq, 3)])
@pytest.mark.parametrize("network", ["resnet", "inverted", "decoder", "transformer"])
def test_the_function_stays(change, number: int | None, network: str) -> None:  # type: ignore[no-untyped-def]
    plan, samples = {
        "resnet": (RESNET_PLAN, images(20)),
        "inverted": (_inverted()[1], images(20)),
        "decoder": (DECODER_PLAN, TOKENS),
        "transformer": (_transformer(), images(20)),
    }[network]
    if network == "transformer" and change is equalize:  # norms and GELU bound all its regions
        with pytest.raises(PreparationError, match="equalize must find a layer whose outputs go to layers alone"):
            change(plan, samples, number)
        return
    before = {name: each.clone() for name, each in plan.graph.state_dict().items()}
    made = change(plan, samples, number)
    wanted = plan.graph(samples)
    torch.testing.assert_close(made.graph(samples), wanted, rtol=1e-4, atol=2e-5 * float(wanted.abs().max()))
    after = plan.graph.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert any(not torch.equal(before[name], each) for name, each in made.graph.state_dict().items())
    assert [layer.name for layer in made.layers] == [layer.name for layer in plan.layers]


@pytest.mark.filterwarnings("ignore:brevitas.fx is deprecated:DeprecationWarning", "ignore:fast_hadamard_transform")
@pytest.mark.parametrize("network", ["resnet", "inverted"])
def test_equalized_weights_are_those_of_brevitas(network: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the regions that it knows, too: it does not look through a flattened image or a global pool."""
    from brevitas.graph.equalize import EqualizeGraph

    plan = {"resnet": RESNET_PLAN, "inverted": _inverted()[1]}[network]
    brevitas = EqualizeGraph(iterations=100, threshold=1e-4, merge_bias=False, return_regions=True)
    theirs, regions = brevitas.apply(copied(plan))
    known = {(frozenset(region.srcs_names), frozenset(region.sinks_names)) for region in regions}

    def common(plan: Plan) -> tuple[ScaleRegion, ...]:
        both = [
            region
            for region in find_scale_regions(plan)
            if (frozenset(str(n.target) for n in region.writers), frozenset(str(n.target) for n in region.readers))
            in known
        ]
        assert len(both) == len(known) == 2
        return tuple(both)

    monkeypatch.setattr(channel_scales, "find_scale_regions", common)
    ours = equalize(plan, images(1), None)
    for layer in plan.layers:
        for name in ("weight", "bias"):
            a, b = (graph.get_parameter(f"{layer.module}.{name}") for graph in (ours.graph, theirs))
            torch.testing.assert_close(a, b, rtol=2e-3, atol=1e-5)
    bare = Plan(ours.graph, (), ())
    for region in common(bare):
        written = written_maxima(bare, region)
        assert written is not None
        torch.testing.assert_close(written, read_maxima(bare, region), rtol=1e-3, atol=0)


def test_smoothquant_by_hand() -> None:
    """Equation 4 of the paper, on a layer behind a layer."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)).eval()
    x = torch.rand(30, 4)
    inputs = model[1](model[0](x))
    with torch.no_grad():
        by = inputs.amax(dim=0) ** 0.7 / model[2].weight.abs().amax(dim=0) ** 0.3
        live = inputs.amax(dim=0) > 0
    made = smoothquant(make_plan(model, x[:1]), x, 70).graph
    first, second = made.get_submodule("0"), made.get_submodule("2")
    torch.testing.assert_close(first.weight[live], (model[0].weight / by[:, None])[live])
    torch.testing.assert_close(first.bias[live], (model[0].bias / by)[live])
    torch.testing.assert_close(second.weight[:, live], (model[2].weight * by)[:, live])


def test_awq_takes_the_exponent_with_the_least_error() -> None:
    """Against errors of outputs that are really computed, for every exponent of the grid."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(16, 12), nn.ReLU(), nn.Linear(12, 8)).eval()
        x = torch.rand(200, 16)
        with torch.no_grad():
            model[0].weight *= torch.logspace(-1, 1, 12)[:, None]
    made = awq(make_plan(model, x[:1]), x, 3).graph
    with torch.no_grad():
        inputs, weight = model[1](model[0](x)), model[2].weight
        errors, factors = [], []
        for step in range(channel_scales.GRID):
            by = inputs.abs().mean(dim=0).clamp(min=1e-4) ** (step / channel_scales.GRID)
            by = by / (by.max() * by.min()).sqrt()
            scale = ((weight * by).amin(dim=1) / -4).maximum((weight * by).amax(dim=1) / 3)[:, None]
            rounded = (weight * by / scale).round().clamp(-4, 3) * scale / by
            errors.append(float((inputs @ (rounded - weight).T).square().sum()))
            factors.append(by)
        best = factors[errors.index(min(errors))]
        assert min(errors) < 0.9 * errors[0]
        torch.testing.assert_close(made.get_submodule("2").weight, weight * best, rtol=1e-4, atol=1e-5)


def _error(model: nn.Module, plan: Plan, recipe: str, samples: Tensor, **options: object) -> float:
    quantized = quantize(model, plan, spec(recipe=recipe, **options), samples)  # type: ignore[arg-type]
    with torch.no_grad():
        return float((quantized.network(samples) - model(samples)).square().mean())


def test_equalization_saves_weights_with_one_scale_per_tensor() -> None:
    model, plan = _inverted()
    for weight in ("int4", "e2m1"):
        options = {"weight": weight, "scaling": "tensor", "edge": None}
        rounded, equalized = (_error(model, plan, recipe, images(100), **options) for recipe in ("rtn", "equalize"))
        assert equalized < 0.25 * rounded


@pytest.mark.parametrize("recipe", ["smoothquant50", "awq4"])
def test_outliers_of_activations_are_moved_into_weights(recipe: str) -> None:
    plan, samples = make_plan(OUTLIERS.load_model(), OUTLIERS.example_input), OUTLIERS.calibration()[:2, :128]
    options = {"weight": "int4", "activation": "int8", "edge": None}
    rounded, scaled = (_error(OUTLIERS.load_model(), plan, each, samples, **options) for each in ("rtn", recipe))
    assert scaled < 0.6 * rounded


def test_steps_that_choose_codes_follow() -> None:
    errors = [
        _error(DECODER, DECODER_PLAN, recipe, TOKENS, weight="int3", activation="int8")
        for recipe in ("rtn", "awq3+gptq")
    ]
    assert errors[1] < errors[0]
