"""Where networks are measured: on the processor, or on a CUDA device. The one place that knows devices of torch.

Calibration, rounding and proofs stay on the processor; what takes the time of a large network, running it on the test set,
is the same code on either. A judge follows the network that it is given: it brings samples to the network's device and
leaves only sums. Simulated accumulators compute in NumPy, on the processor, wherever their network is.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Final

import torch
from torch import nn

from hwmodels.errors import BitfrontError

DEVICES: Final = ("cpu", "cuda")
"""What may be asked for."""


class DeviceError(BitfrontError):
    """A device that is not there."""


def find_device(name: str) -> torch.device:
    """The device of a name of :data:`DEVICES`; on CUDA, products of float32 are set to be products of float32.

    Raises:
        DeviceError: torch finds no CUDA device, or the name is another one.
    """
    if name not in DEVICES:
        raise DeviceError(f"a device must be one of {', '.join(DEVICES)}, but got {name!r}.")
    if name == "cuda":
        if not torch.cuda.is_available():
            raise DeviceError(
                "evaluation.device must be cpu where torch finds no CUDA device, but got cuda; install torch with CUDA, or leave "
                "the device out."
            )
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False  # 10 bits of mantissa
    return torch.device(name)


def device_of(module: nn.Module) -> torch.device:
    """The device of a network; that of the processor if it has no parameters."""
    first = next(chain(module.parameters(), module.buffers()), None)
    return torch.device("cpu") if first is None else first.device


def copied_to(module: nn.Module, device: torch.device) -> nn.Module:
    """The network on a device: itself if it is there, else a copy."""
    return module if device_of(module).type == device.type else copy.deepcopy(module).to(device)


@contextmanager
def placed_on(module: nn.Module, device: torch.device) -> Iterator[None]:
    """Keep a network, and what it shares with others, on a device for a while."""
    before = device_of(module)
    if before.type == device.type:
        yield
        return
    module.to(device)
    try:
        yield
    finally:
        module.to(before)
