"""Worse images than a network was trained on: noise and blur, the same for every network and every run."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from hwmodels.errors import BitfrontError

if TYPE_CHECKING:
    from torch import Tensor

SEED: Final = 2025
"""Of the noise; image i of a test set has a stream of its own, so that no order or number of images changes it."""

_NAME = re.compile(r"(noise|blur)(\d+(?:\.\d+)?)")
MOST_BLUR: Final = 16.0
"""Standard deviation (pixels) up to which images are blurred."""


class DegradeError(BitfrontError):
    """A degradation that does not exist, or that is none."""


@dataclass(frozen=True)
class Degradation:
    """What is done to an image.

    Args:
        kind: noise (added, normal) or blur (convolved with a normal).
        amount: standard deviation; of noise relative to the range of a pixel, of blur in pixels.
    """

    kind: str
    amount: float

    @property
    def name(self) -> str:
        """What :func:`parse_degradation` reads back: noise0.1, blur1."""
        return f"{self.kind}{self.amount:g}"

    def __call__(self, images: Tensor, first: int) -> Tensor:
        """Return the degraded images, rounded to 8 bits as a camera would.

        Args:
            images: float32 in [0, 1], (images, channels, height, width).
            first: number of the first of them within the test set.
        """
        changed = _blurred(images, self.amount) if self.kind == "blur" else _noisy(images, self.amount, first)
        return changed.clamp_(0.0, 1.0).mul_(255).round_().div_(255)


def _noisy(images: Tensor, deviation: float, first: int) -> Tensor:
    import torch

    streams = (torch.Generator().manual_seed((SEED << 32) + first + i) for i in range(len(images)))
    return images + deviation * torch.stack([torch.randn(images.shape[1:], generator=stream) for stream in streams])


def _blurred(images: Tensor, deviation: float) -> Tensor:
    """Convolved with a normal that is cut off at three standard deviations; the border is repeated."""
    import torch
    import torch.nn.functional as F

    reach = max(1, round(3 * deviation))
    offsets = torch.arange(-reach, reach + 1, dtype=torch.float32)
    kernel = torch.exp(-0.5 * (offsets / deviation) ** 2)
    kernel /= kernel.sum()
    channels = images.shape[1]
    down = kernel.view(1, 1, -1, 1).expand(channels, 1, -1, 1)
    padded = F.pad(images, (reach,) * 4, mode="replicate")
    return F.conv2d(F.conv2d(padded, down, groups=channels), down.transpose(2, 3), groups=channels)


def parse_degradation(name: str) -> Degradation | None:
    """The degradation of a name such as noise0.1 or blur1; None of none.

    Raises:
        DegradeError: there is none of that name.
    """
    if name == "none":
        return None
    match = _NAME.fullmatch(name)
    amount = float(match[2]) if match else 0.0
    if match is None or not 0 < amount <= (1.0 if match[1] == "noise" else MOST_BLUR):
        raise DegradeError(
            "a degradation must be none, noiseX (X up to 1, of a pixel's range) or blurX (X up to "
            f"{MOST_BLUR:g} pixels), but got {name!r}; write noise0.1 or blur1."
        )
    return Degradation(match[1], amount)
