"""From a plan to the operators of a dataflow accelerator."""

from __future__ import annotations

import pytest
import torch
from small_networks import images, spec, tiny_resnet
from torch import Tensor, nn

from hwmodels.accumulator import dot_range
from hwmodels.ops import Add, Depthwise, Duplicate, MatVec, Network, Pad, Pool, Requantize, Window
from workloads.assign import provisional_numerics
from workloads.graph import Kind
from workloads.lowering import lower
from workloads.plan import PlanError, make_plan
from workloads.quantize import quantize
from workloads.vision.digits_resnet import DigitsResNet


def test_operators_of_a_residual_network() -> None:
    network = lower(make_plan(tiny_resnet(), images(1)), "tiny")
    assert network.operators == (
        Pad("stem.window.padding", "stem.window", 2, (8, 8), (1, 1, 1, 1), "input"),
        Window("stem.window", "stem", 2, (10, 10), (8, 8), (3, 3), (1, 1), (1, 1), False, "input"),
        MatVec("stem", 16, 18, 64, "input"),
        Requantize("stem.requantize", "stem", 16, 64, "relu1"),
        Duplicate("relu1.duplicate", 16, 64, 2, "relu1"),
        Pad("conv.window.padding", "conv.window", 16, (8, 8), (1, 1, 1, 1), "relu1"),
        Window("conv.window", "conv", 16, (10, 10), (8, 8), (3, 3), (1, 1), (1, 1), False, "relu1"),
        MatVec("conv", 16, 144, 64, "relu1"),
        Requantize("conv.requantize", "conv", 16, 64, "add.in"),
        Requantize("relu1.duplicate.requantize", "relu1.duplicate", 16, 64, "add.in"),
        Add("add", 16, 64, "add.in"),
        Requantize("add.requantize", "add", 16, 64, "relu2"),
        Pad("depthwise.window.padding", "depthwise.window", 16, (8, 8), (1, 1, 1, 1), "relu2"),
        Window("depthwise.window", "depthwise", 16, (10, 10), (4, 4), (3, 3), (2, 2), (1, 1), True, "relu2"),
        Depthwise("depthwise", 16, 9, 16, "relu2"),
        Requantize("depthwise.requantize", "depthwise", 16, 16, "relu3"),
        MatVec("pointwise", 24, 16, 16, "relu3"),
        Requantize("pointwise.requantize", "pointwise", 24, 16, "relu4"),
        Pool("pool", 24, 16, 1, "average", "relu4"),
        Requantize("pool.requantize", "pool", 24, 1, "pool"),
        MatVec("head", 5, 24, 1, "pool"),
    )


def test_multiply_accumulates_are_those_of_the_torch_layers() -> None:
    model = DigitsResNet().eval()
    counted = 0

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal counted
        assert isinstance(module, nn.Conv2d | nn.Linear)
        counted += output[0].numel() * module.weight[0].numel()

    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(count)
    x = torch.rand(1, 1, 32, 32)
    with torch.no_grad():
        model(x)
    network = lower(make_plan(DigitsResNet(), x), "digits")
    assert network.macs == counted > 1e6


def test_every_stream_is_produced_once_and_in_order() -> None:
    plan = make_plan(DigitsResNet(), torch.rand(1, 1, 32, 32))
    network = lower(plan, "digits")
    written = {"input"}
    for op in network.operators:
        if isinstance(op, Requantize):
            written.add(op.site)
        else:
            assert op.site in written  # nothing reads a site before its requantizer
    assert written == {site.name for site in plan.sites}
    adds = [op for op in network.operators if isinstance(op, Add)]
    for add in adds:
        feeders = [op for op in network.operators if isinstance(op, Requantize) and op.site == add.site]
        assert len(feeders) == 2


def test_max_pooling_keeps_its_grid_and_has_a_window() -> None:
    model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 3))
    network = lower(make_plan(model, images(1)), "pooled")
    assert [op.name for op in network.operators] == ["0.window", "0", "0.requantize", "2.window", "2", "4"]
    assert network.operators[4] == Pool("2", 4, 4, 9, "max", "1")
    assert network.operators[5] == MatVec("4", 3, 36, 1, "1")


def test_pointwise_stride_needs_a_window() -> None:
    network = lower(make_plan(nn.Sequential(nn.Conv2d(2, 4, 1, stride=2)), images(1)), "strided")
    assert [type(op) for op in network.operators] == [Window, MatVec]


def test_input_that_goes_straight_to_an_add_is_refused() -> None:
    class Straight(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.relu, self.conv = nn.ReLU(), nn.Conv2d(2, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(self.relu(x))

    plan = make_plan(Straight(), images(1))
    assert [plan.kind(n) for n in plan.graph.graph.nodes][1] is Kind.RELU
    with pytest.raises(PlanError, match="input must be read by a layer with weights before site 'relu'"):
        lower(plan, "straight")


def _tiny() -> tuple[nn.Module, Network]:
    model = tiny_resnet()
    return model, lower(make_plan(model, images(1)), "tiny")


@pytest.mark.parametrize(
    ("names", "options"),
    [
        (("int4", "int4"), {}),
        (("int3", "int8"), {"scaling": "group16_po2"}),
        (("e2m1", "e3m2"), {"edge": None}),
        (("int4", "int4", "gptq"), {"tile": 32}),
        (("int4", "int4", "bias_correction"), {"tile": 32}),
        (("int4", "int4", "axe"), {"bits": 14}),
    ],
)
def test_provisional_accumulators_are_never_wider_than_proved_ones(
    names: tuple[str, ...], options: dict[str, object]
) -> None:
    model, network = _tiny()
    plan = make_plan(model, images(1))
    asked = spec(*names, **options)  # type: ignore[arg-type]
    before = provisional_numerics(network, plan, asked)
    quantized = quantize(model, plan, asked, images())
    assert before.sites == quantized.numerics.sites
    for result in quantized.layers:
        early, late = before.layers[result.name], quantized.numerics.layers[result.name]
        assert early.weight == late.weight
        assert early.accumulator.tile_size == late.accumulator.tile_size == result.tile_size
        assert early.accumulator.bits <= late.accumulator.bits
        assert result.bits == dot_range(result.codes, result.activation.format, result.tile_size).bits
        if asked.recipe.name in ("rtn", "bias_correction"):
            assert early == late  # nothing changes rounded weights: the bound is the width itself
