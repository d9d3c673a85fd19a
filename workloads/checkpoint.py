"""Network weights on disk, as safetensors: no code in the file, and nothing loaded that does not fit."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from hwmodels.errors import BitfrontError

_NAMES_SHOWN = 3  # of the tensors that do not fit, in an error


class CheckpointError(BitfrontError):
    """A checkpoint is missing, damaged, or another network's."""


def save_checkpoint(model: nn.Module, path: Path, metadata: Mapping[str, str]) -> None:
    """Write the network's weights and `metadata`; an earlier file is replaced in one step or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        tensors = {name: tensor.detach().contiguous() for name, tensor in model.state_dict().items()}
        # Not `save_file`, which leaves a file that only its owner may read.
        part.write_bytes(save(tensors, metadata=dict(metadata)))
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def load_checkpoint(model: nn.Module, path: Path, *, remedy: str) -> None:
    """Fill `model` with the checkpoint's weights, which must be exactly its own in name, shape and data type.

    Args:
        model: changed in place, and only once everything fits.
        path: a safetensors file.
        remedy: what would make a good file, for the error: "run ... to train it".

    Raises:
        CheckpointError: the file is missing or damaged, or its tensors are not the model's.
    """
    fill(model, read_tensors(path, remedy=remedy), path, remedy=remedy)


def read_tensors(path: Path, *, remedy: str) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file by name.

    Raises:
        CheckpointError: the file is missing or damaged.
    """
    with _open(path, remedy) as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (the file is no mapping)


def fill(model: nn.Module, tensors: Mapping[str, Tensor], path: Path, *, remedy: str) -> None:
    """Fill `model` with tensors read from `path`, which must be exactly its own in name, shape and data type.

    Raises:
        CheckpointError: they are not; the model is then unchanged.
    """
    own = model.state_dict()
    misfits = sorted(own.keys() ^ tensors.keys())
    misfits += [
        name
        for name in own.keys() & tensors.keys()
        if own[name].shape != tensors[name].shape or own[name].dtype != tensors[name].dtype
    ]
    if misfits:
        shown = ", ".join(misfits[:_NAMES_SHOWN]) + (", ..." if len(misfits) > _NAMES_SHOWN else "")
        raise CheckpointError(
            f"checkpoint {path} must hold exactly the tensors of {type(model).__name__}, "
            f"but {len(misfits)} differ ({shown}); {remedy}"
        )
    model.load_state_dict(dict(tensors))


def read_metadata(path: Path, *, remedy: str) -> dict[str, str]:
    """Return what the checkpoint says about itself.

    Raises:
        CheckpointError: the file is missing or damaged, or says nothing.
    """
    with _open(path, remedy) as file:
        metadata: dict[str, str] | None = file.metadata()
    if not metadata:
        raise CheckpointError(f"checkpoint {path} must carry metadata, but it has none; {remedy}")
    return metadata


def _open(path: Path, remedy: str) -> safe_open:
    if not path.is_file():
        raise CheckpointError(f"checkpoint must exist, but {path} is missing; {remedy}")
    try:
        return safe_open(path, framework="pt")
    except (SafetensorError, OSError) as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(f"checkpoint must be readable, but {path} is not ({reason}); {remedy}") from error


def file_id(path: Path, *, remedy: str) -> str:
    """SHA-256 of a checkpoint file: what a sweep's manifest knows it by.

    Raises:
        CheckpointError: the file cannot be read.
    """
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise CheckpointError(
            f"checkpoint {path} must be a readable file, but it is not: {error.strerror}; {remedy}"
        ) from error
