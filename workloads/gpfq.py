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

from workloads.gptq import Columns, descending, reordered
from workloads.problem import Problem


def gpfq(problem: Problem) -> Tensor:
    """The values that GPFQ rounds weights to: elements of the format times the scale, shape and type of the weights."""
    power = problem.statistics.diagonal(dim1=1, dim2=2)
    order = descending(power)
    columns = Columns(problem, order)
    share = torch.where(power == 0, 0.0, 1 / power).gather(1, order)[:, :, None]
    columns.left.copy_((reordered(problem.compared, order) * share).tril().bmm(columns.take(problem.weight)))
    columns.round((reordered(problem.statistics, order) * share).tril(-1).transpose(1, 2), of_error=False)
    return columns.rounded()
