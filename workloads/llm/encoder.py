"""A BERT encoder (arXiv 1810.04805) in plain torch that `torch.fx` traces, with the weight names of Hugging Face's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from workloads.attention import Attention, PositionedEmbedding
from workloads.llm.config import ConfigError, Settings


@dataclass(frozen=True)
class EncoderShape:
    """Sizes of an encoder.

    Args:
        vocabulary: tokens.
        width: channels of the residual stream.
        hidden: channels between the two halves of the feed-forward part.
        layers: blocks.
        heads: of the attention; they divide `width`.
        positions: longest sequence, tokens.
        segments: kinds of segments that the checkpoint knows.
        norm_epsilon: of every layer norm.
    """

    vocabulary: int
    width: int
    hidden: int
    layers: int
    heads: int
    positions: int
    segments: int
    norm_epsilon: float

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise ConfigError(
                f"num_attention_heads must divide hidden_size, but config.json has {self.heads} and {self.width}."
            )

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> EncoderShape:
        """The shape that a config.json of Hugging Face describes.

        Raises:
            ConfigError: another kind of network, a key that is missing, or a variant that is not supported; says which.
        """
        settings = Settings(config)
        settings.one_of("model_type", "bert")
        settings.one_of("hidden_act", "gelu", default="gelu")
        settings.one_of("position_embedding_type", "absolute", default="absolute")
        return cls(
            vocabulary=settings.whole("vocab_size"),
            width=settings.whole("hidden_size"),
            hidden=settings.whole("intermediate_size"),
            layers=settings.whole("num_hidden_layers"),
            heads=settings.whole("num_attention_heads"),
            positions=settings.whole("max_position_embeddings"),
            segments=settings.whole("type_vocab_size", default=2),
            norm_epsilon=settings.number("layer_norm_eps", default=1e-12),
        )


class Projections(nn.Module):
    """Queries, keys and values of a block, mixed."""

    def __init__(self, shape: EncoderShape) -> None:
        super().__init__()
        self.heads = (shape.heads, shape.width // shape.heads)
        self.query = nn.Linear(shape.width, shape.width)
        self.key = nn.Linear(shape.width, shape.width)
        self.value = nn.Linear(shape.width, shape.width)
        self.mix = Attention(causal=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return (batch, tokens, width)."""
        query, key, value = (layer(x).unflatten(-1, self.heads) for layer in (self.query, self.key, self.value))
        mixed: Tensor = self.mix(query, key, value)
        return mixed


class AddAndNorm(nn.Module):
    """A linear layer whose output is added to the residual stream and normed with it."""

    def __init__(self, columns: int, shape: EncoderShape) -> None:
        super().__init__()
        self.dense = nn.Linear(columns, shape.width)
        self.LayerNorm = nn.LayerNorm(shape.width, shape.norm_epsilon)

    def forward(self, x: Tensor, residual: Tensor) -> Tensor:
        """Return (batch, tokens, width)."""
        result: Tensor = self.LayerNorm(self.dense(x) + residual)
        return result


class Expansion(nn.Module):
    """The first half of the feed-forward part."""

    def __init__(self, shape: EncoderShape) -> None:
        super().__init__()
        self.dense = nn.Linear(shape.width, shape.hidden)
        self.act = nn.GELU()

    def forward(self, x: Tensor) -> Tensor:
        """Return (batch, tokens, hidden)."""
        result: Tensor = self.act(self.dense(x))
        return result


class Block(nn.Module):
    """One layer of the encoder; the names are Hugging Face's."""

    def __init__(self, shape: EncoderShape) -> None:
        super().__init__()
        self.attention = nn.ModuleDict({"self": Projections(shape), "output": AddAndNorm(shape.width, shape)})
        self.intermediate = Expansion(shape)
        self.output = AddAndNorm(shape.hidden, shape)

    def forward(self, x: Tensor) -> Tensor:
        """Return (batch, tokens, width)."""
        x = self.attention["output"](self.attention["self"](x), x)
        result: Tensor = self.output(self.intermediate(x), x)
        return result


class Encoder(nn.Module):
    """int64 tokens (batch, tokens) -> hidden states (batch, tokens, width). A checkpoint's pooler has no part in them."""

    def __init__(self, shape: EncoderShape) -> None:
        super().__init__()
        self.shape = shape
        self.embeddings = PositionedEmbedding(
            shape.vocabulary, shape.positions, shape.segments, shape.width, shape.norm_epsilon
        )
        self.encoder = nn.ModuleDict({"layer": nn.ModuleList(Block(shape) for _ in range(shape.layers))})

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the last hidden states, (batch, tokens, width)."""
        x: Tensor = self.embeddings(tokens)
        for block in self.encoder["layer"].children():
            x = block(x)
        return x
