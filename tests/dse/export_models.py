"""A small network with every operator that exports know, quantized by name; and ways to damage an exported file."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn

from dse.export.gate import GateReport, check_export
from hwmodels.catalog import parse_element
from hwmodels.datapath import TensorQuant, parse_scaling
from hwmodels.ops import Network
from workloads.lowering import lower
from workloads.metrics import evaluate_top1
from workloads.numerics import NumericsSpec
from workloads.plan import Plan, make_plan
from workloads.quantize import QuantizedModel, quantize
from workloads.recipes import parse_recipe


class SmallNet(nn.Module):
    """Stem, residual add, max pool, depthwise and pointwise convolution with a branch, global mean, head: 2x12x12 -> 5."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(2, 16, 3, padding=1, bias=False)
        self.stem_bn = nn.BatchNorm2d(16)
        self.relu1 = nn.ReLU()
        self.conv = nn.Conv2d(16, 16, 3, padding=1, bias=False)
        self.conv_bn = nn.BatchNorm2d(16)
        self.relu2 = nn.ReLU()
        self.max_pool = nn.MaxPool2d(2)
        self.depthwise = nn.Conv2d(16, 16, 3, padding=1, groups=16)
        self.relu3 = nn.ReLU()
        self.pointwise = nn.Conv2d(16, 32, 1, stride=2)
        self.relu4 = nn.ReLU()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.head = nn.Linear(32, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu1(self.stem_bn(self.stem(x)))
        x = self.relu2(self.conv_bn(self.conv(x)) + x)
        x = self.relu3(self.depthwise(self.max_pool(x)))
        x = self.relu4(self.pointwise(x))
        return self.head(self.flatten(self.pool(x)))


@cache
def small_net() -> nn.Module:
    """The same random network every time, with batch norm statistics that are not trivial."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model = SmallNet().train()
        with torch.no_grad():
            for _ in range(10):
                model(torch.rand(16, 2, 12, 12))
        return model.eval()


@cache
def images(count: int = 60, seed: int = 5) -> Tensor:
    """Smooth random images in [0, 1)."""
    noise = torch.rand(count, 2, 5, 5, generator=torch.Generator().manual_seed(seed))
    return nn.functional.interpolate(noise, size=(12, 12), mode="bilinear", align_corners=False)


@cache
def plan() -> Plan:
    """The plan of the small network."""
    return make_plan(small_net(), images()[:1])


@cache
def network() -> Network:
    """Its operators."""
    return lower(plan(), "small")


@cache
def quantized(
    weight: str,
    activation: str,
    scaling: str = "channel",
    recipe: str = "rtn",
    bits: int | None = None,
    tile: int | None = None,
    activation_scaling: str = "tensor",
) -> QuantizedModel:
    """The small network quantized, from names; 8-bit edges."""
    spec = NumericsSpec(
        weight=TensorQuant(parse_element(weight), parse_scaling(scaling)),
        activation=TensorQuant(parse_element(activation), parse_scaling(activation_scaling)),
        recipe=parse_recipe(recipe),
        accumulator_bits=bits,
        tile_size=tile,
    )
    return quantize(small_net(), plan(), spec, images(64, 6))


def labels(model: QuantizedModel) -> Tensor:
    """What the model itself says of :func:`images`, so that its top-1 is 1."""
    with torch.inference_mode():
        return model.network(images()).argmax(dim=1)


def gate(path: Path, model: QuantizedModel, exporter: str = "qonnx") -> GateReport:
    """The gate on :func:`images`, whose labels are what the model itself says."""
    judge = partial(evaluate_top1, images=images(), labels=labels(model))
    return check_export(path, model, images()[:1], images(), judge, exporter=exporter)


def edited(source: Path, target: Path, edit: Callable[[onnx.ModelProto], None]) -> Path:
    """A copy of an ONNX file after an edit."""
    model = onnx.load(source)
    edit(model)
    target.write_bytes(model.SerializeToString())
    return target


def node(model: onnx.ModelProto, name: str) -> onnx.NodeProto:
    """The node of that name."""
    return next(n for n in model.graph.node if n.name == name)


def initializer(model: onnx.ModelProto, name: str) -> onnx.TensorProto:
    """The initializer of that name."""
    return next(t for t in model.graph.initializer if t.name == name)


def set_values(model: onnx.ModelProto, name: str, change: Callable[..., object]) -> None:
    """Change the values of an initializer."""
    tensor = initializer(model, name)
    array = onnx.numpy_helper.to_array(tensor).copy()
    tensor.CopyFrom(onnx.numpy_helper.from_array(change(array), name))
