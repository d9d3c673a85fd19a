"""Applying a scale to an integer sum: a fixed-point multiplier, or a shifter where the scale is a power of two."""

from __future__ import annotations

from hwmodels.primitives.carry import carry_blocks
from hwmodels.primitives.cost import ceil_div, ceil_log2
from hwmodels.primitives.dsp_packing import ACTIVATION_PORT_BITS, MULTIPLIER_PORT_BITS, DspBlock
from hwmodels.primitives.multiplier import multiplier_chains, multiplier_luts
from hwmodels.resources import Resources

SCALE_BITS = 16
"""Bits of the fixed-point mantissa that a float scale is rounded to (assumed; its exponent is a static shift)."""

SHIFT_RANGE = 16
"""Positions that a power-of-two scale shifts a sum within a layer (assumed; larger ratios saturate or vanish)."""

PO2_SCALE_BITS = 8
"""Stored bits of a power-of-two scale (E8M0, OCP MX 1.0)."""


def scale_multiplier(width: int, *, passes: int = 1, dsp: DspBlock | None, family: str) -> tuple[Resources, str]:
    """(resources, formula) of a `width` x 16 bit multiplier, in LUTs or, if `dsp` names a slice, in DSP slices.

    Args:
        passes: cycles that one product may take. In LUTs the multiplier then takes ceil(16 / passes) bits of the scale per
            cycle and adds up (shift-and-add), which is smaller from two passes on.

    Derived: the multiplier form of :mod:`hwmodels.primitives.multiplier`; a DSP slice takes 25 or 27 bits by 18 or 24.
    """
    if dsp is not None:
        count = ceil_div(width, MULTIPLIER_PORT_BITS[dsp]) * ceil_div(SCALE_BITS, ACTIVATION_PORT_BITS[dsp])
        return Resources(dsp=count), f"ceil({width}/{MULTIPLIER_PORT_BITS[dsp]}) {dsp}"
    digit = ceil_div(SCALE_BITS, passes)
    wide, narrow = max(width, digit), min(width, digit)
    adder = width + digit if passes > 1 else 0
    luts = multiplier_luts(wide, narrow) + adder
    chains = multiplier_chains(wide, narrow) + ((adder,) if adder else ())
    resources = Resources(lut=luts, carry8=carry_blocks(chains, family), ff=width + SCALE_BITS)
    return resources, f"{width} x {digit} bit multiplier{f' and adder, {passes} passes' if adder else ''} {luts}"


def scale_shifter(width: int) -> tuple[Resources, str]:
    """(resources, formula) of a shifter of a `width`-bit sum by 0 to 15 positions.

    One LUT6 does two stages of a bit: ceil(log2(16) / 2) levels of width + 15 bits at the last. Derived.
    """
    levels = ceil_div(ceil_log2(SHIFT_RANGE), 2)
    luts = levels * (width + SHIFT_RANGE - 1)
    return Resources(lut=luts, ff=width + SHIFT_RANGE - 1), f"{levels} levels x {width + SHIFT_RANGE - 1} bits"
