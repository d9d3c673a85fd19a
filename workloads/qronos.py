"""Qronos (arXiv 2505.11695): GPTQ that also makes up for what the quantized layers in front have done to a layer's inputs.

With X the inputs in the float network and Y those in the quantized one: the first column is rounded to what brings
``sum_j q_j Y_j`` closest to ``sum_j w_j X_j``, the others as they are; then the others are set to the best there is without
rounding; then they are rounded as GPTQ does. As in Brevitas 0.13.4 (`brevitas.graph.qronos`), but for two things: the damped
inverse is taken in float64, where float32 can fail, and an inverse that fails is an error.
"""

from __future__ import annotations

import torch
from torch import Tensor

from workloads.gptq import Columns, SingularError, descending, inverse_factor, reordered
from workloads.problem import Problem

DAMPING = 1e-6
"""Of the largest eigenvalue, added to the diagonal (Brevitas' and the authors' default)."""

_POWER_STEPS = 30  # of the power iteration (as in Brevitas)


def qronos(problem: Problem) -> Tensor:
    """The values that Qronos rounds weights to: elements of the format times the scale, shape and type of the weights.

    Raises:
        SingularError: the damped statistics have no inverse.
    """
    order = descending(problem.statistics.diagonal(dim1=1, dim2=2))
    columns = Columns(problem, order)
    moments, mixed = reordered(problem.statistics, order), reordered(problem.compared, order)
    wanted, kept = columns.take(problem.weight), columns.take(columns.used)
    # the first column: all sums of the float network, less those of the other columns as they are
    share = 1 / moments[:, :1, :1].where(moments[:, :1, :1] != 0, torch.inf)
    columns.left[:, :1] = (mixed[:, :1].bmm(wanted) - moments[:, :1, 1:].bmm(kept[:, 1:])) * share
    _, first = columns.choose(0)
    cols = moments.shape[1]
    if cols > 1:
        damping = DAMPING * largest_eigenvalue(moments)
        damped = torch.diag_embed(damping.where(damping != 0, 1.0)[:, None].expand(-1, cols))
        rest = (moments + damped)[:, 1:, 1:].double()
        try:
            root = torch.linalg.cholesky(rest)
        except RuntimeError as error:  # torch.linalg's LinAlgError
            raise SingularError("the moments of inputs must have an inverse, but they have none.") from error
        target = (mixed + damped)[:, 1:].bmm(wanted) - moments[:, 1:, :1].bmm(first[:, None])
        columns.left[:, 1:] = torch.cholesky_solve(target.double(), root).float()
        columns.round(inverse_factor(rest).float(), first=1)
    return columns.rounded()


def largest_eigenvalue(matrices: Tensor) -> Tensor:
    """Of symmetric, positive matrices (problems, n, n) without negative eigenvalues, by power iteration, (problems,)."""
    vector = torch.ones(matrices.shape[:2], dtype=matrices.dtype)[:, :, None]
    for _ in range(_POWER_STEPS):
        vector = matrices.bmm(vector)
        vector = vector / vector.norm(dim=1, keepdim=True).clamp(min=torch.finfo(vector.dtype).tiny)
    return vector.transpose(1, 2).bmm(matrices.bmm(vector))[:, 0, 0]
