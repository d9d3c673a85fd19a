"""Small networks with random weights, and short ways to write a specification: for tests that need no training."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hwmodels.catalog import parse_element
from hwmodels.datapath import Overflow, TensorQuant, parse_scaling
from workloads.numerics import NumericsSpec, Override
from workloads.recipes import parse_recipe
from workloads.scale_rule import parse_scale_rule


class TinyResNet(nn.Module):
    """Stem, residual add of two branches, depthwise and pointwise convolution, pool and head; batch norm everywhere."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(2, 16, 3, padding=1, bias=False)
        self.stem_bn = nn.BatchNorm2d(16)
        self.relu1 = nn.ReLU()
        self.conv = nn.Conv2d(16, 16, 3, padding=1, bias=False)
        self.conv_bn = nn.BatchNorm2d(16)
        self.relu2 = nn.ReLU()
        self.depthwise = nn.Conv2d(16, 16, 3, stride=2, padding=1, groups=16, bias=False)
        self.depthwise_bn = nn.BatchNorm2d(16)
        self.relu3 = nn.ReLU()
        self.pointwise = nn.Conv2d(16, 24, 1, bias=False)
        self.pointwise_bn = nn.BatchNorm2d(24)
        self.relu4 = nn.ReLU()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.head = nn.Linear(24, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu1(self.stem_bn(self.stem(x)))
        x = self.relu2(self.conv_bn(self.conv(x)) + x)
        x = self.relu3(self.depthwise_bn(self.depthwise(x)))
        x = self.relu4(self.pointwise_bn(self.pointwise(x)))
        return self.head(self.flatten(self.pool(x)))


def tiny_resnet() -> TinyResNet:
    """The same random network every time, with batch norm statistics that are not trivial."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = TinyResNet().train()
        with torch.no_grad():
            for module in model.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.weight.uniform_(0.5, 1.5)
                    module.bias.uniform_(-0.3, 0.3)
            for _ in range(20):
                model(torch.rand(32, 2, 8, 8))
        return model.eval()


def images(count: int = 64, *, seed: int = 1) -> Tensor:
    """Random images in [0, 1), smooth enough that neighbouring pixels agree."""
    noise = torch.rand(count, 2, 4, 4, generator=torch.Generator().manual_seed(seed))
    return nn.functional.interpolate(noise, size=(8, 8), mode="bilinear", align_corners=False)


def spec(
    weight: str = "int8",
    activation: str = "int8",
    recipe: str = "rtn",
    scaling: str = "channel",
    *,
    activation_scaling: str = "tensor",
    edge: str | None = "int8",
    residual: str | None = "int8",
    bits: int | None = None,
    tile: int | None = None,
    weight_rule: str = "absmax",
    activation_rule: str | None = None,
    overrides: tuple[Override, ...] = (),
    overflow: Overflow = Overflow.IMPOSSIBLE,
    lanes: tuple[tuple[str, int], ...] = (),
) -> NumericsSpec:
    """A specification by names."""
    return NumericsSpec(
        weight=TensorQuant(parse_element(weight), parse_scaling(scaling)),
        activation=TensorQuant(parse_element(activation), parse_scaling(activation_scaling)),
        recipe=parse_recipe(recipe),
        edge=None if edge is None else parse_element(edge),
        residual=None if residual is None else parse_element(residual),
        accumulator_bits=bits,
        tile_size=tile,
        weight_rule=parse_scale_rule(weight_rule),
        activation_rule=None if activation_rule is None else parse_scale_rule(activation_rule),
        overrides=overrides,
        overflow=overflow,
        lanes=lanes,
    )
