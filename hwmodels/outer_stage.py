"""LUT, carry and flip-flops of what stands on top of the inner sums of a segmented unit: scales, adder tree, accumulator.

    LUT = bits on chains + rows * (rows of multipliers) + sum over uses and inputs of share[use, inputs] * (logic bits)

as in :mod:`hwmodels.dot_product`, with counts from the generator (:mod:`hwmodels.rtl.outer_structure`). A bit on a chain is a
LUT6 (derived); the rest is fitted to the committed table of synthesized stages by ``python -m
hwmodels.calibration.fit_segments``; carry blocks and flip-flops are derived.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from types import MappingProxyType

from hwmodels.calibration import segment_constants as constants
from hwmodels.datapath import Overflow
from hwmodels.devices import Family
from hwmodels.dot_product import dot_product_band, dot_product_unit, luts, unit_lane
from hwmodels.formats import ElementFormat
from hwmodels.primitives.carry import carry_blocks
from hwmodels.primitives.cost import BandKind, ErrorBand
from hwmodels.resources import Resources
from hwmodels.rtl.outer import OuterStage
from hwmodels.rtl.outer_structure import outer_registers, outer_structure, scale_registers, scale_structure
from hwmodels.rtl.segment import SegmentUnit
from hwmodels.rtl.structure import Structure, unit_structure
from hwmodels.rtl.tree import Tree


def outer_features(structure: Structure) -> Mapping[str, int]:
    """The counts that the form weighs, by name."""
    counts = {"chains": structure.chain_luts, "rows": structure.row_chains}
    for (part, inputs), count in structure.logic.items():
        use = "shifter" if part == "last" else part
        # the stages of a shifter have their multiplexers of 4 and of 5 inputs in equal numbers, so one share is theirs
        read = {2: 3, 4: 5}.get(inputs, inputs) if use == "shifter" else inputs
        name = use if use in ("window", "exponent") else f"{use}/{read}"
        counts[name] = counts.get(name, 0) + count
    return MappingProxyType({name: count for name, count in counts.items() if count})


def outer_luts(counts: Mapping[str, int]) -> float:
    """The fitted form."""
    return sum(constants.FACTORS[name] * count for name, count in counts.items())


def outer_band(stage: OuterStage, family: Family) -> ErrorBand:
    """The band of :func:`outer_stage` with the reasons why a stage lies outside the fitted table, if it does."""
    band = ErrorBand(BandKind.MEASURED, constants.BASIS, constants.MEDIAN_ERROR, constants.P90_ERROR)
    reasons = [
        f"{name} {value} outside {low}..{high}"
        for name, value, (low, high) in (
            ("inner bits", stage.inner_bits, constants.INNER_BITS),
            ("outer bits", stage.bits, constants.OUTER_BITS),
            ("segments a cycle", stage.units, constants.UNITS),
        )
        if not low <= value <= high
    ]
    if family not in constants.FAMILIES:
        reasons.append(f"family {family} instead of {' or '.join(constants.FAMILIES)}")
    return band.extrapolated(", ".join(reasons)) if reasons else band


@lru_cache(maxsize=8192)
def outer_stage(stage: OuterStage, family: Family) -> tuple[Resources, ErrorBand]:
    """(resources, error band) of one stage: fitted LUTs, derived carry blocks and flip-flops."""
    return _resources(outer_structure(stage), outer_registers(stage), family), outer_band(stage, family)


@lru_cache(maxsize=8192)
def scale_stage(stage: OuterStage, family: Family) -> tuple[Resources, ErrorBand]:
    """(resources, error band) of the scales in a stage alone."""
    return _resources(scale_structure(stage), scale_registers(stage), family), outer_band(stage, family)


def _resources(structure: Structure, registers: int, family: Family) -> Resources:
    chains = carry_blocks(structure.chains, family)
    return Resources(lut=outer_luts(outer_features(structure)), carry8=chains, ff=registers)


@lru_cache(maxsize=8192)
def inner_unit(
    weight: ElementFormat,
    activation: ElementFormat,
    lanes: int,
    bits: int,
    cycles: int,
    family: Family,
    overflow: Overflow = Overflow.WRAP,
    dropped: int | None = None,
) -> tuple[Resources, ErrorBand, int]:
    """(resources, error band, width of the sum) of a dot-product unit whose sums are complete after `cycles` cycles.

    If that is one, its accumulator is a register of the tree's sum: no adder but for a carry that the tree has left over, no
    clamp where the sum fits, no flip-flops above it (derived; the fitted form without that adder).
    """
    if cycles > 1:
        return *dot_product_unit(weight, activation, lanes, bits, family, overflow, dropped), bits
    lane = unit_lane(weight, activation, lanes, bits, overflow, dropped)
    structure = unit_structure(lane, lanes, bits, overflow)
    summand, signed = Tree(lane, lanes, lane.limit).type
    # synthesis does not know that the carry left over makes the sum no wider
    width = summand + int(not signed) + int(lane.negates)
    held = min(bits, width)
    register = max(bits, summand + int(not signed)) + 1 if overflow is Overflow.SATURATE else bits
    logic = {key: count for key, count in structure.logic.items() if key[0] != "clamp" or width > bits}
    structure = replace(
        structure,
        chains=(*structure.chains[:-1], *[held + 1] * lane.negates),
        chain_luts=structure.chain_luts - register,
        logic=logic,
    )
    carry8 = carry_blocks(structure.chains, family)
    resources = Resources(lut=max(luts(lane, lanes, structure), 0.0), carry8=carry8, ff=held)
    return resources, dot_product_band(lane, lanes, bits, family), held


def segmented_unit(unit: SegmentUnit, family: Family) -> tuple[Resources, ErrorBand]:
    """(resources, error band) of a whole segmented unit, the wider band of its parts; without pipeline registers.

    The position within a segment takes a LUT per counter bit and 2 besides; its flags are 2 flip-flops, 3 with a counter
    (derived).
    """
    dot = unit.inner
    inner, band, held = inner_unit(
        dot.weight, dot.activation, dot.lanes, dot.bits, unit.cycles, family, dot.overflow, dot.dropped
    )
    stage = replace(unit.outer, inner_bits=held)
    outer, outer_error = outer_stage(stage, family)
    counter = (unit.cycles - 1).bit_length()
    # an adder of fewer than three bits is no chain
    chain = carry_blocks((counter,), family) if counter > 2 else 0
    control = Resources(lut=counter + 2, carry8=chain, ff=counter + 3) if counter else Resources(lut=1, ff=2)
    return inner * unit.units + outer + control, max(band, outer_error, key=lambda each: each.p90 or math.inf)
