"""What dot products in DSP slices cost: the slices, and the LUTs, carries and flip-flops that take their sums apart.

Slices are counted by :func:`hwmodels.primitives.dsp_packing.packed_dsps`; :mod:`hwmodels.rtl.dsp_unit` is the circuit, and
what stands behind its slices is counted from its structure, bit by bit:

    LUT = chain * (bits on carry chains) + parity * (LUT6 of parities) + bit * (parities of one product, and their XORs)
          + clamp * (bits of saturating accumulators)

The factors are fitted to the committed table of synthesized units by ``python -m hwmodels.calibration.fit_dsp``. DSP58 is not
known to Yosys: its slices follow from AM004, what is behind them is counted like that of the others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

from hwmodels.calibration import dsp_constants as constants
from hwmodels.datapath import Datapath, Overflow, TensorQuant
from hwmodels.devices import Device
from hwmodels.formats import IntFormat
from hwmodels.ops import Compute, Folding, MatVec
from hwmodels.primitives.carry import carry_blocks
from hwmodels.primitives.cost import BandKind, Cost, ErrorBand, ceil_div, uncalibrated
from hwmodels.primitives.dsp_packing import (
    INT8_DOT_ACTIVATION_BITS,
    INT8_DOT_LENGTH,
    INT8_DOT_WEIGHT_BITS,
    SUM_BITS,
    DspBlock,
    Packing,
    dsp_lanes,
    packing,
)
from hwmodels.primitives.operands import integer_grid
from hwmodels.resources import Resources
from hwmodels.rtl.dsp_unit import field_sum_type

LUT6_INPUTS = 6


@dataclass(frozen=True)
class DspStructure:
    """What stands behind the slices of some rows: lengths of all carry chains, counts that the form weighs, flip-flops."""

    chains: tuple[int, ...]
    counts: Mapping[str, int]
    ff: int


def dsp_structure(packed: Packing, rows: int, simd: int, bits: int, overflow: Overflow, dsp: DspBlock) -> DspStructure:
    """The counts of `rows` dot products of `simd` slices per cycle."""
    cascades = ceil_div(simd, packed.chain)
    limit = None if overflow is Overflow.SATURATE else bits
    if packed.lanes == 1 and cascades == 1 and limit is not None and bits <= SUM_BITS[dsp]:
        return DspStructure((), {"clear": 1}, _CONTROL)
    groups = ceil_div(rows, packed.lanes)
    chains: list[int] = []
    counts = dict.fromkeys(("chain", "parity", "bit", "clamp"), 0)
    for borrows, count in ((0, groups), (1, rows - groups)):
        lengths, luts, clamped = _row(packed, cascades, borrows, bits, limit)
        chains += lengths * count
        counts["chain"] += luts * count
        counts["clamp"] += clamped * count
    parities = (rows - groups) * cascades if packed.overlaps else 0
    if packed.chain == 1:
        counts["bit"] += parities
    else:
        # an AND of two bits for every product: exclusive-or over 2 * chain inputs
        counts["parity"] += parities * ceil_div(2 * packed.chain - 1, LUT6_INPUTS - 1)
    counts["bit"] += parities
    return DspStructure(tuple(chains), counts, _CONTROL + parities + rows * bits)


_CONTROL = 2
"""Flip-flops that delay `clear` and `enable` as the slices delay the products."""


def _row(packed: Packing, cascades: int, borrows: int, bits: int, limit: int | None) -> tuple[list[int], int, int]:
    """(lengths of the carry chains, LUTs on them, bits to clamp) of a row's adder tree and accumulator."""
    lengths, luts = [], 0
    level = [(1, borrows)] * cascades
    while len(level) > 1:
        above = []
        for first, second in zip(level[::2], level[1::2], strict=False):
            carries = first[1] + second[1]
            used = min(carries, 1)
            joined = first[0] + second[0], carries - used
            width, _ = field_sum_type(packed, *joined, limit)
            have = (
                packed.field_bits if one[0] == 1 else field_sum_type(packed, *one, limit)[0] for one in (first, second)
            )
            lengths.append(width + used)
            luts += min(width, max(have))
            above.append(joined)
        level = above + level[len(level) & ~1 :]
    register = bits if limit is not None else max(bits, field_sum_type(packed, cascades, borrows, limit)[0]) + 1
    return [*lengths, register + borrows], luts + register, 0 if limit is not None else bits


