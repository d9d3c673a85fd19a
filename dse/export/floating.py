"""The floating-point parts of a network as sequences of standard ONNX nodes, whose names begin with the part's.

Any number of windows and of tokens goes through: no size of either is written down. Beside each function stands how far two
float32 evaluations may lie apart, in :mod:`dse.export.tolerance`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from onnx import TensorProto
from torch import nn

from dse.export.build import Build
from workloads.attention import Attention, ClassToken, PatchTokens, PositionedEmbedding, Rotary

Shape: TypeAlias = tuple[int, ...]
Part: TypeAlias = Callable[[Build, str, Any, list[str], Sequence[Shape], str], str]
"""(graph, name, module, input tensors, their shapes for one frame, the network's input) -> output tensor, called `name`."""


def _embedding(build: Build, name: str, table: nn.Embedding, inputs: list[str], _: Sequence[Shape], source: str) -> str:
    return build.node("Gather", [_weight(build, name, "weight", table.weight), inputs[0]], name, axis=0)


def _positioned(
    build: Build, name: str, module: PositionedEmbedding, inputs: list[str], _: Sequence[Shape], source: str
) -> str:
    table = _weight(build, name, "words", module.word_embeddings.weight)
    words = build.node("Gather", [table, inputs[0]], f"{name}.word", axis=0)
    segment = _weight(build, name, "segment", module.token_type_embeddings.weight[0])
    typed = build.node("Add", [words, segment], f"{name}.typed")
    rows = _weight(build, name, "positions", module.position_embeddings.weight)
    places = build.node("Gather", [rows, _positions(build, source)], f"{name}.position", axis=0)
    placed = build.node("Add", [typed, places], f"{name}.placed")
    return _layer_norm(build, name, module.LayerNorm, [placed], (), source)


def _rms_norm(build: Build, name: str, norm: nn.RMSNorm, inputs: list[str], _: Sequence[Shape], source: str) -> str:
    epsilon = float(torch.finfo(torch.float32).eps) if norm.eps is None else norm.eps
    axes = build.sizes(*range(-len(norm.normalized_shape), 0))
    square = build.node("Mul", [inputs[0], inputs[0]], f"{name}.square")
    mean = build.node("ReduceMean", [square, axes], f"{name}.mean", keepdims=1)
    shifted = build.node("Add", [mean, build.constant(f"{name}.epsilon", epsilon)], f"{name}.shifted")
    root = build.node("Sqrt", [shifted], f"{name}.root")
    if not norm.elementwise_affine:
        return build.node("Div", [inputs[0], root], name)
    normed = build.node("Div", [inputs[0], root], f"{name}.normed")
    return build.node("Mul", [normed, _weight(build, name, "weight", norm.weight)], name)


def _layer_norm(build: Build, name: str, norm: nn.LayerNorm, inputs: list[str], _: Sequence[Shape], source: str) -> str:
    weight = torch.ones(norm.normalized_shape) if norm.weight is None else norm.weight
    tensors = [inputs[0], _weight(build, name, "weight", weight)]
    if norm.bias is not None:
        tensors.append(_weight(build, name, "bias", norm.bias))
    return build.node("LayerNormalization", tensors, name, axis=-len(norm.normalized_shape), epsilon=norm.eps)


def _silu(build: Build, name: str, _: nn.SiLU, inputs: list[str], shapes: Sequence[Shape], source: str) -> str:
    return build.node("Mul", [inputs[0], build.node("Sigmoid", inputs, f"{name}.sigmoid")], name)


def _gelu(build: Build, name: str, gelu: nn.GELU, inputs: list[str], _: Sequence[Shape], source: str) -> str:
    return build.node("Gelu", inputs, name, approximate=gelu.approximate)


def _rotary(build: Build, name: str, rotary: Rotary, inputs: list[str], shapes: Sequence[Shape], source: str) -> str:
    dim = shapes[0][-1]
    waves = build.constant(f"{name}.frequencies", rotary.frequencies(dim).numpy())
    places = build.once("Cast", [_positions(build, source)], "positions.float", to=TensorProto.FLOAT)
    column = build.once("Unsqueeze", [places, build.sizes(1, 2)], "positions.column")  # (tokens, 1, 1)
    angle = build.node("Mul", [column, waves], f"{name}.angle")
    cos, sin = build.node("Cos", [angle], f"{name}.cos"), build.node("Sin", [angle], f"{name}.sin")
    first, second = (
        build.node("Slice", [inputs[0], build.sizes(start), build.sizes(end), build.sizes(-1)], f"{name}.{half}")
        for half, start, end in (("first", 0, dim // 2), ("second", dim // 2, dim))
    )

    def times(left: str, right: str, what: str) -> str:
        return build.node("Mul", [left, right], f"{name}.{what}")

    turned = build.node(
        "Sub", [times(first, cos, "first.cos"), times(second, sin, "second.sin")], f"{name}.first.turned"
    )
    other = build.node(
        "Add", [times(second, cos, "second.cos"), times(first, sin, "first.sin")], f"{name}.second.turned"
    )
    return build.node("Concat", [turned, other], name, axis=-1)


def _attention(build: Build, name: str, mix: Attention, inputs: list[str], shapes: Sequence[Shape], source: str) -> str:
    heads, key_heads, dim = shapes[0][2], shapes[1][2], shapes[0][3]
    query = build.node("Transpose", [inputs[0]], f"{name}.query", perm=[0, 2, 1, 3])
    key = build.node("Transpose", [inputs[1]], f"{name}.key", perm=[0, 2, 3, 1])
    value = build.node("Transpose", [inputs[2]], f"{name}.value", perm=[0, 2, 1, 3])
    if heads != key_heads:  # groups of query heads share a key head
        of_head = build.constant(f"{name}.key_head", np.repeat(np.arange(key_heads), heads // key_heads), np.int64)
        key = build.node("Gather", [key, of_head], f"{name}.key.shared", axis=1)
        value = build.node("Gather", [value, of_head], f"{name}.value.shared", axis=1)
    product = build.node("MatMul", [query, key], f"{name}.product")
    scores = build.node("Mul", [product, build.constant(f"{name}.scale", 1 / math.sqrt(dim))], f"{name}.scores")
    if mix.causal:
        scores = build.node("Where", [_causal(build, source), scores, build.number(-math.inf)], f"{name}.masked")
    weights = build.node("Softmax", [scores], f"{name}.weights", axis=-1)
    mixed = build.node("MatMul", [weights, value], f"{name}.mixed")
    joined = build.node("Transpose", [mixed], f"{name}.joined", perm=[0, 2, 1, 3])
    return build.node("Reshape", [joined, build.sizes(0, 0, -1)], name)


def _patch_tokens(
    build: Build, name: str, module: PatchTokens, inputs: list[str], shapes: Sequence[Shape], source: str
) -> str:
    """The class token is what is added to a row of zeros in front."""
    width = shapes[0][1]
    rows = build.node("Reshape", [inputs[0], build.sizes(0, width, -1)], f"{name}.rows")
    patches = build.node("Transpose", [rows], f"{name}.patches", perm=[0, 2, 1])
    padded = build.node("Pad", [patches, build.sizes(0, 1, 0, 0, 0, 0)], f"{name}.padded")
    added = module.pos_embedding.detach().clone()
    added[:, 0] += module.class_token.detach()[:, 0]
    return build.node("Add", [padded, build.constant(f"{name}.positions", added.numpy())], name)


def _class_token(
    build: Build, name: str, _: ClassToken, inputs: list[str], shapes: Sequence[Shape], source: str
) -> str:
    return build.node("Gather", [inputs[0], build.constant("0.int64", 0, np.int64)], name, axis=1)


def _positions(build: Build, source: str) -> str:
    """0, 1, ... of the tokens of a window, int64."""
    zero, one = (build.constant(f"{value}.int64", value, np.int64) for value in (0, 1))
    sizes = build.once("Shape", [source], "positions.sizes")
    count = build.once("Gather", [sizes, one], "positions.count", axis=0)
    return build.once("Range", [zero, count, one], "positions")


def _causal(build: Build, source: str) -> str:
    """Which token (rows) sees which (columns): itself and earlier ones."""
    places = _positions(build, source)
    row = build.once("Unsqueeze", [places, build.sizes(0)], "positions.row")
    column = build.once("Unsqueeze", [places, build.sizes(1)], "positions.rows")
    return build.once("LessOrEqual", [row, column], "positions.seen")


def _weight(build: Build, name: str, what: str, values: torch.Tensor) -> str:
    return build.constant(f"{name}.{what}", values.detach().numpy())


FLOATING: Mapping[type[nn.Module], Part] = {
    nn.Embedding: _embedding,
    PositionedEmbedding: _positioned,
    nn.RMSNorm: _rms_norm,
    nn.LayerNorm: _layer_norm,
    nn.SiLU: _silu,
    nn.GELU: _gelu,
    PatchTokens: _patch_tokens,
    ClassToken: _class_token,
    Rotary: _rotary,
    Attention: _attention,
}
"""By module: what writes it."""
