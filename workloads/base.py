"""What every workload offers, and what a measurement of one is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor, nn

    from workloads.samples import Samples


Z = 1.959963984540054
"""Normal quantile of a two-sided 95 % interval."""


class Measured(Protocol):
    """What a measurement gave: the metrics that a workload has, and no others."""

    def columns(self) -> dict[str, float | int]:
        """Every metric by its name, `name_low` and `name_high` where it has a 95 % interval, and `samples`."""


class Workload(Protocol):
    """A trained network with the samples it is calibrated and judged on; equal calls give equal bytes.

    A sample is an image, or a window of tokens. What hardware takes in at a time, a *frame*, is an image, one token of a
    decoder, or a window of an encoder.
    """

    @property
    def name(self) -> str:
        """What reports call it; the key in `workloads.registry.WORKLOADS` if it is there."""

    @property
    def task(self) -> str:
        """What the network does, in one sentence."""

    @property
    def example_input(self) -> Tensor:
        """One frame, (1, ...): the shape and range that tracing and export need."""

    @property
    def data_id(self) -> str:
        """A hash of everything that `calibration()` and `test()` return."""

    @property
    def checkpoint_id(self) -> str:
        """A hash of the checkpoint's bytes."""

    def load_model(self) -> nn.Module:
        """Return a new float network in eval mode, with the checkpoint's weights."""

    def calibration(self) -> Samples:
        """Return the inputs that quantizers may look at, (samples, ...); none of them is a test input."""

    def test(self) -> tuple[Samples, Tensor]:
        """Return the inputs (samples, ...) and the int64 labels, (samples,) or one per token, (samples, tokens)."""

    def judge(self, reference: nn.Module, inputs: Samples, labels: Tensor) -> Callable[[nn.Module], Measured]:
        """Return the function that measures a network on these samples of `test()`.

        Args:
            reference: the float network. What is needed of it is computed once, here, and not for every network measured.
            inputs: as `test()` returns them, or fewer.
            labels: theirs.
        """


@dataclass(frozen=True)
class Metrics:
    """How good a classifier is on a test set.

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

    def interval(self, *, z: float = Z) -> tuple[float, float]:
        """Return the Wilson interval of `top1`, 95 % by default."""
        return wilson_interval(self.correct, self.samples, z=z)

    def columns(self) -> dict[str, float | int]:
        """As :class:`Measured` has it."""
        low, high = self.interval()
        return {"top1": self.top1, "top1_low": low, "top1_high": high, "loss": self.loss, "samples": self.samples}


@dataclass(frozen=True)
class LanguageMetrics:
    """How well a language model predicts the next token, and how far it is from the float model.

    Attributes:
        loss: mean cross-entropy per token, nats.
        loss_stderr: its standard error, windows of text taken as the independent units, nats.
        kl: mean Kullback-Leibler divergence of its predictions from the float model's, nats per token.
        kl_stderr: its standard error, likewise.
        flips: tokens whose most likely successor is another than in the float model.
        samples: number of tokens predicted.
    """

    loss: float
    loss_stderr: float
    kl: float
    kl_stderr: float
    flips: int
    samples: int

    def __post_init__(self) -> None:
        if self.samples < 1 or not 0 <= self.flips <= self.samples:
            raise ValueError(f"flips must be within 0 to samples >= 1, but got {self.flips} of {self.samples}")
        for name in ("loss", "loss_stderr", "kl", "kl_stderr"):
            if not math.isfinite(getattr(self, name)):
                raise ValueError(f"{name} must be finite, but got {getattr(self, name)}")

    @property
    def perplexity(self) -> float:
        """exp(loss): among how many equally likely tokens the model would be as uncertain."""
        return math.exp(self.loss)

    @property
    def flip_rate(self) -> float:
        """Fraction of the tokens whose most likely successor is another than in the float model."""
        return self.flips / self.samples

    def columns(self) -> dict[str, float | int]:
        """As :class:`Measured` has it.

        Intervals of perplexity and divergence are normal on the mean over windows; that of the flip rate is Wilson's, which
        takes tokens as independent.
        """
        low, high = wilson_interval(self.flips, self.samples)
        return {
            "loss": self.loss,
            "perplexity": self.perplexity,
            "perplexity_low": math.exp(self.loss - Z * self.loss_stderr),
            "perplexity_high": math.exp(self.loss + Z * self.loss_stderr),
            "kl": self.kl,
            "kl_low": max(0.0, self.kl - Z * self.kl_stderr),
            "kl_high": self.kl + Z * self.kl_stderr,
            "flip_rate": self.flip_rate,
            "flip_rate_low": low,
            "flip_rate_high": high,
            "samples": self.samples,
        }


@dataclass(frozen=True)
class EmbeddingMetrics:
    """How far the embeddings of texts are from those of the float model.

    Attributes:
        cosine: mean cosine similarity of a text's embedding to that of the float model.
        cosine_stderr: its standard error, texts taken as independent.
        flips: texts whose nearest other text (by cosine) is another than in the float model.
        samples: number of texts.
    """

    cosine: float
    cosine_stderr: float
    flips: int
    samples: int

    def __post_init__(self) -> None:
        if self.samples < 1 or not 0 <= self.flips <= self.samples:
            raise ValueError(f"flips must be within 0 to samples >= 1, but got {self.flips} of {self.samples}")
        if not (-1.0 <= self.cosine <= 1.0 and math.isfinite(self.cosine_stderr)):
            raise ValueError(f"cosine must be within -1 to 1, but got {self.cosine} +- {self.cosine_stderr}")

    @property
    def flip_rate(self) -> float:
        """Fraction of the texts whose nearest other text is another than in the float model."""
        return self.flips / self.samples

    def columns(self) -> dict[str, float | int]:
        """As :class:`Measured` has it; a normal interval of the cosine and Wilson's of the flip rate."""
        low, high = wilson_interval(self.flips, self.samples)
        return {
            "cosine": self.cosine,
            "cosine_low": max(-1.0, self.cosine - Z * self.cosine_stderr),
            "cosine_high": min(1.0, self.cosine + Z * self.cosine_stderr),
            "flip_rate": self.flip_rate,
            "flip_rate_low": low,
            "flip_rate_high": high,
            "samples": self.samples,
        }


def wilson_interval(successes: int, samples: int, *, z: float = Z) -> tuple[float, float]:
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
