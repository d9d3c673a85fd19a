"""What a dot-product unit is made of, read off the generator: bits on carry chains, and logic bits by how many signals they read.

The counts are exact statements about the Verilog (derived); what synthesis makes of them, how many LUT6 a logic bit of four
inputs takes when two may share a site, is what the fit of :mod:`hwmodels.dot_product` answers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache

import numpy as np

from hwmodels.datapath import Overflow
from hwmodels.formats import Minifloat
from hwmodels.primitives.operands import max_shift
from hwmodels.rtl.aligner import field_shift, stages
from hwmodels.rtl.lane import Lane, factor, integer_of, magnitude_bits
from hwmodels.rtl.multiplier import TABLE_BITS, Factor, Step, best_plan, multiplier_type, running_widths
from hwmodels.rtl.tree import Tree

Logic = Mapping[tuple[str, int], int]
"""Number of logic bits by (what they are for, how many signals each reads)."""


@dataclass(frozen=True)
class Structure:
    """Counts of one unit.

    Attributes:
        chains: length in carry bits of every carry chain.
        chain_luts: bits on chains that need a LUT6 of their own: neither a carry that enters below the lowest bit, nor a top
            bit that only repeats the sign.
        row_chains: chains of multiplier rows among `chains`.
        amount_bits: bits of adders of two exponents, which are too short for chains to matter.
        logic: bits outside chains. Uses: `table` (a whole lane), `signed_table` (one whose sign is applied in the tree),
            `significand` (a product that goes on to a shifter), `gate` (the same where one factor is a single bit), `exponent`
            (shift amounts), `shifter`, `last` (the last stage of the shifter, in front of the adder tree), `clamp` (saturation).
    """

    chains: tuple[int, ...]
    chain_luts: int
    row_chains: int
    amount_bits: int
    logic: Logic


def unit_structure(lane: Lane, lanes: int, bits: int, overflow: Overflow) -> Structure:
    """The counts of `lanes` lanes, their tree, and an accumulator of `bits` bits."""
    rows, row_luts = row_chains(lane)
    logic, amount = lane_logic(lane)
    adders, adder_luts, carry = _tree_chains(lane, lanes)
    if overflow is Overflow.SATURATE:
        width, signed = Tree(lane, lanes).type
        register = max(bits, width + int(not signed)) + 1
    else:
        register = bits
    amounts = (amount,) * lanes if amount else ()
    return Structure(
        chains=rows * lanes + amounts + adders + (register + carry,),
        chain_luts=row_luts * lanes + adder_luts + register,
        row_chains=len(rows) * lanes,
        amount_bits=amount * lanes,
        logic={key: count * lanes for key, count in logic.items()}
        | ({("clamp", 3): bits} if overflow is Overflow.SATURATE else {}),
    )


def pipeline_bits(lane: Lane) -> int:
    """Flip-flops of the register behind the multiplier of one lane: product or table, sign, shift amount."""
    if _uses_table(lane):
        return lane.type[0] + int(lane.negates)
    product = multiplier_type(factor(lane.weight), factor(lane.activation))[0]
    return product + int(lane.negates) + lane.most_shift.bit_length()


def _uses_table(lane: Lane) -> bool:
    return magnitude_bits(lane.weight) + magnitude_bits(lane.activation) <= TABLE_BITS


@lru_cache(maxsize=4096)
def row_chains(lane: Lane) -> tuple[tuple[int, ...], int]:
    """(lengths of the chains, LUTs on them) of the rows of one lane's multiplier."""
    return ((), 0) if _uses_table(lane) else multiplier_chains(factor(lane.weight), factor(lane.activation))


def multiplier_chains(a: Factor, b: Factor) -> tuple[tuple[int, ...], int]:
    """As :func:`row_chains`, of the product of two integers."""
    if a.bits + b.bits <= TABLE_BITS or min(a.bits, b.bits) == 1:
        return (), 0
    swap, rows = best_plan(a, b)
    multiplicand, multiplier = (b, a) if swap else (a, b)
    widths = running_widths(rows, multiplicand, multiplier)
    lengths, luts = [], 0
    for below, row, (have, _), (width, _) in zip(rows, rows[1:], widths, widths[1:], strict=False):
        negated = row.step is Step.SIGN or (row.step is Step.DIGIT and row.reads[0] is not None)
        # above both summands' own bits the sum only repeats what is there: the sign, or a carry that needs no LUT
        own = min(width, max(have - (row.position - below.position), multiplicand.bits + int(row.step is Step.DIGIT)))
        lengths.append(width + 1 if negated else own if multiplicand.signed else width)
        luts += own
    return tuple(lengths), luts


def _tree_chains(lane: Lane, lanes: int) -> tuple[tuple[int, ...], int, int]:
    """(lengths of the chains, LUTs on them, carries left over) of the adder tree."""
    type_of = cache(Tree(lane, lanes, lane.limit).type_of)  # most nodes of a level are alike
    lengths, luts = [], 0
    level = [(1, int(lane.negates))] * lanes
    while len(level) > 1:
        above = []
        for first, second in zip(level[::2], level[1::2], strict=False):
            count, carries = first[0] + second[0], first[1] + second[1]
            used = min(carries, 1)
            width = type_of(count, carries - used)[0]
            lengths.append(width + used)
            luts += min(width, max(type_of(*first)[0], type_of(*second)[0]))
            above.append((count, carries - used))
        level = above + level[len(level) & ~1 :]
    return tuple(lengths), luts, level[0][1]


