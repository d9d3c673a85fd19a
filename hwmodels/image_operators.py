"""Operators that know of images or stand at the ends of a network: windows, zeros, pools; pixels and labels."""

from __future__ import annotations

from dataclasses import dataclass

from hwmodels.shapes import ShapeError, require_positive

PADDING = "padding"
"""Behind the name of a window generator or layer, the operator that puts zeros around its input."""


PIXEL_BITS = 9
"""Bits of a pixel as a requantizer reads it: 8, and a sign."""

SCORES = "scores"
"""Site of what label select reads: the last layer's sums on one scale."""


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
class Pad:
    """Zeros around the image that `reader`, a window generator or a layer without one, reads (in front of a maximum least codes).

    Attributes:
        input_size: (height, width) of the image, in pixels.
        zeros: (top, left, bottom, right), in pixels.
    """

    name: str
    reader: str
    channels: int
    input_size: tuple[int, int]
    zeros: tuple[int, int, int, int]
    site: str

    def __post_init__(self) -> None:
        height, width = self.input_size
        require_positive(self.name, channels=self.channels, height=height, width=width)
        if min(self.zeros) < 0 or not max(self.zeros):
            raise ShapeError(
                f"{self.name} must add rows or columns of zeros, but got (top, left, bottom, right) = {self.zeros}."
            )

    @property
    def vectors(self) -> int:
        """Pixels of the padded image."""
        (height, width), (top, left, bottom, right) = self.input_size, self.zeros
        return (height + top + bottom) * (width + left + right)


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
class Pixels:
    """Pixels of 8 bits brought to the format of `site` by one scale: `channels` values of each of `vectors` pixels."""

    name: str
    channels: int
    vectors: int
    site: str

    def __post_init__(self) -> None:
        require_positive(self.name, channels=self.channels, vectors=self.vectors)


@dataclass(frozen=True)
class LabelSelect:
    """The index of the largest of `channels` scores (the top 1), for each of `vectors` vectors: what leaves the chip then."""

    name: str
    channels: int
    vectors: int
    site: str

    def __post_init__(self) -> None:
        require_positive(self.name, vectors=self.vectors)
        if self.channels < 2:
            raise ShapeError(f"label select must have at least 2 scores, but {self.name} got channels={self.channels}.")
