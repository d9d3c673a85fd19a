"""FINN's RTL window generator.

Source: FINN v0.10.1 `rtl/convolutioninputgenerator_rtl.py`. The base of 300 LUTs and the 38 words per LUT are stated
there without a source (assumed). Known wrong: on FINN's CNV w1a1 the LUTs are 52 to 100 % above the implemented ones,
flip-flops are counted as 0, and so are the registers of a parallel window.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Literal

from hwmodels.finn.errors import FinnModelError
from hwmodels.finn.memory import bram18_width_at_depth, ceil_div, uram_blocks, window_lutram
from hwmodels.finn.window import Window
from hwmodels.resources import Resources

_BASE_LUTS = 300
_CASCADE_DEPTH = 16384


@dataclass(frozen=True, kw_only=True, slots=True)
class WindowRtl(Window):
    """A window generator with an addressable buffer ("default") or with line buffers and registers ("parallel")."""

    def __post_init__(self) -> None:
        # the zero-argument super() does not work in a slotted dataclass
        Window.__post_init__(self)
        if self.impl_style == "parallel" and self.simd != self.channels and not (self.depthwise or self._pointwise):
            raise FinnModelError(
                f"a parallel window needs SIMD equal to IFMChannels unless it is depthwise, but got SIMD={self.simd}, "
                f"IFMChannels={self.channels}; set SIMD={self.channels} or parallel_window=0."
            )

    @property
    def _pointwise(self) -> bool:
        return self.kernel == (1, 1)

    @property
    def impl_style(self) -> Literal["default", "parallel"]:
        """ "parallel" for parallel windows and 1x1 kernels, else "default"."""
        return "parallel" if self.parallel_window or self._pointwise else "default"

    @property
    def buffer_depth(self) -> int:
        """Words of the whole buffer, each SIMD channels wide."""
        (kernel_h, kernel_w), (dilation_h, dilation_w) = self.kernel, self.dilation
        fold, width = self.channel_fold, self.in_dim[1]
        span = (kernel_h - 1) * dilation_h * width + (kernel_w - 1) * dilation_w
        if self.impl_style == "parallel":
            return span * fold + 2
        # room to load ahead what the stride skips while one window is read
        skipped_cols = max(0, (self.stride[1] - 1) - prod(self.kernel))
        skipped_rows = max(0, (self.stride[0] - 1) * width - prod(self.kernel))
        return (span + 1 + skipped_cols + skipped_rows) * fold

    def cycles(self) -> int:
        """Cycles of one frame."""
        if self.impl_style == "parallel":
            return prod(self.in_dim) * self.channel_fold + 2
        return _cycles_1d(self.lying()) if self.is_1d else _cycles_2d(self)

    def resources(self) -> Resources:
        """LUT, BRAM18 and URAM as FINN estimates them; CARRY8, flip-flops and DSP are 0."""
        memory = window_lutram(self.stream_bits, self.buffer_depth) if self.ram_style == "distributed" else 0
        return Resources(lut=_BASE_LUTS + memory, bram18=_bram18(self), uram=_uram(self))


def _cycles_1d(op: WindowRtl) -> int:
    fold, kernel, stride = op.channel_fold, op.kernel[1], op.stride[1]
    steady = op.out_dim[1] * kernel * fold + 2
    return steady + fold * (kernel - 1) * (stride - 1) - (kernel - 1) if op.depthwise else steady


def _cycles_2d(op: WindowRtl) -> int:
    fold, (in_w, out_h, out_w) = op.channel_fold, (op.in_dim[1], *op.out_dim)
    first = ((op.kernel[0] - 1) * op.dilation[0] * in_w + (op.kernel[1] - 1) * op.dilation[1] + 1) * fold
    row = max(out_w * prod(op.kernel) * fold, op.stride[1] * in_w * fold)
    if not op.depthwise:
        return first + out_h * row
    row += out_w * (op.stride[1] - 1) * (fold - 1)
    return first + out_h * row + (op.stride[0] - 1) * in_w * fold


def _block_buffers(op: WindowRtl) -> tuple[int, int]:
    """(number, words) of the buffers that may lie in block memory."""
    if op.impl_style == "default":
        return 1, op.buffer_depth
    if op.is_1d:
        return 0, 0  # registers only
    in_w, reach = op.in_dim[1], (op.kernel[1] - 1) * op.dilation[1] + 1
    return op.kernel[0] - 1, in_w - reach + in_w * (op.dilation[0] - 1)


def _bram18(op: WindowRtl) -> int:
    if op.ram_style not in ("block", "auto"):
        return 0
    number, depth = _block_buffers(op)
    side_by_side = ceil_div(op.stream_bits, bram18_width_at_depth(depth))
    blocks = ceil_div(depth, _CASCADE_DEPTH) * side_by_side
    if depth > _CASCADE_DEPTH:
        # the last, shorter row of the cascade takes wider shapes
        blocks -= side_by_side - ceil_div(op.stream_bits, bram18_width_at_depth(depth % _CASCADE_DEPTH))
    return blocks * number


def _uram(op: WindowRtl) -> int:
    if op.ram_style != "ultra":
        return 0
    number, depth = _block_buffers(op)
    return uram_blocks(op.stream_bits, depth) * number
