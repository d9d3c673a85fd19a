"""The workload `digits-vit`: a small vision transformer that reads the same digits as `digits-resnet`.

Patches are cut from the output of one convolution, as arXiv 2106.14881 has it: so few images do not teach a transformer to see
edges by itself.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from workloads.base import Workload
from workloads.vision.digits import DigitsWorkload
from workloads.vision.digits_data import CANVAS, CLASSES
from workloads.vision.mobilenet import ConvNormReLU
from workloads.vision.transformer import VisionTransformer

CHECKPOINT: Final = Path(__file__).with_name("digits_vit.safetensors")

_STEM: Final = 16  # channels


def digits_vit() -> VisionTransformer:
    """(images, 1, 32, 32) in [0, 1] -> logits (images, 10): 118,970 parameters, 1,970,816 MACs in layers per image.

    Patches of 4x4 pixels on 16x16: 17 tokens of 64 channels, 3 blocks.
    """
    return VisionTransformer(
        size=CANVAS // 2,
        patch=4,
        channels=_STEM,
        width=64,
        heads=4,
        layers=3,
        hidden=128,
        classes=CLASSES,
        stem=ConvNormReLU(1, _STEM, 3, stride=2),
    )


WORKLOAD: Final[Workload] = DigitsWorkload("digits-vit", digits_vit, CHECKPOINT)
