"""What lies between FINN's layers: FIFOs and stream width converters.

Source: FINN v0.10.1 `streamingfifo.py`, `rtl/streamingfifo_rtl.py`, `streamingdatawidthconverter.py`. Known wrong: the
SRLs of an RTL FIFO hold one bit of 32 words per LUT, not two, and its control is missing; flip-flops are counted as 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import lcm
from typing import Literal

from hwmodels.finn.dot_product import RamStyle
from hwmodels.finn.errors import FinnModelError, require_positive
from hwmodels.finn.memory import bram18_by_width, ceil_div, fifo_lutram, uram_blocks
from hwmodels.resources import Resources


@dataclass(frozen=True, kw_only=True, slots=True)
class Fifo:
    """A FIFO of `depth` words of `width` bits, as FINN's RTL or as Vivado's AXI FIFO.

    Raises:
        FinnModelError: less than 2 words or 1 bit.
    """

    depth: int
    width: int
    impl_style: Literal["rtl", "vivado"] = "rtl"
    ram_style: RamStyle = "auto"

    def __post_init__(self) -> None:
        require_positive(width=self.width)
        if self.depth < 2:
            raise FinnModelError(f"depth of a FIFO must be at least 2, but got {self.depth}.")

    @property
    def adjusted_depth(self) -> int:
        """The depth that is built: Vivado's FIFO needs a power of two."""
        return 1 << (self.depth - 1).bit_length() if self.impl_style == "vivado" else self.depth

    def cycles(self) -> int:
        """0: FINN gives a FIFO no cycles."""
        return 0

    def resources(self) -> Resources:
        """LUT, BRAM18 and URAM as FINN estimates them."""
        depth, width = self.adjusted_depth, self.width
        address = 2 * (depth - 1).bit_length()
        if self.impl_style == "rtl" or self.ram_style == "distributed":
            return Resources(lut=address + fifo_lutram(width, depth))
        match self.ram_style:
            case "block":
                return Resources(lut=address, bram18=bram18_by_width(width, depth))
            case "ultra":
                return Resources(lut=address, uram=uram_blocks(width, depth))
            case _:
                return Resources(lut=address)


@dataclass(frozen=True, kw_only=True, slots=True)
class WidthConverter:
    """A converter from words of `in_width` bits to words of `out_width` bits, through their least common multiple.

    Attributes:
        elements: values of one frame that pass, or None where the stream is not known: FINN then has no cycles for it.
    """

    in_width: int
    out_width: int
    elements: int | None = None

    def __post_init__(self) -> None:
        require_positive(inWidth=self.in_width, outWidth=self.out_width)
        if self.elements is not None:
            require_positive(shape=self.elements)

    def cycles(self) -> int:
        """Cycles of one frame: FINN counts every value once on the way in and once on the way out."""
        return 0 if self.elements is None else 2 * self.elements

    def resources(self) -> Resources:
        """LUT as FINN estimates them: a shift register per change of width and a counter of its steps."""
        middle, lut = lcm(self.in_width, self.out_width), 0
        if self.in_width != middle:
            # up: FINN rounds the logarithm towards zero, because it takes it of the inverse ratio
            lut += (middle // self.in_width).bit_length() - 1 + middle
        if middle != self.out_width:
            lut += (ceil_div(middle, self.out_width) - 1).bit_length() + self.out_width
        return Resources(lut=lut)
