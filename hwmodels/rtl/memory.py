"""Memories as Verilog: read-only ones of weights and parameters, one that passes on what it stores, and one of two ports."""

from __future__ import annotations

import random
from dataclasses import dataclass

from hwmodels.primitives.cost import ceil_div, ceil_log2
from hwmodels.rtl.verilog import RtlError, constant, module, vector

TOP = "memory"

COLUMN_WORDS = 64
SLICE_MULTIPLEXERS = ("MUXF7", "MUXF8")
"""What joins two LUT6 of a slice, and two such pairs: primitives of both families, found in the text by these names."""

SLICE_MODELS = "".join(
    f"module {name} (output wire O, input wire I0, input wire I1, input wire S);\n    assign O = S ? I1 : I0;\nendmodule\n"
    for name in SLICE_MULTIPLEXERS
)
"""The primitives as Verilog, for simulation."""

MEMORY_KINDS = ("rom", "single", "dual")


@dataclass(frozen=True)
class MemoryUnit:
    """A memory of `depth` words of `width` bits with a register behind it; `block`: in block memory, else in LUTs.

    rom: filled with random words; ports clk, enable, address, out. single: one address; what is written is what is read; with
    write and in_data. dual: with write, write_address and in_data.
    """

    kind: str
    width: int
    depth: int
    block: bool = False

    def __post_init__(self) -> None:
        if self.kind not in MEMORY_KINDS or min(self.width, self.depth) < 1:
            raise RtlError(f"a memory must be of {', '.join(MEMORY_KINDS)} and have words and bits, but got {self}.")


def contents(unit: MemoryUnit) -> list[int]:
    """The words of a read-only memory: random, the same for equal units."""
    rng = random.Random(f"{unit.width} {unit.depth}")
    return [rng.getrandbits(unit.width) for _ in range(unit.depth)]


def memory_verilog(unit: MemoryUnit) -> str:
    """The text of a memory, top module :data:`TOP`."""
    bits, style = max(ceil_log2(unit.depth), 1), "block" if unit.block else "distributed"
    ports = ["input wire clk", "input wire enable", f"input wire {vector(bits)} address"]
    if unit.kind != "rom":
        ports += ["input wire write", f"input wire {vector(unit.width)} in_data"]
    if unit.kind == "dual":
        ports.append(f"input wire {vector(bits)} write_address")
    ports.append(f"output reg {vector(unit.width)} out")
    if unit.kind == "rom" and not unit.block:
        return module(TOP, ports, [*_rom(unit), "always @(posedge clk) if (enable) out <= read;"])
    attribute = "rom_style" if unit.kind == "rom" else "ram_style"
    lines = [f'(* {attribute} = "{style}" *) reg {vector(unit.width)} words [0:{unit.depth - 1}];']
    match unit.kind:
        case "rom":
            stored = (f"    words[{i}] = {constant(word, unit.width)};" for i, word in enumerate(contents(unit)))
            lines += ["initial begin", *stored, "end", "always @(posedge clk) if (enable) out <= words[address];"]
        case "single":
            lines += [
                "always @(posedge clk)",
                "    if (enable) begin",
                "        if (write) words[address] <= in_data;",
                "        out <= write ? in_data : words[address];",
                "    end",
            ]
        case _:
            lines += [
                "always @(posedge clk) begin",
                "    if (write) words[write_address] <= in_data;",
                "    if (enable) out <= words[address];",
                "end",
            ]
    return module(TOP, ports, lines)


def _rom(unit: MemoryUnit) -> list[str]:
    """A read-only memory in LUTs: 64 words a LUT6, four joined by the slice's own multiplexers, as ROM256X1 is (UG574)."""
    words, columns = contents(unit), ceil_div(unit.depth, COLUMN_WORDS)
    lines = [f"wire {vector(unit.width)} read;"]
    for bit in range(unit.width):
        for c in range(columns):
            stored = words[COLUMN_WORDS * c : COLUMN_WORDS * (c + 1)]
            table = sum((word >> bit & 1) << i for i, word in enumerate(stored))
            lines += [
                f"wire [63:0] table{bit}_{c} = 64'h{table:x};",
                # kept, or logic of neighbours is shared in ways that no slice has multiplexers for
                f"(* keep *) wire read{bit}_{c};",
                f"assign read{bit}_{c} = table{bit}_{c}[{_low('address', unit.depth)}];",
            ]
        names = [f"read{bit}_{c}" for c in range(columns)]
        for level, kind in enumerate(SLICE_MULTIPLEXERS):
            lines, names = _joined(lines, names, f"{kind.lower()}_{bit}", kind, f"address[{6 + level}]")
        lines.append(f"wire {vector(len(names))} columns{bit} = {{{', '.join(reversed(names))}}};")
        select = f"[address[{max(ceil_log2(unit.depth), 1) - 1}:8]]" if len(names) > 1 else ""
        lines.append(f"assign read[{bit}] = columns{bit}{select};")
    return lines


def _joined(lines: list[str], names: list[str], name: str, kind: str, select: str) -> tuple[list[str], list[str]]:
    """Neighbours joined by a multiplexer each; one without a neighbour stays."""
    pairs, more = list(zip(names[::2], names[1::2], strict=False)), []
    for i, (low, high) in enumerate(pairs):
        more += [f"wire {name}_{i};", f"{kind} m_{name}_{i} (.O({name}_{i}), .I0({low}), .I1({high}), .S({select}));"]
    return [*lines, *more], [*(f"{name}_{i}" for i in range(len(pairs))), *names[2 * len(pairs) :]]


def _low(address: str, depth: int) -> str:
    return f"{address}[{min(max(ceil_log2(depth), 1), 6) - 1}:0]"
