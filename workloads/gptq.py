"""GPTQ (arXiv 2210.17323): rounding column by column, each column's error made up for by those that are not rounded yet.

The arithmetic is that of Brevitas 0.13.4 (`brevitas.graph.gptq`), operation by operation, so codes are equal; what is left
out is the quantizer objects between two columns, which take nine tenths of its time. Scales do not follow the weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from hwmodels.formats import ElementFormat
from workloads.axe import Budget
from workloads.fake_quant import round_in_place

BLOCKS = 100
"""Column blocks between two full updates of the remaining weights (Brevitas' default; codes do not depend on it)."""

DAMPING = 0.01
"""Of the mean diagonal, added to the Hessian's diagonal (Brevitas' and the authors' default)."""

_STABILIZER = 1e4  # factor during the second Cholesky decomposition (as in Brevitas)


class SingularError(ValueError):
    """A Hessian that has no inverse even when damped."""


def hessian(views: Iterable[Tensor], problems: int, cols: int) -> Tensor:
    """2 X X^T / samples of a layer's inputs, float32, shape (problems, cols, cols).

    Args:
        views: what the layer's rows are multiplied with, batch by batch, in any shape whose values follow each other as
            (problems, samples, cols); views that overlap cost no memory.
        problems: 1, or the channels of a depthwise layer.
        cols: products per row.
    """
    total, samples, buffer = torch.zeros(problems, cols, cols), 0, torch.empty(0)
    for view in views:
        count = view.numel() // (problems * cols)
        if buffer.shape != view.shape:
            buffer = view.new_empty(view.shape)
        total *= samples / (samples + count)
        samples += count
        torch.mul(view, math.sqrt(2 / samples), out=buffer)  # unfolds and scales in one pass
        scaled = buffer.view(problems, count, cols)
        total += scaled.transpose(1, 2).bmm(scaled)
    return total


def gptq(
    weight: Tensor,
    statistics: Tensor,
    scale: Tensor,
    fmt: ElementFormat,
    make_budget: Callable[[Tensor], Budget] | None = None,
) -> Tensor:
    """The values that GPTQ rounds weights to: elements of `fmt` times `scale`, shape and type of `weight`.

    Columns are taken in the order of their inputs' power, the largest first: better than in order at 2 and 3 bits (measured).

    Args:
        weight: (problems, rows, cols).
        statistics: the Hessian of :func:`hessian`, (problems, cols, cols).
        scale: float32, broadcastable to `weight`.
        fmt: format of the weights.
        make_budget: AXE's constraints on the codes of the weights that it is given.

    Raises:
        SingularError: the Hessian has no inverse.
    """
    problems, _, cols = weight.shape
    power = statistics.diagonal(dim1=1, dim2=2)
    dead = power == 0
    order = torch.stack([torch.argsort(p, descending=True) for p in power.where(~dead, torch.ones(()))])
    inverse = _inverse(statistics, dead, order)
    # one row per column of weights: what is read and written together lies together
    along = order[:, :, None].expand(-1, -1, weight.shape[1])
    used = weight.masked_fill(dead[:, None], 0.0)  # what never sees an input but zero
    budget = None if make_budget is None else make_budget(used)
    left = used.transpose(1, 2).gather(1, along)
    scales = scale.expand_as(weight).transpose(1, 2).gather(1, along)
    rounded = torch.empty_like(left)
    block = math.ceil(cols / BLOCKS)
    for start in range(0, cols, block):
        stop = min(start + block, cols)
        errors = torch.zeros(problems, stop - start, weight.shape[1])
        for i in range(start, stop):
            wanted, own = left[:, i], scales[:, i]
            if budget is not None:
                wanted = budget.constrain(wanted, own, order[:, i])
            code = round_in_place(wanted / own, fmt)
            if budget is not None:
                budget.spend(code, order[:, i])
            value = code * own
            error = (wanted - value) / inverse[:, i, i, None]
            rounded[:, i], errors[:, i - start] = value, error
            left[:, i:stop] -= inverse[:, i, i:stop, None] * error[:, None]
        left[:, stop:] -= errors.transpose(1, 2).bmm(inverse[:, start:stop, stop:]).transpose(1, 2)
    return torch.empty_like(rounded).scatter_(1, along, rounded).transpose(1, 2).contiguous()


def _inverse(statistics: Tensor, dead: Tensor, order: Tensor) -> Tensor:
    """The upper Cholesky factor of the inverse of the damped Hessian, its columns in `order`."""
    alive = statistics + torch.diag_embed(dead.to(statistics.dtype))
    ordered = torch.stack([h[o][:, o] for h, o in zip(alive, order, strict=True)])
    diagonal = ordered.diagonal(dim1=1, dim2=2)
    diagonal += DAMPING * diagonal.mean(dim=1, keepdim=True)
    try:
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(ordered))
        factor: Tensor = torch.linalg.cholesky(inverse * _STABILIZER, upper=True) / math.sqrt(_STABILIZER)
        return factor
    except RuntimeError as error:  # torch.linalg's LinAlgError
        raise SingularError("a Hessian must have an inverse, but it has none.") from error
