"""The table of workloads, and those that are named by their files. Listing them imports no torch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from hwmodels.errors import BitfrontError
from workloads.vision.degrade import parse_degradation

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
        "digits-mobilenet": Entry("workloads.vision.digits_mobilenet"),
        "digits-vit": Entry("workloads.vision.digits_vit"),
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


@dataclass(frozen=True)
class Preprocessing:
    """What is done to an image before the network sees it; the defaults are those of torchvision's classifiers.

    Args:
        resize: length of the shorter side (pixels), bilinear, smoothed.
        crop: height and width cut from the middle (pixels).
        mean: subtracted from the three channels, which lie in [0, 1].
        std: then divided by.

    Raises:
        BitfrontError: a crop larger than the image, or a mean and deviations that are not three numbers, positive deviations.
    """

    resize: int = 256
    crop: int = 224
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)

    def __post_init__(self) -> None:
        if not 1 <= self.crop <= self.resize:
            raise BitfrontError(
                f"`crop` must be within 1 to resize={self.resize} pixels, but got crop={self.crop}; images are not padded."
            )
        if len(self.mean) != 3 or len(self.std) != 3 or min(self.std) <= 0:
            raise BitfrontError(
                f"`mean` and `std` must be three numbers each, those of std above 0, but got {self.mean} and {self.std}."
            )


@dataclass(frozen=True)
class ImageNetwork:
    """A classifier of the user's with images to judge it on. Paths are local; nothing is downloaded.

    Args:
        model: resnet18, mobilenet_v2, vit_b_32, or ``module:function``: that function's code is run, nobody else's.
        checkpoint: state dict, safetensors or torch.save; None: the function returns the network with its weights.
        images: folder with one folder per class.
        calibration_images: another such folder; None: an eighth of `images`, which is not tested then.
        preprocessing: of every image.
    """

    model: str
    checkpoint: str | None
    images: str
    calibration_images: str | None = None
    preprocessing: Preprocessing = Preprocessing()


WorkloadRef: TypeAlias = str | HuggingFace | ImageNetwork
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
    if isinstance(workload, ImageNetwork):
        return CLASSIFIER
    return WORKLOADS[check_workload(workload)].metrics


def get_workload(workload: WorkloadRef, *, degrade: str = "none") -> Workload:
    """Return a workload by name or files; this imports torch.

    Args:
        workload: which.
        degrade: what is done to its test images, see :func:`workloads.vision.degrade.parse_degradation`.

    Raises:
        BitfrontError: no workload has that name, its window and stride contradict each other, or it has no images to degrade.
    """
    if isinstance(workload, HuggingFace):
        found = _language(workload)
    elif isinstance(workload, ImageNetwork):
        found = _classifier(workload)
    else:
        entry = WORKLOADS[check_workload(workload)]
        found = getattr(import_module(entry.module), entry.attribute)
    if degrade == "none":
        return found
    if metrics_of(workload) != CLASSIFIER:
        raise BitfrontError(f"only images can be degraded, but {found.name} reads text; leave degrade={degrade} out.")
    degraded: Workload = replace(found, degradation=parse_degradation(degrade))  # type: ignore[type-var]  # dataclasses all
    return degraded


def _classifier(asked: ImageNetwork) -> Workload:
    from workloads.vision.network import NetworkWorkload

    checkpoint = None if asked.checkpoint is None else Path(asked.checkpoint)
    calibration = None if asked.calibration_images is None else Path(asked.calibration_images)
    return NetworkWorkload(asked.model, checkpoint, Path(asked.images), calibration, asked.preprocessing)


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
