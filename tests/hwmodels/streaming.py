"""Streams through a unit in Icarus Verilog: words wait until they are taken, and both sides stall at random."""

import re

from hwmodels.rtl.icarus import run_icarus
from hwmodels.rtl.verilog import ports_of, vector

_BENCH = """module bench;
    reg clk, reset;
    reg {in_range} words [0:{last}];
    integer given, taken, cycle, seed;
    reg offered;
    reg {ready_range} ready;
    wire in_ready;
    wire {ready_range} valid;
    wire {out_range} data;
    {top} unit (.clk(clk), .reset(reset), .in_valid(offered), .in_ready(in_ready), .in_data(words[given]),
        .out_valid(valid), .out_ready(ready), .out_data(data));
    integer i;
    initial begin
        $readmemh("words", words);
        clk = 0; reset = 1; offered = 0; ready = 0; given = 0; taken = 0; seed = {seed};
        #1 clk = 1; #1 clk = 0; reset = 0;
        for (cycle = 0; cycle < {cycles} && taken < {wanted}; cycle = cycle + 1) begin
            // an offer stands until it is taken
            if (!offered) offered = given <= {last} && ($unsigned($random(seed)) % 100 < {busy});
            for (i = 0; i < {outputs}; i = i + 1) ready[i] = $unsigned($random(seed)) % 100 < {busy};
            #1;
            for (i = 0; i < {outputs}; i = i + 1)
                if (valid[i] & ready[i]) begin
                    $display("%0d %0h", i, data);
                    taken = taken + 1;
                end
            if (offered && in_ready) begin
                #1 clk = 1; #1 clk = 0; given = given + 1; offered = 0;
            end else begin
                #1 clk = 1; #1 clk = 0;
            end
        end
        $display("cycles %0d", cycle);
        $finish;
    end
endmodule
"""


def streamed(text, top, words, wanted, busy=100, outputs=1, seed=1):
    """(words that left by each output, None where unknown; cycles until `wanted` of them all together had left).

    `busy`: percent of the cycles in which there is a word to give, and in which one is taken.
    """
    ports = ports_of(text, top)
    bench = _BENCH.format(
        top=top,
        in_range=vector(ports["in_data"][1]),
        out_range=vector(ports["out_data"][1]),
        ready_range=vector(outputs),
        last=len(words) - 1,
        seed=seed,
        wanted=wanted,
        outputs=outputs,
        busy=busy,
        cycles=20 * (wanted + len(words)) + 100,
    )
    lines = run_icarus(text + bench, "bench", {"words": "\n".join(f"{word:x}" for word in words)}).split("\n")
    found = [[] for _ in range(outputs)]
    cycles = None
    for line in lines:
        kind, _, value = line.partition(" ")
        if kind == "cycles":
            cycles = int(value)
        elif kind:
            found[int(kind)].append(int(value, 16) if re.fullmatch("[0-9a-f]+", value) else None)
    return found, cycles
