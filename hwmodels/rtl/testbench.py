"""A self-checking Verilog-2001 testbench of a unit, for any simulator: vectors and what the codec says about them.

    iverilog -g2001 -o test dot.v dot_test.v && ./test

prints one line with the number of vectors that were wrong. Read with SYNTHESIS defined, it is itself synthesizable, with the
clock as a port; that is how the project's tests run it.
"""

from __future__ import annotations

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
    reg {index} index;
    reg {width} vectors;
    wire {sum_width} sum;
    wire clear, enable;
    wire {weights_width} weights;
    wire {activations_width} activations;
    wire {sum_width} expected;
    assign {{clear, enable, weights, activations, expected}} = vectors;
    {top} unit (.clk(clk), .clear(clear), .enable(enable), .weights(weights), .activations(activations), .sum(sum));
    always @* case (index)
{rows}
    default: vectors = 0;
    endcase
    // what a vector must lead to is seen when its products are in the register
    reg {sum_width} awaited{declared};
    reg {stages} valid;
    initial valid = 0;
    always @(posedge clk) begin
        awaited <= expected;{passed}
        valid <= {{valid, index < {count}}};
        if (valid[{last}] & (sum !== {oldest})) errors <= errors + 1;
        if (index == {end}) done <= 1;
        else index <= index + 1;
    end
endmodule
"""


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
    lanes, count = unit.lanes, len(weights)
    w, x, p = unit.weight.bits, unit.activation.bits, unit.bits
    width = 2 + (w + x) * lanes + p
    end = count + 2 + int(unit.pipeline)
    bits = max(end.bit_length(), 1)
    rows = []
    for i in range(count):
        value = int(clear[i]) << 1 | int(enable[i])
        for codes, size in ((weights[i], w), (activations[i], x)):
            for code in reversed(codes.tolist()):
                value = value << size | int(code)
        value = value << p | int(sums[i]) % (1 << p)
        rows.append(f"    {bits}'d{i}: vectors = {width}'h{value:x};")
    late = unit.pipeline
    return _TEXT.format(
        top=TOP,
        errors=vector(bits),
        count=count,
        index=vector(bits),
        width=vector(width),
        sum_width=vector(p),
        weights_width=vector(w * lanes),
        activations_width=vector(x * lanes),
        rows="\n".join(rows),
        declared=", awaited_q" if late else "",
        passed="\n        awaited_q <= awaited;" if late else "",
        stages=vector(1 + int(late)) if late else "[0:0]",
        last=int(late),
        oldest="awaited_q" if late else "awaited",
        end=end,
    )
