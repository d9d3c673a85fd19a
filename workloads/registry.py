"""The table of workloads. It names modules, so that listing the workloads imports no torch."""

from __future__ import annotations

from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from hwmodels.errors import BitfrontError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from workloads.base import Workload

WORKLOADS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "digits-resnet": "workloads.vision.digits_resnet",
    }
)
"""Name of each workload, and the module whose `WORKLOAD` it is."""


def check_workload(name: str) -> str:
    """Return the name if a workload has it; imports nothing.

    Raises:
        BitfrontError: no workload has that name.
    """
    if name not in WORKLOADS:
        raise BitfrontError(f"a workload must be one of {', '.join(WORKLOADS)}, but got {name!r}.")
    return name


def get_workload(name: str) -> Workload:
    """Return the workload of that name; this imports torch.

    Raises:
        BitfrontError: no workload has that name.
    """
    workload: Workload = import_module(WORKLOADS[check_workload(name)]).WORKLOAD
    return workload
