"""What dot products of minifloats with a floating-point accumulator cost: lanes, a tree of floating-point adders, a register.

:mod:`hwmodels.rtl.float_tree` is the circuit. Its bits are counted from its structure and weighed by factors that are fitted
to the committed table of synthesized units by ``python -m hwmodels.calibration.fit_float``:

    LUT = chain * (bits on carry chains, and bits that a comparison or a zero selects) + shift * (multiplexers of the adders'
          shifters) + clear * (bits of the register that a clear hides from the last adder) + lane * (multiplexers that
          normalize operands and products) + exponent * (bits of the operands' exponents) + table * (outputs of lanes that
          are tables)

Carry blocks and flip-flops are derived.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from hwmodels.accumulator import AccumulatorError, float_exponent_bits
from hwmodels.calibration import float_constants as constants
from hwmodels.datapath import Datapath
from hwmodels.devices import Device
from hwmodels.formats import Minifloat
from hwmodels.ops import Compute, Folding
from hwmodels.primitives.carry import carry_blocks
from hwmodels.primitives.cost import BandKind, Cost, ErrorBand
from hwmodels.resources import Resources
from hwmodels.rtl.float_adder import zero_bits
from hwmodels.rtl.float_tree import FloatUnit
from hwmodels.rtl.lane import Lane, factor, magnitude_bits
from hwmodels.rtl.multiplier import TABLE_BITS, multiplier_type
from hwmodels.rtl.structure import row_chains


@dataclass(frozen=True)
class FloatStructure:
    """Lengths of all carry chains of a unit, and the counts that the form weighs."""

    chains: tuple[int, ...]
    counts: Mapping[str, int]


def significand_bits(unit: FloatUnit) -> int:
    """Bits of a normalized product that may be set: those of both significands together, at most those of the accumulator."""
    bits, _ = multiplier_type(factor(unit.weight), factor(unit.activation))
    return min(bits, unit.mantissa_bits + 1)


@lru_cache(maxsize=4096)
def float_structure(unit: FloatUnit) -> FloatStructure:
    """The counts of a unit."""
    chains, counts = _lane(unit)
    lengths, total = list(chains) * unit.lanes, Counter({key: n * unit.lanes for key, n in counts.items()})
    product = unit.weight.max_code * unit.activation.max_code
    level = [(1, significand_bits(unit))] * unit.lanes
    while len(level) > 1:
        above = []
        for (first, a), (second, b) in zip(level[::2], level[1::2], strict=False):
            operand, result = ((count * product).bit_length() for count in (max(first, second), first + second))
            lengths += _adder(unit, (a, b), operand, result, total)
            above.append((first + second, unit.mantissa_bits + 1))
        level = above + level[len(level) & ~1 :]
    most = (1 << unit.exponent_bits) - 1
    lengths += _adder(unit, (unit.mantissa_bits + 1, level[0][1]), most, most, total)
    total["clear"] += unit.exponent_bits + unit.mantissa_bits
    return FloatStructure(tuple(lengths), dict(total))


def _adder(
    unit: FloatUnit, significands: tuple[int, int], operand: int, result: int, counts: Counter[str]
) -> tuple[int, ...]:
    """Count an adder; return the lengths of its chains.

    Sums are integers, so that small ones have fewer bits than the format: synthesis finds the others to be zero.

    Args:
        significands: bits that may be set in those of the first summand and of the second, which is never longer.
        operand, result: bits of the largest summand and of the largest sum.
    """
    size = unit.mantissa_bits + 1
    field_in, field_out = (min(unit.exponent_bits, bits.bit_length()) for bits in (operand, result))
    significand, shorter = (min(bits, operand) for bits in significands)
    # where the second has no bits the comparison has nothing to carry
    pairs = -(-(field_in + shorter - 1) // 2)
    aligned, total = min(size + 1, operand), min(size + 2, result)
    # what is compared, chosen and added: about a LUT6 for each bit
    counts["chain"] += pairs + significand + total + field_in + field_out
    stages = range(min(size.bit_length(), field_in))
    counts["shift"] += _multiplexers(significand, aligned, stages)
    counts["shift"] += _normalizer(total)
    return pairs + 1, field_in, total + 1, field_out


def _normalizer(bits: int) -> int:
    """Bits of a shifter to the left, until the top bit is set, that choose between two bits: all but the lowest of a stage."""
    return sum(bits - (1 << stage) for stage in range(zero_bits(bits)))


def _multiplexers(set_bits: int, bits: int, stages: range) -> int:
    """Bits of a shifter to the right, large steps first, that choose between two bits that may both be set."""
    alive, count = [place < set_bits for place in range(bits)], 0
    for stage in reversed(stages):
        moved = [False] * min(1 << stage, bits) + alive[: max(bits - (1 << stage), 0)]
        count += sum(here and there for here, there in zip(alive, moved, strict=True))
        alive = [here or there for here, there in zip(alive, moved, strict=True)]
    return count


def _lane(unit: FloatUnit) -> tuple[tuple[int, ...], Counter[str]]:
    """(lengths of the chains, counts) of one lane."""
    w, x = unit.weight, unit.activation
    counts: Counter[str] = Counter()
    if magnitude_bits(w) + magnitude_bits(x) <= TABLE_BITS:
        counts["table"] = (w.max_code * x.max_code).bit_length().bit_length() + significand_bits(unit)
        return (), counts
    rows, luts = row_chains(Lane(w, x))
    counts["chain"] = luts + unit.exponent_bits
    for fmt in (w, x):
        counts["exponent"] += fmt.exponent_bits
        if fmt.subnormals and fmt.mantissa_bits:
            counts["lane"] += _normalizer(fmt.mantissa_bits + 1)
    if w.mantissa_bits and x.mantissa_bits:
        counts["lane"] += significand_bits(unit)
    return (*rows, (w.max_code * x.max_code).bit_length().bit_length() + 1), counts


def float_luts(counts: Mapping[str, int]) -> float:
    """LUT6 by the fitted form."""
    return sum(constants.FACTORS[name] * count for name, count in counts.items())


@lru_cache(maxsize=4096)
def float_unit(unit: FloatUnit, device: Device) -> tuple[Resources, ErrorBand]:
    """(resources, error band) of one unit: fitted LUTs, derived carry blocks, the flip-flops of the accumulator."""
    structure = float_structure(unit)
    carry = carry_blocks(structure.chains, device.family)
    resources = Resources(lut=float_luts(structure.counts), carry8=carry, ff=unit.bits)
    band = ErrorBand(BandKind.MEASURED, constants.BASIS, constants.MEDIAN_ERROR, constants.P90_ERROR)
    reasons = [
        f"{name} {value} outside {low}..{high}"
        for name, value, (low, high) in (
            ("lanes", unit.lanes, constants.LANES),
            ("exponent bits", unit.exponent_bits, constants.EXPONENT_BITS),
            ("mantissa bits", unit.mantissa_bits, constants.MANTISSA_BITS),
            ("format bits", unit.weight.bits, constants.FORMAT_BITS),
            ("format bits", unit.activation.bits, constants.FORMAT_BITS),
        )
        if not low <= value <= high
    ]
    if device.family not in constants.FAMILIES:
        reasons.append(f"family {device.family} instead of {' or '.join(constants.FAMILIES)}")
    return resources, band.extrapolated(", ".join(dict.fromkeys(reasons))) if reasons else band


def float_products(op: Compute, datapath: Datapath, folding: Folding, device: Device) -> Cost:
    """PE dot products of SIMD lanes with floating-point accumulators, and a register behind every product.

    Raises:
        AccumulatorError: the exponent is too narrow for the sum of all products.
    """
    weight, activation, accumulator = datapath.weight.format, datapath.activation.format, datapath.accumulator
    assert isinstance(weight, Minifloat)  # Datapath refuses floating-point sums of integers
    assert isinstance(activation, Minifloat)
    least = float_exponent_bits(op.dot_length, weight, activation)
    if accumulator.exponent_bits < least:
        raise AccumulatorError(
            f"the exponent of {accumulator.name} must hold the sum of {op.dot_length} products of {weight} x {activation}, "
            f"{least} bits; use float:e{least}m{accumulator.mantissa_bits}."
        )
    unit = FloatUnit(datapath, folding.simd)
    resources, band = float_unit(unit, device)
    registers = folding.pe * folding.simd * (1 + unit.exponent_bits + significand_bits(unit))
    formula = (
        f"{folding.pe} units of {folding.simd} lanes, {datapath.accumulator.name}: fitted shares of chain, selected and shifted "
        f"bits; FF: {unit.bits} per unit, and {registers} behind the products"
    )
    total = resources * folding.pe + Resources(ff=registers)
    return Cost("dot products", total, formula, "hwmodels.float_cost, fitted; FF derived", band)
