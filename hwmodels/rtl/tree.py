"""A binary adder tree over the lanes that also applies their signs.

-v is the complement of v plus one. The complement of a summand costs nothing, because the XOR joins the adder's own XOR in
one LUT; the ones of N lanes go to the carry inputs of the N - 1 adders of the tree and of the accumulator behind it. Widths
are the narrowest that hold every sum, with the ones that are still missing counted in.
"""

from __future__ import annotations

from dataclasses import dataclass

from hwmodels.rtl.lane import Lane
from hwmodels.rtl.multiplier import signed_bits
from hwmodels.rtl.verilog import add, extended, module, vector


@dataclass(frozen=True, slots=True)
class Node:
    """A partial sum: its signal, how many lanes it holds, and the carries that are still to be added to it."""

    name: str
    lanes: int
    carries: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Tree:
    """The adder tree of `lanes` equal lanes; sums are taken modulo 2^limit where a limit is given."""

    lane: Lane
    lanes: int
    limit: int | None = None

    @property
    def summand_range(self) -> tuple[int, int]:
        """Smallest and largest value of one lane, negated or not."""
        low, high = self.lane.magnitude_range
        return (min(low, -high), max(high, -low)) if self.lane.negates else (low, high)

    def type_of(self, lanes: int, carries: int) -> tuple[int, bool]:
        """(bits, signed) of a sum of so many lanes that lacks so many ones."""
        low, high = self.summand_range
        bits, signed = signed_bits(lanes * low - carries, lanes * high)
        return (bits if self.limit is None else min(bits, self.limit)), signed

    @property
    def type(self) -> tuple[int, bool]:
        """(bits, signed) of the whole sum."""
        return self.type_of(self.lanes, int(self.lane.negates))


def tree_module(name: str, tree: Tree) -> str:
    """Verilog of the tree: ports y (all lanes' integers, lane 0 lowest), n (their signs) and c (the one left over), sum."""
    width, _ = tree.lane.type
    bits, _ = tree.type
    ports = [f"input wire {vector(width * tree.lanes)} y", f"output wire {vector(bits)} sum"]
    if tree.lane.negates:
        ports += [f"input wire {vector(tree.lanes)} n", "output wire c"]
    lines: list[str] = []
    level = [_leaf(tree, i, lines) for i in range(tree.lanes)]
    count = 0
    while len(level) > 1:
        above = []
        for first, second in zip(level[::2], level[1::2], strict=False):
            above.append(_add(tree, f"a{count}", first, second, lines))
            count += 1
        level = above + level[len(level) & ~1 :]
    root = level[0]
    lines.append(f"assign sum = {root.name};")
    lines += [f"assign c = {carry};" for carry in root.carries]
    return module(name, ports, lines)


def _leaf(tree: Tree, index: int, lines: list[str]) -> Node:
    width, signed = tree.lane.type
    part = f"y[{index * width + width - 1}:{index * width}]"
    lines.append(f"wire {vector(width)} y{index} = {part};")
    if not tree.lane.negates:
        return Node(f"y{index}", 1, ())
    bits, _ = tree.type_of(1, 1)
    lines.append(
        f"wire {vector(bits)} l{index} = {{{bits}{{n[{index}]}}}} ^ {extended(f'y{index}', width, bits, signed=signed)};"
    )
    return Node(f"l{index}", 1, (f"n[{index}]",))


def _add(tree: Tree, name: str, first: Node, second: Node, lines: list[str]) -> Node:
    carry, *rest = (*first.carries, *second.carries) or (None,)
    lanes = first.lanes + second.lanes
    bits, _ = tree.type_of(lanes, len(rest))
    types = [tree.type_of(node.lanes, len(node.carries)) for node in (first, second)]
    left, right = (
        extended(node.name, have, bits, signed=signed)
        for node, (have, signed) in zip((first, second), types, strict=True)
    )
    lines += add(name, bits, left, right, carry, keep=True)
    return Node(name, lanes, tuple(one for one in rest if one is not None))
