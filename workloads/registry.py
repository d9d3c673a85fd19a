"""The table of workloads, and those that are named by their files. Listing them imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from hwmodels.errors import BitfrontError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from workloads.base import Workload

CLASSIFIER: Final = ("top1", "loss")
LANGUAGE: Final = ("perplexity", "kl", "flip_rate", "loss")
ENCODER: Final = ("cosine", "flip_rate")
"""The metrics that a workload of the kind has, see :mod:`workloads.base`."""


@dataclass(frozen=True)
class Entry:
    """Where a workload is: the attribute of a module. `metrics` are those that it is judged by."""

    module: str
    attribute: str = "WORKLOAD"
    metrics: tuple[str, ...] = CLASSIFIER


WORKLOADS: Final[Mapping[str, Entry]] = MappingProxyType(
    {
        "digits-resnet": Entry("workloads.vision.digits_resnet"),
        "tiny-llama": Entry("workloads.llm.tiny_llama", metrics=LANGUAGE),
        "tiny-llama-outliers": Entry("workloads.llm.tiny_llama", "OUTLIERS", LANGUAGE),
    }
)
"""The embedded workloads by name."""


@dataclass(frozen=True)
class HuggingFace:
    """A language model of the user's, with text to judge it on. Paths are local; nothing is downloaded, no code is run.

    Args:
        huggingface: model directory (config.json, safetensors, tokenizer.json).
        text: UTF-8 file.
        calibration_text: UTF-8 file; None: the first eighth of `text`, which is not tested then.
        window: tokens that the model sees at once.
        stride: tokens from one window to the next, which alone are scored; None: windows do not overlap.
        task: predict (causal language models: perplexity) or embed (encoders: similarity of embeddings, no stride).
    """

    huggingface: str
    text: str
    calibration_text: str | None = None
    window: int = 256
    stride: int | None = None
    task: Literal["predict", "embed"] = "predict"


WorkloadRef: TypeAlias = str | HuggingFace
"""How a workload is asked for: by name, or by the files it is made of."""


def check_workload(name: str) -> str:
    """Return the name if a workload has it; imports nothing.

    Raises:
        BitfrontError: no workload has that name.
    """
    if name not in WORKLOADS:
        raise BitfrontError(f"a workload must be one of {', '.join(WORKLOADS)}, but got {name!r}.")
    return name


def metrics_of(workload: WorkloadRef) -> tuple[str, ...]:
    """The metrics that a workload is judged by; imports nothing.

    Raises:
        BitfrontError: no workload has that name.
    """
    if isinstance(workload, HuggingFace):
        return LANGUAGE if workload.task == "predict" else ENCODER
    return WORKLOADS[check_workload(workload)].metrics


def get_workload(workload: WorkloadRef) -> Workload:
    """Return a workload by name or files; this imports torch.

    Raises:
        BitfrontError: no workload has that name, or its window and stride contradict each other.
    """
    if isinstance(workload, HuggingFace):
        return _language(workload)
    entry = WORKLOADS[check_workload(workload)]
    found: Workload = getattr(import_module(entry.module), entry.attribute)
    return found


def _language(asked: HuggingFace) -> Workload:
    from workloads.llm.language import EncoderWorkload, LanguageWorkload, TextFiles

    folder, text = Path(asked.huggingface), Path(asked.text)
    texts = TextFiles(text, None if asked.calibration_text is None else Path(asked.calibration_text))
    if asked.task == "embed" and asked.stride is not None:
        raise BitfrontError(f"windows that are embedded do not overlap, but got stride={asked.stride}; leave it out.")
    if asked.task == "embed":
        return EncoderWorkload(folder.name, f"embed windows of {text.name}", folder, texts, asked.window)
    task = f"predict the next token of {text.name}"
    return LanguageWorkload(folder.name, task, folder, texts, asked.window, stride=asked.stride)
