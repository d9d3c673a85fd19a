"""What reads a vector twice, as Verilog: a first pass collects a number, a second one meets the values again with it.

A stage takes words of `lanes` values. Each word enters what is collected (a sum, a maximum) and is written to a memory outside of
the stage, which holds two vectors. When the last word is in, what was collected goes through a unit that may take some cycles (a
reciprocal), and while the next vector enters the values of this one are read again and leave. Both sides have handshakes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hwmodels.primitives.cost import ceil_log2
from hwmodels.rtl.verilog import RtlError, add, extended, module, vector


@dataclass(frozen=True)
class Passes:
    """The control of a stage.

    Args:
        words: per vector, at least 2.
        delay: cycles from a word's arrival until it enters what is collected (0 or 1).
        depth: registers from the memory's address to the result, its own included.
        loads: cycles after the first read in which parts of the number are taken over (1 or 2).
        whole: words are read more than once, so that a vector is kept until its last word has left; the memory then has room for
            four vectors.
    """

    words: int
    delay: int
    depth: int
    loads: int
    whole: bool = False

    def __post_init__(self) -> None:
        if self.words < 2:
            raise RtlError(
                f"a unit of two passes takes vectors of at least 2 words, but got words={self.words}; take fewer lanes."
            )

    @property
    def count_bits(self) -> int:
        """Width of a counter of words."""
        return ceil_log2(self.words)

    @property
    def address_bits(self) -> int:
        """Width of an address of the memory: which vector, and the word."""
        return self.count_bits + (2 if self.whole else 1)

    @property
    def depth_words(self) -> int:
        """Words of the memory that are used."""
        return self.words * (4 if self.whole else 2)

    @property
    def registers(self) -> int:
        """Flip-flops: two counters of words and vectors, the state, and a bit for each register on the way out."""
        flags = 3 + int(self.delay > 0)  # pending (and done), occupied, ready, leaving; without delay pending is done
        return 2 * (self.count_bits + 2) + 3 * self.delay + flags + 1 + self.loads + self.depth


def passes_module(name: str, passes: Passes) -> str:
    """Verilog of the control: see the ports' comments for who drives what."""
    bits, depth = passes.count_bits, passes.depth
    ports = [
        *("input wire clk", "input wire reset", "input wire x_valid", "output wire x_ready"),
        *("output wire y_valid", "input wire y_ready"),
        f"output wire {vector(passes.address_bits)} to",  # where a word is written, if it comes (write)
        f"output wire {vector(passes.address_bits)} from",  # where one is read, if go
        *("output wire write", "output wire go"),
        *("output wire collect", "output wire first"),  # a word is collected, the first of its vector
        *(
            "output wire start",
            "input wire finished",
        ),  # what was collected is whole; the number is there after this cycle
        f"output wire {vector(passes.loads)} load",  # the number, or its later parts, are taken over
    ]
    late, slot = passes.delay > 0, "" if passes.whole else "[0]"
    lines = [
        f"reg {vector(bits)} in_word, out_word;",
        "reg [1:0] in_vector, out_vector;",
        "reg pending, occupied, ready, leaving;",
        f"reg {vector(passes.loads)} loads;",
        f"reg {vector(depth)} valid;",
        f"wire in_first = in_word == 0, in_last = in_word == {passes.words - 1}, out_last = out_word == {passes.words - 1};",
        "wire [1:0] after = in_vector + 2'd1;" if passes.whole else "wire [1:0] after = in_vector ^ 2'd2;",
        f"wire full = after == out_vector{'' if passes.whole else ' & in_word == out_word'};",
        # what is collected would be lost if another first word came before its inverse can begin
        "assign x_ready = ~full & ~(in_first & pending & occupied);",
        f"assign write = x_valid & x_ready, to = {{in_vector{slot}, in_word}}, from = {{out_vector{slot}, out_word}};",
        f"assign y_valid = valid[{depth - 1}], go = y_ready | ~y_valid;",
        "wire pop = leaving & go, finishing = pop & out_last;",
        "wire loading = ready & go & (~leaving | finishing);",
        f"assign load = loads & {{{passes.loads}{{go}}}};",
    ]
    if late:
        lines += [
            "reg late, late_first, late_last, done;",
            "assign collect = late, first = late_first, start = done & ~occupied;",
        ]
    else:
        lines.append("assign collect = write, first = in_first, start = pending & ~occupied;")
    shifted = "{loads[0], loading}" if passes.loads > 1 else "loading"
    lines += [
        "always @(posedge clk)",
        "    if (reset) begin",
        "        in_word <= 0; in_vector <= 0; out_word <= 0; out_vector <= 0;",
        "        pending <= 0; occupied <= 0; ready <= 0; leaving <= 0; loads <= 0; valid <= 0;",
        *(["        late <= 0; done <= 0;"] if late else []),
        "    end else begin",
        "        if (write) begin",
        "            in_word <= in_last ? 0 : in_word + 1;",
        "            in_vector <= in_vector + in_last;",
        "        end",
        "        if (pop) begin",
        "            out_word <= out_last ? 0 : out_word + 1;",
        "            out_vector <= out_vector + out_last;",
        "        end",
        "        pending <= write & in_last | pending & ~start;",
        f"        occupied <= start | occupied & ~load[{passes.loads - 1}];",
        "        ready <= finished | ready & ~loading;",
        "        leaving <= loading | leaving & ~finishing;",
        f"        if (go) loads <= {shifted};",
        f"        if (go) valid <= {{valid[{depth - 2}:0], pop}};",
        *(["        late <= write;", "        done <= late & late_last | done & ~start;"] if late else []),
        "    end",
        *(["always @(posedge clk) begin late_first <= in_first; late_last <= in_last; end"] if late else []),
    ]
    return module(name, ports, lines)


