"""How many LUT6 sites a netlist of LUTs needs: two small ones share a site (LUT6_2) where the hardware allows it.

A LUT6 has two outputs, O6 and O5; used as two functions they share five inputs (UG474 and UG574, "Look-up table"). In front
of a carry chain O6 is taken by the select input S of one bit, and O5 can only be that bit's data input DI: the slice's
multiplexer that could lead O5 out is needed for the sum. So a LUT that drives S pairs with the LUT of its own DI or with none.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

Net: TypeAlias = int
SHARED_INPUTS = 5


@dataclass(frozen=True, slots=True)
class Lut:
    """One LUT of the netlist: the nets it reads and the one it drives."""

    inputs: frozenset[Net]
    output: Net


def _fit(first: Lut, second: Lut) -> bool:
    return len(first.inputs | second.inputs) <= SHARED_INPUTS


def packed_sites(luts: Sequence[Lut], carries: Sequence[tuple[Net | None, Net | None]]) -> int:
    """LUT6 sites after pairing.

    Args:
        luts: all LUTs of the netlist.
        carries: (S, DI) nets of every bit of every carry chain; None where a bit is constant.

    The pairs before carry chains are forced. The others are matched greedily: a LUT takes the partner that shares most
    of its inputs, so that partners are local as in a placed design; LUTs with most inputs choose first.
    """
    by_output = {lut.output: lut for lut in luts}
    select = {s for s, _ in carries}
    paired: set[Net] = set()
    for s, data in carries:
        if s is None or data is None or s not in by_output or data not in by_output or data in select:
            continue
        if not {s, data} & paired and _fit(by_output[s], by_output[data]):
            paired |= {s, data}
    free = [lut for lut in luts if lut.output not in select and lut.output not in paired]
    return len(luts) - len(paired) // 2 - _greedy_pairs(free)


def _greedy_pairs(luts: Sequence[Lut]) -> int:
    free = {lut.output: lut for lut in luts if len(lut.inputs) <= SHARED_INPUTS}
    readers: Mapping[Net, list[Net]] = defaultdict(list)
    for lut in sorted(free.values(), key=lambda lut: lut.output):
        for net in lut.inputs:
            readers[net].append(lut.output)
    pairs = 0
    lonely = []
    for lut in sorted(free.values(), key=lambda lut: (-len(lut.inputs), lut.output)):
        if lut.output not in free:
            continue
        shared: dict[Net, int] = defaultdict(int)
        for net in sorted(lut.inputs):
            for reader in readers[net]:
                if reader != lut.output and reader in free:
                    shared[reader] += 1
        fitting = [(-count, reader) for reader, count in shared.items() if _fit(lut, free[reader])]
        del free[lut.output]
        if fitting:
            del free[min(fitting)[1]]
            pairs += 1
        else:
            lonely.append(lut)
    return pairs + _pairs_without_sharing([len(lut.inputs) for lut in lonely])


def _pairs_without_sharing(sizes: list[int]) -> int:
    """Pairs among LUTs that share no input: the largest with the smallest while both fit."""
    sizes = sorted(sizes)
    pairs = low = 0
    high = len(sizes) - 1
    while low < high:
        if sizes[low] + sizes[high] <= SHARED_INPUTS:
            pairs += 1
            low += 1
        high -= 1
    return pairs
