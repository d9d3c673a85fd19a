"""LUT, carry and flip-flops of a dot-product unit: N lanes of multiplier and aligner, an adder tree, an accumulator.

The one form that INT and minifloat units share, so that they are compared alike. The generator says what a unit is made of
(:mod:`hwmodels.rtl.structure`): bits on carry chains, and logic bits beside them by the number of signals that each reads.
A bit on a chain is one LUT6; two logic bits may share a site where they read few signals (LUT6_2):

    LUT = chains * (bits on chains) + sum over uses and inputs of share[use, inputs] * (logic bits)
          + amount * (bits that add two exponents) + exponent * (exponent bits beyond the first of each format)
          + complement * (bits of lanes with a sign of their own) + single * (one lane alone)
          + lanes * (what synthesis made of this pair)

A product's sign is applied in the adders of the tree, which take most of the complement in for nothing; one lane alone has
no tree. The last term is measured (:mod:`hwmodels.synthesized_pairs`): how many LUTs a lane has beyond the form, at 8 lanes and
P = 24. It is the mapper's luck with that piece of logic, and holds for any lanes and accumulator; pairs that were never
synthesized have that of their nearest neighbours, and a wider band. The shares are fitted to the committed table of
synthesized units by ``python -m hwmodels.calibration.fit``; carry blocks and flip-flops are derived. Where the accumulator is
proved to hold the sum, or has room for N of the largest products, the sum is exact fixed point (Kulisch); else low product
bits are dropped so that N fit (a truncated window).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from itertools import product
from types import MappingProxyType

from hwmodels.calibration import dot_product_constants as constants
from hwmodels.datapath import Overflow
from hwmodels.devices import Family
from hwmodels.formats import ElementFormat, IntFormat, Minifloat
from hwmodels.primitives.carry import carry_blocks
from hwmodels.primitives.cost import BandKind, ErrorBand
from hwmodels.primitives.operands import dropped_bits, operands
from hwmodels.resources import Resources
from hwmodels.rtl.lane import Lane, magnitude_bits
from hwmodels.rtl.multiplier import TABLE_BITS
from hwmodels.rtl.structure import Structure, unit_structure
from hwmodels.synthesized_pairs import beyond_form, has_mantissas, measured_pair

FEWEST_INPUTS, MOST_INPUTS = 2, 6
"""Logic bits with fewer or more inputs count as these: a LUT6 reads six signals, and one of them alone is a wire."""


def unit_lane(
    weight: ElementFormat,
    activation: ElementFormat,
    lanes: int,
    bits: int,
    overflow: Overflow,
    dropped: int | None = None,
) -> Lane:
    """One lane of a unit; `dropped` None: as few low product bits as :func:`dropped_bits` says."""
    if dropped is None:
        dropped = dropped_bits(operands(weight, activation), lanes, bits, overflow)
    return Lane(weight, activation, dropped, None if overflow is Overflow.SATURATE else bits)


def features(lane: Lane, lanes: int, structure: Structure) -> Mapping[str, int]:
    """The counts that the form weighs, by name."""
    formats = (lane.weight, lane.activation)
    # a product with a signed integer is in two's complement: its top bits are copies of the sign, multiplexers share more
    signed = any(isinstance(fmt, IntFormat) and fmt.signed for fmt in formats)
    counts = {"chains": structure.chain_luts, "amount": structure.amount_bits}
    if lanes == 1:
        counts["single"] = 1
    if lane.negates:
        counts["complement"] = lanes * lane.type[0]
    if magnitude_bits(lane.weight) + magnitude_bits(lane.activation) > TABLE_BITS:
        counts["exponent"] = lanes * sum(fmt.exponent_bits - 1 for fmt in formats if isinstance(fmt, Minifloat))
    for (use, inputs), count in structure.logic.items():
        if use in ("exponent", "gate"):  # tables of shift amounts go with the exponent bits, gates with what reads them
            continue
        name = "signed_shifter" if signed and use in ("shifter", "last") else use
        key = f"{name}/{min(max(inputs, FEWEST_INPUTS), MOST_INPUTS)}"
        counts[key] = counts.get(key, 0) + count
    return MappingProxyType(counts)


def dot_product_luts(
    weight: ElementFormat,
    activation: ElementFormat,
    lanes: int,
    bits: int,
    overflow: Overflow = Overflow.WRAP,
    dropped: int | None = None,
) -> float:
    """LUT6 of one unit by the fitted form."""
    lane = unit_lane(weight, activation, lanes, bits, overflow, dropped)
    return luts(lane, lanes, unit_structure(lane, lanes, bits, overflow))


def luts(lane: Lane, lanes: int, structure: Structure) -> float:
    """The fitted form, with what was measured of the pair or of its nearest neighbours."""
    form = sum(constants.FACTORS[name] * count for name, count in features(lane, lanes, structure).items())
    return form + lanes * beyond_form(lane.weight, lane.activation)


def dot_product_band(lane: Lane, lanes: int, bits: int, family: Family) -> ErrorBand:
    """The band of :func:`dot_product_luts` with the reasons why a unit lies outside the fitted table, if it does."""
    weight, activation = lane.weight, lane.activation
    known = measured_pair(weight, activation) is not None
    errors = constants.KNOWN_PAIR if known else constants.NEW_PAIR
    pair = "of this pair of formats" if known else "of other pairs of formats"
    band = ErrorBand(BandKind.MEASURED, f"{constants.BASIS}; {pair}", *errors)
    reasons = [
        f"{name} {value} outside {low}..{high}"
        for name, value, (low, high) in (
            ("lanes", lanes, constants.LANES),
            ("accumulator bits", bits, constants.ACCUMULATOR_BITS),
            ("format bits", weight.bits, constants.FORMAT_BITS),
            ("format bits", activation.bits, constants.FORMAT_BITS),
        )
        if not low <= value <= high
    ]
    if family not in constants.FAMILIES:
        reasons.append(f"family {family} instead of {' or '.join(constants.FAMILIES)}")
    # where little is left of a shifter, the mapper finds shortcuts that no count of bits foresees
    if 2 * lane.dropped > operands(weight, activation).product_bits:
        reasons.append("more than half of the product's bits dropped")
    if not known and not has_mantissas((weight, activation)):
        reasons.append("no mantissa")
    return band.extrapolated(", ".join(dict.fromkeys(reasons))) if reasons else band


@lru_cache(maxsize=16384)
def dot_product_unit(
    weight: ElementFormat,
    activation: ElementFormat,
    lanes: int,
    accumulator_bits: int,
    family: Family,
    overflow: Overflow = Overflow.WRAP,
    dropped: int | None = None,
) -> tuple[Resources, ErrorBand]:
    """(resources, error band) of one unit: fitted LUTs, derived carry blocks, the P flip-flops of the accumulator.

    Pipeline registers are not part of the unit.

    Args:
        overflow: impossible: proved, so that nothing is dropped and sums are taken modulo 2^P.
        dropped: low product bits left out; None: as few as let the sum of `lanes` products fit.
    """
    lane = unit_lane(weight, activation, lanes, accumulator_bits, overflow, dropped)
    structure = unit_structure(lane, lanes, accumulator_bits, overflow)
    resources = Resources(
        lut=luts(lane, lanes, structure),
        carry8=carry_blocks(structure.chains, family),
        ff=accumulator_bits,
    )
    return resources, dot_product_band(lane, lanes, accumulator_bits, family)


def encodings(fmt: ElementFormat) -> tuple[ElementFormat, ...]:
    """The ways to write the numbers of `fmt` in as many bits: a narrow signed integer is E1My in sign and magnitude."""
    if isinstance(fmt, Minifloat) and fmt.integer_grid is not None:
        return (fmt, fmt.integer_grid)
    if isinstance(fmt, IntFormat) and fmt.signed and fmt.narrow and fmt.bits > 2:
        return (fmt, Minifloat(1, fmt.bits - 2))
    return (fmt,)


@lru_cache(maxsize=16384)
def cheapest_encoding(
    weight: ElementFormat, activation: ElementFormat, lanes: int, accumulator_bits: int, overflow: Overflow
) -> tuple[ElementFormat, ElementFormat]:
    """The encodings of both operands with the fewest LUTs: two's complement, or sign and magnitude.

    Both stand for the same numbers, so accuracy cannot tell them apart; a 4-bit magnitude product is a table of LUT6.
    """
    return min(
        product(encodings(weight), encodings(activation)),
        key=lambda pair: dot_product_luts(pair[0], pair[1], lanes, accumulator_bits, overflow),
    )
