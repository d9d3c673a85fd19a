"""GPFQ, Qronos and AXE for GPFQ against Brevitas' own classes, on inputs that quantized layers in front have changed."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from brevitas_layers import A2GPFQ, GPFQ, Qronos, correlated, linear, run_brevitas_pairs
from torch import Tensor, nn

from hwmodels.accumulator import dot_range
from hwmodels.catalog import parse_element
from hwmodels.datapath import TensorQuant, parse_scaling
from hwmodels.formats import IntFormat
from workloads.adaround import adaround
from workloads.axe import Budget
from workloads.fake_quant import round_in_place
from workloads.gpfq import gpfq
from workloads.gptq import SingularError, gptq, hessian
from workloads.problem import Problem
from workloads.qronos import largest_eigenvalue, qronos
from workloads.quantizers import qnn, weight_quantizer
from workloads.scales import expand, to_codes, weight_scales

GRIDS = [
    ("int3", "channel"),
    ("int4_narrow", "group16"),
    ("e2m1", "channel"),
    ("e3m0", "group8_po2"),
    ("e3m2", "tensor"),
]


def pairs(rows: int, cols: int, samples: int) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """Weights, three equal batches of what quantized layers in front would make of inputs, and these."""
    weight, batches = correlated(rows, cols, samples)
    floats = torch.cat(batches)
    step = floats.max() / 15
    quantized = (floats * 0.9 / step).round().clamp(max=12) * step  # clipped and too small: an error to make up for
    quantized = quantized * torch.linspace(0.97, 1.0, cols)  # no two inputs of equal power, whose order would be open
    return weight, list(quantized.chunk(3)), list(floats.chunk(3))


def moments(quantized: list[Tensor], floats: list[Tensor], cols: int) -> tuple[Tensor, Tensor]:
    views = [q[None] for q in quantized]
    return hessian(views, 1, cols), hessian(views, 1, cols, [f[None] for f in floats])


def output_error(weight: Tensor, chosen: Tensor, quantized: list[Tensor], floats: list[Tensor]) -> float:
    return float((torch.cat(quantized) @ chosen.T - torch.cat(floats) @ weight.T).square().mean())


@pytest.mark.parametrize(("name", "scaling"), GRIDS)
@pytest.mark.parametrize(("ours", "kind"), [(gpfq, GPFQ), (qronos, Qronos)])
def test_codes_are_those_of_brevitas(ours, kind, name: str, scaling: str) -> None:  # type: ignore[no-untyped-def]
    quant = TensorQuant(parse_element(name), parse_scaling(scaling))
    cols = 112 if name == "int3" else 48  # more than 100: rounded in blocks
    weight, quantized, floats = pairs(24, cols, 600)
    scale = torch.from_numpy(expand(weight_scales(weight.numpy(), quant), (24, cols)).copy())
    theirs = linear(weight, scale, quant.format)
    run_brevitas_pairs(kind, theirs, quantized, floats)
    statistics, cross = moments(quantized, floats, cols)
    problem = Problem(weight=weight[None], statistics=statistics, cross=cross, scale=scale[None], format=quant.format)
    chosen = ours(problem)[0]
    with torch.no_grad():
        wanted = theirs.quant_weight().value
    assert (chosen == wanted).float().mean() > 0.995  # sums are taken in another order: ties fall otherwise
    errors = [output_error(weight, w, quantized, floats) for w in (chosen, wanted)]
    assert errors[0] == pytest.approx(errors[1], rel=0.01)
    nearest = round_in_place(weight / scale, quant.format) * scale
    blind = gptq(problem)[0]  # does not know of the error in front
    assert errors[0] < min(output_error(weight, w, quantized, floats) for w in (nearest, blind))


@pytest.mark.parametrize(("ours", "kind"), [(gpfq, GPFQ), (qronos, Qronos)])
def test_depthwise_codes_are_those_of_brevitas(ours, kind) -> None:  # type: ignore[no-untyped-def]
    random = torch.Generator().manual_seed(0)
    weight, floats = torch.randn(6, 1, 3, 3, generator=random), torch.rand(20, 6, 8, 8, generator=random)
    quantized = (floats * 6).floor() / 6
    fmt, scale = IntFormat(3), weight.abs().amax(dim=(1, 2, 3), keepdim=True) / 3
    theirs = qnn.QuantConv2d(6, 6, 3, groups=6, bias=False, weight_quant=weight_quantizer(fmt, scale)).eval()
    theirs.weight.data = weight.clone()
    run_brevitas_pairs(kind, theirs, [quantized], [floats])
    views = [[nn.functional.unfold(x, 3).view(20, 6, 9, -1).permute(1, 0, 3, 2)] for x in (quantized, floats)]
    statistics, cross = hessian(views[0], 6, 9), hessian(views[0], 6, 9, views[1])
    wide, shared = weight.view(6, 1, 9), scale.view(6, 1, 1)
    chosen = ours(Problem(weight=wide, statistics=statistics, cross=cross, scale=shared, format=fmt))
    with torch.no_grad():
        assert torch.equal(chosen.view_as(weight), theirs.quant_weight().value)


@pytest.mark.parametrize(
    ("signed", "bits", "tile"), [(False, 11, None), (True, 11, None), (False, 10, 32), (True, 9, 16)]
)
def test_axe_codes_are_those_of_brevitas_and_fit(signed: bool, bits: int, tile: int | None) -> None:
    weight, quantized, floats = pairs(16, 64, 480)
    fmt, activation = IntFormat(4), IntFormat(4, signed=signed)
    scale = weight.abs().amax(dim=1, keepdim=True) / 7
    theirs = linear(weight, scale, fmt)
    limits = {"max_accumulator_bit_width": bits, "max_accumulator_tile_size": tile}
    run_brevitas_pairs(A2GPFQ, theirs, quantized, floats, activation=activation, **limits)
    budget = partial(Budget, scale=scale[None], activation=activation, bits=bits, tile=tile or 64)
    statistics, cross = moments(quantized, floats, 64)
    ours = gpfq(
        Problem(weight=weight[None], statistics=statistics, cross=cross, scale=scale[None], format=fmt, budget=budget)
    )[0]
    assert (ours == theirs.quant_weight().value).float().mean() > 0.995
    assert dot_range(_codes(ours, scale, fmt), activation, tile).bits <= bits
    free = gpfq(Problem(weight=weight[None], statistics=statistics, cross=cross, scale=scale[None], format=fmt))[0]
    assert dot_range(_codes(free, scale, fmt), activation, tile).bits > bits


def test_without_errors_in_front_qronos_is_gptq_with_less_damping() -> None:
    """With equal inputs nothing is to be made up for, and the first column is rounded to nearest."""
    weight, _, floats = pairs(24, 112, 600)
    quant = TensorQuant(parse_element("int3"), parse_scaling("channel"))
    scale = torch.from_numpy(weight_scales(weight.numpy(), quant))
    statistics, cross = moments(floats, floats, 112)
    assert torch.equal(statistics, cross)
    problem = Problem(weight=weight[None], statistics=statistics, cross=cross, scale=scale[None], format=quant.format)
    chosen, plain = qronos(problem)[0], gptq(problem)[0]
    errors = [
        output_error(weight, w, floats, floats)
        for w in (chosen, plain, round_in_place(weight / scale, quant.format) * scale)
    ]
    assert errors[0] < 1.05 * errors[1] < errors[2]


def test_inputs_that_are_always_zero_do_no_harm() -> None:
    weight, scale = torch.randn(1, 5, 6, generator=torch.Generator().manual_seed(0)), torch.tensor(0.3)
    zeros = torch.zeros(1, 6, 6)
    problem = Problem(weight=weight, statistics=zeros, cross=zeros, scale=scale, format=IntFormat(4))
    for choose in (gpfq, qronos, adaround, gptq):
        assert torch.isfinite(choose(problem)).all()


def test_moments_without_inverse_are_refused() -> None:
    with pytest.raises(SingularError):
        qronos(
            Problem(
                weight=torch.ones(1, 2, 2),
                statistics=-torch.eye(2)[None],
                cross=torch.eye(2)[None],
                scale=torch.ones(1, 1, 1),
                format=IntFormat(4),
            )
        )


def test_largest_eigenvalues() -> None:
    matrices = torch.stack([torch.randn(9, 40, generator=torch.Generator().manual_seed(s)) for s in range(3)])
    matrices = matrices @ matrices.transpose(1, 2)
    torch.testing.assert_close(largest_eigenvalue(matrices), torch.linalg.eigvalsh(matrices)[:, -1], rtol=0.02, atol=0)


def _codes(values: Tensor, scale: Tensor, fmt: IntFormat):  # type: ignore[no-untyped-def]
    return to_codes((values / scale).round().double().numpy(), fmt)
