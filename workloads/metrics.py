"""Measuring a network on labelled samples."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from workloads.base import Metrics


def evaluate_top1(model: nn.Module, images: Tensor, labels: Tensor, *, batch_size: int = 250) -> Metrics:
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
    correct = 0
    loss = 0.0
    with torch.inference_mode():
        for start in range(0, samples, batch_size):
            truth = labels[start : start + batch_size]
            logits = model(images[start : start + batch_size])
            # argmax would take NaN for the largest logit and report an accuracy for a network that computes nothing.
            if not torch.isfinite(logits).all():
                raise ValueError("logits must be finite, but the model returned inf or NaN; check its scales")
            correct += int((logits.argmax(dim=1) == truth).sum())
            loss += float(nn.functional.cross_entropy(logits.double(), truth, reduction="sum"))
    return Metrics(top1=correct / samples, loss=loss / samples, samples=samples)
