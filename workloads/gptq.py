"""GPTQ (arXiv 2210.17323): rounding column by column, each column's error made up for by those that are not rounded yet.

The arithmetic is that of Brevitas 0.13.4 (`brevitas.graph.gptq`), operation by operation, so codes are equal; what is left
out is the quantizer objects between two columns, which take nine tenths of its time. Scales do not follow the weights.
GPFQ and Qronos (:mod:`workloads.gpfq`, :mod:`workloads.qronos`) round their columns by the same loop.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import repeat

import torch
from torch import Tensor

from workloads.fake_quant import round_in_place
from workloads.problem import Problem

BLOCKS = 100
"""Column blocks between two full updates of the remaining weights (Brevitas' default; codes do not depend on it)."""

DAMPING = 0.01
"""Of the mean diagonal, added to the Hessian's diagonal (Brevitas' and the authors' default)."""

_STABILIZER = 1e4  # factor during the second Cholesky decomposition (as in Brevitas)


class SingularError(ValueError):
    """A Hessian that has no inverse even when damped."""


def hessian(views: Iterable[Tensor], problems: int, cols: int, others: Iterable[Tensor] | None = None) -> Tensor:
    """2 X X^T / samples of a layer's inputs, float32, shape (problems, cols, cols).

    Args:
        views: what the layer's rows are multiplied with, batch by batch, in any shape whose values follow each other as
            (problems, samples, cols); views that overlap cost no memory.
        problems: 1, or the channels of a depthwise layer.
        cols: products per row.
        others: the same samples as another network sees them, Y; then 2 X Y^T / samples.
    """
    total, samples, buffers = torch.zeros(problems, cols, cols), 0, [torch.empty(0), torch.empty(0)]
    for view, other in zip(views, repeat(None) if others is None else others, strict=False):
        count = view.numel() // (problems * cols)
        total *= samples / (samples + count)
        samples += count
        scaled = []
        for i, given in enumerate((view,) if other is None else (view, other)):
            if buffers[i].shape != given.shape:
                buffers[i] = given.new_empty(given.shape)
            torch.mul(given, math.sqrt(2 / samples), out=buffers[i])  # unfolds and scales in one pass
            scaled.append(buffers[i].view(problems, count, cols))
        total += scaled[0].transpose(1, 2).bmm(scaled[-1])
    return total


def gptq(problem: Problem) -> Tensor:
    """The values that GPTQ rounds weights to: elements of the format times the scale, shape and type of the weights.

    Columns are taken in the order of their inputs' power, the largest first: better than in order at 2 and 3 bits (measured).

    Raises:
        SingularError: the Hessian has no inverse.
    """
    statistics = problem.statistics
    power = statistics.diagonal(dim1=1, dim2=2)
    dead = power == 0
    columns = Columns(problem, descending(power.where(~dead, torch.ones(()))))
    ordered = reordered(statistics + torch.diag_embed(dead.to(statistics.dtype)), columns.order)
    diagonal = ordered.diagonal(dim1=1, dim2=2)
    diagonal += DAMPING * diagonal.mean(dim=1, keepdim=True)
    columns.left.copy_(columns.take(columns.used))
    columns.round(inverse_factor(ordered))
    return columns.rounded()


class Columns:
    """The weights of a layer while they are rounded column by column: what is wanted of the rest, and what was chosen.

    Args:
        problem: the weights.
        order: in which columns are rounded, (problems, cols).

    Attributes:
        used: the weights, but zero where they never see an input but zero.
    """

    def __init__(self, problem: Problem, order: Tensor) -> None:
        weight, dead = problem.weight, problem.statistics.diagonal(dim1=1, dim2=2) == 0
        # one row per column of weights: what is read and written together lies together
        self._along = order[:, :, None].expand(-1, -1, weight.shape[1])
        self.order, self.used, self._format = order, weight.masked_fill(dead[:, None], 0.0), problem.format
        self._budget = None if problem.budget is None else problem.budget(self.used)
        self._scales = self.take(problem.scale.expand_as(weight))
        self.left = torch.empty_like(self._scales)
        self._rounded = torch.empty_like(self._scales)

    def take(self, weight: Tensor) -> Tensor:
        """Weights (problems, rows, cols) as (problems, cols, rows), columns in order."""
        return weight.transpose(1, 2).gather(1, self._along)

    def choose(self, i: int) -> tuple[Tensor, Tensor]:
        """Round column i of the order to what is wanted of it; returns both, AXE's cut of what is wanted included."""
        wanted, scale = self.left[:, i], self._scales[:, i]
        if self._budget is not None:
            wanted = self._budget.constrain(wanted, scale, self.order[:, i])
        code = round_in_place(wanted / scale, self._format)
        if self._budget is not None:
            self._budget.spend(code, self.order[:, i])
        self._rounded[:, i] = value = code * scale
        return wanted, value

    def round(self, factor: Tensor, *, first: int = 0, of_error: bool = True) -> None:
        """Round all columns from `first` on, each making up for what those before it did.

        Args:
            factor: (problems, columns, columns) of the columns from `first` on, upper triangular. Row i times the error of
                column i over the factor's diagonal is taken off the columns that are left ...
            of_error: ... or, if this is False, times its rounded value.
        """
        count = factor.shape[1]
        left = self.left[:, first:]
        block = math.ceil(self.left.shape[1] / BLOCKS)
        for start in range(0, count, block):
            stop = min(start + block, count)
            pushed = torch.zeros_like(left[:, start:stop])
            for i in range(start, stop):
                wanted, value = self.choose(first + i)
                push = (wanted - value) / factor[:, i, i, None] if of_error else value
                pushed[:, i - start] = push
                left[:, i:stop] -= factor[:, i, i:stop, None] * push[:, None]
            left[:, stop:] -= pushed.transpose(1, 2).bmm(factor[:, start:stop, stop:]).transpose(1, 2)

    def rounded(self) -> Tensor:
        """The values chosen, (problems, rows, cols)."""
        return torch.empty_like(self._rounded).scatter_(1, self._along, self._rounded).transpose(1, 2).contiguous()


def descending(power: Tensor) -> Tensor:
    """The order of columns (problems, cols) by power, the largest first."""
    return torch.stack([torch.argsort(p, descending=True) for p in power])


def reordered(statistics: Tensor, order: Tensor) -> Tensor:
    """Statistics (problems, cols, cols) of the columns in `order`."""
    return torch.stack([h[o][:, o] for h, o in zip(statistics, order, strict=True)])


def inverse_factor(statistics: Tensor) -> Tensor:
    """The upper Cholesky factor of the inverse of damped statistics (problems, cols, cols).

    Raises:
        SingularError: there is no inverse.
    """
    try:
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(statistics))
        factor: Tensor = torch.linalg.cholesky(inverse * _STABILIZER, upper=True) / math.sqrt(_STABILIZER)
        return factor
    except RuntimeError as error:  # torch.linalg's LinAlgError
        raise SingularError("a Hessian must have an inverse, but it has none.") from error
