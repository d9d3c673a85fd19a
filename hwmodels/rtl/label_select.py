"""Label select as Verilog: the index of the largest of the last layer's sums, what FINN's LabelSelect does for the top 1.

PE sums arrive a cycle. A tree of comparators finds the largest of them, one more compares it with the largest so far. Of equal
sums the one with the lowest index wins, as in NumPy's argmax.
"""

from __future__ import annotations

from dataclasses import dataclass

from hwmodels.primitives.cost import ceil_log2
from hwmodels.rtl.comparator import at_least
from hwmodels.rtl.verilog import RtlError, add, constant, extended, module, vector

TOP = "label_select"
"""Module name of a unit."""


@dataclass(frozen=True)
class LabelUnit:
    """A unit that picks one of `labels` signed sums of `bits` bits, `pe` of them a cycle.

    Ports: clk, reset; in_data (sum 0 lowest), in_valid, in_ready; label, out_valid, out_ready.

    Raises:
        RtlError: fewer than two labels, or a `pe` that does not divide them.
    """

    bits: int
    labels: int
    pe: int = 1

    def __post_init__(self) -> None:
        if self.bits < 2 or self.labels < 2 or self.pe < 1 or self.labels % self.pe:
            raise RtlError(
                "label select reads at least 2 sums of at least 2 bits, and `pe` divides their number, but got "
                f"bits={self.bits}, labels={self.labels}, pe={self.pe}."
            )

    @property
    def words(self) -> int:
        """Cycles that the sums take."""
        return self.labels // self.pe

    @property
    def label_bits(self) -> int:
        """Width of an index."""
        return ceil_log2(self.labels)

    @property
    def aligned(self) -> bool:
        """Whether an index is the number of its word and, below it, the place in the word: no addition."""
        return self.pe & (self.pe - 1) == 0

    @property
    def counter_bits(self) -> int:
        """Bits of what counts: words, or the index of a word's first sum."""
        return ceil_log2(self.words) if self.aligned else self.label_bits if self.words > 1 else 0

    @property
    def adder_bits(self) -> int:
        """Bits of the adder that makes an index of a word's first and the place in the word."""
        return self.label_bits if self.words > 1 and not self.aligned else 0

    @property
    def registers(self) -> int:
        """Flip-flops: the label and its valid bit; the largest sum and the counter where sums take several cycles. Derived."""
        return self.label_bits + 1 + (self.bits + self.counter_bits if self.words > 1 else 0)


@dataclass(frozen=True)
class _Node:
    """The largest of some sums: the wire of its value, and the bits of its place, lowest first."""

    value: str
    place: tuple[str, ...]


def label_select_verilog(unit: LabelUnit) -> str:
    """The whole synthesizable text of a unit, top module :data:`TOP`."""
    bits, wide = unit.bits, unit.label_bits
    ports = ["input wire clk", "input wire reset", f"input wire {vector(bits * unit.pe)} in_data"]
    ports += ["input wire in_valid", "output wire in_ready"]
    ports += [f"output reg {vector(wide)} label", "output reg out_valid", "input wire out_ready"]
    lines = [f"wire {vector(bits)} s{i} = in_data[{bits * i + bits - 1}:{bits * i}];" for i in range(unit.pe)]
    level = [_Node(f"s{i}", ()) for i in range(unit.pe)]
    depth = 0
    while len(level) > 1:
        above = []
        for i in range(0, len(level) - 1, 2):
            more, node = _larger(f"n{depth}_{i // 2}", level[i], level[i + 1], bits, depth)
            lines += more
            above.append(node)
        above += [_Node(node.value, (*node.place, "1'b0")) for node in level[len(level) & ~1 :]]
        level, depth = above, depth + 1
    best = level[0]
    place = f"{{{', '.join(reversed(best.place))}}}" if best.place else ""
    lines += ["assign in_ready = out_ready | ~out_valid;", "wire go = in_valid & in_ready;"]
    if unit.words == 1:
        lines += [
            "always @(posedge clk) if (reset) out_valid <= 1'b0; else if (in_ready) out_valid <= in_valid;",
            f"always @(posedge clk) if (in_ready) label <= {place};",
        ]
        return module(TOP, ports, lines)
    return module(TOP, ports, [*lines, *_over_words(unit, best, place)])


def _larger(name: str, left: _Node, right: _Node, bits: int, depth: int) -> tuple[list[str], _Node]:
    """Lines and node of the larger of two; `depth` bits say where it stands in each."""
    lines = at_least(f"{name}_keep", left.value, right.value, bits, signed=True)
    lines.append(f"wire {vector(bits)} {name} = {name}_keep ? {left.value} : {right.value};")
    place = []
    for i in range(depth):
        lines.append(f"wire {name}_p{i} = {name}_keep ? {left.place[i]} : {right.place[i]};")
        place.append(f"{name}_p{i}")
    return lines, _Node(name, (*place, f"~{name}_keep"))


def _over_words(unit: LabelUnit, best: _Node, place: str) -> list[str]:
    """The largest of all words: the largest so far, its label, and a counter."""
    bits, wide, count = unit.bits, unit.label_bits, unit.counter_bits
    step, last = (1, unit.words - 1) if unit.aligned else (unit.pe, unit.labels - unit.pe)
    lines = [
        f"reg {vector(bits)} largest;",
        f"reg {vector(count)} count;",
        f"wire first = count == {constant(0, count)};",
        f"wire last = count == {constant(last, count)};",
        *at_least("kept", "largest", best.value, bits, signed=True),
        "wire take = go & (first | ~kept);",
        f"always @(posedge clk) if (take) largest <= {best.value};",
        f"always @(posedge clk) if (reset | go & last) count <= {constant(0, count)}; "
        f"else if (go) count <= count + {constant(step, count)};",
        "always @(posedge clk) if (reset) out_valid <= 1'b0; else if (in_ready) out_valid <= in_valid & last;",
    ]
    if unit.aligned:
        index = f"{{count, {place}}}" if place else "count"
    else:
        index = "index"
        lines += add("index", wide, "count", extended(place, len(best.place), wide, signed=False))
    return [*lines, f"always @(posedge clk) if (take) label <= {index};"]
