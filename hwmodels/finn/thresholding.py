"""FINN's stand-alone thresholds, HLS and RTL, and its channel-wise operator, which is costed alike.

Source: FINN v0.10.1 `thresholding.py`, `hls/thresholding_hls.py`, `rtl/thresholding_rtl.py`, `hls/channelwise_op_hls.py`.
Known wrong: the RTL backend names its block memories BRAM18 but asks for BRAM, so its BRAM count is always 0; its LUTs
are memory only; the HLS LUTs know one comparator per PE whatever the number of thresholds; flip-flops are 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Literal

from hwmodels.finn.datatypes import FinnType
from hwmodels.finn.errors import FinnModelError, require_divides, require_positive
from hwmodels.finn.memory import ceil_div, lutram, threshold_memory
from hwmodels.resources import Resources

_ANY = frozenset({"uram", "bram18", "lutram"})


def _check(channels: int, pe: int, vectors: tuple[int, ...]) -> None:
    require_divides("PE", pe, "NumChannels", channels)
    require_positive(numInputVectors=min(vectors))


@dataclass(frozen=True, kw_only=True, slots=True)
class ThresholdingRtl:
    """Thresholds found by binary search: one memory per output bit and PE, twice as deep from bit to bit.

    Attributes:
        channels: NumChannels; PE divides it.
        threshold: data type of the thresholds (weightDataType).
        output: data type of the result; its width is the number of search steps.
        vectors: numInputVectors.
        depth_trigger_bram, depth_trigger_uram: words from which a memory is moved to BRAM or to URAM; both 0 leave the
            choice to the least waste.
    """

    channels: int
    pe: int
    threshold: FinnType
    output: FinnType
    vectors: tuple[int, ...] = (1,)
    depth_trigger_bram: int = 0
    depth_trigger_uram: int = 0

    def __post_init__(self) -> None:
        _check(self.channels, self.pe, self.vectors)
        for name in ("depth_trigger_bram", "depth_trigger_uram"):
            if getattr(self, name) < 0:
                raise FinnModelError(f"{name} must be at least 0, but got {getattr(self, name)}.")

    def cycles(self) -> int:
        """Cycles of one frame: channel fold * input vectors."""
        return self.channels // self.pe * prod(self.vectors)

    def _allowed(self, depth: int) -> frozenset[str]:
        if self.depth_trigger_bram == 0 and self.depth_trigger_uram == 0:
            return _ANY
        if depth >= self.depth_trigger_uram:
            return frozenset({"uram"})
        return frozenset({"bram18"}) if depth >= self.depth_trigger_bram else _ANY

    def resources(self) -> Resources:
        """LUT and URAM as FINN estimates them; block memories are not counted, as in FINN."""
        counts = {"lutram": 0, "bram18": 0, "uram": 0}
        for step in range(self.output.bits):
            depth = self.channels // self.pe << step
            primitive, count = threshold_memory(self.threshold.bits, depth, allowed=self._allowed(depth))
            counts[primitive] += self.pe * count
        return Resources(lut=counts["lutram"], uram=counts["uram"])


@dataclass(frozen=True, kw_only=True, slots=True)
class ThresholdingHls:
    """Thresholds of finn-hlslib, or any channel-wise operator (ChannelwiseOp_hls), which FINN costs with the same formula.

    Attributes:
        channels: NumChannels; PE divides it.
        activation: data type of the input.
        vectors: numInputVectors.
        ram_style: memory of the parameters.
    """

    channels: int
    pe: int
    activation: FinnType
    vectors: tuple[int, ...] = (1,)
    ram_style: Literal["distributed", "block"] = "distributed"

    def __post_init__(self) -> None:
        _check(self.channels, self.pe, self.vectors)

    def cycles(self) -> int:
        """Cycles of one frame: channel fold * input vectors."""
        return self.channels // self.pe * prod(self.vectors)

    def resources(self) -> Resources:
        """LUT and BRAM18 as FINN estimates them."""
        depth, width = self.channels // self.pe, self.activation.bits * self.pe
        if depth == 1:
            return Resources(lut=width)
        if self.ram_style == "block":
            return Resources(lut=width, bram18=ceil_div(width, 16) * ceil_div(depth, 1024))
        return Resources(lut=width + lutram(width, depth))
