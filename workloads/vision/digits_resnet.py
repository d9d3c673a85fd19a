"""The workload `digits-resnet`: a small residual network in plain torch that reads cluttered handwritten digits.

The network uses only what FPGA dataflow compilers map: ungrouped and depthwise convolutions, batch norm, ReLU, residual adds, a
global average pool over 4x4 pixels (so its divisor is a shift) and a linear head. Every activation has a module of its
own, and so has every residual add, because quantization replaces modules by name or by class; the forward passes have
no control flow that depends on data, so that `torch.fx` traces them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from torch import Tensor, nn

from workloads.base import Workload
from workloads.vision.digits import DigitsWorkload
from workloads.vision.digits_data import CLASSES
from workloads.vision.resnet import ResidualAdd

CHECKPOINT: Final = Path(__file__).with_name("digits_resnet.safetensors")


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut: the identity, or a strided 1x1 convolution where the shape changes.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        stride: of the first convolution and of the shortcut.
    """

    def __init__(self, in_channels: int, out_channels: int, *, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            self.shortcut = nn.Sequential()
            self.shortcut.add_module("conv", nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False))
            self.shortcut.add_module("bn", nn.BatchNorm2d(out_channels))
        self.add = ResidualAdd()
        self.relu2 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Return (images, out_channels, height / stride, width / stride), not negative."""
        branch = self.relu1(self.bn1(self.conv1(x)))
        branch = self.bn2(self.conv2(branch))
        result: Tensor = self.relu2(self.add(branch, self.shortcut(x)))
        return result


class SeparableBlock(nn.Module):
    """A depthwise 3x3 convolution and a pointwise one; it has no shortcut.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        stride: of the depthwise convolution.
    """

    def __init__(self, in_channels: int, out_channels: int, *, stride: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(
            in_channels, in_channels, 3, stride=stride, padding=1, groups=in_channels, bias=False
        )
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.relu1 = nn.ReLU()
        self.pointwise = nn.Conv2d(in_channels, out_channels, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.relu2 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Return (images, out_channels, height / stride, width / stride), not negative."""
        x = self.relu1(self.bn1(self.depthwise(x)))
        result: Tensor = self.relu2(self.bn2(self.pointwise(x)))
        return result


class InvertedResidual(nn.Module):
    """A pointwise expansion, a depthwise 3x3 and a pointwise projection without ReLU, added to the block's input.

    Its depthwise and narrow layers are what few bits hurt most, as in MobileNetV2.

    Args:
        channels: of input and output.
        expanded: channels of the depthwise convolution.
    """

    def __init__(self, channels: int, expanded: int) -> None:
        super().__init__()
        self.expand = nn.Conv2d(channels, expanded, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(expanded)
        self.relu1 = nn.ReLU()
        self.depthwise = nn.Conv2d(expanded, expanded, 3, padding=1, groups=expanded, bias=False)
        self.bn2 = nn.BatchNorm2d(expanded)
        self.relu2 = nn.ReLU()
        self.project = nn.Conv2d(expanded, channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(channels)
        self.add = ResidualAdd()
        self.relu3 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Return (images, channels, height, width), not negative."""
        branch = self.relu1(self.bn1(self.expand(x)))
        branch = self.relu2(self.bn2(self.depthwise(branch)))
        branch = self.bn3(self.project(branch))
        result: Tensor = self.relu3(self.add(branch, x))
        return result


class DigitsResNet(nn.Module):
    """(images, 1, 32, 32) in [0, 1] -> logits (images, 10): 58,906 parameters, 2,733,184 MACs per image."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 16, 3, stride=2, padding=1, bias=False)
        self.stem_bn = nn.BatchNorm2d(16)
        self.stem_relu = nn.ReLU()
        self.block1 = ResidualBlock(16, 16, stride=1)  # 16x16 pixels
        self.block2 = ResidualBlock(16, 32, stride=2)  # 8x8
        self.block3 = SeparableBlock(32, 64, stride=2)  # 4x4
        self.block4 = InvertedResidual(64, 128)
        self.block5 = InvertedResidual(64, 128)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.head = nn.Linear(64, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits (images, 10) of (images, 1, 32, 32) pixels in [0, 1]."""
        x = self.stem_relu(self.stem_bn(self.stem(x)))
        x = self.block3(self.block2(self.block1(x)))
        x = self.block5(self.block4(x))
        result: Tensor = self.head(self.flatten(self.pool(x)))
        return result


WORKLOAD: Final[Workload] = DigitsWorkload("digits-resnet", DigitsResNet, CHECKPOINT)
