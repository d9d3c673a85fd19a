"""Measuring a network: a classifier on labelled samples, language models and text encoders beside their float model."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from workloads.base import EmbeddingMetrics, LanguageMetrics, Metrics
from workloads.device import device_of
from workloads.samples import Samples, batches

UNSCORED: Final = -100
"""The label of a token that is context only (torch's `ignore_index`)."""

TOKENS: Final = 2048
"""Tokens per forward pass of a language model; memory and speed only."""

KEPT_BYTES: Final = 1 << 29
"""Float logits up to this size are kept for all comparisons, larger ones computed again for each (512 MiB, assumed)."""


def evaluate_top1(model: nn.Module, images: Samples, labels: Tensor, *, batch_size: int = 250) -> Metrics:
    """Return top-1 and cross-entropy of a classifier.

    Args:
        model: maps (batch, ...) to logits (batch, classes); in eval mode.
        images: inputs, (samples, ...).
        labels: int64 (samples,).
        batch_size: samples per forward pass; memory and speed only.

    Raises:
        ValueError: the model is in training mode, images and labels differ in number or are none, or a logit is not
            finite.
    """
    if model.training:
        raise ValueError("model must be in eval mode, but it is in training mode; call model.eval() first")
    samples = len(labels)
    if samples == 0 or len(images) != samples:
        raise ValueError(f"images and labels must be equally many and some, but got {len(images)} and {samples}")
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, but got {batch_size}")
    correct, loss, device = 0, 0.0, device_of(model)
    with torch.inference_mode():
        for inputs, truth in zip(batches(images, batch_size), torch.split(labels, batch_size), strict=True):
            logits = model(inputs.to(device))
            # argmax would take NaN for the largest logit and report an accuracy for a network that computes nothing.
            if not torch.isfinite(logits).all():
                raise ValueError("logits must be finite, but the model returned inf or NaN; check its scales")
            wanted = truth.to(device)
            correct += int((logits.argmax(dim=1) == wanted).sum())
            loss += float(nn.functional.cross_entropy(logits.double(), wanted, reduction="sum"))
    return Metrics(top1=correct / samples, loss=loss / samples, samples=samples)


class LanguageJudge:
    """Measures language models on windows of text; what the float model says there is kept where memory allows.

    Args:
        reference: the float model, tokens (batch, tokens) to logits (batch, tokens, vocabulary); in eval mode.
        tokens: int64 (windows, tokens).
        labels: int64 (windows, tokens), the token that follows, or :data:`UNSCORED`.
        kept_bytes: see :data:`KEPT_BYTES`.

    Raises:
        ValueError: tokens and labels differ in shape, there are fewer than two windows, or nothing is scored.
    """

    def __init__(self, reference: nn.Module, tokens: Tensor, labels: Tensor, *, kept_bytes: int = KEPT_BYTES) -> None:
        if tokens.ndim != 2 or tokens.shape != labels.shape or len(tokens) < 2 or not (labels != UNSCORED).any():
            raise ValueError(
                "tokens and labels must be (windows, tokens) of two windows or more, with a label that is scored, "
                f"but got {tuple(tokens.shape)} and {tuple(labels.shape)}"
            )
        self._reference, self._tokens, self._labels = reference, tokens, labels
        self._kept: list[Tensor] = []
        vocabulary = _output(reference, tokens[:1, :1]).shape[-1]
        if 4 * vocabulary * int((labels != UNSCORED).sum()) <= kept_bytes:
            self._kept = list(self._predictions(reference))

    def __call__(self, model: nn.Module) -> LanguageMetrics:
        """Return loss, divergence from the float model and flips of `model`, which must be in eval mode.

        Raises:
            ValueError: the model is in training mode, or a logit is not finite.
        """
        losses, divergences, counts, flips = [], [], [], 0
        expected = self._kept or self._predictions(self._reference)
        for here, ours, reference in zip(self._batches(self._labels), self._predictions(model), expected, strict=True):
            labels, theirs = here.to(ours.device), reference.to(ours.device)
            scored = labels != UNSCORED
            loss = -ours.gather(1, labels[scored].unsqueeze(1)).squeeze(1)
            divergence = (theirs.exp() * (theirs - ours)).sum(1)
            flips += int((ours.argmax(1) != theirs.argmax(1)).sum())
            counts.append(scored.sum(1))
            losses.append(_per_window(loss, scored))
            divergences.append(_per_window(divergence, scored))
        count = torch.cat(counts)
        loss_mean, loss_error = _ratio(torch.cat(losses), count)
        kl_mean, kl_error = _ratio(torch.cat(divergences), count)
        return LanguageMetrics(
            loss=loss_mean,
            loss_stderr=loss_error,
            kl=kl_mean,
            kl_stderr=kl_error,
            flips=flips,
            samples=int(count.sum()),
        )

    def _batches(self, windows: Tensor) -> tuple[Tensor, ...]:
        return torch.split(windows, max(1, TOKENS // windows.shape[1]))

    def _predictions(self, model: nn.Module) -> Iterator[Tensor]:
        """Log probabilities of every scored token's successors, (scored, vocabulary), batch by batch."""
        if model.training:
            raise ValueError("model must be in eval mode, but it is in training mode; call model.eval() first")
        for tokens, labels in zip(self._batches(self._tokens), self._batches(self._labels), strict=True):
            logits = _output(model, tokens)
            logits = logits[labels.to(logits.device) != UNSCORED]
            if not torch.isfinite(logits).all():
                raise ValueError("logits must be finite, but the model returned inf or NaN; check its scales")
            yield F.log_softmax(logits, dim=1)


class EmbeddingJudge:
    """Measures text encoders by their embeddings, the mean of the hidden states of a text, beside those of the float model.

    Args:
        reference: the float encoder, tokens (batch, tokens) to hidden states (batch, tokens, width); in eval mode.
        tokens: int64 (texts, tokens), no padding.

    Raises:
        ValueError: fewer than three texts, of which none could have another nearest one.
    """

    def __init__(self, reference: nn.Module, tokens: Tensor) -> None:
        if tokens.ndim != 2 or len(tokens) < 3:
            raise ValueError(f"tokens must be (texts, tokens) of three texts or more, but got {tuple(tokens.shape)}")
        self._tokens = tokens
        self._expected = self._embeddings(reference)
        self._nearest = _nearest(self._expected).cpu()

    def __call__(self, model: nn.Module) -> EmbeddingMetrics:
        """Return how far the embeddings of `model`, in eval mode, are from the float model's.

        Raises:
            ValueError: the model is in training mode, or an embedding is not finite.
        """
        embeddings = self._embeddings(model)
        cosines = (embeddings * self._expected.to(embeddings.device)).sum(1).clamp(-1.0, 1.0)
        return EmbeddingMetrics(
            cosine=float(cosines.mean()),
            cosine_stderr=float(cosines.std()) / math.sqrt(len(cosines)),
            flips=int((_nearest(embeddings).cpu() != self._nearest).sum()),
            samples=len(cosines),
        )

    def _embeddings(self, model: nn.Module) -> Tensor:
        """Embeddings of length 1, float64 (texts, width)."""
        if model.training:
            raise ValueError("model must be in eval mode, but it is in training mode; call model.eval() first")
        batches = torch.split(self._tokens, max(1, TOKENS // self._tokens.shape[1]))
        found = torch.cat([_output(model, batch).double().mean(1) for batch in batches])
        if not torch.isfinite(found).all():
            raise ValueError("embeddings must be finite, but the model returned inf or NaN; check its scales")
        return F.normalize(found, dim=1)


def _nearest(embeddings: Tensor) -> Tensor:
    return (embeddings @ embeddings.T).fill_diagonal_(-2.0).argmax(1)


def _output(model: nn.Module, tokens: Tensor) -> Tensor:
    with torch.inference_mode():
        output: Tensor = model(tokens.to(device_of(model)))
        return output


def _per_window(values: Tensor, scored: Tensor) -> Tensor:
    """Sums over the scored tokens of each window, float64 (windows,)."""
    spread = torch.zeros(scored.shape, dtype=torch.float64, device=values.device)
    spread[scored] = values.double()
    return spread.sum(1)


def _ratio(sums: Tensor, counts: Tensor) -> tuple[float, float]:
    """Mean per token and its standard error, windows taken as independent: the ratio estimator of a cluster sample.

    W. G. Cochran, Sampling Techniques, 3rd ed. (1977), eq. 2.46 without the finite population correction.
    """
    mean, windows = float(sums.sum() / counts.sum()), len(sums)
    scatter = float((sums - mean * counts).square().sum()) / (windows - 1)
    return mean, math.sqrt(windows * scatter) / float(counts.sum())
