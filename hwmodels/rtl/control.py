"""What moves a matrix-vector unit, as Verilog: counters over words, groups of rows and the matrix, handshakes, stalls.

The activations of a vector come once; each group of PE rows takes all of them again (FINN's order), later ones from the input
buffer. Everything stands still while a sum is not taken.
"""

from __future__ import annotations

from dataclasses import dataclass

from hwmodels.primitives.cost import ceil_log2
from hwmodels.rtl.verilog import RtlError, constant, module, vector

TOP = "control"

LATENCY = 4
"""Cycles from a word to the sum that it ends: registers of the memories, the products and the accumulator, and of the sum."""


@dataclass(frozen=True)
class ControlUnit:
    """The control of a unit that takes `words` words for each of `folds` groups of rows.

    Args:
        buffered: the words of a vector come once and are stored for the other groups; else each group has words of its own.

    Ports: clk, reset; in_valid, in_ready; out_valid, out_ready; move (the pipeline's clock enable), store and word (of the input
    buffer), address (of the matrix); enable and clear, a cycle later, of the accumulators.
    """

    words: int
    folds: int
    buffered: bool = True
    latency: int = LATENCY

    def __post_init__(self) -> None:
        if min(self.words, self.folds) < 1 or self.latency < 2:
            raise RtlError(f"a unit must have words, groups of rows and 2 cycles of latency, but got {self}.")

    @property
    def addresses(self) -> bool:
        """Whether the matrix has a counter of its own: its address is not that of the word, nor made of two counters."""
        return self.folds > 1 and self.words & (self.words - 1) != 0

    @property
    def counts(self) -> tuple[int, ...]:
        """How far each counter counts."""
        counts = [self.words, self.folds] if self.addresses or self.folds > 1 else [self.words]
        return tuple(count for count in [*counts, self.words * self.folds * self.addresses] if count > 1)


def control_verilog(unit: ControlUnit) -> str:
    """The text of a control, top module :data:`TOP`."""
    total = unit.words * unit.folds
    word, fold, place = (max(ceil_log2(count), 1) for count in (unit.words, unit.folds, total))
    ports = [
        "input wire clk",
        "input wire reset",
        "input wire in_valid",
        "output wire in_ready",
        "output wire out_valid",
    ]
    ports += ["input wire out_ready", "output wire move", "output wire store", f"output wire {vector(word)} word"]
    ports += [f"output wire {vector(place)} address", "output reg enable", "output reg clear"]
    first = "fold == 0" if unit.buffered and unit.folds > 1 else "1'b1"
    lines = [
        f"reg {vector(word)} at;",
        f"reg {vector(fold)} fold;",
        f"reg {vector(unit.latency)} done;",
        f"wire first = {first};",
        f"wire last = {_ends('at', unit.words, word)};",
        f"wire round = last & {_ends('fold', unit.folds, fold)};",
        f"assign out_valid = done[{unit.latency - 1}];",
        "assign move = ~out_valid | out_ready;",
        "assign in_ready = move & first;",
        "assign store = in_valid & in_ready;",
        "assign word = at;",
        "wire step = move & (~first | in_valid);",
        "always @(posedge clk) begin",
        "    if (move) clear <= at == 0;",
        "    if (reset) begin",
        "        at <= 0; fold <= 0; done <= 0; enable <= 0;",
        "    end else begin",
        "        if (move) enable <= step;",
        f"        if (move) done <= {{done[{unit.latency - 2}:0], step & last}};",
    ]
    if unit.words > 1:
        lines.append("        if (step) at <= last ? 0 : at + 1'b1;")
    if unit.folds > 1:
        lines.append("        if (step & last) fold <= round ? 0 : fold + 1'b1;")
    lines += ["    end", "end"]
    if unit.addresses:
        lines += [
            f"reg {vector(place)} counted;",
            "always @(posedge clk)",
            "    if (reset) counted <= 0;",
            "    else if (step) counted <= round ? 0 : counted + 1'b1;",
            "assign address = counted;",
        ]
    elif unit.folds > 1:
        lines.append("assign address = {fold, at};" if unit.words > 1 else "assign address = fold;")
    else:
        lines.append("assign address = at;")
    return module(TOP, ports, lines)


def _ends(name: str, count: int, bits: int) -> str:
    return f"({name} == {constant(count - 1, bits)})" if count > 1 else "1'b1"
