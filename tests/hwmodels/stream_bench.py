"""A bench in Icarus for units that read streams with handshakes, with memories that the units keep outside; both sides stall."""

from __future__ import annotations

import re
from collections.abc import Mapping

from hwmodels.rtl.icarus import run_icarus
from hwmodels.rtl.verilog import ports_of, vector

_RESET = 8


def run_stream(
    text: str,
    top: str,
    words: list[int],
    results: int,
    halves: bool = False,
    roms: Mapping[str, list[int]] | None = None,
) -> list[int]:
    """The `results` first words y that a unit gives of the words x; valid and ready are low in a quarter of the cycles each.

    Args:
        halves: the memory is read in two halves at once, as a rotary unit does.
        roms: further memories by port, read at the low bits of the address `from`.
    """
    return [word for word, _ in _run(text, top, words, results, halves, roms or {}, stalls=True)]


def cycles_of(text: str, top: str, words: list[int], results: int, halves: bool = False) -> list[int]:
    """The cycles in which words y leave a unit whose input is always there and whose output is always taken."""
    ports = ports_of(text, top)
    roms = {name: [1] for name in ports if name in ("sine", "cosine")}
    return [cycle for _, cycle in _run(text, top, words, results, halves, roms, stalls=False)]


def _run(
    text: str, top: str, words: list[int], results: int, halves: bool, roms: Mapping[str, list[int]], *, stalls: bool
) -> list[tuple[int, int]]:
    ports = ports_of(text, top)
    prefixes = [re.sub("held$", "", name) for name in ports if name.endswith("held")]
    x, y = ports["x"][1], ports["y"][1]
    memories = []
    for p in prefixes:
        word, address = ports[p + "kept"][1], ports[p + "to"][1]
        read = f"{p}memory[{p}from]"
        if halves:  # vector, half, word
            rest = f", from[{address - 4}:0]" if address > 3 else ""
            low, high = (f"memory[{{from[{address - 1}:{address - 2}], 1'b{half}{rest}}}]" for half in (0, 1))
            read = f"{{{high}, {low}}}"
        memories.append(f"""
    reg {vector(word)} {p}memory [0:{(1 << address) - 1}];
    reg {vector(ports[p + "held"][1])} {p}held;
    wire {p}write, {p}read; wire {vector(address)} {p}to, {p}from; wire {vector(word)} {p}kept;
    always @(posedge clk) begin
        if ({p}write) {p}memory[{p}to] <= {p}kept;
        if ({p}read) {p}held <= {read};
    end""")
    for name, values in roms.items():
        memories.append(f"""
    reg {vector(ports[name][1])} {name}_rom [0:{len(values) - 1}], {name};
    initial $readmemh("{name}", {name}_rom);
    always @(posedge clk) if (read) {name} <= {name}_rom[from % {len(values)}];""")
    stall = "(($random(seed) & 3) == 0)" if stalls else "1'b0"
    lists = {"words": words, **roms}
    bench = f"""module bench;
    reg clk = 0, reset = 1;
    integer seed = 1, at = 0, given = 0, cycles = 0;
    reg {vector(x)} words [0:{len(words) - 1}];
    reg x_open = 0, y_ready = 0, took = 0;
    wire {vector(x)} x = words[at < {len(words)} ? at : 0];
    wire x_ready, y_valid;
    wire x_valid = x_open & at < {len(words)};
    wire {vector(y)} y;{"".join(memories)}
    {top} unit ({", ".join(f".{name}({name})" for name in ports)});
    initial begin
        $readmemh("words", words);
        while (given < {results} && cycles < {40 * len(words) + 4000}) begin
            #1 clk = 1;
            #1 clk = 0;
        end
        $finish;
    end
    always @(negedge clk) begin
        if (cycles > {_RESET}) reset = 0;
        x_open = (x_open & ~took) | ~{stall};
        y_ready = ~{stall};
    end
    always @(posedge clk) begin
        cycles <= cycles + 1;
        took = ~reset & x_valid & x_ready;
        if (took) at <= at + 1;
        if (~reset & y_valid & y_ready & given < {results}) begin
            $display("%h %0d", y, cycles);
            given <= given + 1;
        end
    end
endmodule
"""
    files = {name: "\n".join(f"{word:x}" for word in each) for name, each in lists.items()}
    printed = run_icarus(text + bench, "bench", files).split()
    return [(int(word, 16), int(cycle)) for word, cycle in zip(printed[::2], printed[1::2], strict=True)]


def words_of(values: list[list[int]], bits: int, lanes: int) -> list[int]:
    """Vectors of codes as words of `lanes` values, lane 0 in the lowest bits."""
    flat = [value % (1 << bits) for each in values for value in each]
    return [
        sum(value << bits * i for i, value in enumerate(flat[at : at + lanes])) for at in range(0, len(flat), lanes)
    ]


def values_of(words: list[int], bits: int, lanes: int, *, signed: bool) -> list[int]:
    """The values of words, in order."""
    values = [word >> bits * i & ((1 << bits) - 1) for word in words for i in range(lanes)]
    return [v - (1 << bits) if signed and v >> (bits - 1) else v for v in values]
