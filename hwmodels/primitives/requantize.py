"""From an integer sum to the codes of the next format: by scale, by thresholds, or by a table; the cheapest is built.

All give the same codes, since scale, bias, activation function and rounding are one monotone step function per channel.
Thresholds cost a comparison per output bit and a memory that doubles with each bit; the scale costs a multiplier, whatever
the output; a table suits sums of a few bits. A minifloat output needs its magnitude, a normalizer and a rounding incrementer
besides: the conversion back that "Shedding the Bits" (arXiv 2311.12359) leaves out.

LUTs of a requantizer by scale are weighed counts of its generator (:mod:`hwmodels.rtl.requantize_structure`):

    LUT = sum over kinds of bits of factor[kind] * (bits)

with factors fitted to the committed table of synthesized units by ``python -m hwmodels.calibration.fit_requantize``. Those of
thresholds are derived and equal their table, those of a table are a fitted share of the most that it can take. Carry
blocks and flip-flops are derived.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

from hwmodels.calibration import requantize_constants as constants
from hwmodels.formats import ElementFormat, IntFormat
from hwmodels.primitives.carry import carry_blocks
from hwmodels.primitives.cost import BandKind, Cost, ErrorBand, ceil_div, ceil_log2, uncalibrated
from hwmodels.primitives.dsp_packing import DspBlock
from hwmodels.primitives.memory import MemoryStyle, memory, price, vivado_style
from hwmodels.primitives.multiplier import LUT6_INPUTS, sized
from hwmodels.primitives.operands import integer_grid
from hwmodels.primitives.scale import SCALE_BITS, SHIFT_RANGE, scale_slices
from hwmodels.resources import Resources
from hwmodels.rtl.requantize import MOST_TABLE_BITS, SHIFT_BITS, RequantizeUnit, ScaleForm, clipping_unit
from hwmodels.rtl.requantize_structure import (
    requantize_registers,
    requantize_structure,
    scaled_bits,
    threshold_registers,
    threshold_structure,
)
from hwmodels.rtl.structure import Structure
from hwmodels.rtl.thresholds import ThresholdUnit

CLIP = 1
"""Powers of two that the largest scaled sum lies above the output's largest number (assumed; LUTs hardly depend on it)."""

NOMINAL_MANTISSA = 46341
"""Stands for a constant scale where only its 16 bits matter: 2^15.5."""

CONSTANT_ADDERS = 5.36
CONSTANT_SIGNED_BITS, CONSTANT_UNSIGNED_BITS = -0.82, -0.66
"""Mean adders of a constant product over all normalized 16-bit mantissas, and the bits by which the LUTs of such an adder exceed
the width of its operand (both derived by enumeration; the LUTs of one constant vary by 22 %, standard deviation)."""

STAGE_LUTS, STAGE_FFS = 4, 4
"""Handshake of a pipeline stage: what FINN's one Thresholding_rtl of eight stages has beyond its comparisons after implementation
(71 LUT and 243 FF in all, CNV w1a1, Vivado 2022.1)."""

_MOST_SEARCHED_BITS = 8  # beyond 255 thresholds a channel, memory outgrows any multiplier
_SCALE_SOURCE = "hwmodels.rtl.requantize_structure, fitted; FF and carry derived; handshake read off FINN's CNV"
_THRESHOLD_SOURCE = "binary search as in FINN's thresholding_rtl; derived; handshake read off FINN's CNV"
_FINN_BAND = uncalibrated(
    "derived from widths; one 8-bit unit of FINN's CNV w1a1 has 71 LUT and 243 FF, the form 72 and 240"
)


@dataclass(frozen=True, slots=True)
class Rescale:
    """How the scale of a sum becomes the scale of the output.

    Attributes:
        power_of_two: every scale involved is a power of two: a shift instead of a multiplication.
        per_channel: the ratio differs from channel to channel.
        bias: every channel has a bias of its own (a layer with weights), so that thresholds differ too.
        dsp: slice that multiplies, or None for LUTs.
        dynamic: a scale of what is read was found as values arose, so that neither constants nor thresholds hold it.
    """

    power_of_two: bool
    per_channel: bool
    bias: bool = True
    dsp: DspBlock | None = None
    dynamic: bool = False

    @property
    def varies(self) -> bool:
        """Whether the scale is another from value to value, or from frame to frame."""
        return self.per_channel or self.dynamic


