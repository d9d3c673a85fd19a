"""A vision transformer (arXiv 2010.11929) in plain torch that `torch.fx` traces, with torchvision's names where they fit."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping

from torch import Tensor, nn

from workloads.attention import Attention, ClassToken, PatchTokens

_NORM_EPSILON = 1e-6


class SelfAttention(nn.Module):
    """Attention of tokens to each other between four linear layers. torchvision stacks the weights of the first three.

    Args:
        width: channels of a token.
        heads: they divide `width`.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = (heads, width // heads)
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.mix = Attention(causal=False)
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Return (images, tokens, width)."""
        query, key, value = (layer(x).unflatten(-1, self.heads) for layer in (self.query, self.key, self.value))
        result: Tensor = self.out_proj(self.mix(query, key, value))
        return result


class EncoderBlock(nn.Module):
    """Attention and a two-layer perceptron, each behind a norm and added to its input.

    Args:
        width: channels of a token.
        heads: of the attention.
        hidden: channels between the two layers of the perceptron.
    """

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(width, eps=_NORM_EPSILON)
        self.self_attention = SelfAttention(width, heads)
        self.ln_2 = nn.LayerNorm(width, eps=_NORM_EPSILON)
        # torchvision numbers the layers of a perceptron with two dropouts in it: 0 and 3
        layers = {"0": nn.Linear(width, hidden), "1": nn.GELU(), "3": nn.Linear(hidden, width)}
        self.mlp = nn.Sequential(OrderedDict(layers))

    def forward(self, x: Tensor) -> Tensor:
        """Return (images, tokens, width)."""
        x = x + self.self_attention(self.ln_1(x))
        result: Tensor = x + self.mlp(self.ln_2(x))
        return result


class VisionTransformer(nn.Module):
    """(images, channels, size, size) -> logits (images, classes).

    Args:
        size: height and width of what the patches are cut from, pixels.
        patch: height and width of a patch, pixels; divides `size`.
        channels: of what the patches are cut from.
        width: channels of a token.
        heads: of the attention; they divide `width`.
        layers: blocks.
        hidden: channels between the two layers of a perceptron.
        classes: of the answer.
        stem: what patches are cut from the output of (arXiv 2106.14881); None: from the image.
    """

    def __init__(
        self,
        *,
        size: int,
        patch: int,
        channels: int,
        width: int,
        heads: int,
        layers: int,
        hidden: int,
        classes: int,
        stem: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.stem = nn.Identity() if stem is None else stem
        self.conv_proj = nn.Conv2d(channels, width, patch, stride=patch)
        self.tokens = PatchTokens((size // patch) ** 2, width)
        blocks = {f"encoder_layer_{i}": EncoderBlock(width, heads, hidden) for i in range(layers)}
        self.encoder = nn.ModuleDict(
            {"layers": nn.Sequential(OrderedDict(blocks)), "ln": nn.LayerNorm(width, eps=_NORM_EPSILON)}
        )
        self.class_token = ClassToken()
        self.heads = nn.ModuleDict({"head": nn.Linear(width, classes)})

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        x = self.encoder["layers"](self.tokens(self.conv_proj(self.stem(x))))
        result: Tensor = self.heads["head"](self.class_token(self.encoder["ln"](x)))
        return result


_RENAMED = {
    "class_token": "tokens.class_token",
    "encoder.pos_embedding": "tokens.pos_embedding",
    # of weights published before torchvision 0.13, 2022
    "mlp.linear_1.": "mlp.0.",
    "mlp.linear_2.": "mlp.3.",
}
_STACKED = "self_attention.in_proj_"


def from_torchvision(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of torchvision's VisionTransformer under the names of :class:`VisionTransformer`; others stay as they are."""
    found: dict[str, Tensor] = {}
    for given, tensor in tensors.items():
        if _STACKED in given and len(tensor) % 3 == 0:
            stem, kind = given.split("in_proj_")
            for part, rows in zip(("query", "key", "value"), tensor.chunk(3), strict=True):
                found[f"{stem}{part}.{kind}"] = rows.contiguous()
            continue
        name = given
        for theirs, ours in _RENAMED.items():
            name = ours if name == theirs else name.replace(theirs, ours) if theirs.endswith(".") else name
        found[name] = tensor
    return found
