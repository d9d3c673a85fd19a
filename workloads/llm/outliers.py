"""Outlier channels for a decoder, in a way that leaves its function exactly as it is.

Large language models have a few channels whose activations are tens to hundreds of times larger than the rest (arXiv
2208.07339); small ones like the embedded decoder have none. Here they are made: a channel in front of linear layers is
multiplied by a power of two, and the columns that read it are divided by it. It is done where that is exact: the gain of
each RMS norm against the layers behind it, rows of v_proj against columns of o_proj (attention mixes values, and mixing is
linear), rows of up_proj against columns of down_proj (the gate multiplies them). Powers of two only move the exponent of a
float, so the logits are the same numbers; what changes is what a shared scale must span. This is SmoothQuant
(arXiv 2211.10438) run backwards: a stand-in for the outliers of trained models, not a claim about how they arise.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from workloads.llm.decoder import Decoder


@dataclass(frozen=True)
class Outliers:
    """Which channels become outliers, and by how much.

    Args:
        share: of the channels in front of each group of layers, at least one.
        exponent: the largest factor is 2^exponent; a place's channels have exponents from there down to half of it.
        seed: chooses the channels; behind norms the same ones in every block, as in trained models.
    """

    share: float = 0.02
    exponent: int = 6
    seed: int = 0

    def __str__(self) -> str:
        return f"outliers({self.share:g},{self.exponent},{self.seed})"

    def factors(self, channels: int, place: int) -> Tensor:
        """Powers of two, (channels,): 1 for all channels but the outliers of this place."""
        random = torch.Generator().manual_seed(1000 * self.seed + place)
        chosen = torch.randperm(channels, generator=random)[: max(1, round(self.share * channels))]
        exponents = torch.linspace(self.exponent, self.exponent / 2, len(chosen)).round()
        factors = torch.ones(channels)
        factors[chosen] = torch.exp2(exponents)
        return factors


@torch.no_grad()
def add_outliers(model: Decoder, outliers: Outliers) -> None:
    """Give `model` outlier channels in place; its logits stay the same to the last bit, short of under- and overflow."""
    shape = model.shape
    stream = outliers.factors(shape.width, 0)
    for number, block in enumerate(model.blocks):
        attention, feed = block.self_attn, block.mlp
        _move(block.input_layernorm, (attention.q_proj, attention.k_proj, attention.v_proj), stream)
        _move(block.post_attention_layernorm, (feed.gate_proj, feed.up_proj), stream)
        values = outliers.factors(shape.key_heads * shape.head_dim, 2 * number + 1)
        shared = values.view(shape.key_heads, 1, shape.head_dim)  # query heads of a group read the same values
        read = shared.expand(-1, shape.heads // shape.key_heads, -1).reshape(-1)
        _scale_rows(attention.v_proj, values)
        attention.o_proj.weight.div_(read)
        hidden = outliers.factors(shape.hidden, 2 * number + 2)
        _scale_rows(feed.up_proj, hidden)
        feed.down_proj.weight.div_(hidden)
    _move(model.model.norm, (model.lm_head,), stream)


def _move(norm: nn.RMSNorm, readers: tuple[nn.Linear, ...], factors: Tensor) -> None:
    norm.weight.mul_(factors)
    for layer in readers:
        layer.weight.div_(factors)


def _scale_rows(layer: nn.Linear, factors: Tensor) -> None:
    layer.weight.mul_(factors.unsqueeze(1))
    if layer.bias is not None:
        layer.bias.mul_(factors)
