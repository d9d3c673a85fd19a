"""The operators of a dataflow accelerator: their shapes, one frozen value each. :mod:`hwmodels.ops` joins them to networks.

Tensors between operators are named by their *site*, the place where an activation quantizer stands.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from hwmodels.image_operators import PADDING, LabelSelect, Pad, Pixels, Pool, Window
from hwmodels.shapes import ShapeError, require_positive


@dataclass(frozen=True)
class MatVec:
    """A dense convolution (after its window) or linear layer: a rows x cols matrix times `vectors` vectors per frame.

    rows = MH = output channels, cols = MW = Kh*Kw*input channels, vectors = output pixels.
    """

    name: str
    rows: int
    cols: int
    vectors: int
    site: str

    def __post_init__(self) -> None:
        require_positive(self.name, rows=self.rows, cols=self.cols, vectors=self.vectors)

    @property
    def dot_length(self) -> int:
        """K, the number of products in one sum."""
        return self.cols

    @property
    def macs(self) -> int:
        """Multiply-accumulates per frame."""
        return self.rows * self.cols * self.vectors


@dataclass(frozen=True)
class Depthwise:
    """A depthwise convolution: `channels` independent dot products of `taps` = Kh*Kw values, `vectors` pixels per frame."""

    name: str
    channels: int
    taps: int
    vectors: int
    site: str

    def __post_init__(self) -> None:
        require_positive(self.name, channels=self.channels, taps=self.taps, vectors=self.vectors)

    @property
    def rows(self) -> int:
        """Output channels."""
        return self.channels

    @property
    def cols(self) -> int:
        """Products per output, the range of SIMD."""
        return self.taps

    @property
    def dot_length(self) -> int:
        """K, the number of products in one sum."""
        return self.taps

    @property
    def macs(self) -> int:
        """Multiply-accumulates per frame."""
        return self.channels * self.taps * self.vectors


@dataclass(frozen=True)
class Requantize:
    """Scale, bias and activation function of `source` (a layer, an add, a pool, ...), rounded to the format of `site`."""

    name: str
    source: str
    channels: int
    vectors: int
    site: str


@dataclass(frozen=True)
class Add:
    """A residual add of two streams of the format of `site` (both share one quantizer)."""

    name: str
    channels: int
    vectors: int
    site: str


@dataclass(frozen=True)
class Duplicate:
    """A stream copied to `copies` consumers (the fork of a residual branch)."""

    name: str
    channels: int
    vectors: int
    copies: int
    site: str


@dataclass(frozen=True)
class MatMul(MatVec):
    """A product of two activations, as in attention: rows x cols matrices of the tensor at `stored`, times those at `site`.

    Attributes:
        vectors: all that are multiplied in a frame: heads * tokens.
        stored: site of the tensor that is held as matrices.
        matrices: how many there are; each serves vectors / matrices vectors (grouped queries share one).
        cached: they stay from frame to frame and each frame adds a row or a column (the KV cache); False: they are made
            anew for each frame, and kept twice so that the next can be written.
    """

    stored: str
    matrices: int
    cached: bool

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(self.name, matrices=self.matrices)


class Norm(StrEnum):
    """What a vector is divided by: its root mean square (arXiv 1910.07467), or its deviation from the mean (arXiv 1607.06450)."""

    RMS = "rms"
    LAYER = "layer"


@dataclass(frozen=True)
class Normalize:
    """A normalization of `vectors` vectors of `channels` values; gain and bias are left to what follows."""

    name: str
    channels: int
    vectors: int
    kind: Norm
    site: str

    def __post_init__(self) -> None:
        require_positive(self.name, channels=self.channels, vectors=self.vectors)


@dataclass(frozen=True)
class Softmax:
    """A softmax over each of `vectors` vectors of `channels` values (heads * tokens of as many values as the context has)."""

    name: str
    channels: int
    vectors: int
    site: str

    def __post_init__(self) -> None:
        require_positive(self.name, channels=self.channels, vectors=self.vectors)


@dataclass(frozen=True)
class Rope:
    """Rotary positions: pairs of values of a head turned by an angle; `head` values per head, `context` positions."""

    name: str
    channels: int
    vectors: int
    head: int
    context: int
    site: str

    def __post_init__(self) -> None:
        require_positive(self.name, channels=self.channels, vectors=self.vectors, context=self.context)
        if self.head < 2 or self.head % 2 or self.channels % self.head:
            raise ShapeError(
                f"`head` must be even and divide the channels, but {self.name} got head={self.head}, "
                f"channels={self.channels}."
            )


@dataclass(frozen=True)
class Multiply:
    """The product of two streams value by value (a gate), of the formats of `site` and `second`."""

    name: str
    channels: int
    vectors: int
    site: str
    second: str

    def __post_init__(self) -> None:
        require_positive(self.name, channels=self.channels, vectors=self.vectors)


@dataclass(frozen=True)
class Table:
    """Any function of one value (SiLU, GELU) as a table from the codes of `site` to those of `output`."""

    name: str
    channels: int
    vectors: int
    site: str
    output: str

    def __post_init__(self) -> None:
        require_positive(self.name, channels=self.channels, vectors=self.vectors)


@dataclass(frozen=True)
class Lookup:
    """Rows of a table in off-chip memory (an embedding of `vocabulary` rows), in the format of `site`."""

    name: str
    channels: int
    vectors: int
    vocabulary: int
    site: str

    def __post_init__(self) -> None:
        require_positive(self.name, channels=self.channels, vectors=self.vectors, vocabulary=self.vocabulary)


@dataclass(frozen=True)
class Rotate:
    """An online block Hadamard rotation: each `block` channels of the stream of `site` times H, not normalized.

    1 / sqrt(block) is part of the scale of the requantizer behind it.
    """

    name: str
    channels: int
    block: int
    vectors: int
    site: str

    def __post_init__(self) -> None:
        require_positive(self.name, channels=self.channels, block=self.block, vectors=self.vectors)
        if self.block < 2 or self.block.bit_count() > 1 or self.channels % self.block:
            raise ShapeError(
                f"`block` of a rotation must be a power of two from 2 that divides the channels, but {self.name} got "
                f"block={self.block}, channels={self.channels}."
            )


Compute: TypeAlias = MatVec | Depthwise
Attention: TypeAlias = Normalize | Softmax | Rope | Multiply | Table | Lookup | Rotate
Unfolded: TypeAlias = Window | Pad | Requantize | Add | Pool | Duplicate | Pixels | LabelSelect | Attention
Operator: TypeAlias = Compute | Unfolded


def other_sites(op: Operator) -> tuple[str, ...]:
    """The sites that an operator has beside ``op.site``."""
    match op:
        case MatMul():
            return (op.stored,)
        case Multiply():
            return (op.second,)
        case Table():
            return (op.output,)
        case _:
            return ()


def with_zeros(
    reader: Window | Compute, channels: int, padded: tuple[int, int], zeros: tuple[int, int, int, int]
) -> tuple[Operator, ...]:
    """An operator that reads images of the size `padded`, and in front of it the zeros around them, if there are any."""
    top, left, bottom, right = zeros
    if not any(zeros):
        return (reader,)
    inner = padded[0] - top - bottom, padded[1] - left - right
    return Pad(f"{reader.name}.{PADDING}", reader.name, channels, inner, zeros, reader.site), reader
