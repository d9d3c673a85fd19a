"""How far two float32 evaluations of one operation on equal inputs may lie apart, elementwise.

u = 2^-24 is the unit roundoff, gamma_n = n u / (1 - n u). In any order of summation |fl(x.y) - x.y| <= gamma_n |x|.|y|
(N. Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., eq. 3.5), so two evaluations differ by at most twice that.
Everything is derived from it, but for the errors of the elementary functions of torch and onnxruntime, which neither states:
:data:`ELEMENTARY` and :data:`EXPONENTIAL` are assumed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor, fx, nn

from workloads.attention import Attention, PositionedEmbedding, Rotary
from workloads.fake_quant import channel_axis
from workloads.hadamard import BlockHadamard
from workloads.network import with_parameters

UNIT_ROUNDOFF = 2.0**-24
"""u of float32, rounding to nearest."""

ELEMENTARY = 8 * UNIT_ROUNDOFF
"""Largest absolute error of a sine, cosine, error function or logistic, all within [-1, 1] (assumed: 4 ulp)."""

EXPONENTIAL = 32 * UNIT_ROUNDOFF
"""Largest relative error of an exponential (assumed; torch's fused attention has one of about 20 units in the last place)."""

Rule: TypeAlias = Callable[[Any, Sequence[Tensor], Tensor], Tensor]
"""(module, its inputs, its output) -> the largest difference of two evaluations, of the output's shape."""


def tolerance(module: fx.GraphModule, node: fx.Node, inputs: Sequence[Tensor], output: Tensor) -> Tensor:
    """The largest difference of two evaluations of a node; zero where no sum and no function stands in it."""
    what: Any = module.get_submodule(str(node.target)) if node.op == "call_module" else node.target
    rule = RULES.get(type(what) if isinstance(what, nn.Module) else what)
    if rule is None:
        return torch.zeros_like(output)
    made: Tensor = 2 * rule(what, inputs, output)
    return made


def gamma(terms: float) -> float:
    """gamma_n of n roundings."""
    return terms * UNIT_ROUNDOFF / (1 - terms * UNIT_ROUNDOFF)


def _layer(layer: nn.Conv2d | nn.Linear, inputs: Sequence[Tensor], output: Tensor) -> Tensor:
    """Of products and a bias; |x|.|w| is itself computed in float32, hence the 1 %."""
    bias = None if layer.bias is None else layer.bias.abs()
    terms = layer.weight[0].numel() + (bias is not None)
    made: Tensor = with_parameters(layer, layer.weight.abs(), bias)(inputs[0].abs())
    return 1.01 * gamma(terms) * made


def _rotated(rotation: BlockHadamard, inputs: Sequence[Tensor], output: Tensor) -> Tensor:
    """Of a sum over a block, of entries of one magnitude."""
    x, axis = inputs[0].abs(), channel_axis(inputs[0])
    blocks = x.reshape(*x.shape[:axis], -1, rotation.block, *x.shape[axis + 1 :])
    sums = blocks.sum(axis + 1, keepdim=True) / rotation.block**0.5
    made: Tensor = 1.01 * gamma(rotation.block) * sums.expand_as(blocks).reshape(x.shape)
    return made


def _mean(pool: Any, inputs: Sequence[Tensor], output: Tensor) -> Tensor:
    """Of the pixels of an average, and its division."""
    x = inputs[0]
    if isinstance(pool, nn.AvgPool2d):
        size = pool.kernel_size
        pixels = size * size if isinstance(size, int) else size[0] * size[1]
        made: Tensor = gamma(pixels + 1) * pool(x.abs())
        return made
    return gamma(x[0, 0].numel() + 1) * x.abs().mean((2, 3), keepdim=True)


def _rms_norm(norm: nn.RMSNorm, inputs: Sequence[Tensor], output: Tensor) -> Tensor:
    """A sum of n squares, which are not negative, has the relative error gamma_n; its root half of it; five more roundings."""
    n = math.prod(norm.normalized_shape)
    return gamma((n + 3) / 2 + 5) * output.abs()


def _layer_norm(norm: nn.LayerNorm, inputs: Sequence[Tensor], output: Tensor) -> Tensor:
    """The mean is off by gamma_(n+1) mean|x|. The variance, if computed as mean(x^2) - mean^2, by 4 gamma_(n+4) mean(x^2)."""
    x, n = inputs[0].double(), math.prod(norm.normalized_shape)
    axes = tuple(range(-len(norm.normalized_shape), 0))
    centred = x - x.mean(axes, keepdim=True)
    variance = centred.square().mean(axes, keepdim=True) + norm.eps
    mean_error = gamma(n + 1) * x.abs().mean(axes, keepdim=True) + 4 * UNIT_ROUNDOFF * centred.abs()
    variance_error = 4 * gamma(n + 4) * x.square().mean(axes, keepdim=True)
    error = mean_error / variance.sqrt() + centred.abs() / variance.sqrt() * variance_error / (2 * variance)
    weight = 1.0 if norm.weight is None else norm.weight.abs().double()
    return (error * weight + 4 * UNIT_ROUNDOFF * output.abs()).float()


def _positioned(module: PositionedEmbedding, inputs: Sequence[Tensor], output: Tensor) -> Tensor:
    """Two additions, which round once each and alike, and a layer norm."""
    x = module.word_embeddings(inputs[0]) + module.token_type_embeddings.weight[0]
    x = x + module.position_embeddings.weight[: x.shape[1]]
    return _layer_norm(module.LayerNorm, [x], output)


def _gated(module: nn.Module, inputs: Sequence[Tensor], output: Tensor) -> Tensor:
    """x f(x) with |f| <= 1."""
    return inputs[0].abs() * (ELEMENTARY + gamma(3))


def _rotary(module: Rotary, inputs: Sequence[Tensor], output: Tensor) -> Tensor:
    """x cos - y sin."""
    first, second = inputs[0].abs().chunk(2, dim=-1)
    both = (first + second) * (ELEMENTARY + gamma(2))
    return torch.cat((both, both), dim=-1)


def _attention(module: Attention, inputs: Sequence[Tensor], output: Tensor) -> Tensor:
    """A score of d products is off by e = gamma_(d+3) |q|.|k| / sqrt(d), so a weight by the factor exp(2 max e), an exponential,
    a sum of the weights and a division; the output by that and by the sum of weighted values.
    """
    query, key, value = (x.transpose(1, 2).double() for x in inputs)
    repeat = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(repeat, 1), value.repeat_interleave(repeat, 1)
    dim, tokens = query.shape[-1], key.shape[-2]
    scores = query @ key.transpose(-1, -2) / math.sqrt(dim)
    bounds = gamma(dim + 3) * (query.abs() @ key.abs().transpose(-1, -2)) / math.sqrt(dim)
    if module.causal:
        hidden = torch.ones(tokens, tokens, dtype=torch.bool).triu(1)
        scores, bounds = scores.masked_fill(hidden, -math.inf), bounds.masked_fill(hidden, 0.0)
    spread = torch.expm1(2 * bounds.amax(-1, keepdim=True)) + 2 * EXPONENTIAL + 2 * gamma(tokens + 2)
    mixed = scores.softmax(-1) @ value.abs() * (spread + gamma(tokens + 1))
    return mixed.transpose(1, 2).flatten(2).float()


RULES: Mapping[Any, Rule] = {
    nn.Conv2d: _layer,
    nn.Linear: _layer,
    BlockHadamard: _rotated,
    nn.AvgPool2d: _mean,
    nn.AdaptiveAvgPool2d: _mean,
    nn.functional.adaptive_avg_pool2d: _mean,
    nn.RMSNorm: _rms_norm,
    nn.LayerNorm: _layer_norm,
    PositionedEmbedding: _positioned,
    nn.SiLU: _gated,
    nn.GELU: _gated,
    Rotary: _rotary,
    Attention: _attention,
}
"""By module or function: half the largest difference. What is not here (quantizers, adds, products, ReLU, ...) rounds once or not
at all, and must agree bit for bit."""