@lru_cache(maxsize=4096)
def lane_logic(lane: Lane) -> tuple[Logic, int]:
    """(logic bits, bits of the exponent adder or 0) of one lane."""
    logic: Counter[tuple[str, int]] = Counter()
    if _uses_table(lane):
        use = "signed_table" if lane.negates else "table"
        narrow = magnitude_bits(lane.activation)
        values = [
            (integer_of(lane.weight, key >> narrow) * integer_of(lane.activation, key & ((1 << narrow) - 1)))
            >> lane.dropped
            for key in range(1 << magnitude_bits(lane.weight) + narrow)
        ]
        logic.update((use, inputs) for inputs in table_inputs(values, lane.type[0]))
        return logic, 0
    a, b = factor(lane.weight), factor(lane.activation)
    shifted = lane.most_shift > 0
    use = "significand" if shifted else "signed_table" if lane.negates else "table"
    if min(a.bits, b.bits) == 1:
        logic["gate" if shifted else use, 2] += max(a.bits, b.bits)
    elif a.bits + b.bits <= TABLE_BITS:
        logic.update((use, inputs) for inputs in table_inputs(_product_values(a, b), multiplier_type(a, b)[0]))
    if not shifted:
        return logic, 0
    amount = _amount_logic(lane, logic)
    width, signed = multiplier_type(a, b)
    wanted = set(range(lane.dropped, min(width + lane.most_shift, lane.dropped + lane.type[0])))
    for i, stage in enumerate(shifter_stages(width, lane.most_shift, wanted, signed=signed)):
        logic.update(("shifter" if i else "last", inputs) for inputs in stage)
    return logic, amount


def _product_values(a: Factor, b: Factor) -> list[int]:
    return [a.value(key >> b.bits) * b.value(key & ((1 << b.bits) - 1)) for key in range(1 << a.bits + b.bits)]


def _amount_logic(lane: Lane, logic: Counter[tuple[str, int]]) -> int:
    """Count the tables of the shift amount; return the bits of the adder behind them, or 0."""
    formats = [fmt for fmt in (lane.weight, lane.activation) if isinstance(fmt, Minifloat) and max_shift(fmt)]
    bits = lane.most_shift.bit_length()
    if sum(fmt.exponent_bits for fmt in formats) <= TABLE_BITS:
        values = [0]
        for fmt in formats:
            values = [v + field_shift(fmt, field) for v in values for field in range(1 << fmt.exponent_bits)]
        logic.update(("exponent", inputs) for inputs in table_inputs(values, bits))
        return 0
    for fmt in formats:
        values = [field_shift(fmt, field) for field in range(1 << fmt.exponent_bits)]
        logic.update(("exponent", inputs) for inputs in table_inputs(values, fmt.exponent_bits))
    return bits if len(formats) > 1 else 0


def table_inputs(values: Sequence[int], bits: int) -> Iterator[int]:
    """How many bits of the key each of the low `bits` bits of a table's values depends on."""
    table = np.array([[value >> i & 1 for value in values] for i in range(bits)], dtype=np.uint8)
    for row in table:
        halves = (row.reshape(-1, 2, 1 << i) for i in range((len(values) - 1).bit_length()))
        yield sum(bool((half[:, 0] != half[:, 1]).any()) for half in halves)


def shifter_inputs(bits: int, most: int, wanted: set[int], *, signed: bool) -> Iterator[int]:
    """How many signals each multiplexer of a shifter reads; arguments as of :func:`shifter_stages`."""
    for stage in shifter_stages(bits, most, wanted, signed=signed):
        yield from stage


def shifter_stages(bits: int, most: int, wanted: set[int], *, signed: bool) -> Iterator[list[int]]:
    """How many signals the multiplexers of each stage read, from the last stage back: only bits that are asked for exist.

    Args:
        bits: width of what is shifted, by up to `most` places.
        wanted: bits of the result.
    """
    steps = stages(bits, most)
    for stage in reversed(steps):
        needed: set[int] = set()
        inputs: list[int] = []
        for bit in wanted:
            sources = [_source(bit - (step << stage.low), stage.have, signed=signed) for step in range(stage.choices)]
            found = {source for source in sources if source is not None}
            needed |= found
            if len(set(sources)) > 1:
                inputs.append(len(found) + _selects(sources))
        yield inputs
        wanted = needed


def _source(bit: int, have: int, *, signed: bool) -> int | None:
    """The bit of the stage's input that stands at `bit`, or None for a constant zero."""
    if bit < 0 or (bit >= have and not signed):
        return None
    return min(bit, have - 1)


def _selects(sources: Sequence[int | None]) -> int:
    """How many select signals a choice of two to four sources depends on."""
    zero, one, *high = sources
    if not high:
        return 1
    two, three = high[0], high[-1]
    by_low = zero != one or two != three
    by_high = (zero, one) != (two, three)
    return int(by_high) + int(by_low)
