"""GPFQ: each column rounded to what brings the quantized network's sums closest to the float network's, path by path.

E. Lybrand and R. Saab, "A greedy algorithm for quantizing neural networks", JMLR 22 (2021); J. Zhang, Y. Zhou and R. Saab,
"Post-training quantization for neural networks with provable guarantees", SIAM J. Math. Data Sci. 5 (2023). With X the
inputs in the float network, Y those in the quantized one and columns 1..t-1 rounded to q, column t is
``<Y_t, sum_{j<=t} w_j X_j - sum_{j<t} q_j Y_j> / |Y_t|^2``, rounded. It needs second moments only (as in Brevitas 0.13.4,
`brevitas.graph.gpfq`), and no inverse, so any number of images will do.
"""

from __future__ import annotations

import torch
from torch import Tensor

from hwmodels.formats import ElementFormat
from workloads.gptq import Columns, MakeBudget, descending, reordered


def gpfq(
    weight: Tensor,
    statistics: Tensor,
    cross: Tensor,
    scale: Tensor,
    fmt: ElementFormat,
    make_budget: MakeBudget | None = None,
) -> Tensor:
    """The values that GPFQ rounds weights to: elements of `fmt` times `scale`, shape and type of `weight`.

    Args:
        weight: (problems, rows, cols).
        statistics: Y Y^T of :func:`workloads.gptq.hessian`, (problems, cols, cols).
        cross: Y X^T, on the same samples.
        scale: float32, broadcastable to `weight`.
        fmt: format of the weights.
        make_budget: AXE's constraints.
    """
    power = statistics.diagonal(dim1=1, dim2=2)
    dead = power == 0
    order = descending(power)
    used = weight.masked_fill(dead[:, None], 0.0)  # what never sees an input but zero
    columns = Columns(used, scale, fmt, order, make_budget)
    share = torch.where(dead, 0.0, 1 / power).gather(1, order)[:, :, None]
    columns.left.copy_((reordered(cross, order) * share).tril().bmm(columns.take(weight)))
    columns.round((reordered(statistics, order) * share).tril(-1).transpose(1, 2), of_error=False)
    return columns.rounded()
