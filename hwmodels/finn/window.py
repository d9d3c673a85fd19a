"""The geometry of FINN's window generator (ConvolutionInputGenerator), common to its HLS and RTL backends."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

from hwmodels.finn.datatypes import FinnType
from hwmodels.finn.dot_product import RamStyle
from hwmodels.finn.errors import FinnModelError, require_divides, require_positive

Pair = tuple[int, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class Window:
    """Sliding windows over a feature map whose padding is already there; all pairs are (height, width).

    Attributes:
        channels: IFMChannels; SIMD divides it.
        in_dim, out_dim: IFMDim and OFMDim.
        kernel, stride, dilation: as named.
        simd: channels per cycle.
        activation: data type of the feature map.
        ram_style: memory of the buffer; FINN's default is "distributed".
        depthwise: whether the windows of a channel leave together.
        parallel_window: whether the whole window leaves in one cycle.

    Raises:
        FinnModelError: a size below 1, SIMD that does not divide, or a kernel or stride larger than the feature map.
    """

    channels: int
    in_dim: Pair
    out_dim: Pair
    kernel: Pair
    simd: int
    activation: FinnType
    stride: Pair = (1, 1)
    dilation: Pair = (1, 1)
    ram_style: RamStyle = "distributed"
    depthwise: bool = False
    parallel_window: bool = False

    def __post_init__(self) -> None:
        require_positive(
            IFMDim=min(self.in_dim),
            OFMDim=min(self.out_dim),
            ConvKernelDim=min(self.kernel),
            Stride=min(self.stride),
            Dilation=min(self.dilation),
        )
        require_divides("SIMD", self.simd, "IFMChannels", self.channels)
        for axis, size in enumerate(self.in_dim):
            reach = (self.kernel[axis] - 1) * self.dilation[axis] + 1
            if max(reach, self.stride[axis]) > size:
                raise FinnModelError(
                    f"kernel and stride must fit the feature map, but got a kernel reach of {reach} and a stride of "
                    f"{self.stride[axis]} on an IFMDim of {size}."
                )

    @property
    def channel_fold(self) -> int:
        """Cycles that one pixel takes."""
        return self.channels // self.simd

    @property
    def stream_bits(self) -> int:
        """Bits that enter each cycle."""
        return self.simd * self.activation.bits

    @property
    def is_1d(self) -> bool:
        """Whether the feature map is one pixel high or wide."""
        return 1 in self.in_dim

    def lying(self) -> Self:
        """The same window generator with a feature map of width 1 turned to height 1, as FINN normalizes 1-D layers."""
        if self.in_dim[1] != 1:
            return self
        return replace(
            self,
            in_dim=self.in_dim[::-1],
            out_dim=self.out_dim[::-1],
            kernel=self.kernel[::-1],
            stride=self.stride[::-1],
            dilation=self.dilation[::-1],
        )
