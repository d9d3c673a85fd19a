"""LUT, carry and flip-flops of a dot-product unit: N lanes of multiplier and aligner, an adder tree, an accumulator.

The one formula that INT and minifloat units share, so that they are compared alike:

    LUT = a*N*multiplier + b*(tree + P) + c*N*within + d*N*beyond

`multiplier`, `tree`, `within` and `beyond` are bits counted by :mod:`hwmodels.primitives`; a to d are fitted to the
committed synthesis table by ``python -m hwmodels.calibration.fit``. Where the accumulator is proved to hold the sum, or has
room for N of the largest products, the sum is exact fixed point (Kulisch); else low product bits are dropped so that N fit.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from hwmodels.calibration import dot_product_constants as constants
from hwmodels.devices import Family
from hwmodels.formats import ElementFormat
from hwmodels.primitives.adder_tree import adder_widths
from hwmodels.primitives.aligner import aligner_bits, aligner_chains
from hwmodels.primitives.carry import carry_blocks
from hwmodels.primitives.cost import BandKind, ErrorBand, ceil_log2
from hwmodels.primitives.multiplier import multiplier_chains, multiplier_luts
from hwmodels.primitives.operands import Operands, operands
from hwmodels.resources import Resources


@dataclass(frozen=True, slots=True)
class Features:
    """The four counts of bits that the LUT formula weighs, for a whole unit."""

    multiplier: float
    tree: float
    within: float
    beyond: float

    def as_tuple(self) -> tuple[float, float, float, float]:
        """In the order of the fitted factors."""
        return self.multiplier, self.tree, self.within, self.beyond


def kept_bits(op: Operands, lanes: int, accumulator_bits: int, *, proved: bool = False) -> int:
    """PW, the bits of each product that enter the tree: all of them, or as many as P leaves room for `lanes` sums.

    Integers keep their low bits (sums modulo 2^P are exact if P was proved), minifloats drop low bits; at least 1.

    Args:
        proved: P is known to hold every sum, so minifloats are summed modulo 2^P as well and no product of up to P bits
            loses any; False: room for `lanes` of the largest products is made, as in the synthesized units.
    """
    if op.is_integer or (proved and op.product_bits <= accumulator_bits):
        return min(op.product_bits, accumulator_bits)
    return max(1, min(op.product_bits, accumulator_bits - ceil_log2(lanes)))


def features(op: Operands, lanes: int, accumulator_bits: int, *, proved: bool = False) -> Features:
    """The features of a unit of `lanes` products per cycle and an accumulator of `accumulator_bits` (0: no accumulator)."""
    kept = kept_bits(op, lanes, accumulator_bits, proved=proved)
    within, beyond = aligner_bits(op, kept)
    return Features(
        multiplier=lanes * multiplier_luts(op.wide, op.narrow, plain=op.is_integer),
        tree=sum(adder_widths(lanes, kept, accumulator_bits)) + accumulator_bits,
        within=lanes * within,
        beyond=lanes * beyond,
    )


def dot_product_luts(op: Operands, lanes: int, accumulator_bits: int, *, proved: bool = False) -> float:
    """LUT6 of one unit by the fitted form."""
    counts = features(op, lanes, accumulator_bits, proved=proved).as_tuple()
    return sum(factor * count for factor, count in zip(constants.FACTORS, counts, strict=True))


def dot_product_chains(op: Operands, lanes: int, accumulator_bits: int, *, proved: bool = False) -> tuple[int, ...]:
    """Widths (bits) of all carry chains of one unit."""
    lane = multiplier_chains(op.wide, op.narrow) + aligner_chains(op)
    tree = adder_widths(lanes, kept_bits(op, lanes, accumulator_bits, proved=proved), accumulator_bits)
    return lane * lanes + tree + (accumulator_bits,)


def dot_product_band(op: Operands, lanes: int, accumulator_bits: int, family: Family) -> ErrorBand:
    """The band of :func:`dot_product_luts` with the reasons why a unit lies outside the fitted table, if it does."""
    band = ErrorBand(BandKind.MEASURED, constants.BASIS, constants.MEDIAN_ERROR, constants.P90_ERROR)
    reasons = [
        f"{name} {value} outside {low}..{high}"
        for name, value, (low, high) in (
            ("lanes", lanes, constants.LANES),
            ("accumulator bits", accumulator_bits, constants.ACCUMULATOR_BITS),
            ("multiplied widths", op.narrow, constants.WIDTHS),
            ("multiplied widths", op.wide, constants.WIDTHS),
        )
        if not low <= value <= high
    ]
    if op.exponents and max(op.exponents) > constants.MOST_EXPONENT_BITS:
        reasons.append(f"exponent of {max(op.exponents)} bits above {constants.MOST_EXPONENT_BITS}")
    if family is not Family.XCUP:
        reasons.append(f"family {family} instead of xcup")
    return band.extrapolated(", ".join(dict.fromkeys(reasons))) if reasons else band


@lru_cache(maxsize=8192)
def dot_product_unit(
    weight: ElementFormat,
    activation: ElementFormat,
    lanes: int,
    accumulator_bits: int,
    family: Family,
    *,
    proved: bool = False,
) -> tuple[Resources, ErrorBand]:
    """(resources, error band) of one unit: fitted LUTs, derived carry blocks, the P flip-flops of the accumulator.

    The carry blocks follow from the widths of the chains (derived; compared with the table's CARRY4 column in the tests);
    the flip-flops equal the table's column exactly. Pipeline registers are not part of the unit.
    """
    op = operands(weight, activation)
    resources = Resources(
        lut=dot_product_luts(op, lanes, accumulator_bits, proved=proved),
        carry8=carry_blocks(dot_product_chains(op, lanes, accumulator_bits, proved=proved), family),
        ff=accumulator_bits,
    )
    return resources, dot_product_band(op, lanes, accumulator_bits, family)
