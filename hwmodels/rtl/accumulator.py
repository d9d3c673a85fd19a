"""The accumulator register: adds the tree's sum each enabled cycle, or starts anew with it; wraps or saturates.

A saturating accumulator clamps the sum of each cycle, exactly computed, to what P bits hold: one clamp per cycle, not one
per product.
"""

from __future__ import annotations

from hwmodels.datapath import Overflow
from hwmodels.rtl.verilog import add, extended, module, vector


def accumulator_module(name: str, bits: int, overflow: Overflow, summand: tuple[int, bool], *, carry: bool) -> str:
    """Verilog of a register of `bits` bits: ports clk, clear, enable, t (the summand), c (a one more to add), sum.

    With `enable`, the sum takes t on top of its value, or of zero where `clear` is given too: a new dot product needs no
    cycle of its own. Without `enable` it holds.

    Args:
        summand: (bits, signed) of t; at most `bits` wide where sums wrap.
        carry: whether there is a port c.
    """
    width, signed = summand
    ports = ["input wire clk", "input wire clear", "input wire enable", f"input wire {vector(width)} t"]
    ports += ["input wire c"] * carry + [f"output reg {vector(bits)} sum"]
    one = "c" if carry else None
    lines = [f"wire {vector(bits)} base = sum & {{{bits}{{~clear}}}};"]
    if overflow is not Overflow.SATURATE:
        lines += add("next", bits, extended("t", width, bits, signed=signed), "base", one)
    else:
        wide = max(bits, width + int(not signed)) + 1
        summed = extended("t", width, wide, signed=signed)
        lines += add("exact", wide, summed, extended("base", bits, wide, signed=True), one)
        top = f"exact[{wide - 1}:{bits - 1}]"
        lines.append(f"wire fits = (&{top}) | ~(|{top});")
        clamped = f"{{exact[{wide - 1}], {{{bits - 1}{{~exact[{wide - 1}]}}}}}}"
        lines.append(f"wire {vector(bits)} next = fits ? exact{vector(bits)} : {clamped};")
    lines.append("always @(posedge clk) if (enable) sum <= next;")
    return module(name, ports, lines)
