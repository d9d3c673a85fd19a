"""Why FINN's estimate and the calibrated one differ, by component and resource: one visible table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Reason(NamedTuple):
    """Why a resource of a component differs: `unit` starts FINN's name of the unit, or ends it; empty fields fit all."""

    unit: str
    component: str
    resource: str
    why: str


REASONS: tuple[Reason, ...] = (
    Reason("", "", "ff", "FINN counts no flip-flops"),
    Reason("", "", "carry8", "FINN counts no carry blocks"),
    Reason(
        "StreamingFIFO", "FIFO", "", "FINN: 2*ceil(log2(depth)) and LUTRAM 32x2; here shift registers as implemented"
    ),
    Reason(
        "StreamingDataWidth",
        "width converter",
        "",
        "FINN: a LUT per bit that is shifted; implemented ones have half of one",
    ),
    Reason("", "FIFO", "", "FINN estimates before it inserts FIFOs"),
    Reason("", "residual FIFO", "", "FINN estimates before it inserts FIFOs"),
    Reason("", "width converter", "", "FINN estimates before it inserts width converters"),
    Reason("_rtl", "dot products", "lut", "FINN counts 0 LUT for an RTL MVAU or VVAU"),
    Reason("_rtl", "control", "lut", "FINN counts 0 LUT for an RTL MVAU or VVAU"),
    Reason(
        "_rtl",
        "dot products",
        "dsp",
        "FINN's RTL units multiply in DSP slices, ceil(PE/4)*SIMD (DSP58: PE*ceil(SIMD/3)); here LUTs, or what a slice holds",
    ),
    Reason(
        "_hls",
        "dot products",
        "lut",
        "FINN: 1.1*PE*(SIMD*(2*ceil((W+A)/6)-1)*(W+A) + (W+A)*(2*SIMD-1) + P); here fitted to synthesized units",
    ),
    Reason("_hls", "dot products", "dsp", "FINN: a slice for every product, however narrow; here what a slice holds"),
    Reason("_hls", "control", "lut", "FINN: 300 LUT for all that is not products, sums or memory"),
    Reason(
        "",
        "weight memory",
        "",
        "FINN: RAMB18 by a ladder of shapes, LUTRAM 64x1, off-chip free; here the shallowest RAMB36 that covers the depth, LUTs "
        "where cheaper, a DMA per off-chip stream",
    ),
    Reason("", "weight stream", "", "FINN counts the words of decoupled weights and not what streams them"),
    Reason("", "input buffer", "", "FINN counts no memory for the inputs that a folded layer reads again"),
    Reason("", "outer accumulator", "", "FINN has no tiled sums"),
    Reason("ConvolutionInputGenerator_hls", "window", "lut", "FINN: 300 and LUTRAM 64x1; here as implemented RTL ones"),
    Reason(
        "Conv", "window", "lut", "FINN: 300 + Q*A*ceil(D/38) in LUTRAM; implemented ones fit 150 + 4/3*Q*A*ceil(D/64)"
    ),
    Reason(
        "Conv", "window", "", "FINN: the widest RAMB18 that is deep enough; here the buffer lies where it is cheapest"
    ),
    Reason(
        "Thresholding", "requantize", "cycles", "a requantizer takes up to 16 cycles per value where it has the time"
    ),
    Reason(
        "Thresholding",
        "requantize",
        "",
        "FINN counts the thresholds' memory only; here all of it, or a scale if cheaper",
    ),
    Reason(
        "VVAU",
        "requantize",
        "",
        "FINN: 2^B - 1 thresholds and comparators at once; here one after the other, or a scale",
    ),
    Reason("", "requantize", "", "FINN counts thresholds inside an MVAU only where they are in LUTRAM"),
    Reason(
        "",
        "requantizer parameters",
        "",
        "FINN has thresholds in their place, and counts those of an MVAU in LUTRAM only",
    ),
    Reason("", "thresholds", "", "FINN counts thresholds inside an MVAU only where they are in LUTRAM, 64x1 each"),
    Reason("", "padding", "", "FINN gives it cycles and no resources"),
    Reason("", "add", "", "FINN gives it cycles and no resources"),
    Reason("", "pool", "", "FINN gives it cycles and no resources"),
    Reason("", "duplicate", "", "FINN gives it cycles and no resources"),
    Reason("", "", "", "FINN has nothing for it"),
)
"""The first that fits is the reason."""

_MEMORIES = ("weight memory", "window", "requantize", "requantizer parameters", "thresholds", "FIFO")
MADE_OF: Mapping[str, tuple[str, ...]] = {
    "dsp": ("dot products",),
    "bram18": _MEMORIES,
    "uram": _MEMORIES,
    "cycles": ("requantize", "pool"),
}
"""Components that may be made of something else instead, by what they would be made of."""


def reason(finn_name: str, component: str, resource: str) -> str:
    """Why `resource` of a component differs in the unit that FINN calls `finn_name`."""
    return next(
        each.why
        for each in REASONS
        if (finn_name.startswith(each.unit) or finn_name.endswith(each.unit))
        and each.component in ("", component)
        and each.resource in ("", resource)
    )
