"""Learned rounding against Brevitas' own quantizers and losses, and what must hold of it on every format."""

from __future__ import annotations

import pytest
import torch
from brevitas_layers import learned_round, linear, train_learned_round
from test_rounding import GRIDS, moments, output_error, pairs

from hwmodels.catalog import parse_element
from hwmodels.codec import values as values_of
from hwmodels.datapath import TensorQuant, parse_scaling
from workloads import adaround
from workloads.fake_quant import neighbours, round_in_place
from workloads.problem import Problem
from workloads.scales import expand, weight_scales


@pytest.mark.parametrize("name", ["int3", "int4_narrow", "e2m1", "e3m0", "e2m2"])
def test_neighbours_are_those_of_brevitas_and_of_the_format(name: str) -> None:
    fmt = parse_element(name)
    weight = torch.randn(6, 400, generator=torch.Generator().manual_seed(0)) * float(fmt.max_value)
    values = torch.tensor(values_of(fmt)).float()
    weight[0, : len(values)] = values
    scale = torch.ones(6, 1)
    layer = linear(weight, scale, fmt)
    rounding = learned_round(layer)
    layer.eval()
    low, high = neighbours(weight, fmt)
    with torch.no_grad():
        for bound, sign in ((low, -1), (high, 1)):
            rounding.value.fill_(sign * 10.0)
            assert torch.equal(layer.quant_weight().value, bound)
    inside = weight.clamp(values[0], values[-1])
    assert torch.equal(low, values[torch.searchsorted(values, inside, right=True) - 1])
    between = ~torch.isin(weight, values) & (weight == inside)
    assert torch.equal(high[between], values[torch.searchsorted(values, inside[between])])
    assert torch.equal(low[weight != inside], high[weight != inside])


def test_codes_are_those_of_brevitas_losses() -> None:
    weight, quantized, floats = pairs(12, 40, 300)
    quant = TensorQuant(parse_element("int3"), parse_scaling("channel"))
    scale = torch.from_numpy(weight_scales(weight.numpy(), quant))
    statistics, cross = moments(quantized, floats, 40)
    ours = adaround.adaround(
        Problem(weight=weight[None], statistics=statistics, cross=cross, scale=scale[None], format=quant.format)
    )[0]
    theirs = linear(weight, scale, quant.format)
    low, high = neighbours(weight / scale, quant.format)
    unit = (((high - low) * scale).square() * statistics[0].diagonal()).mean()
    x, target = torch.cat(quantized), torch.cat(floats) @ weight.T
    train_learned_round(theirs, x, target, unit=unit, steps=adaround.STEPS, rate=adaround.RATE)
    with torch.no_grad():
        wanted = theirs.quant_weight().value
    assert (ours == wanted).float().mean() > 0.97
    errors = [output_error(weight, w, quantized, floats) for w in (ours, wanted)]
    assert errors[0] < 1.02 * errors[1]


@pytest.mark.parametrize(("name", "scaling"), GRIDS)
def test_errors_fall_in_every_row_and_weights_move_to_a_neighbour(name: str, scaling: str) -> None:
    quant = TensorQuant(parse_element(name), parse_scaling(scaling))
    weight, quantized, floats = pairs(24, 48, 600)
    scale = torch.from_numpy(expand(weight_scales(weight.numpy(), quant), (24, 48)).copy())
    statistics, cross = moments(quantized, floats, 48)
    chosen = adaround.adaround(
        Problem(weight=weight[None], statistics=statistics, cross=cross, scale=scale[None], format=quant.format)
    )[0]
    low, high = (bound * scale for bound in neighbours(weight / scale, quant.format))
    assert ((chosen == low) | (chosen == high)).all()
    nearest = round_in_place(weight / scale, quant.format) * scale
    rows = [[output_error(weight[[r]], w[[r]], quantized, floats) for r in range(24)] for w in (chosen, nearest)]
    assert all(a <= b * 1.001 for a, b in zip(*rows, strict=True))
    assert sum(rows[0]) < 0.8 * sum(rows[1])
