"""Comparison of two integers on a carry chain, two bits for each LUT6."""

from __future__ import annotations

from hwmodels.rtl.verilog import extended, vector


def at_least(target: str, first: str, second: str, bits: int, *, signed: bool) -> list[str]:
    """Lines that drive the wire `target`: whether `first` >= `second`, wires of `bits` bits each.

    Two bits of both are one LUT6_2 in front of one bit of the chain: equal (pass the carry on), or else greater (the new
    carry). Yosys' own comparator takes two LUT6 for three bits; measured.
    """
    pairs = -(-bits // 2)
    lines = []
    for short, name in (("f", first), ("s", second)):
        # flipping the sign bits makes two's complement compare as unsigned
        value = name if not signed else f"{name} ^ {bits}'d{1 << bits - 1}"
        lines.append(f"wire {vector(bits)} {target}_{short}_u = {value};")
        padded = extended(f"{target}_{short}_u", bits, 2 * pairs, signed=False)
        lines.append(f"wire {vector(2 * pairs)} {target}_{short} = {padded};")
    lines.append(f"wire {vector(pairs)} {target}_g, {target}_e;")
    for i in range(pairs):
        pair = f"[{2 * i + 1}:{2 * i}]"
        lines.append(f"assign {target}_g[{i}] = {target}_f{pair} > {target}_s{pair};")
        lines.append(f"assign {target}_e[{i}] = {target}_f{pair} == {target}_s{pair};")
    carry = f"{{1'b0, {target}_g, 1'b1}} + {{1'b0, {target}_g ^ {target}_e, 1'b1}}"
    lines.append(f"wire {vector(pairs + 2)} {target}_c = {carry};")
    return [*lines, f"wire {target} = {target}_c[{pairs + 1}];"]
