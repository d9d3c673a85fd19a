"""A decoder of the Llama family in plain torch that `torch.fx` traces, with the weight names of Hugging Face's own.

Every operation that hardware knows is a module or an operator of its own: embedding, RMS norm, linear layer, rotary
positions, attention, SiLU, product and residual add. So quantizers, rotations and cost models see the network's real
structure instead of one opaque block. Logits equal those of `transformers` (tested for every family in :data:`FAMILIES`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from torch import Tensor, nn

from workloads.attention import Attention, LongContext, Rotary
from workloads.llm.config import ConfigError, Settings


@dataclass(frozen=True)
class Family:
    """What the models of a `model_type` have beyond Llama's layers.

    Args:
        biased: projections of the attention that always have a bias.
        normed_heads: RMS norm of every query and key head.
    """

    biased: frozenset[str] = frozenset()
    normed_heads: bool = False


FAMILIES: Final[Mapping[str, Family]] = MappingProxyType(
    {
        "llama": Family(),
        "mistral": Family(),
        "qwen2": Family(biased=frozenset({"q_proj", "k_proj", "v_proj"})),
        "qwen3": Family(normed_heads=True),
    }
)
"""The `model_type` of config.json, and what it means."""


@dataclass(frozen=True)
class DecoderShape:
    """Sizes and variants of a decoder.

    Args:
        vocabulary: tokens.
        width: channels of the residual stream.
        hidden: channels between the two halves of the feed-forward part.
        layers: blocks.
        heads: query heads.
        key_heads: key and value heads; they divide `heads`.
        head_dim: channels of a head.
        positions: longest sequence, tokens.
        norm_epsilon: of every RMS norm.
        rotary_base: see :class:`workloads.attention.Rotary`.
        long_context: see there.
        biased: names of the projections with a bias.
        normed_heads: RMS norm of every query and key head.
        tied: the embedding's weights are the head's.
    """

    vocabulary: int
    width: int
    hidden: int
    layers: int
    heads: int
    key_heads: int
    head_dim: int
    positions: int
    norm_epsilon: float
    rotary_base: float
    long_context: LongContext | None = None
    biased: frozenset[str] = frozenset()
    normed_heads: bool = False
    tied: bool = False

    def __post_init__(self) -> None:
        if self.heads % self.key_heads:
            raise ConfigError(
                "num_key_value_heads must divide num_attention_heads, but config.json has "
                f"{self.key_heads} and {self.heads}."
            )
        if self.head_dim < 2 or self.head_dim % 2:
            raise ConfigError(f"head_dim must be even for rotary positions, but config.json makes it {self.head_dim}.")

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> DecoderShape:
        """The shape that a config.json of Hugging Face describes (of transformers 4 or 5).

        Raises:
            ConfigError: another kind of network, a key that is missing, or a variant that is not supported; says which.
        """
        settings = Settings(config)
        family = FAMILIES[settings.one_of("model_type", *FAMILIES)]
        settings.one_of("hidden_act", "silu", default="silu")
        width, heads = settings.whole("hidden_size"), settings.whole("num_attention_heads")
        biased = set(family.biased)
        if settings.flag("attention_bias"):
            biased |= {"q_proj", "k_proj", "v_proj", "o_proj"}
        if settings.flag("mlp_bias"):
            biased |= {"gate_proj", "up_proj", "down_proj"}
        positions = settings.whole("max_position_embeddings")
        if settings.flag("use_sliding_window", default=True) and settings.has("sliding_window"):
            positions = min(positions, settings.whole("sliding_window"))  # up to there the window cuts nothing off
        base, long_context = _rotary(settings)
        return cls(
            vocabulary=settings.whole("vocab_size"),
            width=width,
            hidden=settings.whole("intermediate_size"),
            layers=settings.whole("num_hidden_layers"),
            heads=heads,
            key_heads=settings.whole("num_key_value_heads", default=heads),
            head_dim=settings.whole("head_dim", default=width // heads),
            positions=positions,
            norm_epsilon=settings.number("rms_norm_eps", default=1e-6),
            rotary_base=base,
            long_context=long_context,
            biased=frozenset(biased),
            normed_heads=family.normed_heads,
            tied=settings.flag("tie_word_embeddings"),
        )


def _rotary(settings: Settings) -> tuple[float, LongContext | None]:
    """Base and stretching of the rotary positions; transformers 5 keeps both under rope_parameters, 4 side by side."""
    inside = settings.values.get("rope_parameters") or settings.values.get("rope_scaling") or {}
    rope = Settings({"rope_type": inside.get("type"), **inside})
    base = rope if rope.has("rope_theta") else settings
    theta = base.number("rope_theta", default=10_000.0)
    if rope.one_of("rope_type", "default", "llama3", default="default") == "default":
        return theta, None
    return theta, LongContext(
        rope.number("factor"),
        rope.number("low_freq_factor"),
        rope.number("high_freq_factor"),
        rope.whole("original_max_position_embeddings"),
    )


class SelfAttention(nn.Module):
    """Attention of a block: projections, rotary positions, mixing, output projection."""

    def __init__(self, shape: DecoderShape) -> None:
        super().__init__()
        self.shape = shape
        width, queries, keys = shape.width, shape.heads * shape.head_dim, shape.key_heads * shape.head_dim
        self.q_proj = nn.Linear(width, queries, bias="q_proj" in shape.biased)
        self.k_proj = nn.Linear(width, keys, bias="k_proj" in shape.biased)
        self.v_proj = nn.Linear(width, keys, bias="v_proj" in shape.biased)
        self.o_proj = nn.Linear(queries, width, bias="o_proj" in shape.biased)
        if shape.normed_heads:
            self.q_norm = nn.RMSNorm(shape.head_dim, shape.norm_epsilon)
            self.k_norm = nn.RMSNorm(shape.head_dim, shape.norm_epsilon)
        self.q_rotary = Rotary(shape.rotary_base, shape.long_context)
        self.k_rotary = Rotary(shape.rotary_base, shape.long_context)
        self.mix = Attention(causal=True)

    def forward(self, x: Tensor) -> Tensor:
        """Return (batch, tokens, width)."""
        shape = self.shape
        query = self.q_proj(x).unflatten(-1, (shape.heads, shape.head_dim))
        key = self.k_proj(x).unflatten(-1, (shape.key_heads, shape.head_dim))
        value = self.v_proj(x).unflatten(-1, (shape.key_heads, shape.head_dim))
        if shape.normed_heads:
            query, key = self.q_norm(query), self.k_norm(key)
        result: Tensor = self.o_proj(self.mix(self.q_rotary(query), self.k_rotary(key), value))
        return result


class FeedForward(nn.Module):
    """The gated feed-forward part of a block (SwiGLU, arXiv 2002.05202)."""

    def __init__(self, shape: DecoderShape) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(shape.width, shape.hidden, bias="gate_proj" in shape.biased)
        self.up_proj = nn.Linear(shape.width, shape.hidden, bias="up_proj" in shape.biased)
        self.down_proj = nn.Linear(shape.hidden, shape.width, bias="down_proj" in shape.biased)
        self.act_fn = nn.SiLU()

    def forward(self, x: Tensor) -> Tensor:
        """Return (batch, tokens, width)."""
        result: Tensor = self.down_proj(self.act_fn(self.gate_proj(x)) * self.up_proj(x))
        return result


class Block(nn.Module):
    """One layer of the decoder: attention and feed-forward part, each behind a norm and added to the residual stream."""

    def __init__(self, shape: DecoderShape) -> None:
        super().__init__()
        self.self_attn = SelfAttention(shape)
        self.mlp = FeedForward(shape)
        self.input_layernorm = nn.RMSNorm(shape.width, shape.norm_epsilon)
        self.post_attention_layernorm = nn.RMSNorm(shape.width, shape.norm_epsilon)

    def forward(self, x: Tensor) -> Tensor:
        """Return (batch, tokens, width)."""
        x = x + self.self_attn(self.input_layernorm(x))
        result: Tensor = x + self.mlp(self.post_attention_layernorm(x))
        return result


class Trunk(nn.Module):
    """Embedding, blocks and final norm."""

    def __init__(self, shape: DecoderShape) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(shape.vocabulary, shape.width)
        self.layers = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.norm = nn.RMSNorm(shape.width, shape.norm_epsilon)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return (batch, tokens, width)."""
        x = self.embed_tokens(tokens)
        for layer in self.layers:
            x = layer(x)
        result: Tensor = self.norm(x)
        return result


class Decoder(nn.Module):
    """int64 tokens (batch, tokens) -> logits of the next token (batch, tokens, vocabulary).

    A tied head is a copy of the embedding here: only one of the two is a layer that can be quantized.
    """

    def __init__(self, shape: DecoderShape) -> None:
        super().__init__()
        self.shape = shape
        self.model = Trunk(shape)
        self.lm_head = nn.Linear(shape.width, shape.vocabulary, bias=False)

    @property
    def blocks(self) -> tuple[Block, ...]:
        """The layers of the decoder, in order."""
        return tuple(block for block in self.model.layers if isinstance(block, Block))

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the logits, (batch, tokens, vocabulary)."""
        result: Tensor = self.lm_head(self.model(tokens))
        return result
