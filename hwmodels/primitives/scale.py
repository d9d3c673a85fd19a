"""What scales are stored in, and the DSP slices that apply one; in LUTs they are part of a requantizer or an outer stage."""

from __future__ import annotations

from hwmodels.primitives.cost import ceil_div
from hwmodels.primitives.dsp_packing import ACTIVATION_PORT_BITS, MULTIPLIER_PORT_BITS, DspBlock
from hwmodels.resources import Resources

SCALE_BITS = 16
"""Bits of the fixed-point mantissa that a float scale is rounded to (assumed; its exponent is a static shift)."""

SHIFT_RANGE = 16
"""Positions that a power-of-two scale shifts a sum within a layer (assumed; larger ratios saturate or vanish)."""

PO2_SCALE_BITS = 8
"""Stored bits of a power-of-two scale (E8M0, OCP MX 1.0)."""


def scale_slices(width: int, dsp: DspBlock) -> tuple[Resources, str]:
    """(resources, formula) of a `width` x 16 bit multiplier in DSP slices, whose ports take 25 or 27 bits by 18 or 24.

    Derived (UG479, UG579, AM004).
    """
    count = ceil_div(width, MULTIPLIER_PORT_BITS[dsp]) * ceil_div(SCALE_BITS, ACTIVATION_PORT_BITS[dsp])
    return Resources(dsp=count), f"ceil({width}/{MULTIPLIER_PORT_BITS[dsp]}) {dsp}"
