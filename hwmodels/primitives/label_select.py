"""Label select: the index of the largest of the last layer's sums, as FINN's LabelSelect for the top 1.

LUTs are weighed counts of the generator (:mod:`hwmodels.rtl.operator_structure`), with factors fitted to the table of synthesized
units by ``python -m hwmodels.calibration.fit_operators``. Carry blocks and flip-flops are derived, and equal every row of it.
"""

from __future__ import annotations

from functools import lru_cache

from hwmodels.calibration import operator_constants as constants
from hwmodels.primitives.carry import carry_blocks
from hwmodels.primitives.cost import BandKind, Cost, ErrorBand
from hwmodels.resources import Resources
from hwmodels.rtl.label_select import LabelUnit
from hwmodels.rtl.operator_structure import label_chains, label_features

_SOURCE = "hwmodels.rtl.operator_structure, fitted; FF and carry derived"


def label_luts(unit: LabelUnit) -> float:
    """LUT6 of a unit by the fitted form."""
    return sum(constants.FACTORS[name] * count for name, count in label_features(unit).items())


@lru_cache(maxsize=1024)
def label_select(bits: int, labels: int, lanes: int, family: str) -> Cost:
    """The index of the largest of `labels` sums of `bits` bits, `lanes` of them per cycle."""
    unit = LabelUnit(bits, labels, lanes)
    luts = label_luts(unit)
    resources = Resources(lut=luts, carry8=carry_blocks(label_chains(unit), family), ff=unit.registers)
    formula = (
        f"{labels} sums of {bits} bits, {lanes} a cycle: {lanes - 1 + (unit.words > 1)} comparisons, {luts:.1f} LUT"
    )
    return Cost("label select", resources, formula, _SOURCE, _band(unit, family))


def _band(unit: LabelUnit, family: str) -> ErrorBand:
    band = ErrorBand(BandKind.MEASURED, constants.LABEL_BASIS, *constants.LABEL_TEST)
    reasons = [] if family in constants.FAMILIES else [f"family {family} instead of {' or '.join(constants.FAMILIES)}"]
    for name, value, (low, high) in (
        ("sums", unit.bits, constants.LABEL_BITS),
        ("labels", unit.labels, constants.LABELS),
        ("sums a cycle", unit.pe, constants.LABEL_LANES),
    ):
        if not low <= value <= high:
            reasons.append(f"{value} {'bits of ' if name == 'sums' else ''}{name} outside {low}..{high}")
    return band.extrapolated(", ".join(reasons)) if reasons else band
