"""FINN's RTL stream units as they are after implementation: for accelerators that FINN builds (``units=hls``) and rows of these.

Sliding windows: 150 + 4/3 * Q*A * ceil(D/64), a lead that fits the six RTL window generators of FINN's CNV w1a1 after
implementation (Vivado 2022.1) within 10 %, where FINN's own estimate is 52-100 % above; 104 flip-flops are their mean
(96..113). The generators of :mod:`hwmodels.rtl.window` do the same with fewer.
"""

from __future__ import annotations

from functools import lru_cache

from hwmodels.primitives.cost import BandKind, Cost, ErrorBand, ceil_div, ceil_log2
from hwmodels.primitives.memory import MemoryStyle, memory
from hwmodels.resources import Resources
from hwmodels.window_shape import WindowShape

_BASE_LUTS, _BASE_FFS = 150, 104
_BAND = ErrorBand(BandKind.MEASURED, "vivado_cnv_w1a1.csv: six RTL window generators", 0.065, 0.10)
_SOURCE = "fitted by eye to FINN's CNV w1a1 after implementation; buffer depth of FINN's convolutioninputgenerator_rtl"


@lru_cache(maxsize=8192)
def finn_window(
    shape: WindowShape, bits: int, lanes: int, parallel: bool, style: MemoryStyle, capacity: Resources
) -> Cost:
    """FINN's RTL generator of `bits`-bit activations, `lanes` channels per cycle.

    A parallel window keeps the window itself in flip-flops and the lines between its rows in memory (never measured).
    """
    width, depth = lanes * bits, shape.buffer_depth(lanes, parallel)
    registers = shape.kernel[0] * shape.kernel[1] * width if parallel else 0
    buffer = memory("window buffer", width, depth, style, capacity).resources
    if buffer.bram18 or buffer.uram:
        resources = Resources(
            lut=_BASE_LUTS + 2 * ceil_log2(depth), ff=_BASE_FFS + registers, bram18=buffer.bram18, uram=buffer.uram
        )
        formula = f"150 + 2*ceil(log2(D)) LUT and a block memory; D = {depth} words of {width} bits"
        band = _BAND.extrapolated("the measured ones keep their buffer in LUTs")
    else:
        luts = _BASE_LUTS + 4 / 3 * width * ceil_div(depth, 64)
        resources = Resources(lut=luts, ff=_BASE_FFS + registers)
        formula = f"150 + 4/3*Q*A*ceil(D/64); Q*A = {width} bits, D = {depth} words"
        in_range = 24 <= width <= 32 and 52 <= depth <= 126 and not parallel
        band = _BAND if in_range else _BAND.extrapolated(f"Q*A = {width}, D = {depth}, parallel = {parallel}")
    return Cost("window", resources, formula, _SOURCE, band)
