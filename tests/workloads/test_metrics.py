"""Accuracy, loss and their uncertainty against hand-made and published numbers."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from workloads.base import Metrics, wilson_interval
from workloads.metrics import evaluate_top1


@pytest.mark.parametrize(
    ("successes", "samples", "low", "high"),
    [
        # R. G. Newcombe, Statistics in Medicine 17 (1998) 857-872, Table I, method 3 (score, no continuity correction).
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_intervals_are_the_published_ones(successes: int, samples: int, low: float, high: float) -> None:
    assert wilson_interval(successes, samples) == pytest.approx((low, high), abs=5.1e-5)


@given(st.integers(1, 10**6).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_holds_the_rate_and_mirrors(case: tuple[int, int]) -> None:
    successes, samples = case
    low, high = wilson_interval(successes, samples)
    assert 0.0 <= low <= successes / samples + 1e-12
    assert successes / samples - 1e-12 <= high <= 1.0
    mirrored = wilson_interval(samples - successes, samples)
    assert mirrored == pytest.approx((1 - high, 1 - low), abs=1e-9)


@pytest.mark.parametrize(("successes", "samples"), [(1, 0), (-1, 5), (6, 5)])
def test_wilson_refuses_what_is_no_proportion(successes: int, samples: int) -> None:
    with pytest.raises(ValueError, match=f"but got {successes} of {samples}"):
        wilson_interval(successes, samples)


def test_metrics_derive_count_error_and_interval() -> None:
    metrics = Metrics(top1=0.9, loss=0.5, samples=100)
    assert metrics.correct == 90
    assert metrics.stderr == pytest.approx(0.03)
    assert metrics.interval() == wilson_interval(90, 100)


@pytest.mark.parametrize(
    ("top1", "loss", "samples"),
    [(1.1, 0.5, 10), (-0.1, 0.5, 10), (math.nan, 0.5, 10), (0.5, math.nan, 10), (0.5, math.inf, 10), (0.5, 0.5, 0)],
)
def test_metrics_refuse_what_cannot_have_been_measured(top1: float, loss: float, samples: int) -> None:
    with pytest.raises(ValueError, match="must be"):
        Metrics(top1=top1, loss=loss, samples=samples)


@pytest.mark.parametrize("batch_size", [1, 3, 7, 100])
def test_evaluation_counts_and_averages_over_every_batch_size(batch_size: int) -> None:
    # The "images" are the logits: ln 1, ln 2 and ln 5 give probabilities 1/8, 2/8 and 5/8.
    logits = torch.tensor([1.0, 2.0, 5.0]).log().expand(7, 3)
    labels = torch.tensor([2, 2, 2, 2, 2, 1, 0])
    metrics = evaluate_top1(nn.Identity().eval(), logits, labels, batch_size=batch_size)
    assert metrics.top1 == 5 / 7
    assert metrics.samples == 7
    assert metrics.loss == pytest.approx((5 * math.log(8 / 5) + math.log(4) + math.log(8)) / 7)


def test_evaluation_refuses_a_model_in_training_mode() -> None:
    with pytest.raises(ValueError, match="eval mode"):
        evaluate_top1(nn.Identity(), torch.zeros(2, 3), torch.zeros(2, dtype=torch.int64))


@pytest.mark.parametrize(("images", "labels"), [(2, 3), (0, 0)])
def test_evaluation_refuses_unpaired_or_no_samples(images: int, labels: int) -> None:
    with pytest.raises(ValueError, match=f"but got {images} and {labels}"):
        evaluate_top1(nn.Identity().eval(), torch.zeros(images, 3), torch.zeros(labels, dtype=torch.int64))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_evaluation_refuses_a_network_that_computes_nothing(bad: float) -> None:
    logits = torch.zeros(4, 3)
    logits[2, 1] = bad
    with pytest.raises(ValueError, match="logits must be finite"):
        evaluate_top1(nn.Identity().eval(), logits, torch.zeros(4, dtype=torch.int64), batch_size=2)
