"""What the units of transformers are made of, read off their generators: the counterpart of :mod:`hwmodels.rtl.structure`.

Uses of logic bits here: `normalize` (multiplexers that move a leading one), `reduce` (signals that a wide OR reads, one each),
`operand` (what a multiplier's operand register takes), `table`, `shifter`, `select` (the larger lane, the half of a head),
`key` (signs taken off), `carry` (rows of multipliers of an unsigned number: the top bit of each reads the carry below),
`absorbed` (what the LUTs of a chain that applies a sign may read) and `stage` (one for the control of each stage).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TypeAlias

from hwmodels.formats import ElementFormat
from hwmodels.primitives.scale import SCALE_BITS
from hwmodels.rtl.barrel import normalizer_widths, window_steps
from hwmodels.rtl.constant import constant_chains
from hwmodels.rtl.dynamic import DynamicUnit
from hwmodels.rtl.elementwise_structure import MOST_ABSORBED_INPUTS, fixed_point_structure
from hwmodels.rtl.gate import GateUnit
from hwmodels.rtl.inverse import GUESS, INDEX_BITS, MANTISSA, InverseUnit, guesses
from hwmodels.rtl.lane import Lane, factor, magnitude_bits
from hwmodels.rtl.multiplier import TABLE_BITS, Factor, best_plan, multiplier_type
from hwmodels.rtl.normalize import NormUnit, mean_constant
from hwmodels.rtl.passes import Passes, total_chains
from hwmodels.rtl.rotary import ANGLE, RotaryUnit
from hwmodels.rtl.softmax import POWER_BITS, SoftmaxUnit, powers
from hwmodels.rtl.structure import lane_logic, multiplier_chains, row_chains, table_inputs

TransformerUnit: TypeAlias = NormUnit | SoftmaxUnit | DynamicUnit | RotaryUnit | GateUnit

SHORTEST_CHAIN = 2
"""Bits of an adder that takes LUTs instead of a chain."""

SCALE = Factor(SCALE_BITS, signed=False)


@dataclass
class TransformerStructure:
    """Counts of one unit.

    Attributes:
        chains: length in carry bits of every carry chain. derived: LUTs on them.
        logic: bits outside chains, by (use, inputs).
        converters: what makes codes fixed point, by format: how many.
        products: factors of every product that DSP slices take; those of LUTs are in the other counts.
        registers: flip-flops outside of DSP slices.
    """

    chains: list[int] = field(default_factory=list)
    derived: int = 0
    logic: Counter[tuple[str, int]] = field(default_factory=Counter)
    converters: Counter[ElementFormat] = field(default_factory=Counter)
    products: list[tuple[Factor, Factor]] = field(default_factory=list)
    registers: int = 0

    def chain(self, length: int, luts: int | None = None) -> None:
        """Count an adder; `luts` None: a LUT for each bit."""
        self.derived += length if luts is None else luts
        if length > SHORTEST_CHAIN:
            self.chains.append(length)

    def repeat(self, lane: TransformerStructure, lanes: int) -> None:
        """Count `lanes` times what one lane is made of."""
        self.chains += lane.chains * lanes
        self.derived += lane.derived * lanes
        self.products += lane.products * lanes
        self.registers += lane.registers * lanes
        for key, count in lane.logic.items():
            self.logic[key] += count * lanes
        for fmt, count in lane.converters.items():
            self.converters[fmt] += count * lanes

    def compare(self, bits: int) -> None:
        """Count a comparator: two bits a LUT."""
        pairs = -(-bits // 2)
        self.chain(pairs + 1, pairs)

    def product(
        self, a: Factor, b: Factor, *, dsp: bool = False, registered: bool = True, same: bool = False, unused: int = 0
    ) -> None:
        """Count a product, with a register that a DSP slice takes in.

        Args:
            unused: low bits that nothing reads behind the register.
            same: both factors are one signal: a square.
        """
        bits, _ = multiplier_type(a, b)
        if dsp:
            self.products.append((a, b))
            return
        if a.bits + b.bits <= TABLE_BITS:
            pairs = [(k, k) for k in range(1 << a.bits)] if same else _pairs(a, b)
            read = [n for n in table_inputs([a.value(x) * b.value(y) for x, y in pairs], bits) if n]
            self.logic.update(("table", n) for n in read if n > 1)
            self.registers += len(read) * int(registered)
            return
        chains, luts = multiplier_chains(a, b)
        self.chains += chains
        self.derived += luts
        swap, _ = best_plan(a, b)
        self.logic["carry", 1] += len(chains) * int(not (b if swap else a).signed)
        self.registers += (bits - unused) * int(registered)

    def shift(self, have: int, amount_bits: int, low: int, want: int, *, signed: bool) -> None:
        """Count a window shifter."""
        for step in window_steps(have, amount_bits, low, want, signed=signed):
            self.logic.update(("shifter", n) for n in step.inputs)

    def converter(self, fmt: ElementFormat) -> None:
        """Count what makes a code of a format an integer."""
        self.converters[fmt] += 1
        self.chains += fixed_point_structure(fmt).chains

    def passes(self, control: Passes) -> None:
        """Count the control of a stage."""
        bits = control.count_bits
        for _ in range(2):  # counters of words: a bit that is only counted on passes the chain without a LUT
            self.chain(bits, 0)
        self.logic["reduce", 1] += 5 * bits  # first and last word of both, and whether the memory is full
        self.logic["stage", 1] += 1
        self.registers += control.registers

    def inverse(self, unit: InverseUnit) -> None:
        """Count a reciprocal or reciprocal root."""
        self.normalizer(unit.bits, MANTISSA.bits)
        table = guesses(unit.root)
        assert min(table) >> GUESS.bits - 1  # the top bit of a guess is always set
        self.logic.update(("table", n) for n in table_inputs(table, GUESS.bits - 1))
        assert len(table) == 1 << INDEX_BITS + int(unit.root)
        self.logic["operand", 5] += MANTISSA.bits * (2 if unit.root else 1)
        self.product(MANTISSA, GUESS, registered=False)
        self.registers += unit.registers - 1

    def normalizer(self, bits: int, keep: int) -> None:
        """Count what shifts a leading one to the top."""
        for places, width in normalizer_widths(bits, keep):
            self.logic["normalize", 3] += width
            self.logic["reduce", 1] += places


def _pairs(a: Factor, b: Factor) -> list[tuple[int, int]]:
    return [(x, y) for x in range(1 << a.bits) for y in range(1 << b.bits)]


@lru_cache(maxsize=4096)
def transformer_structure(unit: TransformerUnit) -> TransformerStructure:
    """The counts of a unit; they are not to be changed."""
    counts = TransformerStructure()
    match unit:
        case NormUnit():
            _norm(unit, counts)
        case SoftmaxUnit():
            _softmax(unit, counts)
        case DynamicUnit():
            _dynamic(unit, counts)
        case RotaryUnit():
            _rotary(unit, counts)
        case GateUnit():
            _gate(unit, counts)
    return counts


@lru_cache(maxsize=1024)
def inverse_structure(unit: InverseUnit) -> TransformerStructure:
    """The counts of a reciprocal or reciprocal root alone."""
    counts = TransformerStructure()
    counts.inverse(unit)
    return counts


def _total(counts: TransformerStructure, lanes: int, bits: int) -> None:
    chains, luts, _ = total_chains(lanes, bits)
    counts.chains += chains
    counts.derived += luts


def _norm(unit: NormUnit, counts: TransformerStructure) -> None:
    lanes, width, value = unit.lanes, unit.input_bits, unit.factor
    for _, _, control in unit.stages:
        counts.passes(control)
    lane = TransformerStructure()
    lane.converter(unit.format)
    if unit.centred:
        _total(counts, lanes, width)
        bits = unit.total_bits - unit.mean_fraction  # below them stand constants
        counts.chain(bits)
        constant, places = mean_constant(unit.channels)
        chains, luts = constant_chains(Factor(bits, signed=True), constant)
        counts.chains += chains
        counts.derived += luts
        mean = width + unit.mean_fraction + int(not unit.format.signed)
        divided = bits - max(places - unit.mean_fraction, 0) if constant == 1 else bits  # what wires cut off
        counts.registers += bits + divided + mean
        lane.chain(value.bits)
        lane.registers += value.bits
    lane.product(value, value, dsp=unit.dsp, same=True)
    lane.product(value, SCALE, dsp=unit.dsp)
    bits, signed = multiplier_type(value, SCALE)
    low = SCALE_BITS + unit.sum_bits // 2 - 1 - unit.fraction_bits
    lane.shift(bits, unit.inverse.zeros_bits - 1, low, unit.output_bits, signed=signed)
    lane.registers += unit.output_bits
    counts.repeat(lane, lanes)
    _total(counts, lanes, unit.square_bits)
    counts.chain(unit.sum_bits)
    counts.inverse(unit.inverse)
    counts.registers += unit.sum_bits + SCALE_BITS + unit.inverse.zeros_bits - 1


def _softmax(unit: SoftmaxUnit, counts: TransformerStructure) -> None:
    width, low = unit.input_bits, unit.sum_bits - 1
    for _, _, control in unit.stages:
        counts.passes(control)
    _largest(counts, unit.lanes, width)
    lane = TransformerStructure()
    lane.converter(unit.format)
    lane.chain(width)
    _power(unit, lane)
    lane.product(SCALE, SCALE, dsp=unit.dsp, unused=max(low - (1 << unit.amount_bits) + 1, 0))
    lane.shift(2 * SCALE_BITS, unit.amount_bits, low, SCALE_BITS, signed=False)
    lane.registers += width + SCALE_BITS
    counts.repeat(lane, unit.lanes)
    _total(counts, unit.lanes, POWER_BITS)
    counts.chain(unit.sum_bits)
    counts.inverse(unit.inverse)
    unread = unit.inverse.zeros_bits - unit.amount_bits
    counts.registers += 3 * width + unit.sum_bits + SCALE_BITS + unit.amount_bits - unread


def _power(unit: SoftmaxUnit, lane: TransformerStructure) -> None:
    """A table and a shifter, which are one table where they read six bits together."""
    fraction, octaves = unit.fraction, unit.octave_bits
    lane.logic["reduce", 1] += max(unit.input_bits - fraction - octaves, 0)
    lane.registers += POWER_BITS - int(fraction == 0)  # of 2^16 - 1, shifted, the lowest bit is always set
    if fraction + octaves <= TABLE_BITS:
        lane.logic["table", fraction + octaves] += POWER_BITS
        return
    lane.logic.update(("table", n) for n in table_inputs(powers(fraction), POWER_BITS))
    lane.shift(POWER_BITS, octaves, (1 << octaves) - 1, POWER_BITS, signed=False)
    lane.registers += POWER_BITS - 1  # Yosys reads a table into registers of its own; the top bit is always set


def _largest(counts: TransformerStructure, lanes: int, bits: int) -> None:
    """The largest of the lanes, and of a vector so far."""
    pair = TransformerStructure()
    pair.compare(bits)
    pair.logic["select", 3] += bits
    counts.repeat(pair, lanes - 1)
    counts.compare(bits)


def _dynamic(unit: DynamicUnit, counts: TransformerStructure) -> None:
    bits, places = unit.bits, unit.inverse.zeros_bits
    counts.passes(unit.passes)
    _largest(counts, unit.lanes, bits)
    counts.chain(bits, 0)  # the magnitude of the largest, counted on by its sign
    counts.logic["reduce", 1] += bits
    counts.registers += 3 * bits + places
    lane = TransformerStructure()
    lane.logic["key", 2] += bits - 1
    lane.shift(bits, places, 0, unit.operand.bits, signed=True)
    lane.registers += unit.operand.bits
    if unit.power_of_two:
        counts.normalizer(bits, 1)
    else:
        counts.inverse(unit.inverse)
        counts.chain(SCALE_BITS)
        counts.registers += SCALE_BITS
        lane.product(unit.operand, SCALE, dsp=unit.dsp, registered=False)
        lane.registers += bits * int(not unit.dsp)
    counts.repeat(lane, unit.lanes)


def _rotary(unit: RotaryUnit, counts: TransformerStructure) -> None:
    bits = unit.output_bits
    counts.passes(unit.passes)
    counts.registers += 2
    lane = TransformerStructure()
    lane.converter(unit.format)
    lane.logic["select", 3] += 2 * unit.input_bits
    for _ in range(2):
        lane.product(unit.factor, ANGLE, dsp=unit.dsp)
    lane.chain(bits + 1, bits)
    lane.registers += bits
    counts.repeat(lane, unit.lanes)


def _gate(unit: GateUnit, counts: TransformerStructure) -> None:
    counts.registers += 1
    lane, product = TransformerStructure(), unit.lane
    if product.most_shift == 0 and not product.negates:
        lane.product(factor(unit.first), factor(unit.second), dsp=unit.dsp)
    else:
        rows, lane.derived = row_chains(product)
        logic, amount = lane_logic(product)
        lane.derived += amount
        lane.chains += rows
        lane.logic.update(logic)
        lane.registers += unit.output_bits
        if product.negates:
            lane.chain(unit.output_bits + 1, unit.output_bits)
            _absorb(product, lane)
    counts.repeat(lane, unit.lanes)


def _absorb(product: Lane, lane: TransformerStructure) -> None:
    """Count the last logic bits of a product whose sign is applied on a chain apart: LUTs of the chain may read their inputs."""
    tabled = magnitude_bits(product.weight) + magnitude_bits(product.activation) <= TABLE_BITS
    uses = ("last",) if product.most_shift and not tabled else ("table", "signed_table", "significand")
    for use, inputs in list(lane.logic):
        if use in uses and inputs <= MOST_ABSORBED_INPUTS:
            lane.logic["absorbed", 1] += lane.logic.pop((use, inputs))
