"""Zeros around an image in front of a window generator, as FINN's FMPadding puts them: one word of the padded image a cycle.

LUTs are weighed counts of the generator (:mod:`hwmodels.rtl.operator_structure`), with factors fitted to the table of synthesized
units by ``python -m hwmodels.calibration.fit_operators``: about a dozen whatever the width, since none is for data. Carry blocks
and flip-flops are derived, and equal every row of it.
"""

from __future__ import annotations

from functools import lru_cache

from hwmodels.calibration import operator_constants as constants
from hwmodels.primitives.carry import carry_blocks
from hwmodels.primitives.cost import BandKind, Cost, ErrorBand, ceil_log2
from hwmodels.resources import Resources
from hwmodels.rtl.operator_structure import padding_chains, padding_features
from hwmodels.rtl.padding import PadUnit, Span

_SOURCE = "hwmodels.rtl.operator_structure, fitted; FF and carry derived"


def padding_luts(unit: PadUnit) -> float:
    """LUT6 of a unit by the fitted form."""
    return sum(constants.FACTORS[name] * count for name, count in padding_features(unit).items())


@lru_cache(maxsize=8192)
def pad(size: tuple[int, int], zeros: tuple[int, int, int, int], words: int, bits: int, family: str) -> Cost:
    """Zeros around an image.

    Args:
        size: of the image, (height, width) in pixels. zeros: (top, left, bottom, right) in pixels.
        words: of `bits` bits per pixel.
    """
    top, left, bottom, right = zeros
    unit = PadUnit(bits, words, Span(top, size[0], bottom), Span(left, size[1], right))
    luts = padding_luts(unit)
    resources = Resources(lut=luts, carry8=carry_blocks(padding_chains(unit), family), ff=unit.registers)
    counters = " and ".join(str(ceil_log2(span.length)) for span in unit.counted)
    formula = f"{size[0]}x{size[1]} pixels of {words} words, zeros {zeros}: counters of {counters} bits, {luts:.1f} LUT"
    return Cost("padding", resources, f"{formula}; FF {bits} + {unit.registers - bits}", _SOURCE, _band(unit, family))


def _band(unit: PadUnit, family: str) -> ErrorBand:
    band = ErrorBand(BandKind.MEASURED, constants.PADDING_BASIS, *constants.PADDING_TEST)
    reasons = [] if family in constants.FAMILIES else [f"family {family} instead of {' or '.join(constants.FAMILIES)}"]
    low, high = constants.PADDING_COUNTERS
    bits = [ceil_log2(span.length) for span in unit.counted]
    reasons += [f"a counter of {each} bits outside {low}..{high}" for each in bits if not low <= each <= high]
    return band.extrapolated(", ".join(reasons)) if reasons else band