def features(unit: RequantizeUnit, structure: Structure | None = None) -> Mapping[str, float]:
    """The counts that the form weighs, by name; `structure` where it is not the unit's own."""
    structure = structure or requantize_structure(unit)
    counts: dict[str, float] = {"chain": structure.chain_luts, "rows": structure.row_chains}
    if isinstance(unit.output, IntFormat):
        counts["integer"] = 1  # rounding up, low and high
    for (use, inputs), count in structure.logic.items():
        name, luts = sized(use, inputs)
        counts[name] = counts.get(name, 0) + count * luts
    return counts


def mean_constant_features(unit: RequantizeUnit) -> dict[str, float]:
    """The counts of a unit with a constant scale whose digits are not known: the mean of all normalized constants."""
    counts: dict[str, float] = dict(features(unit, requantize_structure(unit, product=False)))
    wider = CONSTANT_SIGNED_BITS if unit.operand.signed else CONSTANT_UNSIGNED_BITS
    counts["chain"] += CONSTANT_ADDERS * (unit.operand.bits + wider)
    return counts


def threshold_luts(unit: ThresholdUnit) -> float:
    """LUT6 of a requantizer by thresholds, without memories: a bit on a chain each, other bits two to a LUT6. Derived."""
    structure = threshold_structure(unit)
    return structure.chain_luts + sum(structure.logic.values()) / 2


def most_table_luts(unit: RequantizeUnit) -> float:
    """LUT6 that a table takes at most: one for each bit of the code and 64 sums, two bits to a LUT6 up to 32 sums. Derived."""
    keys = unit.sum_bits - LUT6_INPUTS
    return unit.output.bits * (1 << keys if keys >= 0 else 1 / 2)


def scale_luts(unit: RequantizeUnit, counts: Mapping[str, float] | None = None) -> float:
    """LUT6 of a requantizer by scale, the fitted form; `counts` where they are not the unit's own."""
    if unit.form is ScaleForm.TABLE:
        return constants.TABLE_SHARE * most_table_luts(unit)
    return sum(constants.FACTORS[name] * count for name, count in (counts or features(unit)).items())


@lru_cache(maxsize=8192)
def requantize(
    sum_bits: int,
    output: ElementFormat,
    channels: int,
    lanes: int,
    rescale: Rescale,
    *,
    passes: int = 1,
    family: str,
    capacity: Resources,
) -> tuple[Cost, ...]:
    """`lanes` requantizers of `sum_bits`-bit sums for `channels` channels in turn: the cheapest form on the part.

    The second cost, where there is one, is the memory of what differs from channel to channel.

    Args:
        passes: cycles that a lane may take for one value; with more than one, adders are used several times.
        capacity: of the part, for what is cheapest.

    With DSP multipliers asked for, products of scales are in DSP slices, and no thresholds are searched instead.
    """
    build = _Requantizer(max(sum_bits, 2), integer_grid(output), channels, lanes, rescale, passes, family, capacity)
    return min(build.candidates(), key=lambda costs: price(Resources.sum(cost.resources for cost in costs), capacity))


