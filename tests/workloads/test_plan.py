"""Where quantizers stand, and which models are refused."""

from __future__ import annotations

import pytest
import torch
from small_networks import images, spec, tiny_resnet
from torch import Tensor, nn

from hwmodels.accumulator import AccumulatorError
from hwmodels.catalog import parse_element
from hwmodels.datapath import DatapathError
from hwmodels.errors import BitfrontError
from hwmodels.formats import IntFormat
from workloads.assign import assign
from workloads.plan import PlanError, make_plan
from workloads.quantize import quantize
from workloads.vision.digits_resnet import DigitsResNet


def test_folded_graph_computes_what_the_model_does() -> None:
    model, x = tiny_resnet(), images()
    plan = make_plan(model, x[:1])
    torch.testing.assert_close(plan.graph(x), model(x), rtol=1e-5, atol=1e-5)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in plan.graph.modules())
    assert any(isinstance(m, nn.BatchNorm2d) for m in model.modules())  # the model itself is left alone


def test_sites_of_a_residual_network() -> None:
    plan = make_plan(tiny_resnet(), images(1))
    assert [s.name for s in plan.sites] == ["input", "relu1", "add.in", "relu2", "relu3", "relu4", "pool"]
    assert [s.name for s in plan.sites if not s.nonnegative] == ["add.in"]
    residual = plan.site("add.in")
    assert residual.residual
    assert {producer for producer, _ in residual.edges} == {"conv", "relu1"}  # one quantizer for both inputs
    assert [(layer.name, layer.site) for layer in plan.layers] == [
        ("stem", "input"),
        ("conv", "relu1"),
        ("depthwise", "relu2"),
        ("pointwise", "relu3"),
        ("head", "pool"),
    ]
    depthwise = plan.layers[2]
    assert (depthwise.depthwise, depthwise.rows, depthwise.cols, depthwise.vectors) == (True, 16, 9, 16)


def test_sites_of_modules_that_hold_one_function_bear_the_modules_name() -> None:
    plan = make_plan(DigitsResNet(), torch.rand(1, 1, 32, 32))
    names = [s.name for s in plan.sites]
    assert "block1.add.in" in names
    assert len(set(names)) == len(names)
    assert sum(s.residual for s in plan.sites) == sum(name.endswith("add.in") for name in names) > 1


def test_reused_relu_gets_a_site_for_each_call() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.relu = nn.Conv2d(2, 4, 1), nn.Conv2d(4, 4, 1), nn.ReLU()

        def forward(self, x: Tensor) -> Tensor:
            return self.relu(self.b(self.relu(self.a(x))))

    assert [s.name for s in make_plan(Twice(), images(1)).sites] == ["input", "relu", "relu_1"]


def test_sums_read_by_a_layer_are_quantized_and_signed() -> None:
    model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.MaxPool2d(2), nn.Conv2d(4, 4, 1), nn.Flatten(), nn.Linear(36, 3))
    plan = make_plan(model, images(1))
    # the pool's input is quantized, and its output needs no quantizer; both convolutions may be negative
    assert [(s.name, s.nonnegative) for s in plan.sites] == [("input", True), ("0", False), ("2", False)]
    assert [layer.site for layer in plan.layers] == ["input", "0", "2"]


def test_input_is_signed_if_the_example_is() -> None:
    assert not make_plan(tiny_resnet(), images(1) - 0.5).site("input").nonnegative


class _Lstm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.lstm(x)[0]


class _Branching(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


class _Shared(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(self.conv(x))


class _Doubled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        return y + y


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (_Lstm(), r"node 'lstm' must be one of Conv2d .* but it is LSTM\."),
        (nn.Sequential(nn.ConvTranspose2d(2, 3, 2)), "node '0' must be one of .* but it is ConvTranspose2d"),
        (nn.Sequential(nn.Conv2d(2, 4, 1), nn.Sigmoid()), "node '1' must be one of .* but it is Sigmoid"),
        (
            nn.Sequential(nn.Conv2d(2, 8, 1), nn.Conv2d(8, 8, 1, groups=4)),
            "'1' must be ungrouped or depthwise .*groups=4",
        ),
        (nn.Sequential(nn.ReLU()), "must have a layer with weights, but it has none"),
        (_Branching(), "without data-dependent control flow"),
        (_Shared(), "'conv' must be called once"),
        (_Doubled(), "'add' must have two different inputs of one shape"),
        (
            nn.Sequential(nn.ReLU(), nn.BatchNorm2d(2), nn.Conv2d(2, 2, 1)),
            "batch norm '1' must stand alone behind a conv",
        ),
        (nn.Sequential(nn.Conv2d(2, 2, 3, padding="same")), "'0' must pad with zeros by numbers"),
        (nn.Sequential(nn.Conv2d(2, 2, 3), nn.AdaptiveAvgPool2d(2)), "'1' must average the whole image"),
        (nn.Sequential(nn.Conv2d(2, 2, 3), nn.AvgPool2d(2, padding=1)), "'1' must have no dilation"),
        (nn.Sequential(nn.Conv2d(2, 2, 3), nn.Linear(6, 2)), "'1' must read \\(images, features\\)"),
    ],
)
def test_what_is_not_supported_is_refused_by_name(model: nn.Module, message: str) -> None:
    with pytest.raises(PlanError, match=message) as error:
        make_plan(model, images(1))
    assert "\n" not in str(error.value)


