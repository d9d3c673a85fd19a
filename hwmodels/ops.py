"""What a dataflow accelerator is made of: one frozen value per operator, and the numerics that run through them.

A network is a tuple of operators in dataflow order. Tensors between operators are named by their *site*, the place where
an activation quantizer stands; compute operators are named by their layer. :class:`Numerics` says which format each site
and each layer has, so the shapes (which never change in a sweep) and the formats (which always do) are separate values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from hwmodels.datapath import Accumulator, Datapath, Multiplier, TensorQuant
from hwmodels.errors import BitfrontError


class ShapeError(BitfrontError):
    """A shape, folding or assignment of formats that does not fit its operator."""


def _require_positive(name: str, **sizes: int) -> None:
    """Refuse a size below 1."""
    for size, value in sizes.items():
        if value < 1:
            raise ShapeError(f"`{size}` of an operator must be at least 1, but {name} got {size}={value}.")


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
        _require_positive(self.name, rows=self.rows, cols=self.cols, vectors=self.vectors)

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
        _require_positive(self.name, channels=self.channels, taps=self.taps, vectors=self.vectors)

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
class Window:
    """A sliding-window generator in front of the convolution `layer`. Sizes are (height, width) in pixels, input padded."""

    name: str
    layer: str
    channels: int
    input_size: tuple[int, int]
    output_size: tuple[int, int]
    kernel: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    depthwise: bool
    site: str


@dataclass(frozen=True)
class Requantize:
    """Scale, bias and activation function of `source` (a layer, an add, a pool), rounded to the format of `site`."""

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
class Pool:
    """A pooling unit over `window` pixels with `vectors` outputs per frame; `site` is its input. kind: average or max."""

    name: str
    channels: int
    window: int
    vectors: int
    kind: str
    site: str


@dataclass(frozen=True)
class Duplicate:
    """A stream copied to `copies` consumers (the fork of a residual branch)."""

    name: str
    channels: int
    vectors: int
    copies: int
    site: str


Compute: TypeAlias = MatVec | Depthwise
Operator: TypeAlias = MatVec | Depthwise | Window | Requantize | Add | Pool | Duplicate


@dataclass(frozen=True)
class Network:
    """Operators in dataflow order. Names are unique; every window and requantizer refers to an operator that exists."""

    name: str
    operators: tuple[Operator, ...]

    def __post_init__(self) -> None:
        names = [op.name for op in self.operators]
        if len(set(names)) != len(names):
            raise ShapeError(
                f"operator names must be unique, but {sorted({n for n in names if names.count(n) > 1})} repeat."
            )
        for op in self.operators:
            reference = op.layer if isinstance(op, Window) else op.source if isinstance(op, Requantize) else op.name
            if reference not in names:
                raise ShapeError(f"{op.name} must refer to an operator of the network, but got {reference!r}.")

    @property
    def compute(self) -> tuple[Compute, ...]:
        """The operators with weights."""
        return tuple(op for op in self.operators if isinstance(op, MatVec | Depthwise))

    @property
    def sites(self) -> tuple[str, ...]:
        """The names of all activation sites, in dataflow order."""
        return tuple(dict.fromkeys(op.site for op in self.operators))

    @property
    def macs(self) -> int:
        """Multiply-accumulates per frame."""
        return sum(op.macs for op in self.compute)


@dataclass(frozen=True)
class LayerNumerics:
    """Weights and accumulator of one compute operator."""

    weight: TensorQuant
    accumulator: Accumulator


@dataclass(frozen=True)
class Numerics:
    """The formats of a whole network: what each site and each layer holds."""

    sites: Mapping[str, TensorQuant]
    layers: Mapping[str, LayerNumerics]

    def datapath(self, op: Compute, multiplier: Multiplier = Multiplier.LUT) -> Datapath:
        """The datapath of one compute operator.

        Raises:
            ShapeError: the operator's layer or site has no format.
        """
        if op.name not in self.layers or op.site not in self.sites:
            raise ShapeError(f"layer {op.name!r} with input site {op.site!r} must have formats, but none were given.")
        layer = self.layers[op.name]
        return Datapath(layer.weight, self.sites[op.site], layer.accumulator, multiplier)


@dataclass(frozen=True)
class Folding:
    """PE rows and SIMD columns computed in parallel (FINN)."""

    pe: int = 1
    simd: int = 1

    def check(self, op: Compute) -> None:
        """Refuse a folding that does not divide the operator.

        Raises:
            ShapeError: `pe` does not divide rows or `simd` does not divide cols; names the nearest divisors.
        """
        for field, value, dimension, size in (("pe", self.pe, "rows", op.rows), ("simd", self.simd, "cols", op.cols)):
            if value < 1 or size % value:
                near = sorted(divisors(size), key=lambda d: abs(d - value))[:2]
                raise ShapeError(
                    f"`{field}` must divide {dimension}, but {op.name} got {field}={value}, {dimension}={size}; "
                    f"divisors near {value}: {', '.join(map(str, sorted(near)))}."
                )

    def cycles(self, op: Compute) -> int:
        """Clock cycles per frame: rows/PE * cols/SIMD * vectors (FINN; derived)."""
        self.check(op)
        return (op.rows // self.pe) * (op.cols // self.simd) * op.vectors


def divisors(n: int) -> tuple[int, ...]:
    """All divisors of `n`, ascending."""
    small = [d for d in range(1, int(n**0.5) + 1) if n % d == 0]
    return tuple(sorted({*small, *(n // d for d in small)}))
