"""The workloads that read cluttered handwritten digits: one set of images, several networks with a checkpoint each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn

from workloads.base import Metrics
from workloads.checkpoint import CheckpointError, file_id, load_checkpoint, read_metadata
from workloads.metrics import evaluate_top1
from workloads.samples import Samples
from workloads.vision.degrade import Degradation
from workloads.vision.digits_data import data_hash, make_split

_BATCH: Final = (
    100  # images per forward pass: the rounding kernel's temporaries stay in cache (3-5 times faster than 500)
)


@cache
def _tensors(split: str) -> tuple[Tensor, Tensor]:
    """Return a split's images (images, 1, 32, 32) and labels, drawn once per process."""
    digits = make_split(split)
    return torch.from_numpy(digits.images), torch.from_numpy(digits.labels)


@cache
def _data_id() -> str:
    return data_hash(make_split("calibration"), make_split("test"))


@dataclass(frozen=True)
class DigitsWorkload:
    """A network that reads the digits, as `workloads.base.Workload`.

    Args:
        name: what reports call it.
        network: makes the network, (images, 1, 32, 32) in [0, 1] to logits (images, 10), with any weights.
        checkpoint: its weights, as `python -m workloads.vision.train` writes them.
        task: in one sentence.
        degradation: of the test images, or None.
    """

    name: str
    network: Callable[[], nn.Module]
    checkpoint: Path
    task: str = "classify handwritten digits (10 classes) amid clutter, noise and faint contrast on 32x32 pixels"
    degradation: Degradation | None = None

    @property
    def remedy(self) -> str:
        """What makes a good checkpoint."""
        return f"run `python -m workloads.vision.train {self.name}` to train it"

    @property
    def example_input(self) -> Tensor:
        """The first calibration image, (1, 1, 32, 32)."""
        return self.calibration()[:1]

    @property
    def float_accuracy(self) -> float:
        """Top-1 of the float network on the test split, a fraction, as the checkpoint states it.

        Raises:
            CheckpointError: the checkpoint is missing, damaged, or does not state it.
        """
        metadata = read_metadata(self.checkpoint, remedy=self.remedy)
        try:
            return int(metadata["correct"]) / int(metadata["samples"])
        except (KeyError, ValueError, ZeroDivisionError) as error:
            raise CheckpointError(
                f"checkpoint {self.checkpoint} must state `correct` and `samples` as whole numbers, "
                f"but it states {sorted(metadata)}; {self.remedy}"
            ) from error

    @property
    def data_id(self) -> str:
        """SHA-256 of the calibration and test splits, and what is done to the test images."""
        return _data_id() + ("" if self.degradation is None else f"+{self.degradation.name}")

    @property
    def checkpoint_id(self) -> str:
        """SHA-256 of the checkpoint file.

        Raises:
            CheckpointError: the file cannot be read.
        """
        return file_id(self.checkpoint, remedy=self.remedy)

    def load_model(self) -> nn.Module:
        """Return a new network in eval mode with the checkpoint's weights.

        Raises:
            CheckpointError: the checkpoint is missing or damaged, or another network's.
        """
        model = self.network()
        load_checkpoint(model, self.checkpoint, remedy=self.remedy)
        return model.eval()

    def calibration(self) -> Tensor:
        """Return the 512 calibration images, (512, 1, 32, 32)."""
        return _tensors("calibration")[0]

    def test(self) -> tuple[Tensor, Tensor]:
        """Return the 2,000 test images (2000, 1, 32, 32) and their labels."""
        images, labels = _tensors("test")
        return (images if self.degradation is None else self.degradation(images, 0)), labels

    def judge(self, reference: nn.Module, inputs: Samples, labels: Tensor) -> Callable[[nn.Module], Metrics]:
        """Return the function that measures top-1 and loss on these images; the float network has no say in them."""
        return partial(evaluate_top1, images=inputs, labels=labels, batch_size=_BATCH)
