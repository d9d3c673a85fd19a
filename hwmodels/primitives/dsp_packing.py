"""How many products of narrow integers one DSP slice computes when several weights share its wide multiplier port.

Packing: the weights stand side by side in the A port, each one product width W + A - 1 bits from the next (a signed W-bit
by A-bit product takes W + A bits, and neighbours overlap in one sign bit); the activation is the B port. The lowest
lane's borrow must not reach the top bit, which costs one bit of the port unless the weights leave out their most negative
code. Port widths: derived from the data sheets (UG479 25 bits, UG579 and AM004 27 bits). Tested against
`tests/golden/finn/dsp_packing.csv`, all 336 rows.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Literal

from hwmodels.errors import BitfrontError

DspBlock = Literal["DSP48E1", "DSP48E2", "DSP58"]

MULTIPLIER_PORT_BITS = MappingProxyType({"DSP48E1": 25, "DSP48E2": 27, "DSP58": 27})
"""Bits of the wide multiplier port of each DSP slice."""

ACTIVATION_PORT_BITS = MappingProxyType({"DSP48E1": 18, "DSP48E2": 18, "DSP58": 24})
"""Bits of the narrow multiplier port of each DSP slice (UG479, UG579, AM004)."""

INT8_DOT_LENGTH = 3
"""Products that a DSP58 sums in its INT8 mode."""

INT8_DOT_WEIGHT_BITS, INT8_DOT_ACTIVATION_BITS = 8, 9
"""Operand widths of the INT8 mode of a DSP58, both signed (AM004)."""


class DspPackingError(BitfrontError):
    """Operands or a DSP slice that the packing rule does not cover."""


def dsp_lanes(weight_bits: int, activation_bits: int, narrow: bool, dsp: DspBlock) -> int:
    """Products of one activation with as many weights that one DSP slice computes at once.

    Args:
        weight_bits: width of the signed weights, at least 2.
        activation_bits: width of the activations, at least 1, at most that of the narrow port.
        narrow: whether the most negative weight code is absent.
        dsp: kind of slice.

    Raises:
        DspPackingError: an unknown slice, or operands of which not even one product fits.
    """
    if dsp not in MULTIPLIER_PORT_BITS:
        raise DspPackingError(f"dsp must be one of {', '.join(MULTIPLIER_PORT_BITS)}, but got {dsp!r}.")
    port = MULTIPLIER_PORT_BITS[dsp]
    most = port - int(not narrow)
    if not 2 <= weight_bits <= most or not 1 <= activation_bits <= ACTIVATION_PORT_BITS[dsp]:
        raise DspPackingError(
            f"a {dsp} packs weights of 2 to {most} bits and activations of 1 to {ACTIVATION_PORT_BITS[dsp]} bits, but got "
            f"weight_bits={weight_bits}, activation_bits={activation_bits}, narrow={narrow}."
        )
    return 1 + (most - weight_bits) // (weight_bits + activation_bits - 1)


def packed_dsps(pe: int, simd: int, *, weight_bits: int, activation_bits: int, narrow: bool, dsp: DspBlock) -> int:
    """DSP slices of `pe` dot products of `simd` products each, that share their activations.

    Lanes are filled with rows: ceil(pe / lanes) * simd. A DSP58 sums three products of up to 8 x 9 bits instead where
    that is no fewer than it would pack: pe * ceil(simd / 3).

    Raises:
        DspPackingError: `pe` or `simd` below 1, or as `dsp_lanes`.
    """
    if pe < 1 or simd < 1:
        raise DspPackingError(f"pe and simd must be at least 1, but got pe={pe}, simd={simd}.")
    lanes = dsp_lanes(weight_bits, activation_bits, narrow, dsp)
    fits_int8_mode = weight_bits <= INT8_DOT_WEIGHT_BITS and activation_bits <= INT8_DOT_ACTIVATION_BITS
    if dsp == "DSP58" and fits_int8_mode and lanes <= INT8_DOT_LENGTH:
        return pe * -(-simd // INT8_DOT_LENGTH)
    return -(-pe // lanes) * simd
