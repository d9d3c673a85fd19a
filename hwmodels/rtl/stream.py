"""What lies between operators, as Verilog: FIFOs, width converters, and the fork of a stream.

Streams are ready / valid: a word is handed over in a cycle in which both are 1, and an offer stands until it is taken. What a
unit gives comes from a register.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import lcm

from hwmodels.primitives.cost import ceil_div, ceil_log2
from hwmodels.rtl.verilog import RtlError, constant, module, vector

TOP = "stream"
"""Module name of a unit."""

LEAST_WORDS = 2
"""Words of the least FIFO, which only decouples two operators: with it neither side's handshake reaches the other's."""

LINE_WORDS = 32
"""Words of one bit that a LUT holds as a shift register."""

FIFO_KINDS = ("registers", "srl", "block")


@dataclass(frozen=True)
class FifoUnit:
    """A FIFO of words of `width` bits, in two registers, or for at least `depth` words in shift registers or block memory."""

    width: int
    depth: int
    kind: str

    def __post_init__(self) -> None:
        if self.kind not in FIFO_KINDS or self.width < 1 or self.depth < LEAST_WORDS:
            raise RtlError(
                f"a FIFO must be of {', '.join(FIFO_KINDS)}, at least 1 bit wide and {LEAST_WORDS} words deep, but got {self}."
            )
        if self.kind == "registers" and self.depth > LEAST_WORDS:
            raise RtlError(
                f"a FIFO of registers holds {LEAST_WORDS} words, but got depth={self.depth}; use srl or block."
            )


@dataclass(frozen=True)
class ConverterUnit:
    """A converter of words of `in_width` bits into words of `out_width` bits, low bits first, through their common multiple."""

    in_width: int
    out_width: int

    def __post_init__(self) -> None:
        if min(self.in_width, self.out_width) < 1 or self.in_width == self.out_width:
            raise RtlError(f"a converter must be between two widths, but got {self.in_width} and {self.out_width}.")


@dataclass(frozen=True)
class DuplicateUnit:
    """A stream of `width` bits given to `copies` consumers, each of which takes its word when it can."""

    width: int
    copies: int

    def __post_init__(self) -> None:
        if self.width < 1 or self.copies < 2:
            raise RtlError(f"a fork must have a width and at least 2 copies, but got {self}.")


StreamUnit = FifoUnit | ConverterUnit | DuplicateUnit


def stream_verilog(unit: StreamUnit) -> str:
    """The text of a unit, top module :data:`TOP`.

    Ports: clk, reset; in_valid, in_ready, in_data; out_valid, out_ready (a bit per copy), out_data.
    """
    match unit:
        case FifoUnit(kind="registers"):
            return _module(TOP, unit.width, unit.width, _registers(unit))
        case FifoUnit(kind="srl"):
            return _module(TOP, unit.width, unit.width, _srl(unit))
        case FifoUnit():
            return _module(TOP, unit.width, unit.width, _block(unit))
        case ConverterUnit():
            return _converter(unit)
        case DuplicateUnit():
            return _module(TOP, unit.width, unit.width, _duplicate(unit), unit.copies)


def _module(name: str, in_width: int, out_width: int, body: list[str], copies: int = 1) -> str:
    ports = ["input wire clk", "input wire reset", "input wire in_valid", "output wire in_ready"]
    ports += [f"input wire {vector(in_width)} in_data", f"output wire {vector(copies)} out_valid"]
    ports += [f"input wire {vector(copies)} out_ready", f"output wire {vector(out_width)} out_data"]
    return module(name, ports, body)


def _registers(unit: FifoUnit) -> list[str]:
    """The word that is offered, and one that came while it was not taken."""
    return [
        f"reg {vector(unit.width)} first, second;",
        "reg offered, full;",
        "assign in_ready = ~full;",
        "assign out_valid = offered;",
        "assign out_data = first;",
        "wire move = ~offered | out_ready;",
        "always @(posedge clk) begin",
        "    if (move) first <= full ? second : in_data;",
        "    if (~full) second <= in_data;",
        "    if (reset) begin",
        "        offered <= 0; full <= 0;",
        "    end else begin",
        "        offered <= full | in_valid | ~move;",
        "        full <= ~move & (full | in_valid);",
        "    end",
        "end",
    ]


def _srl(unit: FifoUnit) -> list[str]:
    """Shift registers of whole LUTs, read at the place of the oldest word, and a register behind them."""
    words = ceil_div(unit.depth, LINE_WORDS) * LINE_WORDS
    bits = ceil_log2(words)
    lines = [f"reg {vector(words)} line{i};" for i in range(unit.width)]
    return [
        *lines,
        f"reg {vector(unit.width)} word;",
        "// words in the line, less one: below zero if there are none",
        f"reg {vector(bits + 1)} place;",
        "reg offered;",
        f"wire empty = place[{bits}];",
        f"assign in_ready = empty | place[{bits - 1}:0] != {constant(words - 1, bits)};",
        "assign out_valid = offered;",
        "assign out_data = word;",
        "wire write = in_valid & in_ready;",
        "wire step = ~empty & (~offered | out_ready);",
        "always @(posedge clk) begin",
        *(f"    if (write) line{i} <= {{line{i}[{words - 2}:0], in_data[{i}]}};" for i in range(unit.width)),
        *(f"    if (step) word[{i}] <= line{i}[place[{bits - 1}:0]];" for i in range(unit.width)),
        "    if (reset) begin",
        f"        place <= {{{bits + 1}{{1'b1}}}}; offered <= 0;",
        "    end else begin",
        f"        if (write ^ step) place <= place + {{{{{bits}{{step}}}}, 1'b1}};",
        "        offered <= step | (offered & ~out_ready);",
        "    end",
        "end",
    ]


def _block(unit: FifoUnit) -> list[str]:
    """A ring in block memory, whose own register is that behind it."""
    bits = ceil_log2(unit.depth)
    return [
        f'(* ram_style = "block" *) reg {vector(unit.width)} ring [0:{(1 << bits) - 1}];',
        f"reg {vector(unit.width)} word;",
        f"reg {vector(bits)} read, written;",
        f"reg {vector(bits + 1)} held;",
        "reg offered;",
        f"assign in_ready = ~held[{bits}];",
        "assign out_valid = offered;",
        "assign out_data = word;",
        "wire write = in_valid & in_ready;",
        "wire step = |held & (~offered | out_ready);",
        "always @(posedge clk) begin",
        "    if (write) ring[written] <= in_data;",
        "    if (step) word <= ring[read];",
        "    if (reset) begin",
        "        read <= 0; written <= 0; held <= 0; offered <= 0;",
        "    end else begin",
        "        if (write) written <= written + 1'b1;",
        "        if (step) read <= read + 1'b1;",
        f"        if (write ^ step) held <= held + {{{{{bits}{{step}}}}, 1'b1}};",
        "        offered <= step | (offered & ~out_ready);",
        "    end",
        "end",
    ]


def _converter(unit: ConverterUnit) -> str:
    """One or two stages: up to the common multiple, then down from it."""
    common = lcm(unit.in_width, unit.out_width)
    if common == unit.out_width:
        return _module(TOP, unit.in_width, common, _up(unit.in_width, common))
    if common == unit.in_width:
        return _module(TOP, common, unit.out_width, _down(common, unit.out_width))
    up = _module(f"{TOP}_up", unit.in_width, common, _up(unit.in_width, common))
    down = _module(f"{TOP}_down", common, unit.out_width, _down(common, unit.out_width))
    shared = ".clk(clk), .reset(reset)"
    body = [
        "wire valid, ready;",
        f"wire {vector(common)} words;",
        f"{TOP}_up up ({shared}, .in_valid(in_valid), .in_ready(in_ready), .in_data(in_data), .out_valid(valid), "
        ".out_ready(ready), .out_data(words));",
        f"{TOP}_down down ({shared}, .in_valid(valid), .in_ready(ready), .in_data(words), .out_valid(out_valid), "
        ".out_ready(out_ready), .out_data(out_data));",
    ]
    return up + down + _module(TOP, unit.in_width, unit.out_width, body)


def _up(width: int, wide: int) -> list[str]:
    """Words are shifted in from above; the last one makes the wide word valid."""
    turns = wide // width
    bits = ceil_log2(turns)
    return [
        f"reg {vector(wide)} words;",
        f"reg {vector(bits)} place;",
        "reg offered;",
        "assign in_ready = ~offered | out_ready;",
        "assign out_valid = offered;",
        "assign out_data = words;",
        "wire write = in_valid & in_ready;",
        f"wire last = place == {constant(turns - 1, bits)};",
        "always @(posedge clk) begin",
        f"    if (write) words <= {{in_data, words[{wide - 1}:{width}]}};",
        "    if (reset) begin",
        "        place <= 0; offered <= 0;",
        "    end else begin",
        "        if (write) place <= last ? 0 : place + 1'b1;",
        "        offered <= write ? last : offered & ~out_ready;",
        "    end",
        "end",
    ]


def _down(wide: int, width: int) -> list[str]:
    """A wide word is taken as a whole and shifted out below.

    Whether the next change takes a word is a register: two bits of the multiplexer then share a LUT.
    """
    turns = wide // width
    bits = max(ceil_log2(turns - 1), 1)
    return [
        f"reg {vector(wide)} words;",
        f"reg {vector(bits)} place;",
        "reg offered, last;",
        "wire change = ~offered | out_ready;",
        "assign in_ready = change & last;",
        "assign out_valid = offered;",
        f"assign out_data = words[{width - 1}:0];",
        "always @(posedge clk) begin",
        # what is shifted in above is never read
        f"    if (change) words <= last ? in_data : {{in_data[{wide - 1}:{wide - width}], words[{wide - 1}:{width}]}};",
        "    if (reset) begin",
        "        offered <= 0; last <= 1;",
        "    end else if (change) begin",
        "        offered <= ~last | in_valid;",
        f"        last <= last ? ~in_valid : place == {constant(turns - 2, bits)};",
        "    end",
        "    if (change) place <= last ? 0 : place + 1'b1;",
        "end",
    ]


def _duplicate(unit: DuplicateUnit) -> list[str]:
    """One register of the word, and for each copy whether it is still to be taken."""
    copies = unit.copies
    return [
        f"reg {vector(unit.width)} word;",
        f"reg {vector(copies)} owed;",
        "assign in_ready = ~|(owed & ~out_ready);",
        "assign out_valid = owed;",
        "assign out_data = word;",
        "always @(posedge clk) begin",
        "    if (in_ready) word <= in_data;",
        "    if (reset) owed <= 0;",
        f"    else owed <= in_ready ? {{{copies}{{in_valid}}}} : owed & ~out_ready;",
        "end",
    ]
