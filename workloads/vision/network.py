"""A network of the user's on images of theirs, as a workload: a constructor, a checkpoint and a folder of images."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn

from workloads.base import Metrics
from workloads.device import device_of
from workloads.metrics import evaluate_top1
from workloads.registry import Preprocessing
from workloads.samples import Samples, batches
from workloads.vision.constructors import build, weights_id
from workloads.vision.degrade import Degradation
from workloads.vision.folder import ImageError, Images, Listing, list_images, make_images

MOST_CALIBRATION: Final = 512
"""Images that are calibrated on at most: they are held in memory (300 MiB at 224 pixels)."""

CALIBRATION_SHARE: Final = 8
"""Where one folder serves for both, an eighth of it is calibrated on and never tested."""

_BATCH: Final = 32


@dataclass(frozen=True)
class NetworkWorkload:
    """A classifier on a folder of images, as `workloads.base.Workload`.

    Args:
        model: see :func:`workloads.vision.constructors.build`.
        checkpoint: its weights, or None.
        images: folder with one folder per class; sorted by name, they are the network's classes.
        calibration_images: another such folder, or None: an eighth of the images is split off.
        preprocessing: of every image.
        degradation: of the test images, or None.
    """

    model: str
    checkpoint: Path | None
    images: Path
    calibration_images: Path | None = None
    preprocessing: Preprocessing = Preprocessing()
    degradation: Degradation | None = None

    @property
    def name(self) -> str:
        """The constructor's name."""
        return self.model.replace(":", ".")

    @property
    def task(self) -> str:
        """What the network does."""
        calibrated = (
            f"1 in {CALIBRATION_SHARE} of them split off for calibration, {MOST_CALIBRATION} at most"
            if self.calibration_images is None
            else f"calibrated on those of {self.calibration_images.name}"
        )
        return f"classify the images of {self.images.name}, {calibrated}"

    @property
    def example_input(self) -> Tensor:
        """The first calibration image, (1, 3, crop, crop)."""
        return self.calibration()[:1].tensor()

    @property
    def data_id(self) -> str:
        """SHA-256 of all files, their labels, the preprocessing and the degradation."""
        digest = hashlib.sha256(repr((self.preprocessing, self.degradation)).encode())
        for listing in self._parts:
            digest.update(listing.files_id().encode())
        return digest.hexdigest()

    @property
    def checkpoint_id(self) -> str:
        """SHA-256 of the checkpoint; see :func:`workloads.vision.constructors.weights_id`."""
        return weights_id(self.model, self.checkpoint)

    def load_model(self) -> nn.Module:
        """Return a new float network in eval mode.

        Raises:
            ModelError, CheckpointError: as :func:`workloads.vision.constructors.build`.
        """
        return build(self.model, self.checkpoint, size=self.preprocessing.crop)

    def calibration(self) -> Images:
        """Return the calibration images, 512 at most, not read yet.

        Raises:
            ImageError: as :func:`list_images`, or one image is all there is.
        """
        return make_images(self._parts[0].paths, self.preprocessing, None)

    def test(self) -> tuple[Images, Tensor]:
        """Return the test images, not read yet, and their labels, (images,).

        Raises:
            ImageError: as :meth:`calibration`.
        """
        listing = self._parts[1]
        return make_images(listing.paths, self.preprocessing, self.degradation), torch.tensor(listing.labels)

    def judge(self, reference: nn.Module, inputs: Samples, labels: Tensor) -> Callable[[nn.Module], Metrics]:
        """Return the function that measures top-1 and loss on these images.

        Raises:
            ImageError: the network has another number of classes than the folder.
        """
        with torch.inference_mode():
            logits = reference(next(batches(inputs, 1)).to(device_of(reference)))
        classes = len(self._parts[1].classes)
        if tuple(logits.shape) != (1, classes):
            raise ImageError(
                f"{self.images} must have one folder per class of {self.model}, whose output for an image is "
                f"{tuple(logits.shape[1:])}, but it has {classes}; folders may be empty, but none may be missing."
            )

        def measure(model: nn.Module) -> Metrics:
            return evaluate_top1(model, inputs, labels, batch_size=_BATCH)

        return measure

    @cached_property
    def _parts(self) -> tuple[Listing, Listing]:
        """What is calibrated on and what is tested."""
        images = list_images(self.images)
        if self.calibration_images is not None:
            return _part(list_images(self.calibration_images), 0, MOST_CALIBRATION), images
        if len(images.paths) < 2:
            raise ImageError(
                f"{self.images} must hold two images or more, one to calibrate on and one to test, but it holds one."
            )
        cut = min(max(1, len(images.paths) // CALIBRATION_SHARE), MOST_CALIBRATION)
        return _part(images, 0, cut), _part(images, cut, None)


def _part(listing: Listing, start: int, end: int | None) -> Listing:
    return replace(listing, paths=listing.paths[start:end], labels=listing.labels[start:end])
