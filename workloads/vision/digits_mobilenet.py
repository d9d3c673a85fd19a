"""The workload `digits-mobilenet`: a small MobileNetV2 (arXiv 1801.04381) that reads the same digits as `digits-resnet`.

Its blocks expand with a pointwise convolution, filter each channel with a depthwise one, and project to a narrow tensor
without an activation behind it. The channels of a depthwise layer differ widely in range, and each is filtered by few
weights: what few bits hurt most. The activation is ReLU, not the paper's ReLU6, because equalization (arXiv 1906.04721,
section 5.1.1) moves scales through it; a quantizer clips anyway.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from torch import Tensor, nn

from workloads.base import Workload
from workloads.vision.digits import DigitsWorkload
from workloads.vision.digits_data import CLASSES
from workloads.vision.mobilenet import ConvNormReLU, InvertedResidual

CHECKPOINT: Final = Path(__file__).with_name("digits_mobilenet.safetensors")

_EXPANSION: Final = 4
_BLOCKS: Final = ((16, 16, 1, 1), (16, 32, 2, _EXPANSION), (32, 32, 1, _EXPANSION), (32, 64, 2, _EXPANSION))
_BLOCKS_ON_4X4: Final = ((64, 64, 1, _EXPANSION),)
"""Input channels, output channels, stride and expansion of each block; the pixels are 16x16, 8x8 and 4x4."""


class DigitsMobileNet(nn.Module):
    """(images, 1, 32, 32) in [0, 1] -> logits (images, 10): 74,570 parameters, 2,272,512 MACs per image."""

    def __init__(self) -> None:
        super().__init__()
        blocks = [
            InvertedResidual(channels, wider, stride=stride, expansion=expansion)
            for channels, wider, stride, expansion in (*_BLOCKS, *_BLOCKS_ON_4X4)
        ]
        self.features = nn.Sequential(ConvNormReLU(1, 16, 3, stride=2), *blocks, ConvNormReLU(64, 128, 1))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.classifier = nn.Linear(128, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits (images, 10) of (images, 1, 32, 32) pixels in [0, 1]."""
        result: Tensor = self.classifier(self.flatten(self.pool(self.features(x))))
        return result


WORKLOAD: Final[Workload] = DigitsWorkload("digits-mobilenet", DigitsMobileNet, CHECKPOINT)
