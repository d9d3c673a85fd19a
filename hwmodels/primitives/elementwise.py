"""Residual adds and pooling on streams. Minifloats are added and compared exactly: made integers in units of their step first.

LUTs are weighed counts of the generator (:mod:`hwmodels.rtl.elementwise_structure`), with factors fitted to the table of
synthesized units by ``python -m hwmodels.calibration.fit_elementwise``. Carry blocks and flip-flops are derived.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from hwmodels.calibration import elementwise_constants as constants
from hwmodels.formats import ElementFormat
from hwmodels.primitives.carry import carry_blocks
from hwmodels.primitives.cost import BandKind, Cost, ErrorBand
from hwmodels.primitives.memory import lutram
from hwmodels.primitives.multiplier import sized
from hwmodels.primitives.operands import integer_grid
from hwmodels.resources import Resources
from hwmodels.rtl.elementwise import AddUnit, PoolUnit, pool_sum_bits, result_bits
from hwmodels.rtl.elementwise_structure import elementwise_structure, fixed_point_structure
from hwmodels.rtl.structure import Structure

__all__ = ["add", "elementwise_luts", "features", "pool", "pool_sum_bits"]

_CONTROL_LUTS = 16  # handshake and counters (assumed)
_SOURCE = "hwmodels.rtl.elementwise_structure, fitted; FF and carry derived; control assumed"


def features(structure: Structure) -> Mapping[str, int]:
    """The counts that the form weighs, by name."""
    counts = {"derived": structure.chain_luts}
    for (use, inputs), count in structure.logic.items():
        # a bit that is selected takes a LUT6, as one on a chain does
        name, luts = ("derived", 1) if use == "select" else (use, 1) if use == "exponent" else sized(use, inputs)
        counts[name] = counts.get(name, 0) + count * luts
    return counts


def elementwise_luts(structure: Structure) -> float:
    """LUT6 of one lane by the fitted form."""
    return sum(constants.FACTORS[name] * count for name, count in features(structure).items())


def to_fixed_point(fmt: ElementFormat, family: str) -> Resources:
    """What makes one code of `fmt` an integer in units of its step: nothing for integers."""
    structure = fixed_point_structure(fmt)
    return Resources(lut=elementwise_luts(structure), carry8=carry_blocks(structure.chains, family))


def _lane(unit: AddUnit | PoolUnit, family: str) -> Resources:
    structure = elementwise_structure(unit)
    carry = carry_blocks(structure.chains, family)
    return Resources(lut=elementwise_luts(structure), carry8=carry, ff=result_bits(unit))


def _band(fmt: ElementFormat, family: str) -> ErrorBand:
    band = ErrorBand(BandKind.MEASURED, constants.BASIS, *constants.TEST)
    reasons = [] if family in constants.FAMILIES else [f"family {family} instead of {' or '.join(constants.FAMILIES)}"]
    low, high = constants.FORMAT_BITS
    if not low <= fmt.bits <= high:
        reasons.append(f"format of {fmt.bits} bits outside {low}..{high}")
    return band.extrapolated(", ".join(reasons)) if reasons else band


@lru_cache(maxsize=1024)
def add(fmt: ElementFormat, lanes: int, family: str) -> Cost:
    """`lanes` adders of two streams of the format `fmt`; the sum is one bit wider than the fixed-point operands."""
    grid = integer_grid(fmt)
    lane = _lane(AddUnit(grid), family)
    formula = f"{lanes} lanes x {lane.lut:.1f} for two of {grid} + {_CONTROL_LUTS}"
    return Cost("add", lane * lanes + Resources(lut=_CONTROL_LUTS), formula, _SOURCE, _band(grid, family))


@lru_cache(maxsize=1024)
def pool(fmt: ElementFormat, channels: int, window: int, row: int, kind: str, lanes: int, family: str) -> Cost:
    """`lanes` accumulators (average: the division is left to the requantizer) or comparators with selection (max).

    Args:
        row: output pixels of one row; the partial results of a row and all channels are kept in LUTRAM.
    """
    grid = integer_grid(fmt)
    lane, width = _lane(PoolUnit(grid, window, kind), family), pool_sum_bits(grid, window, kind)
    memory = Resources(lut=lutram(width, max(channels // lanes * row, 1)), ff=width)
    formula = f"{kind}: {lanes} lanes x ({lane.lut:.1f} for {grid} + {memory.lut} LUT of memory) + {_CONTROL_LUTS}"
    total = (lane + memory) * lanes + Resources(lut=_CONTROL_LUTS)
    return Cost("pool", total, formula, _SOURCE, _band(grid, family))
