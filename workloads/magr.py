"""MagR (arXiv 2406.00800): weights with smaller largest values, that do nearly what the float weights did on the layer's inputs.

Each output channel's ``1/2 |X w - X w0|^2 + alpha |w|_inf`` is made small by proximal gradient steps; the proximal operator of
the largest magnitude is what projection onto the l1 ball leaves of a vector (Moreau's decomposition). Where inputs are
correlated, as in language models, the largest weight falls and outputs hardly move. Step size and penalty are those of
Brevitas 0.13.4 (`brevitas.graph.magr`), relative to the second moments H of the inputs: 1 / lambda_max(H), and
alpha lambda_max(H) / |H|_1. A step that changes the function, if slightly: outputs are compared, with room.
"""

from __future__ import annotations

import torch
from torch import Tensor

from workloads.axe import soft_thresholds
from workloads.float_walk import walk_float
from workloads.matrices import as_problems, layer_hessian, matrix_to_weight, weight_to_matrix
from workloads.plan import Plan
from workloads.qronos import largest_eigenvalue
from workloads.replan import copied, replanned, set_weight

STEPS = 200
"""Of the gradient (Brevitas' and the authors' default)."""


def magr(plan: Plan, samples: Tensor, number: int | None) -> Plan:
    """The plan with the largest weights of every row reduced; `number` is alpha in thousandths (Brevitas' default: 10)."""
    assert number is not None  # Preparation
    alpha = number / 1000
    graph = copied(plan)
    nodes = {str(node.target): node for node in graph.graph.nodes}
    for seen in walk_float(plan, samples):
        moments = layer_hessian(seen.layer, seen.module, seen.inputs)
        weight = seen.module.weight
        reduced = reduce_magnitudes(as_problems(weight_to_matrix(weight), seen.layer), moments, alpha)
        matrix = reduced.reshape(seen.layer.rows, seen.layer.cols)
        set_weight(graph, nodes[seen.layer.module], matrix_to_weight(matrix, weight.shape))
    return replanned(plan, graph)


def reduce_magnitudes(weight: Tensor, moments: Tensor, alpha: float) -> Tensor:
    """The weights (problems, rows, cols) after MagR, on inputs of these second moments (problems, cols, cols)."""
    largest = largest_eigenvalue(moments)[:, None, None]
    some = largest > 0  # else no input is ever anything but zero
    step = torch.where(some, 1 / largest, 0.0)
    columns = moments.abs().sum(dim=1).amax(dim=1)[:, None, None]
    penalty = torch.where(some, alpha * largest / columns, 0.0)
    reduced = weight
    for _ in range(STEPS):
        moved = reduced - step * (reduced - weight).bmm(moments)
        reduced = moved - penalty * _onto_l1_ball(moved / penalty.where(some, 1.0))
    return reduced


def _onto_l1_ball(vectors: Tensor) -> Tensor:
    """The nearest vectors (the last dimension) of l1 norm 1 or less."""
    thresholds = soft_thresholds(vectors.reshape(-1, vectors.shape[-1]).numpy(), 1.0)
    threshold = torch.from_numpy(thresholds).reshape(*vectors.shape[:-1], 1)
    return vectors.sign() * torch.relu(vectors.abs() - threshold)
