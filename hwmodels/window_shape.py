"""The geometry of sliding windows: how deep the buffer of a generator is, and how long a frame takes (FINN v0.10.1)."""

from __future__ import annotations

from dataclasses import dataclass

Pair = tuple[int, int]


@dataclass(frozen=True, slots=True)
class WindowShape:
    """Geometry of a window generator; pairs are (height, width) in pixels, the input padded already."""

    channels: int
    input_size: Pair
    output_size: Pair
    kernel: Pair
    stride: Pair
    dilation: Pair
    depthwise: bool

    @property
    def span(self) -> int:
        """Pixels from the first to the last of a window, less one, in the order in which they arrive."""
        return (self.kernel[0] - 1) * self.dilation[0] * self.input_size[1] + (self.kernel[1] - 1) * self.dilation[1]

    def cycles(self, lanes: int, parallel: bool) -> int:
        """Cycles per frame with `lanes` channels per cycle; `parallel` windows leave whole (FINN v0.10.1; derived)."""
        fold = self.channels // lanes
        if parallel:
            return self.input_size[0] * self.input_size[1] * fold + 2
        taps = self.kernel[0] * self.kernel[1]
        row = max(self.output_size[1] * taps * fold, self.stride[1] * self.input_size[1] * fold)
        cycles = (self.span + 1) * fold + self.output_size[0] * row
        if not self.depthwise:
            return cycles
        cycles += self.output_size[0] * self.output_size[1] * (self.stride[1] - 1) * (fold - 1)
        return cycles + (self.stride[0] - 1) * self.input_size[1] * fold

    def buffer_depth(self, lanes: int, parallel: bool) -> int:
        """Words of `lanes` channels that the buffer holds (FINN v0.10.1)."""
        fold = self.channels // lanes
        if parallel:
            return self.span * fold + 2
        taps = self.kernel[0] * self.kernel[1]
        ahead = max(0, self.stride[1] - 1 - taps) + max(0, (self.stride[0] - 1) * self.input_size[1] - taps)
        return (self.span + 1 + ahead) * fold
