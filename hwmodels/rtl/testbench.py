"""A self-checking Verilog-2001 testbench of a unit, for any simulator: vectors and what the codec says about them.

    iverilog -g2001 -o test dot.v dot_test.v && ./test

prints one line with the number of vectors that were wrong. Read with SYNTHESIS defined, it is itself synthesizable, with the
clock as a port; that is how the project's tests run it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from hwmodels.rtl.reference import expected_sums
from hwmodels.rtl.unit import TOP, DotUnit
from hwmodels.rtl.verilog import vector

_TEXT = """`ifdef SYNTHESIS
module {top}_test (
    input wire clk,
    output reg done,
    output reg {errors} errors
);
`else
module {top}_test;
    reg clk, done;
    reg {errors} errors;
    initial clk = 0;
    always #5 clk = ~clk;
    always @(posedge done) begin
        $display("%0d of {count} vectors wrong", errors);
        $finish;
    end
`endif
    initial begin index = 0; errors = 0; done = 0; end
    reg {errors} index;
    reg {width} vectors;
    wire {sum_width} sum, expected;
    wire known;
{declared}
    assign {{{names}, expected, known}} = vectors;
    {top} unit (.clk(clk), {connected}, .sum(sum));
    always @* case (index)
{rows}
    default: vectors = 0;
    endcase
    // what a vector must lead to is seen {latency} cycles later
    reg {history} awaited;
    reg {stages} valid;
    initial valid = 0;
    always @(posedge clk) begin
        awaited <= {{awaited, expected}};
        valid <= {{valid, known}};
        if (valid[{last}] & (sum !== awaited[{oldest}])) errors <= errors + 1;
        if (index == {end}) done <= 1;
        else index <= index + 1;
    end
endmodule
"""


def bench(
    top: str,
    bits: Mapping[str, int],
    vectors: Sequence[Mapping[str, int]],
    sums: Sequence[int | None],
    sum_bits: int,
    latency: int,
) -> str:
    """The text of module `top`_test.

    Args:
        bits: width of each input of `top` but the clock.
        vectors: values of these inputs in each cycle.
        sums: what the output `sum` must show `latency` cycles later, or None where it may show anything.
    """
    order = (*bits.items(), ("expected", sum_bits), ("known", 1))
    width, end = sum(size for _, size in order), len(vectors) + latency + 1
    index = end.bit_length()
    rows = []
    for i, (given, expected) in enumerate(zip(vectors, sums, strict=True)):
        values = {**given, "expected": (expected or 0) % (1 << sum_bits), "known": int(expected is not None)}
        word = 0
        for name, size in order:
            word = word << size | values[name]
        rows.append(f"    {index}'d{i}: vectors = {width}'h{word:x};")
    return _TEXT.format(
        top=top,
        errors=vector(index),
        count=len(vectors),
        width=vector(width),
        sum_width=vector(sum_bits),
        declared="\n".join(f"    wire {vector(size)} {name};" for name, size in bits.items()),
        names=", ".join(bits),
        connected=", ".join(f".{name}({name})" for name in bits),
        rows="\n".join(rows),
        latency=latency,
        history=vector(latency * sum_bits),
        stages=vector(latency),
        last=latency - 1,
        oldest=f"{latency * sum_bits - 1}:{(latency - 1) * sum_bits}",
        end=end,
    )


def joined(codes: NDArray[np.integer], bits: int) -> int:
    """Codes of any shape side by side in one integer, the first in the lowest bits."""
    return sum(int(code) << i * bits for i, code in enumerate(codes.ravel().tolist()))


def testbench(
    unit: DotUnit,
    weights: NDArray[np.integer],
    activations: NDArray[np.integer],
    clear: NDArray[np.bool_],
    enable: NDArray[np.bool_],
) -> str:
    """The text of module ``dot_test`` for one sequence of vectors.

    Args:
        weights, activations: codes, shape (cycles, lanes).
        clear, enable: shape (cycles,); the first cycle must have both, so that no sum is unknown.
    """
    sums = expected_sums(unit, weights[:, None], activations[:, None], clear, enable)[:, 0]
    w, x = unit.weight.bits, unit.activation.bits
    bits = {"clear": 1, "enable": 1, "weights": w * unit.lanes, "activations": x * unit.lanes}
    vectors = [
        {"clear": int(c), "enable": int(e), "weights": joined(ws, w), "activations": joined(xs, x)}
        for c, e, ws, xs in zip(clear, enable, weights, activations, strict=True)
    ]
    return bench(TOP, bits, vectors, [int(value) for value in sums], unit.bits, unit.latency)
