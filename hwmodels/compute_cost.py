"""The calibrated cost of one matrix-vector or depthwise unit: products and sums, memories, scales, registers, control.

PE dot-product units of SIMD products each. A tile (AXE) or a group scale splits every sum: an inner unit per segment of
min(tile, group) products, then an outer accumulator that adds the (scaled) segments once per segment.
"""

from __future__ import annotations

from functools import lru_cache

from hwmodels.accumulator import AccumulatorError
from hwmodels.datapath import Architecture, Datapath, Granularity, Multiplier, ScaleKind
from hwmodels.devices import Device
from hwmodels.dot_product import cheapest_encoding, unit_lane
from hwmodels.dsp_cost import dsp_products
from hwmodels.float_cost import float_products
from hwmodels.hls_unit import hls_costs
from hwmodels.ops import Compute, Folding, MatMul, MatVec
from hwmodels.options import CostOptions, OptionsError, UnitStyle
from hwmodels.outer_stage import inner_unit
from hwmodels.primitives.cost import Cost, ceil_div
from hwmodels.primitives.memory import Access, MemoryStyle, memory
from hwmodels.primitives.operands import dropped_bits, operands
from hwmodels.primitives.scale import PO2_SCALE_BITS, SCALE_BITS
from hwmodels.primitives.stream import unit_control
from hwmodels.resources import Resources
from hwmodels.rtl.structure import pipeline_bits
from hwmodels.segment import segment_sum_bits
from hwmodels.segment_cost import segment_costs, segment_cycles, segment_products, segments_per_cycle


def sum_bits(op: Compute, datapath: Datapath) -> int:
    """Width of what the unit gives: P, or that of the outer accumulator where sums are cut into segments.

    Raises:
        AccumulatorError: a floating-point accumulator.
    """
    if datapath.accumulator.architecture is Architecture.FLOAT:
        raise AccumulatorError(
            f"what follows a sum must read an integer, but {op.name} has the accumulator {datapath.accumulator.name}; cost the "
            "layer by itself, or give it a fixed-point accumulator."
        )
    return segment_sum_bits(datapath, op.dot_length)


@lru_cache(maxsize=16384)
def compute_costs(
    op: Compute, datapath: Datapath, folding: Folding, device: Device, options: CostOptions
) -> tuple[Cost, ...]:
    """All components of the unit of `op`; the sum width of :func:`sum_bits` leaves it PE values at a time.

    Raises:
        ShapeError: the folding does not divide the operator.
        MemoryStyleError: URAM on a part without.
        OptionsError: HLS units and what FINN does not have.
    """
    folding.check(op)
    if options.units is UnitStyle.HLS:
        if isinstance(op, MatMul):
            raise OptionsError(
                "FINN's HLS units hold weights, but a product of two activations has none; use units=rtl."
            )
        return hls_costs(op, datapath, folding, device, options)
    products, inner_bits = _products(op, datapath, folding, device, options)
    costs = [products, _matrix_memory(op, datapath, folding, device, options)]
    if isinstance(op, MatMul) and datapath.weight.scaling.granularity is Granularity.TOKEN:
        costs.append(_stored_scales(op, datapath, device))
    if segment_products(op, datapath) < op.dot_length:
        costs += segment_costs(op, datapath, folding, device, options, inner_bits, sum_bits(op, datapath))
    folds = op.rows // folding.pe
    if isinstance(op, MatVec) and folds > 1:
        width, depth = folding.simd * datapath.activation.bits, op.cols // folding.simd
        costs.append(memory("input buffer", width, depth, MemoryStyle.AUTO, device.resources, Access.PASS))
    costs.append(unit_control(op.cols // folding.simd, folds, isinstance(op, MatVec)))
    return tuple(costs)


def _products(
    op: Compute, datapath: Datapath, folding: Folding, device: Device, options: CostOptions
) -> tuple[Cost, int]:
    """(PE * units dot products of min(SIMD, segment) lanes, with a register behind every multiplier; width of their sums)."""
    units, bits = segments_per_cycle(op, datapath, folding), datapath.accumulator.bits
    if options.multiplier is Multiplier.DSP:
        return dsp_products(op, datapath, folding, device, units), bits
    if datapath.accumulator.architecture is Architecture.FLOAT:
        return float_products(op, datapath, folding, device), bits
    weight, activation = datapath.weight.format, datapath.activation.format
    lanes, cycles = ceil_div(folding.simd, units), segment_cycles(op, datapath, folding)
    overflow = datapath.accumulator.overflow
    written = cheapest_encoding(weight, activation, lanes, bits, overflow)
    unit, band, held = inner_unit(*written, lanes, bits, cycles, device.family, overflow)
    dropped = dropped_bits(operands(weight, activation), lanes, bits, overflow)
    registers = folding.pe * folding.simd * pipeline_bits(unit_lane(*written, lanes, bits, overflow))
    notes = [f"{dropped} low product bits dropped" if dropped else "exact"]
    notes += [
        f"{fmt.name} written as {as_written.name}"
        for fmt, as_written in zip((weight, activation), written, strict=True)
        if fmt != as_written
    ]
    formula = (
        f"{folding.pe * units} units of {lanes} lanes, P = {bits} ({', '.join(notes)}): fitted shares of chain and logic bits; "
        f"FF: {held} per unit, and {registers} behind the multipliers"
    )
    resources = unit * (folding.pe * units) + Resources(ff=registers)
    return Cost("dot products", resources, formula, "hwmodels.dot_product, fitted; FF derived", band), held


def _matrix_memory(op: Compute, datapath: Datapath, folding: Folding, device: Device, options: CostOptions) -> Cost:
    """What holds the matrix: PE * SIMD values are read per cycle.

    A KV cache is made of what weights are made of. Matrices of activations that are made anew for each frame are kept twice
    in what is cheapest. How they are written (a write enable per value) is not counted.
    """
    component, copies, style = "weight memory", 1, options.memory
    if isinstance(op, MatMul):
        component, copies = ("KV cache", op.matrices) if op.cached else ("operand buffer", 2 * op.matrices)
        style = style if op.cached else MemoryStyle.AUTO
    values = folding.pe * folding.simd
    depth = op.rows * op.cols // values * copies
    access = Access.TWO_PORTS if isinstance(op, MatMul) else Access.READ
    return memory(component, values * datapath.weight.bits, depth, style, device.resources, access, device.family.value)


def _stored_scales(op: MatMul, datapath: Datapath, device: Device) -> Cost:
    """The scales that stored values bring along, one per token and matrix; kept where and as often as the values are.

    A token is a column of the matrix where what it is multiplied with carries the scales (one per channel), else a row. They
    are read one at a time.
    """
    tokens = op.cols if datapath.activation.scaling.granularity is Granularity.CHANNEL else op.rows
    width = SCALE_BITS if datapath.weight.scaling.kind is ScaleKind.FLOAT else PO2_SCALE_BITS
    depth = tokens * op.matrices * (1 if op.cached else 2)
    two, family = Access.TWO_PORTS, device.family.value
    return memory("scale memory", width, depth, MemoryStyle.AUTO, device.resources, two, family)
