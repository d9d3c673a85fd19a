"""The workloads `tiny-llama` and `tiny-llama-outliers`: a Llama decoder of 1.2 M parameters that has read documentation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from workloads.llm.corpus import documents
from workloads.llm.huggingface import encode, load_tokenizer
from workloads.llm.language import LanguageWorkload
from workloads.llm.outliers import Outliers

FOLDER: Final = Path(__file__).with_name("tiny_llama")
END_OF_TEXT: Final = "<|endoftext|>"
"""Stands behind every document."""


@dataclass(frozen=True)
class CorpusText:
    """The embedded corpus (:mod:`workloads.llm.corpus`)."""

    def tokens(self, folder: Path) -> tuple[Tensor, Tensor]:
        """The calibration and the test split, see :class:`workloads.llm.language.Texts`."""
        return corpus_tokens("calibration", folder), corpus_tokens("test", folder)


def corpus_tokens(split: str, folder: Path = FOLDER) -> Tensor:
    """The documents of a split as one stream, int64 (tokens,)."""
    tokenizer = load_tokenizer(folder)
    end = torch.tensor([tokenizer.token_to_id(END_OF_TEXT)])
    return torch.cat([part for document in documents(split) for part in (encode(tokenizer, document.text), end)])


_TASK = "predict the next token of English prose from the documentation of scientific software"

WORKLOAD: Final = LanguageWorkload(name="tiny-llama", task=_TASK, folder=FOLDER, texts=CorpusText(), test_windows=128)

OUTLIERS: Final = LanguageWorkload(
    name="tiny-llama-outliers",
    task=f"{_TASK}, with outlier channels that leave the function as it is",
    folder=FOLDER,
    texts=CorpusText(),
    test_windows=128,
    outliers=Outliers(),
)
