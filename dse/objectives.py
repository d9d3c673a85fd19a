"""What a sweep can optimize: one row per objective, with its direction, unit and how to read it off an evaluated point.

To add an objective: one row in :data:`OBJECTIVES`. A point that lacks the metric is an error, never a default.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from hwmodels.errors import BitfrontError


class ObjectiveError(BitfrontError):
    """An objective that does not exist, or a point that does not have its metric."""


@dataclass(frozen=True)
class Objective:
    """A column of the table of points, the direction that is better, and its unit as a plot's axis says it.

    Args:
        ideal: what nothing can beat.
        worst: what nothing can fall below, or None if it is without end.
    """

    name: str
    maximize: bool
    unit: str
    label: str
    ideal: float = 0.0
    worst: float | None = None

    @property
    def direction(self) -> Literal["maximize", "minimize"]:
        """As Optuna writes it."""
        return "maximize" if self.maximize else "minimize"

    @property
    def is_cost(self) -> bool:
        """Whether the hardware model gives it (known before any quantization)."""
        return self.name in COSTS

    @property
    def is_quality(self) -> bool:
        """Whether it says how good the quantized network still is (a front needs one, and figures show the first)."""
        return self.name in QUALITIES

    def read(self, row: Mapping[str, Any]) -> float:
        """The value of one row of the table of points.

        Raises:
            ObjectiveError: the row has no such metric.
        """
        value = row.get(self.name)
        if value is None or math.isnan(value):
            raise ObjectiveError(f"point {row.get('id', '?')} must have the metric {self.name!r}, but it has none.")
        return float(value)


QUALITIES = ("top1", "loss", "perplexity", "kl", "flip_rate", "cosine")
COSTS = ("lut", "carry8", "ff", "dsp", "bram18", "uram", "cycles")

OBJECTIVES: dict[str, Objective] = {
    o.name: o
    for o in (
        Objective("top1", True, "fraction of test images", "Top-1 accuracy", ideal=1.0, worst=0.0),
        Objective("loss", maximize=False, unit="nats", label="Cross-entropy loss"),
        Objective("perplexity", maximize=False, unit="equally likely tokens", label="Perplexity", ideal=1.0),
        Objective("kl", maximize=False, unit="nats per token", label="KL divergence from float"),
        Objective("flip_rate", False, "fraction of test samples", "Flips against float", worst=1.0),
        Objective("cosine", True, "to the float model", "Cosine similarity of embeddings", ideal=1.0, worst=0.0),
        Objective("lut", maximize=False, unit="LUT6", label="LUTs"),
        Objective("carry8", maximize=False, unit="CARRY8", label="Carry chains"),
        Objective("ff", maximize=False, unit="FF", label="Flip-flops"),
        Objective("dsp", maximize=False, unit="DSP slices", label="DSP slices"),
        Objective("bram18", maximize=False, unit="RAMB18", label="Block RAM"),
        Objective("uram", maximize=False, unit="URAM", label="UltraRAM"),
        Objective("cycles", maximize=False, unit="clock cycles per frame", label="Initiation interval"),
        Objective("weight_bits", maximize=False, unit="bits", label="Weight storage"),
    )
}


def get_objective(name: str) -> Objective:
    """The objective of a name.

    Raises:
        ObjectiveError: unknown; names all that exist.
    """
    if name not in OBJECTIVES:
        raise ObjectiveError(f"an objective must be one of {', '.join(OBJECTIVES)}, but got {name!r}.")
    return OBJECTIVES[name]
