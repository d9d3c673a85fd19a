"""AdaRound (arXiv 2004.10568): whether each weight is rounded up or down is learned, from the outputs of its layer.

With w the float weights on inputs X of the float network and Y the inputs in the quantized one, ``|sum_j q_j Y_j - w_j X_j|^2``
is made small over q between a weight's two neighbours on its grid: ``q = low + h(v) (high - low)``, h the rectified sigmoid
of equation 23, and a regularizer (equation 24) that ends with every h at 0 or 1. The sum over all calibration images is a
quadratic form of second moments, so each of Adam's steps sees all of them, and no batch is drawn. Unlike the paper, the
activation function behind a layer is not part of what is compared.
"""

from __future__ import annotations

import torch
from torch import Tensor

from workloads.fake_quant import neighbours, round_in_place
from workloads.problem import Problem

ZETA, GAMMA = 1.1, -0.1
"""The rectified sigmoid's stretch (the paper's)."""

STEPS, RATE = 500, 0.03
"""Of Adam (the paper: 10,000 on batches; here twice the steps at a third of the rate gain 1 % in layers' errors)."""

ADAM = (0.9, 0.999)
"""How much of its means Adam keeps (torch's default; torch.optim would import a compiler, which takes seconds)."""

WARM_UP = 0.2
"""Share of the steps before the regularizer begins (the authors')."""

BETA = (20.0, 2.0)
"""The regularizer's exponent at its begin and end (the authors')."""

REGULARIZER = 1.0
"""Its weight beside the loss, which is in units of what a step of one weight does on average (of 0.01 to 3, the layers of
digits-resnet have the least errors from 0.3 on)."""


def adaround(problem: Problem) -> Tensor:
    """The values that learned rounding gives: elements of the format times the scale, shape and type of the weights.

    A row whose squared error is larger than that of rounding to nearest is rounded to nearest. AXE's constraints are not kept.
    """
    weight, statistics, cross, fmt = problem.weight, problem.statistics, problem.compared, problem.format
    scales = problem.scale.expand_as(weight)
    y = weight / scales
    low, high = neighbours(y, fmt)
    gap = (high - low) * scales
    base, wanted = low * scales, weight.bmm(cross.transpose(1, 2))
    unit = (
        (gap.square() * statistics.diagonal(dim1=1, dim2=2)[:, None]).mean().clamp(min=torch.finfo(torch.float32).tiny)
    )
    part = ((y - low) / (high - low).where(high > low, 1.0)).clamp(0.0, 1.0)
    v = -torch.log((ZETA - GAMMA) / (part - GAMMA) - 1)
    mean, square = torch.zeros_like(v), torch.zeros_like(v)  # Adam's, of the gradient
    for step in range(STEPS):
        sigmoid = torch.sigmoid(v)
        h = (sigmoid * (ZETA - GAMMA) + GAMMA).clamp_(0.0, 1.0)
        push = ((base + h * gap).bmm(statistics) - wanted) * gap / unit
        progress = (step / STEPS - WARM_UP) / (1 - WARM_UP)
        if progress >= 0:
            beta = BETA[0] + (BETA[1] - BETA[0]) * progress
            side = 2 * h - 1
            push -= 2 * REGULARIZER * beta * side.abs().pow_(beta - 1) * side.sign()
        slope = sigmoid * (1 - sigmoid) * (ZETA - GAMMA)
        gradient = push.mul_(slope).mul_((h > 0) & (h < 1))
        mean.lerp_(gradient, 1 - ADAM[0])
        square.lerp_(gradient.square(), 1 - ADAM[1])
        size = (square / (1 - ADAM[1] ** (step + 1))).sqrt_().add_(1e-8)
        v.addcdiv_(mean, size, value=-RATE / (1 - ADAM[0] ** (step + 1)))
    learned = torch.where(v > 0, high, low) * scales
    nearest = round_in_place(y.clone(), fmt) * scales
    errors = [(q.bmm(statistics) * q / 2 - wanted * q).sum(dim=2, keepdim=True) for q in (learned, nearest)]
    return torch.where(errors[0] <= errors[1], learned, nearest)
