"""The workload `digits-resnet`: a small residual network in plain torch that reads cluttered handwritten digits.

The network uses only what FPGA dataflow compilers map: ungrouped and depthwise convolutions, batch norm, ReLU, residual adds, a
global average pool over 4x4 pixels (so its divisor is a shift) and a linear head. Every activation has a module of its
own, and so has every residual add, because quantization replaces modules by name or by class; the forward passes have
no control flow that depends on data, so that `torch.fx` traces them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn

from workloads.base import Metrics, Workload
from workloads.checkpoint import CheckpointError, file_id, load_checkpoint, read_metadata
from workloads.metrics import evaluate_top1
from workloads.vision.digits_data import CLASSES, data_hash, make_split

CHECKPOINT: Final = Path(__file__).with_name("digits_resnet.safetensors")
REMEDY: Final = "run `python -m workloads.vision.train` to train it"

_BATCH = 100  # images per forward pass: the rounding kernel's temporaries stay in cache (3-5 times faster than 500)


class ResidualAdd(nn.Module):
    """The sum of a block's branch and its shortcut, as a module so that quantization can find and replace it."""

    def forward(self, branch: Tensor, shortcut: Tensor) -> Tensor:
        """Return `branch + shortcut`, both (images, channels, height, width)."""
        return branch + shortcut


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


@cache
def _tensors(split: str) -> tuple[Tensor, Tensor]:
    """Return a split's images (images, 1, 32, 32) and labels, drawn once per process."""
    digits = make_split(split)
    return torch.from_numpy(digits.images), torch.from_numpy(digits.labels)


@cache
def _data_id() -> str:
    return data_hash(make_split("calibration"), make_split("test"))


@dataclass(frozen=True)
class DigitsResNetWorkload:
    """`digits-resnet` as `workloads.base.Workload`; `checkpoint` can name another training of the same network."""

    checkpoint: Path = CHECKPOINT
    name: str = "digits-resnet"
    task: str = "classify handwritten digits (10 classes) amid clutter, noise and faint contrast on 32x32 pixels"

    @property
    def example_input(self) -> Tensor:
        """The first calibration image, (1, 1, 32, 32)."""
        return self.calibration()[:1]

    @property
    def float_accuracy(self) -> float:
        """Top-1 of the float network on the test split, a fraction, as the checkpoint states it.

        Raises:
            CheckpointError: the checkpoint is missing, damaged, or does not state it.
        """
        metadata = read_metadata(self.checkpoint, remedy=REMEDY)
        try:
            return int(metadata["correct"]) / int(metadata["samples"])
        except (KeyError, ValueError, ZeroDivisionError) as error:
            raise CheckpointError(
                f"checkpoint {self.checkpoint} must state `correct` and `samples` as whole numbers, "
                f"but it states {sorted(metadata)}; {REMEDY}"
            ) from error

    @property
    def data_id(self) -> str:
        """SHA-256 of the calibration and test splits."""
        return _data_id()

    @property
    def checkpoint_id(self) -> str:
        """SHA-256 of the checkpoint file.

        Raises:
            CheckpointError: the file cannot be read.
        """
        return file_id(self.checkpoint, remedy=REMEDY)

    def load_model(self) -> DigitsResNet:
        """Return a new network in eval mode with the checkpoint's weights.

        Raises:
            CheckpointError: the checkpoint is missing or damaged, or another network's.
        """
        model = DigitsResNet()
        load_checkpoint(model, self.checkpoint, remedy=REMEDY)
        return model.eval()

    def calibration(self) -> Tensor:
        """Return the 512 calibration images, (512, 1, 32, 32)."""
        return _tensors("calibration")[0]

    def test(self) -> tuple[Tensor, Tensor]:
        """Return the 2,000 test images (2000, 1, 32, 32) and their labels."""
        return _tensors("test")

    def judge(self, reference: nn.Module, inputs: Tensor, labels: Tensor) -> Callable[[nn.Module], Metrics]:
        """Return the function that measures top-1 and loss on these images; the float network has no say in them."""
        return partial(evaluate_top1, images=inputs, labels=labels, batch_size=_BATCH)


WORKLOAD: Final[Workload] = DigitsResNetWorkload()
