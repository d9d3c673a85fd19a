"""What requantizers are made of, read off their generators: the counterpart of :mod:`hwmodels.rtl.structure`.

Uses of logic bits here: `reduce` (signals that a wide OR or AND reads, counted as one signal each: sticky bits, overflow, empty
tops), `clamp` (bits of the code behind the last choice), `digits` (loading and moving the digits of a serial product), `shifter`,
`normalize` (multiplexers of a normalizing stage), `table`, `sign` (bits of a code that a search finds as others).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import lru_cache

from hwmodels.formats import ElementFormat, IntFormat, Minifloat
from hwmodels.primitives.scale import SCALE_BITS, SHIFT_RANGE
from hwmodels.rtl.constant import constant_chains
from hwmodels.rtl.multiplier import Factor, multiplier_type
from hwmodels.rtl.requantize import RequantizeUnit, ScaleForm
from hwmodels.rtl.structure import Structure, multiplier_chains, shifter_inputs
from hwmodels.rtl.thresholds import ThresholdUnit

SHORTEST_CHAIN = 2
"""Bits of an adder that takes LUTs instead of a chain."""

FREE_MAGNITUDE_BITS = 4
"""Bits of a magnitude that need no LUT of their own: the lowest, and three more by the table (read off its rows to fit)."""


@dataclass
class _Counts:
    """Counts so far."""

    chains: list[int]
    luts: int
    rows: int
    logic: Counter[tuple[str, int]]

    def chain(self, length: int, luts: int) -> None:
        self.chains.append(length)
        self.luts += luts

    def structure(self) -> Structure:
        return Structure(tuple(self.chains), self.luts, self.rows, 0, dict(self.logic))


def scaled_bits(unit: RequantizeUnit) -> int:
    """Width of what is rounded."""
    operand = unit.operand
    match unit.form:
        case ScaleForm.WIRES | ScaleForm.TABLE:
            return operand.bits
        case ScaleForm.SHIFTER:
            return operand.bits + SHIFT_RANGE - 1
        case ScaleForm.CONSTANT if unit.passes == 1:
            assert unit.value is not None  # checked where units are made
            return multiplier_type(operand, Factor(unit.value.bit_length(), signed=False))[0]
        case ScaleForm.CONSTANT | ScaleForm.MULTIPLIER:
            return operand.bits + unit.digit * unit.passes


@lru_cache(maxsize=4096)
def requantize_structure(unit: RequantizeUnit, *, product: bool = True) -> Structure:
    """The counts of a requantizer by scale; without `product`, its multiplication is left out."""
    counts = _Counts([], 0, 0, Counter())
    operand = unit.operand
    if unit.form is ScaleForm.TABLE:
        counts.logic["table", unit.sum_bits] += unit.output.bits
        return counts.structure()
    if unit.bias:
        counts.chain(operand.bits, unit.sum_bits)
    if not operand.signed:
        counts.chain(operand.bits, max(operand.bits - FREE_MAGNITUDE_BITS, 0))
    if product:
        _product(unit, counts)
    match unit.output:
        case IntFormat():
            _integer(scaled_bits(unit), unit.shift, unit.output, counts)
        case Minifloat():
            _minifloat(scaled_bits(unit), unit.shift, unit.output, counts)
    return counts.structure()


def _product(unit: RequantizeUnit, counts: _Counts) -> None:
    operand = unit.operand
    if unit.passes > 1:
        _serial(unit, counts)
    elif unit.form is ScaleForm.MULTIPLIER:
        lengths, luts = multiplier_chains(operand, Factor(SCALE_BITS, signed=False))
        counts.chains += lengths
        counts.luts, counts.rows = counts.luts + luts, len(lengths)
    elif unit.form is ScaleForm.CONSTANT:
        assert unit.value is not None  # checked where units are made
        lengths, luts = constant_chains(operand, unit.value)
        counts.chains += lengths
        counts.luts += luts
    elif unit.form is ScaleForm.SHIFTER:
        wanted = set(range(operand.bits + SHIFT_RANGE - 1))
        inputs = shifter_inputs(operand.bits, SHIFT_RANGE - 1, wanted, signed=operand.signed)
        counts.logic.update(("shifter", n) for n in inputs)


def _serial(unit: RequantizeUnit, counts: _Counts) -> None:
    operand, digit = unit.operand, unit.digit
    lengths, luts = multiplier_chains(operand, Factor(digit, signed=False))
    counts.chains += lengths
    counts.luts, counts.rows = counts.luts + luts, len(lengths)
    width = operand.bits + digit
    # one bit of the scale: its product is ANDs in the adder's own LUTs
    counts.chain(width, operand.bits if digit == 1 else width)
    if unit.form is ScaleForm.MULTIPLIER:
        counts.logic["digits", 3] += SCALE_BITS


def _integer(bits: int, fraction: int, fmt: IntFormat, counts: _Counts) -> None:
    reach = fmt.bits - int(fmt.signed)
    counts.logic["reduce", 1] += max(fraction - 1, 0) + max(bits - fraction - reach, 0)
    if fraction > 0 and reach + 1 > SHORTEST_CHAIN:
        counts.chain(reach + 1, 0)
    counts.logic["clamp", 3] += fmt.bits


def _minifloat(bits: int, fraction: int, fmt: Minifloat, counts: _Counts) -> None:
    """Follows the range of bits that are not constant, low to high, down the normalizing stages.

    Of a stage's multiplexers those exist from which a kept bit or the guard bit can still come; what lies lower is only asked
    whether it is zero.
    """
    stored, top = fmt.mantissa_bits, fmt.mantissa_bits + (1 << fmt.exponent_bits) - 2
    size, whole = top + 3, bits - fraction  # bits before the point
    counts.logic["reduce", 1] += max(fraction - 1, 0) + max(whole - top - 1, 0)
    low = 0 if fraction > 1 else min(2 - fraction, size)
    high = max(min(whole + 2, size), low)
    counts.logic["reduce", 1] += max(size - 2 - stored - low, 0)
    for stage in reversed(range(fmt.exponent_bits)):
        amount = 1 << stage
        if size - amount >= high:  # empty anyway: moved by wires
            low, high = low + amount, high + amount
            continue
        if top == stored:  # one binade: nothing moves
            break
        counts.logic["reduce", 1] += high - max(low, size - amount)
        for bit in range(size - 2 - stored - (amount - 1), size):
            if (
                low <= bit < high and low <= bit - amount < high
            ):  # a bit that comes or goes alone is part of what reads it
                counts.logic["normalize", 3] += 1
        high = min(high + amount, size)
    coded = fmt.exponent_bits + stored
    counts.chain(coded + 1, 0)
    counts.logic["clamp", 2 if fmt.max_magnitude_code == (1 << coded) - 1 else 3] += coded


def requantize_registers(unit: RequantizeUnit) -> int:
    """Flip-flops of a requantizer by scale (derived)."""
    operand, output = unit.operand, unit.output.bits
    if unit.form is ScaleForm.TABLE:
        return output
    if unit.passes > 1:
        return 2 * operand.bits + unit.digit * unit.passes + output
    biased = operand.bits if unit.bias else 0
    if unit.form is ScaleForm.WIRES:
        return biased + output
    trailing = (unit.value & -unit.value).bit_length() - 1 if unit.value else 0  # zeros of a constant product
    return biased + scaled_bits(unit) - trailing + int(not operand.signed) + output


def threshold_structure(unit: ThresholdUnit) -> Structure:
    """The counts of a requantizer by thresholds, without its memories."""
    counts = _Counts([], 0, 0, Counter())
    pairs = -(-unit.threshold_bits // 2)
    for address in unit.address_bits:
        counts.chain(pairs + 1, pairs)
        if unit.passes > 1:
            counts.logic["digits", 3] += address
    counts.logic["sign", 2] += _sign_bits(unit.output)
    return counts.structure()


def _sign_bits(fmt: ElementFormat) -> int:
    """Bits of the code that are not bits of the index."""
    if not fmt.signed:
        return 0
    return fmt.bits if isinstance(fmt, Minifloat) else 1


def threshold_registers(unit: ThresholdUnit) -> int:
    """Flip-flops of a requantizer by thresholds, without what its memories hold (derived)."""
    output = unit.output.bits
    if unit.passes == 1:
        return 2 * unit.sum_bits * output + output * output
    # the marker of a stage's memory address needs no register in its last place
    return len(unit.address_bits) * (unit.sum_bits - 1) + sum(unit.address_bits) + output
