"""What transformers compute between their layers, as modules of their own: a traced network shows one node of each.

They hold no weights but embeddings, work in the type of their inputs, and are the same functions as in Hugging Face's
implementations (the tests compare logits).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class LongContext:
    """How Llama 3 stretches the rotations of a shorter training context (`rope_type` llama3 in a model's config.json).

    Args:
        factor: the longest waves turn so many times slower.
        low_frequency: waves longer than original_positions / low_frequency are stretched in full.
        high_frequency: waves shorter than original_positions / high_frequency are left alone; in between, a blend.
        original_positions: the shorter context, tokens.
    """

    factor: float
    low_frequency: float
    high_frequency: float
    original_positions: int

    def stretch(self, frequencies: Tensor) -> Tensor:
        """The frequencies, radians per token, after stretching (Llama 3.1 model card and reference code, Meta, 2024)."""
        turns = self.original_positions * frequencies / (2 * math.pi)  # of each wave within the original context
        kept = ((turns - self.low_frequency) / (self.high_frequency - self.low_frequency)).clamp(0, 1)
        return kept * frequencies + (1 - kept) * frequencies / self.factor


class Rotary(nn.Module):
    """Rotary position embedding (arXiv 2104.09864): pairs (i, i + dim / 2) of each head turn with the token's position.

    Args:
        base: the wave of pair i has base^(2 i / dim) radians^-1 tokens.
        long_context: how longer contexts than the model was trained on are reached, or None.
    """

    def __init__(self, base: float, long_context: LongContext | None = None) -> None:
        super().__init__()
        self.base, self.long_context = base, long_context

    def forward(self, x: Tensor) -> Tensor:
        """Return the heads (batch, tokens, heads, dim), each pair turned by its position's angle."""
        angle = torch.outer(
            torch.arange(x.shape[1], dtype=torch.float32, device=x.device), self.frequencies(x.shape[-1], x.device)
        )
        cos, sin = angle.cos().to(x.dtype).unsqueeze(1), angle.sin().to(x.dtype).unsqueeze(1)  # (tokens, 1, dim / 2)
        first, second = x.chunk(2, dim=-1)
        return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)

    def frequencies(self, dim: int, device: torch.device | None = None) -> Tensor:
        """The angles by which the pairs of a head of `dim` channels turn from token to token, radians, float32 (dim / 2,)."""
        pairs = torch.arange(0, dim, 2, dtype=torch.int64, device=device)
        frequencies = 1.0 / self.base ** (pairs.float() / dim)
        return frequencies if self.long_context is None else self.long_context.stretch(frequencies)


class Attention(nn.Module):
    """Scaled dot-product attention; groups of query heads may share keys and values.

    Args:
        causal: tokens see themselves and earlier ones only.
    """

    def __init__(self, *, causal: bool) -> None:
        super().__init__()
        self.causal = causal

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Return the mixed values, (batch, tokens, heads * dim).

        Args:
            query: (batch, tokens, heads, dim).
            key: (batch, tokens, key heads, dim); key heads divide heads.
            value: as key.
        """
        query, key, value = (x.transpose(1, 2) for x in (query, key, value))
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=self.causal, enable_gqa=True)
        return mixed.transpose(1, 2).flatten(2)


class PositionedEmbedding(nn.Module):
    """The embedding of a text's tokens and of their positions, summed and normed: how a BERT encoder (arXiv 1810.04805) begins.

    All tokens belong to one segment, the first. Names of the weights are those of Hugging Face.

    Args:
        vocabulary: tokens.
        positions: longest sequence, tokens.
        segments: as the checkpoint has them.
        width: channels.
        epsilon: of the norm.
    """

    def __init__(self, vocabulary: int, positions: int, segments: int, width: int, epsilon: float) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(vocabulary, width)
        self.position_embeddings = nn.Embedding(positions, width)
        self.token_type_embeddings = nn.Embedding(segments, width)
        self.LayerNorm = nn.LayerNorm(width, epsilon)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return (batch, tokens, width)."""
        x = self.word_embeddings(tokens) + self.token_type_embeddings.weight[0]
        result: Tensor = self.LayerNorm(x + self.position_embeddings.weight[: tokens.shape[1]])
        return result


class PatchTokens(nn.Module):
    """Patches as a sequence of tokens behind a class token, with learned positions added. Computes in floating point.

    Args:
        patches: per image.
        width: channels of a token.
    """

    def __init__(self, patches: int, width: int) -> None:
        super().__init__()
        self.class_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embedding = nn.Parameter(torch.empty(1, patches + 1, width).normal_(std=0.02))

    def forward(self, x: Tensor) -> Tensor:
        """Return the tokens (images, 1 + patches, width) of patches (images, width, rows, columns)."""
        tokens = x.flatten(2).transpose(1, 2)
        return torch.cat([self.class_token.expand(len(x), -1, -1), tokens], dim=1) + self.pos_embedding


class ClassToken(nn.Module):
    """The first token of a sequence: what an image is classified by."""

    def forward(self, x: Tensor) -> Tensor:
        """Return (images, width) of (images, tokens, width)."""
        return x[:, 0]