@dataclass(frozen=True, slots=True)
class _Requantizer:
    """The arguments of :func:`requantize`."""

    sum_bits: int
    output: ElementFormat
    channels: int
    lanes: int
    rescale: Rescale
    passes: int
    family: str
    capacity: Resources

    @property
    def fold(self) -> int:
        """Channels that one lane takes in turn."""
        return self.channels // self.lanes

    @property
    def differs(self) -> bool:
        """Whether anything differs from channel to channel."""
        return self.rescale.bias or self.rescale.varies

    def candidates(self) -> Iterator[tuple[Cost, ...]]:
        """The forms that can be built."""
        rescale = self.rescale
        if not self.differs and self.sum_bits <= MOST_TABLE_BITS:
            yield self._by_scale(ScaleForm.TABLE, 1)
        if rescale.power_of_two:
            yield self._by_scale(ScaleForm.SHIFTER if rescale.varies else ScaleForm.WIRES, 1)
        else:
            digit = SCALE_BITS if rescale.dsp else ceil_div(SCALE_BITS, self.passes)
            form = ScaleForm.MULTIPLIER if rescale.varies else ScaleForm.CONSTANT
            for passes in {1, ceil_div(SCALE_BITS, digit)}:
                yield self._by_scale(form, passes)
        bits = self.output.bits
        if bits <= _MOST_SEARCHED_BITS and not rescale.dynamic and (rescale.power_of_two or not rescale.dsp):
            for passes in range(1, min(self.passes, bits) + 1):
                if bits % passes == 0:
                    yield self._by_thresholds(passes)

    def _by_scale(self, form: ScaleForm, passes: int) -> tuple[Cost, ...]:
        multiplies = form in (ScaleForm.MULTIPLIER, ScaleForm.CONSTANT)
        sliced = self.rescale.dsp if multiplies else None
        known = form in (ScaleForm.CONSTANT, ScaleForm.TABLE)
        unit = clipping_unit(
            self.sum_bits,
            self.output,
            form,
            clip=CLIP,
            bias=self.rescale.bias,
            value=NOMINAL_MANTISSA if known else None,
            passes=passes,
        )
        mean = form is ScaleForm.CONSTANT and passes == 1 and not sliced
        operand, structure = unit.operand, requantize_structure(unit, product=not (sliced or mean))
        counts = mean_constant_features(unit) if mean else features(unit, structure)
        carry = carry_blocks(structure.chains, self.family)
        if mean:
            carry += CONSTANT_ADDERS * carry_blocks((operand.bits + 2,), self.family)
        lane = Resources(lut=scale_luts(unit, counts), carry8=carry, ff=requantize_registers(unit))
        text = {
            ScaleForm.MULTIPLIER: f"x {SCALE_BITS} bits in {passes} passes" if passes > 1 else f"x {SCALE_BITS} bits",
            ScaleForm.CONSTANT: f"x constant in {passes} passes" if passes > 1 else "x constant, mean of all",
            ScaleForm.SHIFTER: f"shifted by 0 to {SHIFT_RANGE - 1}",
            ScaleForm.WIRES: "shifted by wires",
            ScaleForm.TABLE: "looked up",
        }[form]
        if sliced:
            slices, text = scale_slices(operand.bits, sliced)
            # the product's register is the slice's own
            lane = Resources(lut=lane.lut, carry8=lane.carry8, ff=lane.ff - scaled_bits(unit)) + slices
        formula = (
            f"{self.lanes} lanes x ({self.sum_bits} bits{' + bias' if unit.bias else ''}, {text}, rounded to {self.output}: "
            f"{lane.lut:.1f} LUT)"
        )
        width = self.sum_bits * int(unit.bias)
        width += {ScaleForm.MULTIPLIER: SCALE_BITS, ScaleForm.SHIFTER: SHIFT_BITS}.get(form, 0)
        cost = self._cost(lane, 1, passes, formula, _SCALE_SOURCE, self._scale_band(form, sliced, mean=mean))
        return (cost, self._parameters(self.lanes * width, (self.fold,))) if width else (cost,)

    def _by_thresholds(self, passes: int) -> tuple[Cost, ...]:
        bits = self.output.bits
        unit = ThresholdUnit(self.sum_bits, self.output, passes)
        carry = carry_blocks(threshold_structure(unit).chains, self.family)
        lane = Resources(lut=threshold_luts(unit), carry8=carry, ff=threshold_registers(unit))
        stages = bits // passes
        each = self.fold if self.differs else 1
        formula = (
            f"{self.lanes} lanes x {stages} comparisons of {self.sum_bits} bits, {2**bits - 1} thresholds for "
            f"{f'each of {self.channels} channels' if self.differs else 'all channels'}"
        )
        cost = self._cost(lane, stages, passes, formula, _THRESHOLD_SOURCE, self._threshold_band())
        return cost, self._parameters(
            self.lanes * unit.threshold_bits, tuple(each << address for address in unit.address_bits)
        )

    def _cost(self, lane: Resources, stages: int, passes: int, formula: str, source: str, band: ErrorBand) -> Cost:
        """All lanes, and once for them the handshake and the counters of passes and, where they differ, channels."""
        counters = ceil_log2(passes) + (ceil_log2(self.fold) if self.differs else 0)
        control = Resources(lut=STAGE_LUTS * stages + 2 * counters, ff=STAGE_FFS * stages + counters)
        return Cost("requantize", lane * self.lanes + control, f"{formula} + {control.lut} control", source, band)

    def _parameters(self, width: int, depths: tuple[int, ...]) -> Cost:
        """The memories of what differs from channel to channel."""
        costs = [memory("requantizer parameters", width, depth, MemoryStyle.AUTO, self.capacity) for depth in depths]
        if len(costs) == 1:
            return costs[0]
        total = Resources.sum(cost.resources for cost in costs)
        formula = (
            f"{len(depths)} memories of {width} bits, {depths[0]} to {depths[-1]} words, cheapest on the part each"
        )
        return Cost("requantizer parameters", total, formula, costs[-1].source, costs[-1].band)

    def _scale_band(self, form: ScaleForm, dsp: DspBlock | None, *, mean: bool) -> ErrorBand:
        errors = constants.MEAN_CONSTANT if mean else constants.TABLES if form is ScaleForm.TABLE else constants.TEST
        band = ErrorBand(BandKind.MEASURED, constants.BASIS, *errors)
        reasons = self._outside()
        reasons += [f"products in {dsp}"] if dsp else []
        return band.extrapolated(", ".join(reasons)) if reasons else band

    def _threshold_band(self) -> ErrorBand:
        band = ErrorBand(BandKind.MEASURED, constants.THRESHOLD_BASIS, *constants.THRESHOLDS)
        reasons = self._outside()
        return band.extrapolated(", ".join(reasons)) if reasons else band

    def _outside(self) -> list[str]:
        """Why a unit lies outside the table, if it does."""
        low, high = constants.SUM_BITS
        reasons = [] if low <= self.sum_bits <= high else [f"sums of {self.sum_bits} bits outside {low}..{high}"]
        low, high = constants.OUTPUT_BITS
        if not low <= self.output.bits <= high:
            reasons.append(f"output of {self.output.bits} bits outside {low}..{high}")
        if self.family not in constants.FAMILIES:
            reasons.append(f"family {self.family} instead of {' or '.join(constants.FAMILIES)}")
        return reasons


