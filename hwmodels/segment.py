"""How a long dot product is cut: into tiles (AXE) and groups with scales of their own (OCP MX); sizes and widths.

A segment is what one inner accumulator sums: a tile of T products, a group, or the smaller of both. Its sum, scaled where
there are group scales, goes to the outer accumulator.
"""

from __future__ import annotations

import math

from hwmodels.datapath import Datapath, ScaleKind
from hwmodels.primitives.cost import ceil_div, ceil_log2
from hwmodels.primitives.scale import SCALE_BITS, SHIFT_RANGE


def group_scales(datapath: Datapath, dot_length: int | None = None) -> tuple[ScaleKind, ...]:
    """Kinds of the scales of one segment: none, one, or the weight's and the activation's.

    Args:
        dot_length: a group that spans so many products is scaled behind the whole sum, so it does not count.
    """
    scalings = (datapath.weight.scaling, datapath.activation.scaling)
    return tuple(s.kind for s in scalings if s.group_size is not None and s.group_size < (dot_length or math.inf))


def segment_size(datapath: Datapath) -> int | None:
    """Products of one inner sum: the tile or a group, whichever is smallest; None for one sum of all products."""
    groups = (datapath.weight.scaling.group_size, datapath.activation.scaling.group_size)
    return min((size for size in (*groups, datapath.accumulator.tile_size) if size is not None), default=None)


def segment_sum_bits(datapath: Datapath, dot_length: int) -> int:
    """Width of a whole dot product: P, or that of a scaled segment and log2 of the segments, rounded up.

    Without scales that is P_O = ceil(P_I + log2(K/T)) (AXE, arXiv 2409.17092, section 3.3). Float scales widen a sum by 16
    bits, powers of two by 15 (the assumed mantissa and shift range, :mod:`hwmodels.primitives.scale`).
    """
    bits, size, scales = datapath.accumulator.bits, segment_size(datapath), group_scales(datapath, dot_length)
    if size is None or size >= dot_length:
        return bits
    bits += SCALE_BITS * (ScaleKind.FLOAT in scales) + (SHIFT_RANGE - 1) * (ScaleKind.POWER_OF_TWO in scales)
    return bits + ceil_log2(ceil_div(dot_length, size))
