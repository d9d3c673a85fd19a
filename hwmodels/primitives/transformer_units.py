"""LUT, carry, flip-flops and slices of the units of transformers: weighed counts of their generators.

    LUT = chain * (bits on carry chains, of multiplier rows too) + carry * (rows of unsigned multiplicands)
          + sum over inputs of share[inputs] * (logic bits: multiplexers, tables; two that read few signals share a LUT6_2)
          + absorbed * (those in front of a sign's chain) + reduce * (signals of wide ORs) + exponent * (bits of shift amounts)
          + converter * (LUTs to fixed point, by the form of adds and pools) + stage * (controls)

The counts are those of :mod:`hwmodels.rtl.transformer_structure`, the factors are fitted to the table of synthesized units by
``python -m hwmodels.calibration.fit_transformer``. Carry blocks, flip-flops and DSP slices are derived.
"""

from __future__ import annotations

from collections.abc import Mapping

from hwmodels.calibration import transformer_constants as constants
from hwmodels.primitives.carry import carry_blocks
from hwmodels.primitives.cost import BandKind, ErrorBand, ceil_div
from hwmodels.primitives.dsp_packing import ACTIVATION_PORT_BITS, MULTIPLIER_PORT_BITS, DspBlock
from hwmodels.primitives.elementwise import elementwise_luts
from hwmodels.primitives.multiplier import sized
from hwmodels.resources import Resources
from hwmodels.rtl.elementwise_structure import fixed_point_structure
from hwmodels.rtl.multiplier import Factor
from hwmodels.rtl.transformer_structure import TransformerStructure

SOURCE = "hwmodels.rtl.transformer_structure, fitted; FF, carry and DSP derived"

_SIZED = ("table", "signed_table", "significand", "gate", "shifter", "last", "normalize", "operand", "select", "key")
"""Uses of logic bits that count by how many signals they read; the others have factors of their own."""


def features(counts: TransformerStructure) -> Mapping[str, float]:
    """The counts that the form weighs, by name."""
    found: dict[str, float] = {"chain": counts.derived}
    found["converter"] = sum(
        number * elementwise_luts(fixed_point_structure(fmt)) for fmt, number in counts.converters.items()
    )
    for (use, inputs), count in counts.logic.items():
        name, luts = sized("logic", inputs) if use in _SIZED else (use, 1)
        found[name] = found.get(name, 0) + count * luts
    return found


def unit_luts(counts: TransformerStructure) -> float:
    """LUT6 of a unit by the fitted form."""
    return sum(constants.FACTORS[name] * count for name, count in features(counts).items())


def slices(a: Factor, b: Factor, dsp: DspBlock) -> int:
    """DSP slices of one product; unsigned factors take a bit more of the signed ports. Derived (UG479, UG579, AM004)."""
    narrow, wide = sorted(factor.bits + int(not factor.signed) for factor in (a, b))
    return ceil_div(wide, MULTIPLIER_PORT_BITS[dsp]) * ceil_div(narrow, ACTIVATION_PORT_BITS[dsp])


def unit_resources(counts: TransformerStructure, dsp: DspBlock | None, family: str) -> Resources:
    """Resources of a unit, its memories apart."""
    return Resources(
        lut=unit_luts(counts),
        carry8=carry_blocks(counts.chains, family),
        ff=counts.registers,
        dsp=sum(slices(a, b, dsp) for a, b in counts.products) if dsp is not None else 0,
    )


def unit_band(family: str, *, gate: bool = False, **coordinates: int) -> ErrorBand:
    """The measured band of the form, extrapolated outside the table's ranges of `bits`, `words` and `lanes`."""
    band = ErrorBand(BandKind.MEASURED, constants.BASIS, *(constants.GATES if gate else constants.TEST))
    reasons = [] if family in constants.FAMILIES else [f"family {family} instead of {' or '.join(constants.FAMILIES)}"]
    for name, value in coordinates.items():
        low, high = constants.RANGES[name]
        if not low <= value <= high:
            reasons.append(f"{name} {value} outside {low}..{high}")
    return band.extrapolated(", ".join(reasons)) if reasons else band
