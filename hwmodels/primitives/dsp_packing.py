"""How many products of narrow integers one DSP slice computes when several weights share its wide multiplier port.

Packing: the weights stand side by side in the A port, each one product width W + A - 1 bits from the next (a signed W-bit
by A-bit product takes W + A bits, and neighbours overlap in one sign bit); the activation is the B port. The lowest
lane's borrow must not reach the top bit, which costs one bit of the port unless the weights leave out their most negative
code. Port widths: derived from the data sheets (UG479 25 bits, UG579 and AM004 27 bits). Tested against
`tests/golden/finn/dsp_packing.csv`, all 336 rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from hwmodels.errors import BitfrontError
from hwmodels.formats import IntFormat

DspBlock = Literal["DSP48E1", "DSP48E2", "DSP58"]

MULTIPLIER_PORT_BITS = MappingProxyType({"DSP48E1": 25, "DSP48E2": 27, "DSP58": 27})
"""Bits of the wide multiplier port of each DSP slice."""

ACTIVATION_PORT_BITS = MappingProxyType({"DSP48E1": 18, "DSP48E2": 18, "DSP58": 24})
"""Bits of the narrow multiplier port of each DSP slice (UG479, UG579, AM004)."""

INT8_DOT_LENGTH = 3
"""Products that a DSP58 sums in its INT8 mode."""

INT8_DOT_WEIGHT_BITS, INT8_DOT_ACTIVATION_BITS = 8, 9
"""Operand widths of the INT8 mode of a DSP58, both signed (AM004)."""

SUM_BITS = MappingProxyType({"DSP48E1": 48, "DSP48E2": 48, "DSP58": 58})
"""Bits of the adder behind the multiplier of each DSP slice and of the cascade to the next one (UG479, UG579, AM004)."""

CASCADE = 8
"""Most slices whose adders are chained without a register between them: FINN's rule for a DSP58, floor((5 - 0.741) / 0.605 + 1)
at 5 ns (`_resolve_segment_len` of its RTL matrix-vector unit); assumed for the other slices."""


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


@dataclass(frozen=True, slots=True)
class Packing:
    """`lanes` dot products side by side in one cascade of `chain` slices, `spacing` bits from each other.

    A field holds the sum of `chain` products and the borrow of the fields below it, which is their sign: -1 or 0. It may be
    one bit wider than the spacing: then that bit is the neighbour's lowest, exclusive-or the parity of the neighbour's sum.

    Attributes:
        low, high: smallest and largest product.
    """

    lanes: int
    spacing: int
    chain: int
    low: int
    high: int

    @property
    def field_bits(self) -> int:
        """Width (bits, signed) of the sum of a chain with the borrow of the fields below."""
        low, high = self.chain * self.low - int(self.lanes > 1), self.chain * self.high
        return max((-low - 1).bit_length(), high.bit_length()) + 1

    @property
    def overlaps(self) -> bool:
        """Whether neighbouring fields share a bit."""
        return self.lanes > 1 and self.field_bits > self.spacing


def packing(
    weight: IntFormat,
    activation: IntFormat,
    dsp: DspBlock,
    *,
    pe: int,
    simd: int,
    lanes: int | None = None,
    chain: int | None = None,
) -> Packing:
    """The packing of `pe` dot products of `simd` products per cycle that share their activations; derived.

    Args:
        lanes: rows that share a slice; None: as few as need no slice more than the most that :func:`dsp_lanes` allows. 1 is the
            plain use of a slice.
        chain: products that are summed in the cascade before the lanes are split; None: as few as need no chain more than the
            most that fit between the lanes, up to :data:`CASCADE`. 1 splits every product.

    The spacing is the widest that the port has room for.

    Raises:
        DspPackingError: unsigned weights, more lanes or a longer chain than fit, or as :func:`packed_dsps`.
    """
    if not weight.signed:
        raise DspPackingError(f"a DSP slice takes signed weights, but got {weight}; use a signed format one bit wider.")
    most = dsp_lanes(weight.bits, activation.bits, weight.narrow, dsp)
    if activation.bits + int(not activation.signed) > ACTIVATION_PORT_BITS[dsp]:
        raise DspPackingError(
            f"a {dsp} takes signed activations of {ACTIVATION_PORT_BITS[dsp]} bits, but got {activation}."
        )
    lanes = _evenly(pe, most) if lanes is None else lanes
    if not 1 <= lanes <= most:
        raise DspPackingError(f"a {dsp} has 1 to {most} lanes for {weight} x {activation}, but got lanes={lanes}.")
    products = [w * x for w in (weight.min_code, weight.max_code) for x in (activation.min_code, activation.max_code)]
    low, high = min(*products, -1), max(*products, 1)
    port = MULTIPLIER_PORT_BITS[dsp] - int(not weight.narrow)
    spacing = (port - weight.bits) // (lanes - 1) if lanes > 1 else SUM_BITS[dsp] - 1
    longest = min(((1 << spacing) - int(lanes > 1)) // -low, ((1 << spacing) - 1) // high, simd)
    chain = _evenly(simd, min(longest, CASCADE)) if chain is None else chain
    if not 1 <= chain <= longest:
        raise DspPackingError(
            f"a cascade of {dsp} sums 1 to {longest} products of {weight} x {activation} in {lanes} lanes, but got chain={chain}."
        )
    return Packing(lanes, spacing, chain, low, high)


def _evenly(count: int, most: int) -> int:
    """The smallest part of `count` that makes no more parts than parts of `most` would."""
    parts = -(-count // most)
    return -(-count // parts)
