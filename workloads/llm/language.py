"""Language workloads: a network of a model directory and the text it is calibrated and judged on, as windows of tokens."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from hwmodels.errors import BitfrontError
from workloads.base import EmbeddingMetrics, LanguageMetrics
from workloads.llm.decoder import Decoder
from workloads.llm.encoder import Encoder
from workloads.llm.huggingface import encode, folder_id, load_decoder, load_encoder, load_tokenizer
from workloads.llm.outliers import Outliers, add_outliers
from workloads.metrics import UNSCORED, EmbeddingJudge, LanguageJudge
from workloads.samples import Samples, in_memory


class TextError(BitfrontError):
    """A text that cannot be read, or is too short for what is asked of it."""


class Texts(Protocol):
    """Where a workload's tokens come from; a frozen value."""

    def tokens(self, folder: Path) -> tuple[Tensor, Tensor]:
        """Return what may be calibrated on and what is tested, int64 (tokens,) each, by the folder's tokenizer."""

    def __hash__(self) -> int:
        """Equal values are read once."""


@dataclass(frozen=True)
class TextWorkload(ABC):
    """What all networks that read text have in common as `workloads.base.Workload`.

    Args:
        name: what reports call it.
        task: in one sentence.
        folder: a model directory of Hugging Face.
        texts: calibration and test text.
        window: tokens that the model sees at once.
        test_windows: how many are tested, from the text's beginning; None: all that fit.
    """

    name: str
    task: str
    folder: Path
    texts: Texts
    window: int = 256
    test_windows: int | None = None

    def __post_init__(self) -> None:
        if self.window < 2:
            raise TextError(f"window must be at least 2 tokens, but got {self.window}.")

    @property
    def example_input(self) -> Tensor:
        """The first calibration token, (1, 1): a frame of hardware is a token."""
        return self.calibration()[:1, :1]

    @property
    def checkpoint_id(self) -> str:
        """SHA-256 of the files of the model directory."""
        return folder_id(self.folder)

    @property
    def data_id(self) -> str:
        """SHA-256 of all calibration and test windows."""
        digest = hashlib.sha256()
        for windows in (self.calibration(), *self.test()):
            digest.update(str(tuple(windows.shape)).encode())
            digest.update(windows.numpy().astype("<i8").tobytes())
        return digest.hexdigest()

    def calibration(self) -> Tensor:
        """Return the calibration windows, int64 (windows, tokens); they do not overlap."""
        return _cut(self.stream()[0], self.window)

    @abstractmethod
    def test(self) -> tuple[Tensor, Tensor]:
        """Return the test windows, int64 (windows, tokens), and their labels."""

    def stream(self) -> tuple[Tensor, Tensor]:
        """The tokens of the calibration and the test text, (tokens,) each, at least a window and two.

        Raises:
            TextError: a text is missing or too short.
            CheckpointError: as :func:`load_tokenizer`.
        """
        streams = _tokens(self.texts, self.folder)
        for role, tokens, least in zip(("calibration", "test"), streams, (self.window, 3 * self.window), strict=True):
            if len(tokens) < least:
                raise TextError(
                    f"the {role} text of {self.name} must have at least {least} tokens for windows of {self.window}, "
                    f"but it has {len(tokens)}; give a longer text or a shorter window."
                )
        return streams

    def _check_window(self, positions: int) -> None:
        if self.window > positions:
            raise TextError(
                f"window must be at most the {positions} tokens of the model in {self.folder}, but got {self.window}."
            )


