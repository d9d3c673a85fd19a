"""MagR against Brevitas' own class, and by what it minimizes."""

from __future__ import annotations

import pytest
import torch
from brevitas_layers import correlated, magr
from small_networks import images, spec, tiny_resnet
from test_prepare import PLAN, TOKENS
from torch import nn

from workloads.gptq import hessian
from workloads.magr import reduce_magnitudes
from workloads.plan import make_plan
from workloads.prepare import prepare
from workloads.quantize import quantize
from workloads.recipes import Preparation, Transform


@pytest.mark.parametrize("alpha", [0.001, 0.01, 0.1])
def test_weights_are_those_of_brevitas(alpha: float) -> None:
    weight, batches = correlated(16, 48, 120)
    theirs = nn.Linear(48, 16, bias=False)
    theirs.weight.data = weight.clone()
    magr(theirs, batches, alpha)
    ours = reduce_magnitudes(weight[None], hessian([b[None] for b in batches], 1, 48), alpha)[0]
    torch.testing.assert_close(ours, theirs.weight.data, rtol=1e-3, atol=1e-3)


def test_the_largest_weights_fall_where_inputs_are_correlated_and_outputs_hardly_move() -> None:
    random = torch.Generator().manual_seed(0)
    inputs = torch.randn(200, 8, generator=random) @ torch.randn(8, 64, generator=random)  # 8 directions in 64 inputs
    weight = torch.randn(1, 16, 64, generator=random)
    reduced = reduce_magnitudes(weight, hessian([inputs[None]], 1, 64), 0.05)
    assert (reduced.abs().amax(dim=2) < 0.75 * weight.abs().amax(dim=2)).all()
    moved = (inputs @ (reduced - weight)[0].T).norm() / (inputs @ weight[0].T).norm()
    assert moved < 0.01


def test_inputs_that_are_always_zero_leave_weights_alone() -> None:
    weight = torch.randn(1, 3, 4, generator=torch.Generator().manual_seed(0))
    assert torch.equal(reduce_magnitudes(weight, torch.zeros(1, 4, 4), 0.01), weight)


def test_a_network_has_smaller_scales_and_nearly_the_same_outputs() -> None:
    model = tiny_resnet()
    plan, samples = make_plan(model, images(1)), images(100)
    made = prepare(plan, Preparation(Transform.MAGR, 10), samples)
    assert (made.graph(samples) - plan.graph(samples)).abs().max() < 0.2 * plan.graph(samples).abs().max()
    plain, reduced = (quantize(model, plan, spec("int3", "int8", recipe), samples) for recipe in ("rtn", "magr10"))
    scales = [[float(layer.scale.mean()) for layer in quantized.layers] for quantized in (plain, reduced)]
    assert all(b < a for a, b in zip(*scales, strict=True))
    assert prepare(PLAN, Preparation(Transform.MAGR, 1), TOKENS).layers == PLAN.layers