def test_formats_by_rule() -> None:
    plan = make_plan(tiny_resnet(), images(1))
    assignment = assign(plan, spec("int3", "int4", scaling="group16_po2"))
    assert {name: q.name for name, q in assignment.sites.items()} == {
        "input": "uint8/tensor",  # edge
        "relu1": "uint4/tensor",
        "add.in": "int8/tensor",  # signed
        "relu2": "uint4/tensor",
        "relu3": "uint4/tensor",
        "relu4": "uint4/tensor",
        "pool": "uint8/tensor",  # edge
    }
    assert {name: (f.weight.name, f.tile_size, f.rule) for name, f in assignment.layers.items()} == {
        "stem": ("int8/channel_po2", None, "edge"),
        "conv": ("int3/group16_po2", 16, "as given"),  # nine taps of one group each
        "depthwise": ("int3/channel_po2", None, "per channel: depthwise"),
        "pointwise": ("int3/group16_po2", None, "as given"),  # one group is the whole row
        "head": ("int8/channel_po2", None, "edge"),
    }


def test_without_edge_and_residual_all_formats_are_the_same() -> None:
    plan = make_plan(tiny_resnet(), images(1))
    assignment = assign(plan, spec("e2m1", "int4", edge=None, residual=None))
    assert {f.weight.format for f in assignment.layers.values()} == {parse_element("e2m1")}
    assert {q.format.name for q in assignment.sites.values()} == {"uint4", "int4"}
    minifloats = assign(plan, spec("int4", "e2m1", edge="ocp_e4m3", residual="e3m2"))
    assert {q.format.name for q in minifloats.sites.values()} == {"ocp_e4m3", "e3m2", "e2m1"}  # never unsigned


def test_input_channels_that_no_group_divides_get_one_scale_a_channel() -> None:
    assignment = assign(make_plan(tiny_resnet(), images(1)), spec("int4", scaling="group12"))
    assert assignment.layers["conv"].weight.name == "int4/channel"
    assert assignment.layers["conv"].rule == "per channel: 16 input channels are no multiple of 12"


def test_contradictions_are_refused() -> None:
    plan = make_plan(tiny_resnet(), images(1))
    with pytest.raises(AccumulatorError, match="conv got tile_size=32; leave tile_size out or give 8"):
        assign(plan, spec(scaling="group8", tile=32))


@pytest.mark.parametrize(
    ("unsigned", "signed"),
    [("ue3m2", "e3m1"), ("ue2m2", "e2m1"), ("ue3m0", "e2m0"), ("finite_ue4m3", "e4m2"), ("ue4m4", "finite_e4m3"),
     ("ue3m2b1", "e3m1b1"), ("ue3m0b5", "e2m0b5"), ("nan_ue4m3", "nan_e4m2")],
)  # fmt: skip
def test_an_unsigned_minifloat_is_signed_where_it_must_be(unsigned: str, signed: str) -> None:
    plan = make_plan(tiny_resnet(), images(1))
    sites = assign(plan, spec("int4", unsigned, residual=None)).sites
    assert {plan.site(name).nonnegative for name in sites} == {True, False}
    for name, quant in sites.items():
        if name not in {layer.site for layer in plan.layers if layer.name in plan.edges}:
            expected = parse_element(unsigned if plan.site(name).nonnegative else signed)
            assert quant.format == expected, name
            assert quant.format.bits == parse_element(unsigned).bits


def test_a_sign_needs_a_bit() -> None:
    with pytest.raises(
        DatapathError, match=r"^a minifloat of one bit has no room for a sign, but got ue1m0; use ue2m0"
    ):
        assign(make_plan(tiny_resnet(), images(1)), spec("int4", "ue1m0", residual=None))


def test_unsigned_minifloats_run_as_brevitas_runs_them_and_lose_less() -> None:
    model, plan, calibration = tiny_resnet(), make_plan(tiny_resnet(), images(1)), images()
    expected, errors = model(calibration), {}
    for name in ("ue2m2", "e2m1"):
        quantized = quantize(model, plan, spec("int8", name, residual=None, edge=None), calibration)
        logits = quantized.network(calibration)
        assert torch.equal(quantized.module(calibration), logits)
        errors[name] = float((logits - expected).detach().square().mean())
    assert errors["ue2m2"] < errors["e2m1"]


@pytest.mark.parametrize(
    ("formats", "message"),
    [
        ({"edge": "uint8"}, "the edge format must be signed, but got uint8; integer activations become unsigned by"),
        ({"weight": "ue3m2"}, "the weight format must be signed, but got ue3m2"),  # it would clip every negative weight
        ({"edge": "ue3m2"}, "the edge format must be signed, but got ue3m2"),
        ({"residual": "ue3m2"}, "the residual format must be signed, but got ue3m2"),
        ({"activation": "e8m0"}, "the activation format must have a zero, but got e8m0"),
        ({"residual": "e3m2_nosubnormals"}, "the residual format must have a zero, but got e3m2_nosubnormals"),
        (
            {"weight": "e8m7"},
            "the weight format must lie between 2^-80 and 2^80 to be computed in float32, but got e8m7;",
        ),
        ({"activation": "e3m2b200"}, "the activation format must lie between 2^-80 and 2^80"),
        ({"weight": "int25"}, "the weight format must have at most 24 bits to be exact in float32, but got int25."),
        ({"tile": 0}, "`tile_size` must be at least 1 product, but got tile_size=0."),
    ],
)
def test_formats_that_would_clip_or_vanish_are_refused(formats: dict[str, object], message: str) -> None:
    with pytest.raises(BitfrontError) as error:
        spec(**formats)  # type: ignore[arg-type]
    assert message in str(error.value)


def test_tile_of_a_whole_row_is_no_tile() -> None:
    assignment = assign(make_plan(tiny_resnet(), images(1)), spec(tile=24))
    assert {name: f.tile_size for name, f in assignment.layers.items()} == {
        "stem": None,  # 18 products
        "conv": 24,
        "depthwise": None,
        "pointwise": None,
        "head": None,  # 24 products
    }
    assert assignment.sites["input"].format == IntFormat(8, signed=False)
