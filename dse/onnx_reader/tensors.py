"""The kinds of tensor met between the input of an ONNX graph and its output."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dse.onnx_reader.graph import Array
from hwmodels.datapath import ScaleKind, TensorQuant
from hwmodels.formats import ElementFormat, Minifloat

Scale: TypeAlias = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Constant:
    """Numbers from the file. `e4m3`: they are numbers of OCP E4M3 times one number."""

    array: Array
    e4m3: bool = False


@dataclass(frozen=True, eq=False)
class Weight:
    """Quantized constant: integer codes in units of the format's step, and scales that broadcast to their shape.

    `group_size` values along one axis share a scale where it is given; `kind` is that of the scales.
    """

    codes: NDArray[Any]
    format: ElementFormat
    scale: Scale
    group_size: int | None = None
    kind: ScaleKind | None = None


@dataclass(frozen=True)
class Grid:
    """Where a stream was quantized and to what; `scale` is None where it is computed."""

    site: str
    quant: TensorQuant
    scale: float | None


@dataclass(frozen=True)
class Stream:
    """Activations of one image. `op` is the operator they come from (None: the network's input).

    `grid` is None for sums and means that are not quantized (again) yet. `flat` streams are vectors of all their values; those of
    `tokens` have one for each, in place of pixels. `group` channels have an axis of their own for now. `floating` streams come
    from a floating-point part; their channels may be those of `heads`.
    """

    channels: int
    height: int
    width: int
    flat: bool
    op: str | None = None
    grid: Grid | None = None
    group: int | None = None
    floating: bool = False
    heads: int | None = None
    tokens: bool = False

    @property
    def vectors(self) -> int:
        """Pixels per image."""
        return self.height * self.width

    @property
    def features(self) -> int:
        """Values per image."""
        return self.channels * self.vectors

    @property
    def size(self) -> str:
        """The shape for a message."""
        return f"{self.features}" if self.flat else f"{self.channels}x{self.height}x{self.width}"


@dataclass(frozen=True)
class Floating:
    """A floating-point tensor between quantized layers; sizes, windows and tokens (None) first."""

    shape: tuple[int | None, ...]


@dataclass(frozen=True)
class Extent:
    """Largest values of blocks of a tensor, or what is computed from them on the way to a scale.

    `axes` are those of a block, `rank` is the number of axes of the blocked tensor, `kind` that of the scale so far.
    """

    axes: tuple[int, ...]
    rank: int
    kind: ScaleKind = ScaleKind.FLOAT


@dataclass(frozen=True, eq=False)
class Codes:
    """What is on its way to a DequantizeLinear: integers of [low, high].

    They come from a QuantizeLinear with `scale` along `axis`, or (scale None) are stored in the file. `format` is given for FP8.
    """

    source: Stream | Floating | Constant
    low: int
    high: int
    scale: Scale | None = None
    axis: int = 1
    format: Minifloat | None = None


Tensor: TypeAlias = Constant | Weight | Stream | Floating | Extent | Codes


def scale_kind(scale: Scale) -> ScaleKind:
    """Power of two where every scale is one, because then a shift is all it takes; else float."""
    mantissa, _ = np.frexp(scale)
    return ScaleKind.POWER_OF_TWO if (mantissa == 0.5).all() else ScaleKind.FLOAT
