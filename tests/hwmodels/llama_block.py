"""One decoder block of a Llama (arXiv 2302.13971) that makes one token per frame, with a KV cache and grouped queries."""

from hwmodels.accumulator import bits_by_data_type
from hwmodels.catalog import parse_element
from hwmodels.datapath import Accumulator, TensorQuant, parse_scaling
from hwmodels.ops import (
    Add,
    Duplicate,
    LayerNumerics,
    Lookup,
    MatMul,
    MatVec,
    Multiply,
    Network,
    Norm,
    Normalize,
    Numerics,
    Operator,
    Requantize,
    Rope,
    Softmax,
    Table,
)


def decoder_block(
    *, width: int = 64, heads: int = 4, kv_heads: int = 2, hidden: int = 160, context: int = 128, vocabulary: int = 1000
) -> Network:
    """Embedding, attention and gated feed-forward layer; `width` values per token."""
    head = width // heads
    keys = kv_heads * head

    def layer(name: str, rows: int, cols: int, site: str, into: str) -> list[Operator]:
        return [MatVec(name, rows, cols, 1, site), Requantize(f"{name}.requantize", name, rows, 1, into)]

    def norm(name: str, site: str, into: str) -> list[Operator]:
        unit = Normalize(name, width, 1, Norm.RMS, site)
        return [unit, Requantize(f"{name}.requantize", name, width, 1, into)]

    def turned(name: str, channels: int, site: str, into: str) -> list[Operator]:
        return [Rope(name, channels, 1, head, context, site), Requantize(f"{name}.requantize", name, channels, 1, into)]

    def added(name: str, fork: str, into: str) -> list[Operator]:
        """The shortcut, already forked, joins what the block gives at the same site."""
        return [
            Requantize(f"{name}.shortcut", fork, width, 1, f"{name}.sum"),
            Add(name, width, 1, f"{name}.sum"),
            Requantize(f"{name}.requantize", name, width, 1, into),
        ]

    return Network(
        "llama_block",
        (
            Lookup("embedding", width, 1, vocabulary, "x"),
            Duplicate("x.fork", width, 1, 2, "x"),
            *norm("norm1", "x", "n1"),
            Duplicate("n1.fork", width, 1, 3, "n1"),
            *layer("query", width, width, "n1", "q"),
            *layer("key", keys, width, "n1", "k"),
            *layer("value", keys, width, "n1", "v"),
            *turned("query.rope", width, "q", "q.turned"),
            *turned("key.rope", keys, "k", "k.turned"),
            MatMul("scores", context, head, heads, "q.turned", "k.turned", matrices=kv_heads, cached=True),
            Requantize("scores.requantize", "scores", context, heads, "s"),
            Softmax("softmax", context, heads, "s"),
            Requantize("softmax.requantize", "softmax", context, heads, "p"),
            MatMul("mix", head, context, heads, "p", "v", matrices=kv_heads, cached=True),
            Requantize("mix.requantize", "mix", width, 1, "m"),
            *layer("output", width, width, "m", "add1.sum"),
            *added("add1", "x.fork", "y"),
            Duplicate("y.fork", width, 1, 2, "y"),
            *norm("norm2", "y", "n2"),
            Duplicate("n2.fork", width, 1, 2, "n2"),
            *layer("gate", hidden, width, "n2", "g"),
            *layer("up", hidden, width, "n2", "u"),
            Table("silu", hidden, 1, "g", "g.silu"),
            Multiply("gated", hidden, 1, "g.silu", "u"),
            Requantize("gated.requantize", "gated", hidden, 1, "h"),
            *layer("down", width, hidden, "h", "add2.sum"),
            *added("add2", "y.fork", "z"),
        ),
    )


def block_numerics(network: Network, weight: str, activation: str) -> Numerics:
    """One format for weights, one for activations (probabilities and all), accumulators proved by data type."""
    weights, values = (
        TensorQuant(parse_element(weight), parse_scaling("channel")),
        TensorQuant(parse_element(activation)),
    )

    def numerics(op) -> LayerNumerics:
        matrix = values if isinstance(op, MatMul) else weights
        return LayerNumerics(matrix, Accumulator(bits_by_data_type(op.dot_length, matrix.format, values.format)))

    return Numerics(dict.fromkeys(network.sites, values), {op.name: numerics(op) for op in network.compute})
