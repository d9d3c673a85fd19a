"""The kinds of tensor met between the input of an ONNX graph and its output."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dse.onnx_reader.graph import Array
from hwmodels.datapath import ScaleKind, TensorQuant
from hwmodels.formats import ElementFormat

Scale: TypeAlias = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Constant:
    """Numbers from the file."""

    array: Array


@dataclass(frozen=True, eq=False)
class Weight:
    """Quantized constant: integer codes in units of the format's step, and scales that broadcast to their shape."""

    codes: NDArray[Any]
    format: ElementFormat
    scale: Scale


@dataclass(frozen=True)
class Grid:
    """Where a stream was quantized and to what."""

    site: str
    quant: TensorQuant
    scale: float


@dataclass(frozen=True)
class Stream:
    """Activations of one image. `op` is the operator they come from (None: the network's input).

    `grid` is None for sums and means that are not quantized (again) yet. `flat` streams are vectors of all their values.
    """

    channels: int
    height: int
    width: int
    flat: bool
    op: str | None = None
    grid: Grid | None = None

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


@dataclass(frozen=True, eq=False)
class Codes:
    """What is on its way to a DequantizeLinear: integers of [low, high].

    They come from a QuantizeLinear with `scale` along `axis`, or (scale None) are stored in the file.
    """

    source: Stream | Constant
    low: int
    high: int
    scale: Scale | None = None
    axis: int = 1


Tensor: TypeAlias = Constant | Weight | Stream | Codes


def scale_kind(scale: Scale) -> ScaleKind:
    """Power of two where every scale is one, because then a shift is all it takes; else float."""
    mantissa, _ = np.frexp(scale)
    return ScaleKind.POWER_OF_TWO if (mantissa == 0.5).all() else ScaleKind.FLOAT
