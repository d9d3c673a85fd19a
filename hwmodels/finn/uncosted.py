"""FINN's operators that it gives cycles but no resources: pooling, padding, element-wise and stream plumbing.

Source: FINN v0.10.1 `streamingmaxpool.py`, `pool.py`, `globalaccpool.py`, `addstreams.py`, `duplicatestreams.py`,
`labelselect.py`, `fmpadding.py`. Known wrong: all of these take LUTs and flip-flops; zero is what FINN says, and this
mode says what FINN says.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from hwmodels.finn.errors import FinnModelError, require_divides, require_positive
from hwmodels.resources import Resources


@dataclass(frozen=True, kw_only=True, slots=True)
class ChannelStream:
    """An operator that passes `pixels` pixels, each channels / parallel cycles long, and then `extra_pixels` more.

    Attributes:
        op: FINN's operator name, for messages.
        parallel_name: "PE" or "SIMD", whichever the operator calls its parallelism.
        parallel: channels per cycle; divides `channels`.
        channels: channels, or labels of a label selection.
        pixels: pixels per frame, on the side of the operator that has more of them.
        extra_pixels: pixels' worth of cycles after the last one.

    Raises:
        FinnModelError: a size below 1, or a parallelism that does not divide.
    """

    op: str
    parallel_name: str
    parallel: int
    channels: int
    pixels: int
    extra_pixels: int = 0

    def __post_init__(self) -> None:
        require_divides(self.parallel_name, self.parallel, f"the channels of {self.op}", self.channels)
        require_positive(pixels=self.pixels)

    def cycles(self) -> int:
        """Cycles of one frame."""
        return self.channels // self.parallel * (self.pixels + self.extra_pixels)

    def resources(self) -> Resources:
        """All 0, as in FINN."""
        return Resources()


@dataclass(frozen=True, kw_only=True, slots=True)
class Pool:
    """Pooling of windows that a depthwise window generator brings; all pairs are (height, width).

    Raises:
        FinnModelError: a size below 1, or a PE that does not divide the channels.
    """

    channels: int
    kernel: tuple[int, int]
    out_dim: tuple[int, int]
    pe: int = 1
    batch: int = 1

    def __post_init__(self) -> None:
        require_positive(KernelSize=min(self.kernel), OutImgDims=min(self.out_dim), BatchSize=self.batch)
        require_divides("PE", self.pe, "Channels", self.channels)

    def cycles(self) -> int:
        """Cycles of one frame: channel fold * window size * output pixels."""
        return self.channels // self.pe * prod(self.kernel) * prod(self.out_dim) * self.batch

    def resources(self) -> Resources:
        """All 0, as in FINN."""
        return Resources()


@dataclass(frozen=True, kw_only=True, slots=True)
class StreamingMaxPool:
    """Maximum over windows that do not overlap; all pairs are (height, width).

    Raises:
        FinnModelError: a size below 1, or a PE that does not divide a 1-D layer's channels.
    """

    channels: int
    in_dim: tuple[int, int]
    kernel: tuple[int, int]
    pe: int = 1
    ceil_mode: bool = False

    def __post_init__(self) -> None:
        require_positive(ImgDim=min(self.in_dim), PoolDim=min(self.kernel))
        require_divides("PE", self.pe, "NumChannels", self.channels)
        if any(size < window for size, window in zip(self.in_dim, self.kernel, strict=True)):
            raise FinnModelError(f"PoolDim must fit ImgDim, but got PoolDim={self.kernel}, ImgDim={self.in_dim}.")

    def cycles(self) -> int:
        """Cycles of one frame. In 2-D the width counts for the height too, and PE is ignored: FINN's approximation."""
        if 1 in self.in_dim:
            across = 0 if self.in_dim[1] == 1 else 1
            size, window = self.in_dim[across], self.kernel[across]
            windows = -(-size // window) if self.ceil_mode else size // window
            return windows * (self.channels // self.pe) * (window + 1)
        return int(self.in_dim[1] ** 2 * (1 + 1 / self.kernel[1] ** 2))

    def resources(self) -> Resources:
        """All 0, as in FINN."""
        return Resources()
