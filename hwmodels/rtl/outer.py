"""What stands on top of the inner sums as Verilog: their scales, an adder tree over them, the outer accumulator.

It is a module of its own, so that what segments cost can be synthesized apart from the products.
"""

from __future__ import annotations

from dataclasses import dataclass

from hwmodels.datapath import Overflow
from hwmodels.formats import E8M0
from hwmodels.rtl.accumulator import accumulator_module
from hwmodels.rtl.scale import Scale, ShiftScale, scale_module
from hwmodels.rtl.verilog import RtlError, add, extended, module, vector


@dataclass(frozen=True)
class OuterStage:
    """`units` inner sums of `inner_bits` bits, scaled if `scale` is given, added to an accumulator of `bits` bits.

    Ports: clk; done (the sums are complete in this cycle); first (with done: a dot product starts with them); sums (unit 0
    in the lowest bits); with a scale codes (unit 0 lowest; of two operands the weight's lowest), given one cycle before the
    sums; sum, which holds the segments `delay` cycles after `done`.

    Args:
        operands: scale codes of one segment, 1 or 2 (0 without scale).
    """

    inner_bits: int
    units: int
    bits: int
    overflow: Overflow
    scale: Scale | None = None
    operands: int = 0

    def __post_init__(self) -> None:
        most = self.operands * E8M0.max_magnitude_code
        if isinstance(self.scale, ShiftScale) and self.scale.start > most:
            raise RtlError(
                f"a window must start at a total that codes can have, at most {most}, but got start={self.scale.start}."
            )
        if self.bits < self.summand_bits:
            scaled, cure = ("scaled ", " or drop low bits of the scaled sums") if self.scale else ("", "")
            raise RtlError(
                f"the outer accumulator must hold at least one {scaled}segment, {self.summand_bits} bits, but got {self.bits}; "
                f"give a wider one{cure}."
            )

    @property
    def summand_bits(self) -> int:
        """Width of one segment's sum behind its scale."""
        return self.inner_bits if self.scale is None else self.scale.bits(self.inner_bits)

    @property
    def tree_bits(self) -> int:
        """Width of the sum of all units, exact, or modulo 2^bits where sums wrap."""
        exact = self.summand_bits + (self.units - 1).bit_length()
        return exact if self.overflow is Overflow.SATURATE else min(exact, self.bits)

    @property
    def delay(self) -> int:
        """Cycles from the inner sums to the sum that holds them."""
        return 1 + (0 if self.scale is None else self.scale.delay)

    @property
    def code_bits(self) -> int:
        """Bits of the scale codes of one segment."""
        return 0 if self.scale is None else self.scale.format.bits * self.operands


def outer_modules(name: str, stage: OuterStage) -> str:
    """Verilog of the stage, with its scale `name`_scale and accumulator `name`_acc."""
    inner, width, code = stage.inner_bits, stage.summand_bits, stage.code_bits
    ports = ["input wire clk", "input wire done", "input wire first"]
    ports += [f"input wire {vector(inner * stage.units)} sums"]
    ports += [f"input wire {vector(code * stage.units)} codes"] * bool(code)
    ports += [f"output wire {vector(stage.bits)} sum"]
    modules = accumulator_module(f"{name}_acc", stage.bits, stage.overflow, (stage.tree_bits, True), carry=False)
    lines: list[str] = []
    names = [f"s{i}" for i in range(stage.units)]
    parts = [f"sums[{i * inner + inner - 1}:{i * inner}]" for i in range(stage.units)]
    control = ".clear(first), .enable(done)"
    if stage.scale is None:
        lines += [f"wire {vector(width)} {s} = {part};" for s, part in zip(names, parts, strict=True)]
    else:
        modules += scale_module(f"{name}_scale", stage.scale, stage.operands, inner)
        for i, (s, part) in enumerate(zip(names, parts, strict=True)):
            codes = f"codes[{i * code + code - 1}:{i * code}]"
            lines += [
                f"wire {vector(width)} {s};",
                f"{name}_scale {s}_scale (.clk(clk), .done(done), .codes({codes}), .sum({part}), .y({s}));",
            ]
        delay = stage.scale.delay
        lines += [
            f"reg {vector(delay)} waiting;",
            "reg first_q;",
            "always @(posedge clk) waiting <= {waiting, done};",
            "always @(posedge clk) if (done) first_q <= first;",
        ]
        control = f".clear(first_q), .enable(waiting[{delay - 1}])"
    total = _tree([(s, width) for s in names], [bits for _, bits in tree_adders(stage)], lines)
    lines.append(f"{name}_acc acc (.clk(clk), {control}, .t({total}), .sum(sum));")
    return modules + module(name, ports, lines)


def tree_adders(stage: OuterStage) -> list[tuple[int, int]]:
    """(bits of the wider summand, bits of the sum) of each adder of the tree over the units, in order.

    An adder takes the two sums that have waited longest.
    """
    adders: list[tuple[int, int]] = []
    level = [stage.summand_bits] * stage.units
    while len(level) > 1:
        first, second, *level = level
        adders.append((max(first, second), min(max(first, second) + 1, stage.tree_bits)))
        level.append(adders[-1][1])
    return adders


def _tree(level: list[tuple[str, int]], widths: list[int], lines: list[str]) -> str:
    """The name of the sum of all (name, bits) by adders of the given widths, which are appended to `lines`."""
    for count, wide in enumerate(widths):
        (first, bits), (second, other), *level = level
        left, right = extended(first, bits, wide, signed=True), extended(second, other, wide, signed=True)
        lines += add(f"a{count}", wide, left, right, keep=True)
        level.append((f"a{count}", wide))
    return level[0][0]
