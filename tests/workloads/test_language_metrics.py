"""Perplexity, divergence, flips and their uncertainty against numbers worked out another way."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.special
import torch
from torch import Tensor, nn

from workloads.base import LanguageMetrics
from workloads.metrics import UNSCORED, LanguageJudge


class Table(nn.Module):
    """A bigram model: the logits of the next token are a row of a table."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = logits

    def forward(self, tokens: Tensor) -> Tensor:
        return self.logits[tokens]


def bigram(seed: int, vocabulary: int = 11) -> Table:
    return Table(torch.randn(vocabulary, vocabulary, generator=torch.Generator().manual_seed(seed)) * 2).eval()


def text(windows: int = 30, tokens: int = 7) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(5)
    stream = torch.randint(0, 11, (windows, tokens + 1), generator=random)
    labels = stream[:, 1:].clone()
    labels[1:, :2] = UNSCORED
    return stream[:, :-1], labels


def test_metrics_are_those_of_scipy_token_by_token() -> None:
    tokens, labels = text()
    reference, model = bigram(0), bigram(1)
    got = LanguageJudge(reference, tokens, labels)(model)
    losses, divergences, flips = [], [], 0
    for token, label in zip(tokens.flatten().tolist(), labels.flatten().tolist(), strict=True):
        if label == UNSCORED:
            continue
        p = scipy.special.softmax(reference.logits[token].double().numpy())
        q = scipy.special.softmax(model.logits[token].double().numpy())
        losses.append(-math.log(q[label]))
        divergences.append(scipy.special.rel_entr(p, q).sum())
        flips += p.argmax() != q.argmax()
    assert got.samples == len(losses) == 30 * 7 - 29 * 2
    assert got.loss == pytest.approx(np.mean(losses), rel=1e-6)
    assert got.perplexity == pytest.approx(math.exp(np.mean(losses)), rel=1e-5)
    assert got.kl == pytest.approx(np.mean(divergences), rel=1e-5)
    assert got.flips == flips > 0
    columns = got.columns()
    assert columns["perplexity_low"] < columns["perplexity"] < columns["perplexity_high"]
    assert columns["flip_rate"] == flips / got.samples


def test_a_model_that_knows_nothing_has_its_vocabulary_as_perplexity() -> None:
    flat = Table(torch.zeros(11, 11)).eval()
    assert LanguageJudge(flat, *text())(flat).perplexity == pytest.approx(11, rel=1e-6)


def test_the_float_model_does_not_differ_from_itself() -> None:
    got = LanguageJudge(bigram(0), *text())(bigram(0))
    assert (got.kl, got.kl_stderr, got.flips) == (0.0, 0.0, 0)


def test_what_is_kept_of_the_float_model_changes_nothing() -> None:
    tokens, labels = text()
    kept, again = (LanguageJudge(bigram(0), tokens, labels, kept_bytes=limit) for limit in (1 << 20, 0))
    assert kept(bigram(1)) == again(bigram(1)) == again(bigram(1))


def test_the_standard_error_is_that_of_resampled_windows() -> None:
    tokens, labels = text(windows=200)
    labels[:, 3:] = UNSCORED  # windows of three tokens, the first of one more
    labels[0] = 1
    judge = LanguageJudge(bigram(0), tokens, labels)
    found = judge(bigram(1))
    logits = torch.log_softmax(bigram(1)(tokens), -1)
    loss = nn.functional.nll_loss(logits.flatten(0, 1), labels.flatten(), reduction="none").view(labels.shape)
    sums, counts = loss.sum(1).double().numpy(), (labels != UNSCORED).sum(1).numpy()
    draws = np.random.default_rng(0).integers(0, len(sums), (4000, len(sums)))
    resampled = (sums[draws].sum(1) / counts[draws].sum(1)).std()
    assert found.loss_stderr == pytest.approx(resampled, rel=0.05)


def test_what_cannot_be_measured_is_refused() -> None:
    tokens, labels = text()
    with pytest.raises(ValueError, match=r"two windows or more.*but got \(1, 7\)"):
        LanguageJudge(bigram(0), tokens[:1], labels[:1])
    with pytest.raises(ValueError, match="with a label that is scored"):
        LanguageJudge(bigram(0), tokens, torch.full_like(labels, UNSCORED))
    judge = LanguageJudge(bigram(0), tokens, labels)
    with pytest.raises(ValueError, match=r"logits must be finite, .* check its scales"):
        judge(Table(torch.full((11, 11), math.nan)).eval())
    with pytest.raises(ValueError, match="training mode"):
        judge(bigram(0).train())


@pytest.mark.parametrize(
    "change", [{"loss": math.nan}, {"kl": math.inf}, {"flips": 11}, {"flips": -1}, {"samples": 0, "flips": 0}]
)
def test_metrics_refuse_what_cannot_have_been_measured(change: dict[str, float]) -> None:
    good = {"loss": 1.0, "loss_stderr": 0.1, "kl": 0.0, "kl_stderr": 0.0, "flips": 3, "samples": 10}
    LanguageMetrics(**good)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="must be"):
        LanguageMetrics(**(good | change))  # type: ignore[arg-type]
