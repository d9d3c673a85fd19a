"""An online block Hadamard transform as Verilog: butterflies of additions and subtractions, exact, not normalized.

y = H x with the Sylvester matrix of `block` rows in natural order; 1 / sqrt(block) is left to the scale of what follows. A
value grows by one bit a stage. With fewer lanes than the block is long, the words of a block come one after the other: stages
between words delay half a group and use one adder and one subtractor a lane (a single-path delay feedback pipeline, Wold and
Despain 1984), and stand before those within a word, so that delays and doubled adders are narrow.
"""

from __future__ import annotations

from dataclasses import dataclass

from hwmodels.rtl.verilog import RtlError, add, extended, module, vector

TOP = "hadamard"
"""Module name of a transform."""

MOST_BLOCK, MOST_BITS = 1024, 1024


@dataclass(frozen=True)
class HadamardUnit:
    """A transform of blocks of `block` values (a power of two), `lanes` of them a cycle (a power of two, at most `block`).

    Args:
        bits, signed: of the values.

    Ports: clk; enable (the cycle counts); with fewer lanes than the block, start (with enable: the first word of a block, which
    follows on the last of the one before); x and y, lane 0 in the lowest bits, y in two's complement. A word leaves
    :attr:`latency` enabled cycles after it came.
    """

    block: int
    bits: int
    lanes: int
    signed: bool = True

    def __post_init__(self) -> None:
        if not (2 <= self.block <= MOST_BLOCK and self.block.bit_count() == 1):
            raise RtlError(f"`block` must be a power of two from 2 to {MOST_BLOCK}, but got block={self.block}.")
        if not (1 <= self.lanes <= self.block and self.lanes.bit_count() == 1):
            raise RtlError(f"`lanes` must be a power of two of at most block={self.block}, but got lanes={self.lanes}.")
        if not 1 <= self.bits <= MOST_BITS:
            raise RtlError(f"`bits` must be 1 to {MOST_BITS}, but got bits={self.bits}.")

    @property
    def words(self) -> int:
        """Cycles that a block takes."""
        return self.block // self.lanes

    @property
    def latency(self) -> int:
        """Enabled cycles from a word's input to its output: the delays, and a register behind each stage."""
        return self.words - 1 + self.block.bit_length() - 1

    @property
    def input_bits(self) -> int:
        """Width of a value as two's complement."""
        return self.bits + int(not self.signed)

    @property
    def output_bits(self) -> int:
        """Width of a result."""
        return self.input_bits + self.block.bit_length() - 1


def hadamard_verilog(unit: HadamardUnit) -> str:
    """The whole synthesizable text of a unit, top module :data:`TOP`."""
    width, lanes = unit.input_bits, unit.lanes
    ports = ["input wire clk", "input wire enable"] + ["input wire start"] * (unit.words > 1)
    ports += [f"input wire {vector(unit.bits * lanes)} x", f"output wire {vector(unit.output_bits * lanes)} y"]
    lines = []
    for i in range(lanes):
        part = f"x[{unit.bits * (i + 1) - 1}:{unit.bits * i}]"
        lines.append(f"wire {vector(unit.bits)} i{i} = {part};")
        lines.append(f"wire {vector(width)} s0_{i} = {extended(f'i{i}', unit.bits, width, signed=unit.signed)};")
    stage, late = 0, 0
    if unit.words > 1:
        count = unit.words.bit_length() - 1
        lines += [
            f"reg {vector(count)} count;",
            f"wire {vector(count)} word = count & {{{count}{{~start}}}};",
            "always @(posedge clk) if (enable) count <= word + 1'b1;",
        ]
    delay = unit.words // 2
    while delay:
        # where in its group of 2 * delay words the word at this stage stands
        lines.append(f"wire {vector(count)} at{stage} = word - {count}'d{late % unit.words};")
        lines.append(f"wire second{stage} = at{stage}[{delay.bit_length() - 1}];")
        for i in range(lanes):
            lines += _across(stage, i, width, delay)
        stage, late, width, delay = stage + 1, late + delay + 1, width + 1, delay // 2
    distance = 1
    while distance < lanes:
        for i in range(lanes):
            if not i & distance:
                lines += _within(stage, i, i | distance, width)
        stage, width, distance = stage + 1, width + 1, 2 * distance
    lines.append("assign y = {" + ", ".join(f"s{stage}_{i}" for i in reversed(range(lanes))) + "};")
    return module(TOP, ports, lines)


def _across(stage: int, lane: int, width: int, delay: int) -> list[str]:
    """A butterfly between words `delay` apart: sums leave in the second half of a group, differences wait for the next."""
    wide, name = width + 1, f"{stage}_{lane}"
    lines = [f"reg {vector(wide * delay)} line{name};"]
    lines.append(f"wire {vector(wide)} old{name} = line{name}[{wide * delay - 1}:{wide * (delay - 1)}];")
    lines.append(f"wire {vector(wide)} new{name} = {extended(f's{name}', width, wide, signed=True)};")
    second = f"{{{wide}{{second{stage}}}}}"
    lines += add(f"out{name}", wide, f"old{name}", f"(new{name} & {second})", keep=True)
    # old - new in the second half, new in the first
    lines += add(f"in{name}", wide, f"(old{name} & {second})", f"(new{name} ^ {second})", f"second{stage}", keep=True)
    rest = f"line{name}[{wide * (delay - 1) - 1}:0], " if delay > 1 else ""
    lines.append(f"always @(posedge clk) if (enable) line{name} <= {{{rest}in{name}}};")
    return [*lines, *_registered(stage, lane, wide, f"out{name}")]


def _within(stage: int, first: int, second: int, width: int) -> list[str]:
    """A butterfly between two lanes."""
    wide = width + 1
    a, b = (extended(f"s{stage}_{lane}", width, wide, signed=True) for lane in (first, second))
    lines = add(f"sum{stage}_{first}", wide, a, b, keep=True)
    lines += add(f"dif{stage}_{first}", wide, a, f"~{b}", "1'b1", keep=True)
    lines += _registered(stage, first, wide, f"sum{stage}_{first}")
    return lines + _registered(stage, second, wide, f"dif{stage}_{first}")


def _registered(stage: int, lane: int, bits: int, source: str) -> list[str]:
    name = f"s{stage + 1}_{lane}"
    return [f"reg {vector(bits)} {name};", f"always @(posedge clk) if (enable) {name} <= {source};"]
