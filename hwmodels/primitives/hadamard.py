"""An online block Hadamard rotation of a stream (MixQuant, arXiv 2601.22347, section 3): b * log2(b) additions a block of b.

They are exact and grow by a bit a stage; 1 / sqrt(b) is left to the scale of the requantizer behind. All counts are derived from
the generator (:mod:`hwmodels.rtl.hadamard_structure`); nothing is fitted.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

from hwmodels.calibration import hadamard_constants as constants
from hwmodels.formats import ElementFormat, IntFormat
from hwmodels.primitives.carry import carry_blocks
from hwmodels.primitives.cost import BandKind, Cost, ErrorBand, ceil_log2
from hwmodels.primitives.elementwise import to_fixed_point
from hwmodels.primitives.memory import shift_register_luts
from hwmodels.primitives.operands import fixed_point_bits, integer_grid
from hwmodels.resources import Resources
from hwmodels.rtl.hadamard import HadamardUnit
from hwmodels.rtl.hadamard_structure import hadamard_structure

COUNTER_LUTS = 2
"""LUTs per bit of the counter of words: the counter, and which half of a group each stage is in (read off the table)."""

_REGISTER_WORDS = 2
_CONTROL_LUTS = 16  # handshake (assumed)
_SOURCE = "hwmodels.rtl.hadamard_structure, derived; delays UG574, chapter 2; handshake assumed"


def hadamard_luts(unit: HadamardUnit) -> int:
    """LUT6 of a transform without its delay lines (derived)."""
    structure = hadamard_structure(unit)
    return structure.chain_luts + COUNTER_LUTS * structure.counter_bits


def delay_line(words: int, bits: int) -> Resources:
    """A delay of so many words: registers up to 2, shift registers beyond.

    A LUT6 is one of 32 words or two of 16 (UG574, chapter 2); derived.
    """
    if words <= _REGISTER_WORDS:
        return Resources(ff=words * bits)
    return Resources(lut=shift_register_luts(bits, words))


def rotation_lanes(channels: int, block: int) -> tuple[int, ...]:
    """Values per cycle that a rotation of `channels` channels can take, ascending: parts of a block, then whole blocks."""
    blocks = channels // block
    parts = [1 << i for i in range(block.bit_length() - 1)]
    return (*parts, *(block * each for each in range(1, blocks + 1) if blocks % each == 0))


def rotated_bits(fmt: ElementFormat, block: int) -> int:
    """Width of what a rotation of values of `fmt` gives: two's complement, in units of the format's step."""
    return fixed_point_bits(fmt) + int(not fmt.signed) + ceil_log2(block)


@lru_cache(maxsize=4096)
def rotate(fmt: ElementFormat, block: int, lanes: int, family: str) -> Cost:
    """A rotation of `lanes` values of `fmt` per cycle in blocks of `block`; minifloats are made fixed point first."""
    grid = integer_grid(fmt)
    cost = hadamard(block, fixed_point_bits(grid), lanes, family, signed=grid.signed)
    if isinstance(grid, IntFormat):
        return cost
    made = to_fixed_point(grid, family)
    formula = f"{cost.formula}; {lanes} x {made.lut:.1f} LUT to fixed point"
    return replace(cost, resources=cost.resources + made * lanes, formula=formula)


@lru_cache(maxsize=4096)
def hadamard(block: int, bits: int, lanes: int, family: str, *, signed: bool = True) -> Cost:
    """A rotation of `lanes` values of `bits` bits per cycle in blocks of `block`.

    Args:
        lanes: of :func:`rotation_lanes`: with fewer than a block, a block passes in several cycles; else blocks side by side.
    """
    units = max(lanes // block, 1)
    unit = HadamardUnit(block, bits, min(lanes, block), signed)
    structure = hadamard_structure(unit)
    delays = Resources.sum(delay_line(*each) for each in structure.delays)
    one = delays + Resources(
        lut=hadamard_luts(unit), carry8=carry_blocks(structure.chains, family), ff=structure.registers
    )
    form = f"{unit.words} words of {unit.lanes} lanes a block" if unit.words > 1 else f"{units} blocks at once"
    adders = f"{structure.chain_luts} LUT of adders of {bits} bits and more"
    formula = f"{form}, each {adders}, {delays.lut} of delays; + {_CONTROL_LUTS}"
    return Cost("rotation", one * units + Resources(lut=_CONTROL_LUTS), formula, _SOURCE, _band(unit, family))


def _band(unit: HadamardUnit, family: str) -> ErrorBand:
    band = ErrorBand(BandKind.MEASURED, constants.BASIS, *constants.ERRORS)
    reasons = [
        f"{name} {value} outside {low}..{high}"
        for name, value, (low, high) in (
            ("block", unit.block, constants.BLOCK),
            ("bits", unit.bits, constants.BITS),
        )
        if not low <= value <= high
    ]
    if family not in constants.FAMILIES:
        reasons.append(f"family {family} instead of {' or '.join(constants.FAMILIES)}")
    return band.extrapolated(", ".join(reasons)) if reasons else band
