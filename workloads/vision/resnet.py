"""ResNet-18 (arXiv 1512.03385, table 1) in plain torch, with the parameter names of torchvision's published weights."""

from __future__ import annotations

from torch import Tensor, nn


class ResidualAdd(nn.Module):
    """The sum of a block's branch and its shortcut, as a module so that quantization can find and replace it."""

    def forward(self, branch: Tensor, shortcut: Tensor) -> Tensor:
        """Return `branch + shortcut`, both (images, channels, height, width)."""
        return branch + shortcut


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut: the identity, or a strided 1x1 convolution where the shape changes.

    Args:
        in_channels: of the input.
        out_channels: of the output.
        stride: of the first convolution and of the shortcut.
    """

    def __init__(self, in_channels: int, out_channels: int, *, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            shortcut = nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(out_channels))
        self.add = ResidualAdd()
        self.relu2 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Return (images, out_channels, height / stride, width / stride), not negative."""
        branch = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x)))))
        result: Tensor = self.relu2(self.add(branch, self.downsample(x)))
        return result


class ResNet18(nn.Module):
    """(images, 3, height, width) -> logits (images, classes); 11,689,512 parameters with 1,000 classes.

    Args:
        classes: of the answer.
    """

    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.layer1 = _stage(64, 64, stride=1)
        self.layer2 = _stage(64, 128, stride=2)
        self.layer3 = _stage(128, 256, stride=2)
        self.layer4 = _stage(256, 512, stride=2)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(512, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        result: Tensor = self.fc(self.flatten(self.avgpool(x)))
        return result


def _stage(in_channels: int, out_channels: int, *, stride: int) -> nn.Sequential:
    return nn.Sequential(
        BasicBlock(in_channels, out_channels, stride=stride), BasicBlock(out_channels, out_channels, stride=1)
    )