def dsp_luts(counts: Mapping[str, int]) -> float:
    """LUT6 by the fitted form."""
    return sum(constants.FACTORS[name] * count for name, count in counts.items())


def signed_weight(quant: TensorQuant) -> IntFormat:
    """The signed integer format in which a slice takes the weights: one bit more where they are unsigned."""
    grid = integer_grid(quant.format)
    assert isinstance(grid, IntFormat)  # Datapath refuses DSP multipliers for minifloats
    return grid if grid.signed else IntFormat(grid.bits + 1, narrow=True)


@lru_cache(maxsize=16384)
def dsp_products(op: Compute, datapath: Datapath, folding: Folding, device: Device, units: int) -> Cost:
    """PE * units dot products of SIMD / units products each, in DSP slices.

    Packing needs one activation for several weights. The rows of a depthwise layer read activations of their own, so each
    of its products takes a slice, or a third of a DSP58 in its INT8 mode (as in FINN's VVU).

    Raises:
        DspPackingError: operands that no port takes.
    """
    weight, activation = signed_weight(datapath.weight), integer_grid(datapath.activation.format)
    assert isinstance(activation, IntFormat)
    accumulator, dsp = datapath.accumulator, device.dsp
    simd, shared = ceil_div(folding.simd, units), isinstance(op, MatVec)
    most = dsp_lanes(weight.bits, activation.bits, weight.narrow, dsp) if shared else 1
    int8_mode = (
        dsp == "DSP58"
        and most <= INT8_DOT_LENGTH
        and weight.bits <= INT8_DOT_WEIGHT_BITS
        and activation.bits <= INT8_DOT_ACTIVATION_BITS
    )
    lanes = 1 if int8_mode or not shared else None
    per_row = units * ceil_div(simd, INT8_DOT_LENGTH) if int8_mode else folding.simd
    if int8_mode:
        simd = ceil_div(simd, INT8_DOT_LENGTH)
    packed = packing(weight, activation, dsp, pe=folding.pe, simd=simd, lanes=lanes)
    if int8_mode:
        packed = replace(packed, low=INT8_DOT_LENGTH * packed.low, high=INT8_DOT_LENGTH * packed.high)
    slices = ceil_div(folding.pe, packed.lanes) * per_row
    behind = dsp_structure(packed, folding.pe, simd, accumulator.bits, accumulator.overflow, dsp)
    carry = carry_blocks(behind.chains, device.family)
    resources = Resources(lut=dsp_luts(behind.counts), carry8=carry, ff=behind.ff) * units + Resources(dsp=slices)
    what = "3 products summed in each" if int8_mode else f"{packed.lanes} rows in each"
    sums = f"{packed.chain} in a cascade, {ceil_div(simd, packed.chain)} cascades a row"
    bits = behind.counts.get("chain", 0) * units
    formula = (
        f"{slices} {dsp} for {folding.pe} x {folding.simd} products of {weight.bits} x {activation.bits} bits, {what}, {sums}; "
        f"{bits} bits on carry chains behind them"
    )
    source = "hwmodels.primitives.dsp_packing, derived; hwmodels.dsp_cost, fitted"
    return Cost("dot products", resources, formula, source, _band(weight, activation, simd, accumulator.bits, device))


def _band(weight: IntFormat, activation: IntFormat, simd: int, bits: int, device: Device) -> ErrorBand:
    """The band of the LUTs behind the slices; the slices are exact in the table, and rows are copies of each other."""
    if device.family not in constants.FAMILIES:
        return uncalibrated(f"derived from AM004; Yosys does not know {device.dsp}")
    band = ErrorBand(BandKind.MEASURED, constants.BASIS, constants.MEDIAN_ERROR, constants.P90_ERROR)
    reasons = [
        f"{name} {value} outside {low}..{high}"
        for name, value, (low, high) in (
            ("weight bits", weight.bits, constants.WEIGHT_BITS),
            ("activation bits", activation.bits, constants.ACTIVATION_BITS),
            ("SIMD", simd, constants.SIMD),
            ("accumulator bits", bits, constants.ACCUMULATOR_BITS),
        )
        if not low <= value <= high
    ]
    return band.extrapolated(", ".join(reasons)) if reasons else band
