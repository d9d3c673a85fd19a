"""What a recipe does to the float network before anything is quantized: steps from a plan to a plan of the same function.

Each is a function of the plan so far, the calibration samples and the number in its name. It changes a copy of the graph,
plans that anew (:func:`replanned`), and is checked: on calibration samples the outputs must stay what they were. (MagR moves
them a little, by what it is; it has a wider tolerance.)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from workloads.calibration import batch_size
from workloads.channel_scales import awq, equalize, smoothquant
from workloads.magr import magr
from workloads.online import online_hadamard
from workloads.permute import ORDERS, permutation
from workloads.plan import Plan
from workloads.recipes import Preparation, Transform
from workloads.replan import PreparationError
from workloads.rotate import rotate

__all__ = ["PREPARATIONS", "PreparationError", "Way", "prepare"]

Change: TypeAlias = Callable[[Plan, Tensor, int | None], Plan]


@dataclass(frozen=True)
class Way:
    """How a network is prepared.

    Args:
        change: (plan, calibration samples, number in the step's name or None) -> plan; leaves its arguments alone.
        tolerance: how far an output may move, in parts of the largest one. The default is for changes that are exact but for
            float32's rounding: it moves the outputs of the embedded networks by less than 1e-5 (assumed: a margin of 100).
    """

    change: Change
    tolerance: float = 1e-3


PREPARATIONS: Mapping[Transform, Way] = {
    Transform.ROTATE: Way(rotate),
    Transform.EQUALIZE: Way(equalize),
    Transform.SMOOTHQUANT: Way(smoothquant),
    Transform.AWQ: Way(awq),
    Transform.MAGR: Way(magr, tolerance=0.5),
    Transform.HADAMARD: Way(online_hadamard),
    **{transform: Way(permutation(transform)) for transform in ORDERS},
}
"""Every preparation that a recipe may name."""


def prepare(plan: Plan, preparation: Preparation, samples: Tensor) -> Plan:
    """The plan of the prepared network.

    Args:
        plan: of the network so far; it is not changed.
        preparation: what to do.
        samples: calibration inputs.

    Raises:
        PreparationError: the network has no place for it, or its outputs on calibration samples change by more than they may.
    """
    way = PREPARATIONS[preparation.transform]
    with torch.no_grad():
        made = way.change(plan, samples, preparation.number)
        few = samples[: batch_size(samples)]
        before, after = plan.graph(few), made.graph(few)
    moved = float((after - before).abs().max() / before.abs().max().clamp(min=torch.finfo(before.dtype).tiny))
    if not moved <= way.tolerance:
        raise PreparationError(
            f"{preparation} must leave the network's outputs as they are, within {way.tolerance:g} of the largest, but they "
            f"move by {moved:.3g} of it; use a recipe without {preparation}."
        )
    return made