def stage_lines(
    prefix: str, control: str, bits: int, lanes: int, passes: Passes, arrives: str = "x", leaves: str = "y"
) -> tuple[list[str], list[str]]:
    """(ports, wires and instance) of a stage: its memory of words of lanes * bits and its control, all named with `prefix`.

    Args:
        control: name of the control's module.
        arrives, leaves: names of the streams, whose handshakes are NAME_valid and NAME_ready.
    """
    ports = [
        *(f"output wire {prefix}write", f"output wire {prefix}read"),
        *(f"output wire {vector(passes.address_bits)} {prefix}{end}" for end in ("to", "from")),
        f"output wire {vector(bits * lanes)} {prefix}kept",
        f"input wire {vector(bits * lanes)} {prefix}held",
    ]
    names = ("go", "collect", "first", "start", "finished")
    connected = [f".{each}({prefix}{each})" for each in ("to", "from", "write", *names, "load")]
    for side, stream in (("x", arrives), ("y", leaves)):
        connected += [f".{side}_{each}({stream}_{each})" for each in ("valid", "ready")]
    return ports, [
        f"wire {', '.join(prefix + each for each in names)};",
        f"wire {vector(passes.loads)} {prefix}load;",
        f"assign {prefix}read = {prefix}go;",
        f"{control} {prefix}control (.clk(clk), .reset(reset), {', '.join(connected)});",
    ]


def total(names: Sequence[str], bits: int, target: str, *, signed: bool) -> tuple[list[str], str, int]:
    """(lines, name, bits): the exact sum of wires of `bits` bits, by a tree of adders."""
    lines: list[str] = []
    level, depth = list(names), 0
    while len(level) > 1:
        above = []
        for pair in range(0, len(level) - 1, 2):
            node = f"{target}{depth}_{pair // 2}"
            terms = [extended(each, bits, bits + 1, signed=signed) for each in level[pair : pair + 2]]
            lines += add(node, bits + 1, *terms, keep=True)
            above.append(node)
        if len(level) % 2:
            node = f"{target}{depth}_{len(above)}"
            lines.append(f"wire {vector(bits + 1)} {node} = {extended(level[-1], bits, bits + 1, signed=signed)};")
            above.append(node)
        level, bits, depth = above, bits + 1, depth + 1
    return lines, level[0], bits


def total_chains(count: int, bits: int) -> tuple[list[int], int, int]:
    """(lengths of the chains, LUTs on them, bits of the sum) of :func:`total`; the top bit repeats the sign or is the carry."""
    chains, luts = [], 0
    while count > 1:
        chains += [bits + 1] * (count // 2)
        luts += bits * (count // 2)
        count, bits = count - count // 2, bits + 1
    return chains, luts, bits


def part(name: str, bits: int, lane: int) -> str:
    """The bits of a lane in a word."""
    return f"{name}[{bits * (lane + 1) - 1}:{bits * lane}]"
