"""A folder of small generated images, and networks that a user might name as `module:function`."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

CLASSES = ("ant", "bee", "cat")


def write_images(folder: Path, count: int = 8) -> Path:
    """Write `count` images of several sizes and kinds, class by class in turn; return the folder."""
    rng = np.random.default_rng(0)
    for name in CLASSES:
        (folder / name).mkdir(parents=True, exist_ok=True)
    for i in range(count):
        height, width = (40 + 8 * (i % 3), 40 + 8 * (i % 4))
        pixels = rng.integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
        kind = ("png", "jpeg", "bmp")[i % 3]
        Image.fromarray(pixels).save(folder / CLASSES[i % 3] / f"{i}.{kind}")
    return folder


class Small(nn.Module):
    """A small network on (images, 3, height, width)."""

    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.relu = nn.ReLU()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.head = nn.Linear(8, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.flatten(self.pool(self.relu(self.conv(x)))))


class Sigmoid(Small):
    def __init__(self) -> None:
        super().__init__()
        self.relu = nn.Sigmoid()


def small() -> nn.Module:
    return Small()


def four_classes() -> nn.Module:
    return Small(4)


def sigmoid() -> nn.Module:
    return Sigmoid()


def without_weights() -> nn.Module:
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())


def flat() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(100, 3))


def with_nan() -> nn.Module:
    model = Small()
    with torch.no_grad():
        model.head.bias[1] = float("nan")
    return model


def broken() -> nn.Module:
    raise RuntimeError("out of luck")


class Asserting(Small):
    def forward(self, x: Tensor) -> Tensor:
        assert x.shape[2] == 64
        return super().forward(x)


def asserting() -> nn.Module:
    return Asserting()


class Failing(Small):
    def forward(self, x: Tensor) -> Tensor:
        raise KeyError


def failing() -> nn.Module:
    return Failing()


def number() -> int:
    return 3


def vit_of_three_classes() -> nn.Module:
    from workloads.vision.constructors import vit_b_32

    return vit_b_32(3)