def search_thresholds(
    sum_bits: int, output: ElementFormat, channels: int, lanes: int, *, family: str, capacity: Resources
) -> Cost:
    """`lanes` threshold searches of `sum_bits`-bit values for `channels` channels in turn, as FINN's own Thresholding_rtl.

    Per lane and stage a comparison of `sum_bits` LUTs and 2 * sum_bits + B + 4 flip-flops; stage s reads 2^s thresholds per
    channel. The memories are of what Vivado makes of them.
    """
    bits, fold = output.bits, channels // lanes
    costs = [
        memory("thresholds", lanes * sum_bits, depth, vivado_style(lanes * sum_bits, depth), capacity)
        for depth in (fold << stage for stage in range(bits))
    ]
    lane = Resources(
        lut=bits * sum_bits,
        carry8=carry_blocks((sum_bits,) * bits, family),
        ff=bits * (2 * sum_bits + bits + STAGE_FFS),
    )
    formula = f"{lanes} lanes x {bits} comparisons of {sum_bits} bits, {2**bits - 1} thresholds for each of {channels} channels"
    source = "binary search as in FINN's thresholding_rtl; derived"
    total = lane * lanes + Resources.sum(cost.resources for cost in costs)
    return Cost("requantize", total, formula, source, _FINN_BAND)
