"""What every workload offers, and what a measurement of one is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from torch import Tensor, nn


class Workload(Protocol):
    """A trained network with the images it is calibrated and judged on; equal calls give equal bytes."""

    @property
    def name(self) -> str:
        """The key in `workloads.registry.WORKLOADS`."""

    @property
    def task(self) -> str:
        """What the network does, in one sentence."""

    @property
    def example_input(self) -> Tensor:
        """One input, (1, ...): the shape and range that tracing and export need."""

    @property
    def float_accuracy(self) -> float:
        """Top-1 of the unquantized network on `test()`, a fraction, as its checkpoint states it."""

    @property
    def data_id(self) -> str:
        """A hash of everything that `calibration()` and `test()` return."""

    @property
    def checkpoint_id(self) -> str:
        """A hash of the checkpoint's bytes."""

    def load_model(self) -> nn.Module:
        """Return a new float network in eval mode, with the committed checkpoint's weights."""

    def calibration(self) -> Tensor:
        """Return the inputs that quantizers may look at, (samples, ...); none of them is a test input."""

    def test(self) -> tuple[Tensor, Tensor]:
        """Return the inputs (samples, ...) and int64 labels (samples,) that accuracy is measured on."""


@dataclass(frozen=True)
class Metrics:
    """How good a network is on a test set.

    Attributes:
        top1: fraction of the samples whose largest logit is the label's.
        loss: mean cross-entropy, nats.
        samples: number of test samples.
    """

    top1: float
    loss: float
    samples: int

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise ValueError(f"samples must be at least 1, but got {self.samples}")
        if not 0.0 <= self.top1 <= 1.0:
            raise ValueError(f"top1 must be a fraction in [0, 1], but got {self.top1}")
        if not math.isfinite(self.loss):
            raise ValueError(f"loss must be finite, but got {self.loss}")

    @property
    def correct(self) -> int:
        """Number of samples classified correctly."""
        return round(self.top1 * self.samples)

    @property
    def stderr(self) -> float:
        """Binomial standard error of `top1`, a fraction; 0 at 0 and 1, where `interval` still says something."""
        return math.sqrt(self.top1 * (1.0 - self.top1) / self.samples)

    def interval(self, *, z: float = 1.959963984540054) -> tuple[float, float]:
        """Return the Wilson interval of `top1`, 95 % by default."""
        return wilson_interval(self.correct, self.samples, z=z)


def wilson_interval(successes: int, samples: int, *, z: float = 1.959963984540054) -> tuple[float, float]:
    """Return the score interval (low, high) of a proportion, within [0, 1].

    E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927), 209-212. It
    takes the samples as independent; images that share a source digit are not quite, and two networks judged on the
    same images differ by less than two such intervals suggest.

    Args:
        successes: how many samples succeeded.
        samples: how many there were.
        z: normal quantile of the coverage; the default is 95 %, two-sided.

    Raises:
        ValueError: no samples, or successes outside 0 to samples.
    """
    if samples < 1 or not 0 <= successes <= samples:
        raise ValueError(f"successes must be within 0 to samples >= 1, but got {successes} of {samples}")
    rate = successes / samples
    spread = z * math.sqrt(rate * (1.0 - rate) / samples + (z / (2 * samples)) ** 2)
    middle = rate + z * z / (2 * samples)
    scale = 1.0 + z * z / samples
    return max(0.0, (middle - spread) / scale), min(1.0, (middle + spread) / scale)
