"""The calibrated cost of one matrix-vector or depthwise unit: products and sums, memories, scales, registers, control.

PE dot-product units of SIMD products each. A tile (AXE) or a group scale splits every sum: an inner unit per segment of
min(tile, group) products, then an outer accumulator that adds the (scaled) segments once per segment.
"""

from __future__ import annotations

from functools import lru_cache

from hwmodels.accumulator import outer_bits
from hwmodels.datapath import Datapath, Multiplier, Overflow, ScaleKind, TensorQuant
from hwmodels.devices import Device
from hwmodels.dot_product import dot_product_unit, kept_bits
from hwmodels.formats import IntFormat
from hwmodels.ops import Compute, Folding, MatVec
from hwmodels.options import CostOptions
from hwmodels.primitives.adder_tree import adder_widths
from hwmodels.primitives.carry import carry_blocks
from hwmodels.primitives.cost import Cost, ceil_div, ceil_log2, uncalibrated
from hwmodels.primitives.dsp_packing import (
    INT8_DOT_ACTIVATION_BITS,
    INT8_DOT_LENGTH,
    INT8_DOT_WEIGHT_BITS,
    dsp_lanes,
    packed_dsps,
)
from hwmodels.primitives.memory import MemoryStyle, memory
from hwmodels.primitives.operands import integer_grid, operands
from hwmodels.primitives.scale import PO2_SCALE_BITS, SCALE_BITS, SHIFT_RANGE, scale_multiplier, scale_shifter
from hwmodels.resources import Resources

_CONTROL_BASE = 40  # LUT and FF of handshakes and the state machine (assumed)


def group_size(datapath: Datapath) -> int | None:
    """Products that share all their scales (the smaller group of both operands), or None without group scales."""
    sizes = [q.scaling.group_size for q in (datapath.weight, datapath.activation) if q.scaling.group_size is not None]
    return min(sizes, default=None)


def sum_bits(op: Compute, datapath: Datapath) -> int:
    """Width of what the unit gives: P, the outer accumulator of a tiled sum, or that of scaled groups.

    A group's scale widens its sum by 16 bits (float) or 15 (power of two, assumed shift range), then log2 of the groups.
    """
    bits, group, tile = datapath.accumulator.bits, group_size(datapath), datapath.accumulator.tile_size
    if group is not None and group < op.dot_length:
        extra = SCALE_BITS if _group_kind(datapath) is ScaleKind.FLOAT else SHIFT_RANGE - 1
        return bits + extra + ceil_log2(ceil_div(op.dot_length, _segment(op, datapath)))
    if tile is not None and tile < op.dot_length:
        return outer_bits(bits, op.dot_length, tile)
    return bits


def _group_kind(datapath: Datapath) -> ScaleKind:
    grouped = [q.scaling.kind for q in (datapath.weight, datapath.activation) if q.scaling.group_size is not None]
    return ScaleKind.FLOAT if ScaleKind.FLOAT in grouped else ScaleKind.POWER_OF_TWO


def _segment(op: Compute, datapath: Datapath) -> int:
    """Products of one inner sum."""
    sizes = (group_size(datapath), datapath.accumulator.tile_size)
    return min([size for size in sizes if size is not None] + [op.dot_length])


@lru_cache(maxsize=16384)
def compute_costs(
    op: Compute, datapath: Datapath, folding: Folding, device: Device, options: CostOptions
) -> tuple[Cost, ...]:
    """All components of the unit of `op`; the sum width of :func:`sum_bits` leaves it PE values at a time.

    Raises:
        ShapeError: the folding does not divide the operator.
        MemoryStyleError: URAM on a part without.
    """
    folding.check(op)
    segment = _segment(op, datapath)
    units = ceil_div(folding.simd, segment)
    costs = [
        _products(op, datapath, folding, device, options, units),
        memory(
            "weight memory",
            folding.pe * folding.simd * datapath.weight.bits,
            op.rows * op.cols // (folding.pe * folding.simd),
            options.memory,
            device.resources,
        ),
    ]
    if segment < op.dot_length:
        costs += _outer(op, datapath, folding, device, options, units, segment)
    folds = op.rows // folding.pe
    if isinstance(op, MatVec) and folds > 1:
        width, depth = folding.simd * datapath.activation.bits, op.cols // folding.simd
        costs.append(memory("input buffer", width, depth, MemoryStyle.AUTO, device.resources))
    costs.append(_control(op, folding))
    return tuple(costs)


def _products(
    op: Compute, datapath: Datapath, folding: Folding, device: Device, options: CostOptions, units: int
) -> Cost:
    """PE * units dot products of min(SIMD, segment) lanes, with a register behind every product."""
    if options.multiplier is Multiplier.DSP:
        return _dsp_products(op, datapath, folding, device)
    weight, activation, bits = datapath.weight.format, datapath.activation.format, datapath.accumulator.bits
    lanes = ceil_div(folding.simd, units)
    proved = datapath.accumulator.overflow is Overflow.IMPOSSIBLE
    unit, band = dot_product_unit(weight, activation, lanes, bits, device.family, proved=proved)
    op_widths = operands(weight, activation)
    kept = kept_bits(op_widths, lanes, bits, proved=proved)
    registers = folding.pe * folding.simd * kept
    dropped = op_widths.product_bits - kept
    exact = "exact" if not dropped else f"{dropped} low bits dropped" if op_widths.exponents else f"modulo 2^{bits}"
    formula = (
        f"{folding.pe * units} units of {lanes} lanes, P = {bits} ({exact}): fitted multiplier, tree, sign, shifter; "
        f"FF: P per unit, and {registers} behind the products"
    )
    resources = unit * (folding.pe * units) + Resources(ff=registers)
    return Cost("dot products", resources, formula, "hwmodels.dot_product, fitted; FF derived", band)


