"""What zero paddings and label selections are made of, read off their generators: counts that forms weigh, carry chains."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from hwmodels.primitives.cost import ceil_div, ceil_log2
from hwmodels.rtl.label_select import LabelUnit
from hwmodels.rtl.padding import PadUnit

LEAST_CHAIN = 3
"""Bits of the shortest counter or index that Yosys adds on a carry chain (read off the table)."""


def padding_features(unit: PadUnit) -> Mapping[str, float]:
    """The unit, bits of its counters, and directions with zeros.

    What a counter's bit takes beside the chain are the comparisons with the places where something changes; how many LUTs they
    share depends on these numbers, by a LUT or two.
    """
    return {
        "padding": 1,
        "padding/counter": sum(ceil_log2(span.length) for span in unit.counted),
        "padding/direction": sum(span.pads for span in unit.counted),
    }


def padding_chains(unit: PadUnit) -> tuple[int, ...]:
    """Length of every carry chain: the counters."""
    return _chains(ceil_log2(span.length) for span in unit.counted)


def label_features(unit: LabelUnit) -> Mapping[str, float]:
    """What compares and selects sums, what selects places in a word, the unit itself, and the counter of words with its adder.

    A comparison takes a LUT6 for two bits, and so does the selection of one of two sums; of the last two of a frame none is
    selected. The adder behind the counter has LUTs where it adds a place, above that it only carries.
    """
    folded = unit.words > 1
    comparisons, selections = unit.pe - 1 + folded, unit.pe - 1 - (not folded)
    return {
        "label/sum": (comparisons + selections) * unit.bits / 2,
        "label/place": sum(depth * nodes for depth, nodes in enumerate(tree_nodes(unit.pe))),
        "label": 1,
        "label/counter": unit.counter_bits,
        "label/adder": len(tree_nodes(unit.pe)) if unit.adder_bits else 0,
    }


def tree_nodes(leaves: int) -> tuple[int, ...]:
    """Nodes of each level of a tree of `leaves` leaves, lowest first."""
    nodes = []
    while leaves > 1:
        nodes.append(leaves // 2)
        leaves = ceil_div(leaves, 2)
    return tuple(nodes)


def label_chains(unit: LabelUnit) -> tuple[int, ...]:
    """Length of every carry chain: comparisons of two bits a place, the counter, the adder."""
    comparisons = (ceil_div(unit.bits, 2) + 1,) * (unit.pe - 1 + (unit.words > 1))
    return comparisons + _chains((unit.counter_bits, unit.adder_bits))


def _chains(widths: Iterable[int]) -> tuple[int, ...]:
    return tuple(bits for bits in widths if bits >= LEAST_CHAIN)
