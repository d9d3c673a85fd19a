"""What every algorithm that chooses the codes of one layer is given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from torch import Tensor

from hwmodels.formats import ElementFormat
from workloads.axe import Budget

MakeBudget: TypeAlias = Callable[[Tensor], Budget]
"""AXE's constraints on the codes of the float weights that it is given, (problems, rows, cols)."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Problem:
    """Float weights, their grid, and moments of the inputs: X in the float network, Y in the quantized one.

    Args:
        weight: (problems, rows, cols), float32; problems: 1, or the channels of a depthwise layer.
        statistics: Y Y^T of :func:`workloads.gptq.hessian`, (problems, cols, cols).
        cross: Y X^T, on the same samples; for the algorithms that compare with the float network.
        scale: float32, broadcastable to `weight`.
        format: of the weights.
        budget: AXE's constraints.
    """

    weight: Tensor
    statistics: Tensor
    scale: Tensor
    format: ElementFormat
    cross: Tensor | None = None
    budget: MakeBudget | None = None

    @property
    def compared(self) -> Tensor:
        """The moments of both networks' inputs, which an algorithm that asks for them is given."""
        assert self.cross is not None  # COMPARES_WITH_FLOAT
        return self.cross
