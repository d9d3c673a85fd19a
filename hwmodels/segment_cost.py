"""The cost of cutting dot products into segments: their scales, the outer accumulators, and where the scales are kept."""

from __future__ import annotations

from dataclasses import replace

from hwmodels.datapath import Datapath, Multiplier, Overflow, ScaleKind
from hwmodels.devices import Device
from hwmodels.ops import Compute, Folding
from hwmodels.options import CostOptions
from hwmodels.outer_stage import outer_stage, scale_stage
from hwmodels.primitives.cost import Cost, ceil_div, uncalibrated
from hwmodels.primitives.memory import MemoryStyle, memory
from hwmodels.primitives.scale import PO2_SCALE_BITS, SCALE_BITS, scale_slices
from hwmodels.rtl.outer import OuterStage
from hwmodels.rtl.scale import ProductScale, default_scale
from hwmodels.segment import group_scales, segment_size


def segment_products(op: Compute, datapath: Datapath) -> int:
    """Products of one inner sum of the operator: its whole dot product where that is not cut."""
    size = segment_size(datapath)
    return op.dot_length if size is None else min(size, op.dot_length)


def segments_per_cycle(op: Compute, datapath: Datapath, folding: Folding) -> int:
    """Inner units that share the SIMD lanes of a row."""
    return ceil_div(folding.simd, segment_products(op, datapath))


def segment_cycles(op: Compute, datapath: Datapath, folding: Folding) -> int:
    """Cycles of one segment."""
    lanes = ceil_div(folding.simd, segments_per_cycle(op, datapath, folding))
    return max(segment_products(op, datapath) // lanes, 1)


def segment_costs(
    op: Compute, datapath: Datapath, folding: Folding, device: Device, options: CostOptions, inner_bits: int, bits: int
) -> list[Cost]:
    """What stands on top of the inner sums of PE rows of an operator whose dot products are cut.

    Args:
        inner_bits: width of an inner sum. bits: of the outer accumulator, which has room for every sum and needs no clamp.
    """
    segment = segment_products(op, datapath)
    units = segments_per_cycle(op, datapath, folding)
    plain = OuterStage(inner_bits, units, bits, Overflow.WRAP)
    stages = _scales(plain, group_scales(datapath, op.dot_length), segment_cycles(op, datapath, folding))
    summand = stages[-1].summand_bits if stages else inner_bits
    outer, band = outer_stage(replace(plain, inner_bits=summand), device.family)
    formula = f"{folding.pe} x ({units} segment sums of {segment} products into {bits} bits)"
    source = "AXE, section 3.3; hwmodels.outer_stage, fitted; FF derived"
    costs = [Cost("outer accumulator", outer * folding.pe, formula, source, band)]
    costs += [_scale_cost(stage, folding.pe, device, options) for stage in stages]
    grouped = datapath.weight.scaling
    if grouped.group_size is not None and grouped.group_size < op.dot_length:
        width = (SCALE_BITS if grouped.kind is ScaleKind.FLOAT else PO2_SCALE_BITS) * folding.pe * units
        depth = ceil_div(op.rows * ceil_div(op.cols, segment), folding.pe * units)
        costs.append(memory("scale memory", width, depth, MemoryStyle.AUTO, device.resources))
    return costs


def _scales(plain: OuterStage, kinds: tuple[ScaleKind, ...], cycles: int) -> list[OuterStage]:
    """A stage for each scale, which reads what the one before gives: the product of two floats, products, then shifts.

    A product is computed in the cycles that a segment takes.
    """
    floats, shifts = (kinds.count(kind) for kind in (ScaleKind.FLOAT, ScaleKind.POWER_OF_TWO))
    product = default_scale(ScaleKind.FLOAT, 1, cycles)
    stages = []
    if floats > 1:  # both scales first, rounded to the width of one
        stages.append(
            replace(plain, inner_bits=SCALE_BITS, bits=max(plain.bits, 2 * SCALE_BITS), scale=product, operands=1)
        )
    if floats:
        stages.append(replace(plain, scale=product, operands=1))
    if shifts:
        bits = stages[-1].summand_bits if stages else plain.inner_bits
        scale = default_scale(ScaleKind.POWER_OF_TWO, shifts, cycles)
        stages.append(replace(plain, inner_bits=bits, scale=scale, operands=shifts))
    return stages


def _scale_cost(stage: OuterStage, rows: int, device: Device, options: CostOptions) -> Cost:
    """The scales of all rows' segments: LUTs by the fitted form, or a product in DSP slices."""
    count, scale = rows * stage.units, stage.scale
    if isinstance(scale, ProductScale) and options.multiplier is Multiplier.DSP:
        resources, text = scale_slices(stage.inner_bits, device.dsp)
        formula = f"{count} scales: {text}"
        return Cost(
            "group scale", resources * count, formula, "derived; 16-bit mantissa assumed", uncalibrated("derived")
        )
    resources, band = scale_stage(stage, device.family)
    text = f"{SCALE_BITS} bits in {scale.passes} passes" if isinstance(scale, ProductScale) else "a shift by 0 to 15"
    formula = f"{count} scales of {stage.inner_bits}-bit sums: {text}"
    source = "hwmodels.outer_stage, fitted; FF derived; range assumed"
    return Cost("group scale", resources * rows, formula, source, band)