@dataclass(frozen=True)
class LanguageWorkload(TextWorkload):
    """A causal language model that predicts text.

    Args:
        stride: tokens from one test window to the next; what both see is scored in the first of them alone, so that a
            smaller stride gives every scored token more context (and costs more). None: windows do not overlap.
        outliers: outlier channels to give the model, which leave its function as it is; None: as trained.
    """

    stride: int | None = None
    outliers: Outliers | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.stride is not None and not 1 <= self.stride <= self.window:
            raise TextError(f"stride must be within 1 to window={self.window} tokens, but got {self.stride}.")

    @property
    def checkpoint_id(self) -> str:
        """SHA-256 of the files of the model directory, and the outliers that were added."""
        return super().checkpoint_id + ("" if self.outliers is None else f"+{self.outliers}")

    def load_model(self) -> Decoder:
        """Return a new float decoder in eval mode.

        Raises:
            CheckpointError, ConfigError: as :func:`load_decoder`.
            TextError: the windows are longer than the model's context.
        """
        model = load_decoder(self.folder)
        self._check_window(model.shape.positions)
        if self.outliers is not None:
            add_outliers(model, self.outliers)
        return model

    def test(self) -> tuple[Tensor, Tensor]:
        """Return the test windows, int64 (windows, tokens), and the token behind each of their tokens, or `UNSCORED`."""
        stream, stride = self.stream()[1], self.stride or self.window
        inputs = stream[:-1].unfold(0, self.window, stride)[: self.test_windows]
        labels = stream[1:].unfold(0, self.window, stride)[: self.test_windows].clone()
        labels[1:, : self.window - stride] = UNSCORED
        return inputs, labels

    def judge(self, reference: nn.Module, inputs: Samples, labels: Tensor) -> Callable[[nn.Module], LanguageMetrics]:
        """Return the function that measures a language model on these windows, beside the float model `reference`."""
        return LanguageJudge(reference, in_memory(inputs), labels)


@dataclass(frozen=True)
class EncoderWorkload(TextWorkload):
    """A text encoder that embeds windows of text."""

    @property
    def example_input(self) -> Tensor:
        """The first calibration window, (1, tokens): tokens see each other, so a frame of hardware is a window."""
        return self.calibration()[:1]

    def load_model(self) -> Encoder:
        """Return a new float encoder in eval mode.

        Raises:
            CheckpointError, ConfigError: as :func:`load_encoder`.
            TextError: the windows are longer than the model's context.
        """
        model = load_encoder(self.folder)
        self._check_window(model.shape.positions)
        return model

    def test(self) -> tuple[Tensor, Tensor]:
        """Return the test windows, int64 (windows, tokens), and their numbers: an embedding has no label."""
        windows = _cut(self.stream()[1], self.window)[: self.test_windows]
        return windows, torch.arange(len(windows))

    def judge(self, reference: nn.Module, inputs: Samples, labels: Tensor) -> Callable[[nn.Module], EmbeddingMetrics]:
        """Return the function that compares an encoder's embeddings of these windows with the float encoder's."""
        return EmbeddingJudge(reference, in_memory(inputs))


def _cut(stream: Tensor, window: int) -> Tensor:
    return stream[: len(stream) // window * window].view(-1, window)


@cache
def _tokens(texts: Texts, folder: Path) -> tuple[Tensor, Tensor]:
    return texts.tokens(folder)


CALIBRATION_SHARE = 8
"""Where one text serves for both, its first eighth is calibrated on and never tested."""


@dataclass(frozen=True)
class TextFiles:
    """Text of the user's: UTF-8 files.

    Args:
        test: file.
        calibration: file; None: the first part of the test file, which is not tested then (:data:`CALIBRATION_SHARE`).
    """

    test: Path
    calibration: Path | None = None

    def tokens(self, folder: Path) -> tuple[Tensor, Tensor]:
        """As :class:`Texts`.

        Raises:
            TextError: a file cannot be read, is no UTF-8 or holds nothing.
            CheckpointError: as :func:`load_tokenizer`.
        """
        tokenizer = load_tokenizer(folder)
        test = encode(tokenizer, _read(self.test))
        if self.calibration is not None:
            return encode(tokenizer, _read(self.calibration)), test
        cut = len(test) // CALIBRATION_SHARE
        return test[:cut], test[cut:]


def _read(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise TextError(f"text must be a readable file, but {path} is not: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise TextError(f"text must be UTF-8, but {path} is not.") from None
    if not text.strip():
        raise TextError(f"text must not be empty, but {path} is.")
    return text
