"""What a Hadamard transform is made of, read off its generator: the counterpart of :mod:`hwmodels.rtl.structure`."""

from __future__ import annotations

from dataclasses import dataclass

from hwmodels.rtl.hadamard import HadamardUnit

SHORTEST_CHAIN = 2
"""Bits of an adder that takes LUTs instead of a chain."""


@dataclass(frozen=True)
class HadamardStructure:
    """Counts of one unit.

    Attributes:
        chains: length in carry bits of every carry chain. chain_luts: bits on them that need a LUT6 of their own.
        counter_bits: of the counter of words.
        registers: flip-flops behind the stages and of the counter.
        delays: (words, bits of a word) of every delay line.
    """

    chains: tuple[int, ...]
    chain_luts: int
    counter_bits: int
    registers: int
    delays: tuple[tuple[int, int], ...]


def hadamard_structure(unit: HadamardUnit) -> HadamardStructure:
    """The counts of a unit: between words an adder and a subtractor for every lane and stage, within a word half of them."""
    counter = unit.words.bit_length() - 1
    width, registers = unit.input_bits, counter
    chains = [counter] if counter > SHORTEST_CHAIN else []
    luts, delays, late = 0, [], 0
    for stage in range(unit.block.bit_length() - 1):
        wide, across = width + 1, stage < counter
        # where in its group a stage stands: the counter less a constant, whose low zeros take no part
        place = counter - stage
        if across and late % (1 << place) and place - ((late & -late).bit_length() - 1) > SHORTEST_CHAIN:
            chains.append(place)
        late += (unit.words >> stage + 1) + 1
        pairs = unit.lanes if across else unit.lanes // 2
        # sums of unsigned values alone are never negative: a bit less of each, if they are always the same ones
        positive = 0 if unit.signed or counter else pairs >> stage
        chains += [wide, wide + int(across)] * (pairs - positive)  # a carry that is not constant takes a bit of its own
        chains += [width, width] * positive
        # within a word the top bit only repeats the sign
        luts += 2 * (wide if across else width) * pairs - 2 * positive
        registers += wide * unit.lanes - positive
        if across:
            delays.append((unit.words >> stage + 1, wide * unit.lanes))
        width = wide
    return HadamardStructure(tuple(chains), luts, counter, registers, tuple(delays))