def _bits(quant: TensorQuant) -> tuple[int, bool]:
    """(width of the operand as a signed or unsigned DSP input, whether its most negative code is absent)."""
    grid = integer_grid(quant.format)
    assert isinstance(grid, IntFormat)  # Datapath refuses DSP multipliers for minifloats
    return grid.bits, grid.narrow


def _dsp_products(op: Compute, datapath: Datapath, folding: Folding, device: Device) -> Cost:
    """Products packed in DSP slices; a single product per slice is summed by the DSP cascade, several by LUT adder trees.

    Packing needs one activation for several weights. The rows of a depthwise layer read activations of their own, so each
    of its products takes a slice, or a third of a DSP58 in its INT8 mode (as in FINN's VVU).
    """
    (weight_bits, narrow), (activation_bits, _) = _bits(datapath.weight), _bits(datapath.activation)
    weight_bits = max(weight_bits, 2)
    packable = dsp_lanes(weight_bits, activation_bits, narrow, device.dsp)  # refuses what no port takes
    lanes = packable if isinstance(op, MatVec) else 1
    int8_mode = (
        device.dsp == "DSP58"
        and lanes <= INT8_DOT_LENGTH
        and weight_bits <= INT8_DOT_WEIGHT_BITS
        and activation_bits <= INT8_DOT_ACTIVATION_BITS
    )
    if isinstance(op, MatVec):
        count = packed_dsps(
            folding.pe,
            folding.simd,
            weight_bits=weight_bits,
            activation_bits=activation_bits,
            narrow=narrow,
            dsp=device.dsp,
        )
    else:
        count = folding.pe * ceil_div(folding.simd, INT8_DOT_LENGTH if int8_mode else 1)
    bits = datapath.accumulator.bits
    resources, text = Resources(dsp=count), "summed in the DSP cascade"
    if lanes > 1 and not int8_mode:
        widths = (*adder_widths(folding.simd, weight_bits + activation_bits, bits), bits)
        carry = carry_blocks(widths, device.family)
        resources += Resources(lut=sum(widths), carry8=carry, ff=sum(widths)) * folding.pe
        text = f"{lanes} products each, summed in {folding.pe} LUT trees of {sum(widths)} bits"
    formula = f"{count} {device.dsp} for {folding.pe} x {folding.simd} products of {weight_bits} x {activation_bits} bits, {text}"
    return Cost("dot products", resources, formula, "hwmodels.primitives.dsp_packing", uncalibrated("derived"))


def _outer(
    op: Compute,
    datapath: Datapath,
    folding: Folding,
    device: Device,
    options: CostOptions,
    units: int,
    segment: int,
) -> list[Cost]:
    """The outer accumulators and, with group scales, what multiplies or shifts each segment's sum and stores the scales."""
    bits, wide = datapath.accumulator.bits, sum_bits(op, datapath)
    widths = (*adder_widths(units, wide, wide), wide)
    outer = Resources(lut=sum(widths), carry8=carry_blocks(widths, device.family), ff=sum(widths))
    formula = f"{folding.pe} x ({units} segment sums of {segment} products into {wide} bits)"
    costs = [
        Cost("outer accumulator", outer * folding.pe, formula, "AXE, section 3.3; derived", uncalibrated("derived"))
    ]
    if group_size(datapath) is None:
        return costs
    kind = _group_kind(datapath)
    if kind is ScaleKind.FLOAT:
        dsp = device.dsp if options.multiplier is Multiplier.DSP else None
        scale, text = scale_multiplier(bits, dsp=dsp, family=device.family)
    else:
        scale, text = scale_shifter(bits)
    scaled = f"{folding.pe * units} scales: {text}"
    costs.append(
        Cost(
            "group scale",
            scale * (folding.pe * units),
            scaled,
            "derived; 16-bit mantissa assumed",
            uncalibrated("derived"),
        )
    )
    if datapath.weight.scaling.group_size is not None:
        width = (SCALE_BITS if kind is ScaleKind.FLOAT else PO2_SCALE_BITS) * folding.pe * units
        stored = op.rows * ceil_div(op.cols, segment)
        depth = ceil_div(stored, folding.pe * units)
        costs.append(memory("scale memory", width, depth, MemoryStyle.AUTO, device.resources))
    return costs


def _control(op: Compute, folding: Folding) -> Cost:
    """Counters over inputs, rows and weight words, and handshakes: 2 LUT and a flip-flop per counter bit, 40 besides."""
    synapse, neuron = op.cols // folding.simd, op.rows // folding.pe
    counters = ceil_log2(synapse) + ceil_log2(neuron) + ceil_log2(synapse * neuron)
    resources = Resources(lut=_CONTROL_BASE + 2 * counters, ff=_CONTROL_BASE + counters)
    formula = f"{_CONTROL_BASE} + 2 * {counters} counter bits"
    return Cost("control", resources, formula, "assumed (FINN's HLS units have about 300 LUT)", uncalibrated("assumed"))
