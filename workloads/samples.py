"""Inputs that are in memory, or come from elsewhere a batch at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol, TypeAlias

import torch
from torch import Tensor


class Lazy(Protocol):
    """Inputs that are read when they are asked for, and not kept."""

    def __len__(self) -> int:
        """How many there are."""

    def __getitem__(self, part: slice) -> Lazy:
        """Some of them, not read yet."""

    def tensor(self) -> Tensor:
        """All of them, (samples, ...)."""


Samples: TypeAlias = Tensor | Lazy


def batches(inputs: Samples, size: int) -> Iterator[Tensor]:
    """The inputs in order, at most `size` at a time."""
    if isinstance(inputs, Tensor):
        yield from torch.split(inputs, size)
        return
    for start in range(0, len(inputs), size):
        yield inputs[start : start + size].tensor()


def in_memory(inputs: Samples) -> Tensor:
    """All of the inputs."""
    return inputs if isinstance(inputs, Tensor) else inputs.tensor()
