"""The gate of every export: the file is executed on the test images and must compute what was measured."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dse.export.errors import ExportError
from dse.export.execute import EXECUTORS
from dse.export.layerwise import compare
from dse.files import sha256

if TYPE_CHECKING:
    from torch import Tensor

    from workloads.quantize import QuantizedModel


MODEL_BATCH = 100
"""Images per forward pass of the model, as in the sweep."""


@dataclass(frozen=True, kw_only=True)
class GateReport:
    """How an exported file compares with its model on the test images.

    Attributes:
        samples: images.
        mismatching_outputs: images whose class (largest logit) differs.
        largest_difference: of any logit, end to end, in units of the logits.
        relative_difference: the same, divided by the largest logit of the model in magnitude.
        bound: what float32 rounding errors of the last layer allow where no activation lies on a rounding tie (the largest
            over all images; see :mod:`dse.export.layerwise`).
        tied_activations: activations on a rounding tie that fell the other way, over all images.
        tied_images: images that have one; only there may an output differ by more than the bound.
        first_difference: the first node that computes something else than the model, or None.
        top1_exported, top1_model: accuracies.
        executor: what executed the file.
        file, sha256: what was executed.
    """

    samples: int
    mismatching_outputs: int
    largest_difference: float
    relative_difference: float
    bound: float
    tied_activations: int
    tied_images: int
    first_difference: str | None
    top1_exported: float
    top1_model: float
    executor: str
    file: str
    sha256: str

    @property
    def same_function(self) -> bool:
        """Whether every node computes what the model computes, rounding ties aside: `equal` is this and equal classes."""
        return self.first_difference is None

    @property
    def equal(self) -> bool:
        """Every class is the same, and every difference is one of rounding."""
        return self.mismatching_outputs == 0 and self.same_function

    def as_dict(self) -> dict[str, object]:
        """The fields and `equal`, for JSON."""
        return {**asdict(self), "equal": self.equal}


def check_export(path: Path, model: QuantizedModel, images: Tensor, labels: Tensor, *, exporter: str) -> GateReport:
    """Execute an exported file on images and compare it with the quantized model: end to end, then quantizer by quantizer.

    Args:
        path: the file.
        model: what was exported.
        images, labels: (n, channels, height, width) and (n,).
        exporter: ``qonnx`` or ``qcdq``; decides what executes the file.

    Raises:
        ExportError: the file cannot be read or executed, or there are no images.
    """
    if len(images) == 0:
        raise ExportError("an export must be checked on at least one image, but got none.")
    executor, run = EXECUTORS[exporter]
    pixels: NDArray[np.float32] = images.numpy()
    wanted = _logits(model, images)
    try:
        digest = sha256(path.read_bytes())
        made = run(path, pixels)
    except Exception as error:  # onnxruntime and qonnx raise bare exceptions of many kinds
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ExportError(f"{path} must execute in {executor}, but it does not: {reason}.") from error
    if made.shape != wanted.shape:
        raise ExportError(f"{path} must give logits of shape {wanted.shape}, but it gives {made.shape}.")
    comparison = compare(path, model.module, pixels)
    difference = np.abs(made.astype(np.float64) - wanted)
    difference = np.where(np.isfinite(difference), difference, np.inf)
    truth = labels.numpy()
    first = comparison.first_difference
    if first is None and (unexplained := (difference.max(axis=1) > comparison.bounds) & (comparison.ties == 0)).any():
        first = f"the output of image {int(np.argmax(unexplained))}: off by {difference[unexplained].max():.3g} without a tie"
    return GateReport(
        samples=len(wanted),
        mismatching_outputs=int((made.argmax(axis=1) != wanted.argmax(axis=1)).sum()),
        largest_difference=float(difference.max()),
        relative_difference=float(difference.max() / max(float(np.abs(wanted).max()), np.finfo(np.float32).tiny)),
        bound=float(comparison.bounds.max(initial=0.0)),
        tied_activations=int(comparison.ties.sum()),
        tied_images=int((comparison.ties > 0).sum()),
        first_difference=first,
        top1_exported=float((made.argmax(axis=1) == truth).mean()),
        top1_model=float((wanted.argmax(axis=1) == truth).mean()),
        executor=executor,
        file=str(path),
        sha256=digest,
    )


def _logits(model: QuantizedModel, images: Tensor) -> NDArray[np.float32]:
    import torch

    with torch.inference_mode():
        return torch.cat(
            [model.module(images[i : i + MODEL_BATCH]) for i in range(0, len(images), MODEL_BATCH)]
        ).numpy()
