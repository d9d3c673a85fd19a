"""Images in a folder with one folder per class, as ImageNet's validation images are usually kept: read lazily."""

from __future__ import annotations

import hashlib
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from hwmodels.errors import BitfrontError
from workloads.registry import Preprocessing
from workloads.vision.degrade import Degradation

SUFFIXES: Final = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".ppm", ".pgm", ".tif", ".tiff", ".webp"})
_FORMATS: Final = ("JPEG", "PNG", "BMP", "PPM", "TIFF", "WEBP")  # the decoders that an image may choose

_KEPT_BYTES: Final = 1 << 29
"""Decoded images of a set are kept up to this size (512 MiB, assumed); a larger set is decoded again each time."""


class ImageError(BitfrontError):
    """A folder without images, or an image that cannot be read."""


def read_pixels(path: Path, prepared: Preprocessing) -> np.ndarray:
    """The prepared crop of an image, uint8 (3, crop, crop).

    Raises:
        ImageError: it cannot be read.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=_FORMATS) as opened:
                image = opened.convert("RGB")
    except (
        OSError,
        ValueError,
        SyntaxError,
        Image.DecompressionBombError,
        Image.DecompressionBombWarning,
    ) as error:
        reason = " ".join(str(error).replace(str(path), "it").split()) or type(error).__name__
        raise ImageError(f"an image must be readable, but {path} is not ({reason}); remove or replace it.") from None
    width, height = image.size
    shorter = min(width, height)
    width, height = int(prepared.resize * width / shorter), int(prepared.resize * height / shorter)
    image = image.resize((width, height), Image.Resampling.BILINEAR)
    left, top = round((width - prepared.crop) / 2), round((height - prepared.crop) / 2)
    image = image.crop((left, top, left + prepared.crop, top + prepared.crop))
    return np.asarray(image, dtype=np.uint8).transpose(2, 0, 1)


@dataclass(frozen=True, eq=False)
class Images:
    """Images that are read when they are asked for (a :class:`workloads.samples.Lazy`).

    Args:
        paths: of the images.
        preprocessing: of each.
        degradation: of the pixels, before mean and deviation; or None.
        first: number of the first image within its set.
        kept: the pixels of this set's images by number, as far as they were read; None: none are kept.
    """

    paths: tuple[Path, ...]
    preprocessing: Preprocessing
    degradation: Degradation | None = None
    first: int = 0
    kept: dict[int, np.ndarray] | None = None

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, part: slice) -> Images:
        start, _, step = part.indices(len(self))
        assert step == 1  # the numbers of the images follow each other
        return replace(self, paths=self.paths[part], first=self.first + start)

    def tensor(self) -> Tensor:
        """All images, float32 (images, 3, crop, crop).

        Raises:
            ImageError: one cannot be read.
        """
        pixels = torch.from_numpy(np.stack([self._pixels(i) for i in range(len(self))])).float().div_(255)
        if self.degradation is not None:
            pixels = self.degradation(pixels, self.first)
        mean, std = (
            torch.tensor(values).view(-1, 1, 1) for values in (self.preprocessing.mean, self.preprocessing.std)
        )
        return pixels.sub_(mean).div_(std)

    def _pixels(self, index: int) -> np.ndarray:
        number = self.first + index
        if self.kept is not None and number in self.kept:
            return self.kept[number]
        found = read_pixels(self.paths[index], self.preprocessing)
        if self.kept is not None:
            self.kept[number] = found
        return found


def make_images(paths: tuple[Path, ...], preprocessing: Preprocessing, degradation: Degradation | None) -> Images:
    """The images of these files; their pixels are kept if all of them fit (512 MiB)."""
    fit = 3 * preprocessing.crop**2 * len(paths) <= _KEPT_BYTES
    return Images(paths, preprocessing, degradation, kept={} if fit else None)


@dataclass(frozen=True)
class Listing:
    """The images of a folder in a seeded order, so that any first part of them is a fair sample.

    Args:
        folder: with one folder per class.
        classes: their names, sorted: the label is the position.
        paths: of the images.
        labels: theirs.
    """

    folder: Path
    classes: tuple[str, ...]
    paths: tuple[Path, ...]
    labels: tuple[int, ...]

    def files_id(self) -> str:
        """SHA-256 of the names, labels and bytes of all images, in hexadecimal.

        Raises:
            ImageError: one cannot be read.
        """
        digest = hashlib.sha256()
        for path, label in zip(self.paths, self.labels, strict=True):
            digest.update(f"{path.relative_to(self.folder).as_posix()} {label}\n".encode())
            try:
                digest.update(hashlib.sha256(path.read_bytes()).digest())
            except OSError as error:
                raise ImageError(f"an image must be readable, but {path} is not ({error.strerror}).") from None
        return digest.hexdigest()


def list_images(folder: Path) -> Listing:
    """The images of a folder and their labels.

    Raises:
        ImageError: there is no such folder, or no folder of a class in it, or no image.
    """
    try:
        classes = sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
        found = [
            (path, label)
            for label, entry in enumerate(classes)
            for path in sorted(entry.rglob("*"))
            if path.suffix.lower() in SUFFIXES and path.is_file()
        ]
    except OSError as error:
        raise ImageError(
            f"images must be a folder with one folder per class, but {folder}: {error.strerror}."
        ) from None
    if not found:
        held = f"{len(classes)} folders without an image" if classes else "no folder"
        raise ImageError(
            f"{folder} must hold one folder per class with images ({', '.join(sorted(SUFFIXES))}), but it holds {held}."
        )
    # only `Generator.random` is used: it has the least reason of all methods to change with NumPy's version
    order = np.argsort(np.random.default_rng(0).random(len(found)), kind="stable")
    paths, labels = zip(*(found[i] for i in order), strict=True)
    return Listing(folder, tuple(entry.name for entry in classes), paths, labels)
