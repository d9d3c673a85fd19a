"""Residual adds and pooling on streams. Minifloats are added exactly: shifted to fixed point first."""

from __future__ import annotations

from functools import lru_cache

from hwmodels.formats import ElementFormat, IntFormat, Minifloat
from hwmodels.primitives.carry import carry_blocks
from hwmodels.primitives.cost import Cost, ceil_div, ceil_log2, uncalibrated
from hwmodels.primitives.memory import lutram
from hwmodels.primitives.operands import fixed_point_bits, integer_grid, max_shift
from hwmodels.resources import Resources

_CONTROL_LUTS = 16  # handshake and counters (assumed)


def _to_fixed_point(fmt: ElementFormat) -> int:
    """LUTs that bring one value to two's complement fixed point: 0 for integers, else negate and shift.

    ceil(stages / 2) levels of the fixed-point width for the shift, m + 2 LUTs for the sign. Derived.
    """
    grid = integer_grid(fmt)
    match grid:
        case IntFormat():
            return 0
        case Minifloat():
            levels = ceil_div(ceil_log2(max_shift(grid) + 1), 2)
            return levels * fixed_point_bits(grid) + grid.mantissa_bits + 2


@lru_cache(maxsize=1024)
def add(fmt: ElementFormat, lanes: int, family: str) -> Cost:
    """`lanes` adders of two streams of the format `fmt`; the sum is one bit wider than the fixed-point operands. Derived."""
    width = fixed_point_bits(fmt) + 1
    convert = 2 * _to_fixed_point(fmt)
    resources = Resources(
        lut=lanes * (width + convert) + _CONTROL_LUTS, carry8=lanes * carry_blocks((width,), family), ff=lanes * width
    )
    formula = f"{lanes} lanes x ({width} bit adder + {convert} to fixed point) + {_CONTROL_LUTS}"
    return Cost("add", resources, formula, "derived: one LUT6 per sum bit", uncalibrated("derived"))


def pool_sum_bits(fmt: ElementFormat, window: int, kind: str) -> int:
    """Bits of what a pooling unit gives: the sum over the window (average) or one value (max)."""
    return fixed_point_bits(fmt) + (ceil_log2(window) if kind == "average" else 0)


@lru_cache(maxsize=1024)
def pool(fmt: ElementFormat, channels: int, window: int, row: int, kind: str, lanes: int, family: str) -> Cost:
    """`lanes` accumulators (average: the division is left to the requantizer) or comparators with selection (max).

    Args:
        row: output pixels of one row; the partial results of a row and all channels are kept in LUTRAM.

    Derived; FINN's HLS max pool of 64 and 128 binary channels at once has 3.5 LUT per channel after implementation, more than
    the 2 of this form, because it keeps both operands in registers.
    """
    width = pool_sum_bits(fmt, window, kind)
    operate = width if kind == "average" else 2 * width
    convert = _to_fixed_point(fmt)
    memory = lutram(width, max(channels // lanes * row, 1))
    resources = Resources(
        lut=lanes * (operate + convert + memory) + _CONTROL_LUTS,
        carry8=lanes * carry_blocks((width,), family),
        ff=lanes * 2 * width,
    )
    formula = (
        f"{kind}: {lanes} lanes x ({operate} to combine {width} bits + {convert} to fixed point + {memory} LUT of memory) "
        f"+ {_CONTROL_LUTS}"
    )
    return Cost("pool", resources, formula, "derived", uncalibrated("derived"))
