"""MobileNetV2 (arXiv 1801.04381, table 2) in plain torch, with the parameter names of torchvision's published weights."""

from __future__ import annotations

from typing import Final

from torch import Tensor, nn

STAGES: Final = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
"""Expansion, output channels, blocks and stride of the first of them: table 2 of the paper."""


class ConvNormReLU(nn.Sequential):
    """A convolution, batch norm and ReLU.

    Args:
        in_channels: of the input.
        out_channels: of the output.
        kernel: height and width, odd; padded so that a stride of 1 keeps the size.
        stride: of the convolution.
        groups: 1, or `in_channels` for a depthwise convolution.
        activation: makes the module behind the norm.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        *,
        stride: int = 1,
        groups: int = 1,
        activation: type[nn.Module] = nn.ReLU,
    ) -> None:
        super().__init__(
            nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, groups=groups, bias=False),
            nn.BatchNorm2d(out_channels),
            activation(),
        )


class InvertedResidual(nn.Module):
    """Expansion, depthwise 3x3 and linear projection, added to the block's input where the shapes agree.

    Names of the parts are torchvision's, so that its published weights fit the full-size network.

    Args:
        in_channels: of the input.
        out_channels: of the output.
        stride: of the depthwise convolution.
        expansion: channels of the depthwise convolution per input channel; 1 leaves the expansion out.
        activation: makes the modules behind expansion and depthwise convolution.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        stride: int,
        expansion: int,
        activation: type[nn.Module] = nn.ReLU,
    ) -> None:
        super().__init__()
        hidden = in_channels * expansion
        layers: list[nn.Module] = []
        if expansion != 1:
            layers.append(ConvNormReLU(in_channels, hidden, 1, activation=activation))
        layers += [
            ConvNormReLU(hidden, hidden, 3, stride=stride, groups=hidden, activation=activation),
            nn.Conv2d(hidden, out_channels, 1, bias=False),
            nn.BatchNorm2d(out_channels),
        ]
        self.conv = nn.Sequential(*layers)
        self.is_residual = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        """Return (images, out_channels, height / stride, width / stride), of either sign."""
        branch: Tensor = self.conv(x)
        return x + branch if self.is_residual else branch


class MobileNetV2(nn.Module):
    """(images, 3, height, width) -> logits (images, classes); 3,504,872 parameters with 1,000 classes.

    Args:
        classes: of the answer.
    """

    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        blocks: list[nn.Module] = [ConvNormReLU(3, 32, 3, stride=2, activation=nn.ReLU6)]
        channels = 32
        for expansion, wider, repeats, first in STAGES:
            for repeat in range(repeats):
                stride = 1 if repeat else first
                blocks.append(
                    InvertedResidual(channels, wider, stride=stride, expansion=expansion, activation=nn.ReLU6)
                )
                channels = wider
        self.features = nn.Sequential(*blocks, ConvNormReLU(channels, 1280, 1, activation=nn.ReLU6))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(1280, classes))

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        result: Tensor = self.classifier(self.flatten(self.pool(self.features(x))))
        return result
