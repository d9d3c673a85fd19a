"""The choices of a cost estimate that are not numerics, folding or device."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from hwmodels.datapath import Multiplier
from hwmodels.errors import BitfrontError
from hwmodels.primitives.memory import MemoryStyle


class OptionsError(BitfrontError):
    """A choice that does not exist."""


class CostModel(StrEnum):
    """calibrated: every component, fitted where measured. finn: FINN v0.10.1's own numbers, for comparison with it."""

    CALIBRATED = "calibrated"
    FINN = "finn"


class UnitStyle(StrEnum):
    """How an accelerator is built. rtl: of what this project generates; hls: as FINN does, layers by its HLS library."""

    RTL = "rtl"
    HLS = "hls"


@dataclass(frozen=True)
class CostOptions:
    """How a network is built and costed; strings are taken for the enum members they name.

    Raises:
        OptionsError: a choice that does not exist.

    Attributes:
        model: which formulas.
        multiplier: whether products (and float scales) are built from LUTs or from DSP slices.
        memory: what the weight memories are made of; other memories always take what is cheapest on the part.
        units: how units with weights are built (calibrated model).
        shell: whether what moves data on and off the chip is counted. By default not: it is the same whatever is swept,
            larger than a small network, and part of the platform on some cards. The report says so either way.
    """

    model: CostModel = CostModel.CALIBRATED
    multiplier: Multiplier = Multiplier.LUT
    memory: MemoryStyle = MemoryStyle.AUTO
    units: UnitStyle = UnitStyle.RTL
    shell: bool = False

    def __post_init__(self) -> None:
        kinds = (("model", CostModel), ("multiplier", Multiplier), ("memory", MemoryStyle), ("units", UnitStyle))
        for name, kind in kinds:
            given = getattr(self, name)
            if given not in list(kind):
                raise OptionsError(f"{name} must be one of {', '.join(kind)}, but got {given!r}.")
            object.__setattr__(self, name, kind(given))
        if self.shell and self.model is CostModel.FINN:
            raise OptionsError("FINN's model has no shell, but got model=finn, shell=True; use model=calibrated.")
