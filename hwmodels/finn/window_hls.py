"""FINN's HLS window generator, 2-D (square, undilated) and 1-D.

Source: FINN v0.10.1 `hls/convolutioninputgenerator_hls.py`. The tables that this mode is tested against hold 2-D window
generators only; the 1-D formulas are FINN's as well but unconfirmed by numbers. Known wrong: flip-flops are counted as 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Literal

from hwmodels.finn.errors import FinnModelError
from hwmodels.finn.memory import bram18_width_at_depth, ceil_div, lutram, uram_blocks
from hwmodels.finn.window import Window
from hwmodels.resources import Resources

_BASE_LUTS = 300
_RAMB18_BITS = 18432

Variant1d = Literal["parallel", "plain", "dws", "dws_naive"]


@dataclass(frozen=True, kw_only=True, slots=True)
class WindowHls(Window):
    """A window generator of finn-hlslib.

    Raises:
        FinnModelError: besides what any window refuses, a 2-D layer that is not square or is dilated.
    """

    def __post_init__(self) -> None:
        # the zero-argument super() does not work in a slotted dataclass
        Window.__post_init__(self)
        pairs = (self.kernel, self.in_dim, self.out_dim, self.stride)
        if not self.is_1d and (any(high != wide for high, wide in pairs) or self.dilation != (1, 1)):
            raise FinnModelError(
                f"the HLS window generator needs square, undilated 2-D layers, but got kernel={self.kernel}, "
                f"IFMDim={self.in_dim}, OFMDim={self.out_dim}, stride={self.stride}, dilation={self.dilation}; "
                "the RTL one takes these."
            )

    @property
    def variant_1d(self) -> Variant1d:
        """Which 1-D kernel of finn-hlslib is taken."""
        strided = prod(self.stride)
        if (
            self.parallel_window
            and self.simd == self.channels
            and not self.depthwise
            and strided == 1
            and self.dilation == (1, 1)
            and self.ram_style in ("auto", "distributed")
        ):
            return "parallel"
        if not self.depthwise:
            return "plain"
        return "dws_naive" if strided > 2 or prod(self.dilation) > 1 else "dws"

    def cycles(self) -> int:
        """Cycles of one frame."""
        if self.is_1d:
            return _cycles_1d(self.lying())
        fold, in_w, (out_h, out_w) = self.channel_fold, self.in_dim[1], self.out_dim
        row = max(out_w * prod(self.kernel) * fold, self.stride[1] * in_w * fold)
        return in_w * self.kernel[0] * self.dilation[0] * fold + out_h * row

    def resources(self) -> Resources:
        """LUT, BRAM18 and URAM as FINN estimates them; CARRY8, flip-flops and DSP are 0."""
        return _resources_1d(self.lying()) if self.is_1d else _resources_2d(self)


def _resources_2d(op: WindowHls) -> Resources:
    # one memory per kernel row and per row that the stride brings in
    memories, depth = op.kernel[0] + op.stride[0], op.in_dim[0] * op.channel_fold
    match op.ram_style:
        case "distributed":
            return Resources(lut=_BASE_LUTS + memories * lutram(op.stream_bits, depth))
        case "ultra":
            # FINN counts 64 of the 72 bits here, unlike everywhere else
            return Resources(lut=_BASE_LUTS, uram=memories * uram_blocks(op.stream_bits, depth, word_bits=64))
        case _:
            return Resources(lut=_BASE_LUTS, bram18=memories * ceil_div(op.stream_bits, bram18_width_at_depth(depth)))


def _pixels_1d(op: WindowHls) -> int:
    """Pixels that the buffer of a 1-D window generator holds."""
    pixels = {
        "parallel": op.kernel[1] + 1,
        "plain": op.kernel[1] - 1,
        "dws": op.kernel[1],
        "dws_naive": op.in_dim[1],
    }
    return pixels[op.variant_1d]


def _cycles_1d(op: WindowHls) -> int:
    fold, kernel, out_w = op.channel_fold, op.kernel[1], op.out_dim[1]
    cycles = {
        "parallel": kernel + out_w,
        "plain": 1 + out_w * kernel * fold,
        "dws": 1 + out_w * kernel * fold + fold * (kernel - 1) - (kernel - 1),
        "dws_naive": op.in_dim[1] * fold + out_w * kernel * fold,
    }
    return cycles[op.variant_1d]


def _resources_1d(op: WindowHls) -> Resources:
    # FINN costs LUTs of distributed memory only, and block memory of a parallel window never
    pixels, parallel = _pixels_1d(op), op.variant_1d == "parallel"
    depth = pixels * op.channel_fold
    match op.ram_style:
        case "distributed":
            bits = op.activation.bits * pixels * op.channels
            return Resources(lut=_BASE_LUTS + ceil_div(bits, 64))
        case "ultra":
            return Resources(lut=_BASE_LUTS, uram=uram_blocks(op.stream_bits, depth))
        case _ if parallel:
            return Resources(lut=_BASE_LUTS)
        case _:
            side_by_side = ceil_div(op.stream_bits, bram18_width_at_depth(depth))
            return Resources(lut=_BASE_LUTS, bram18=side_by_side * ceil_div(depth, _RAMB18_BITS))
