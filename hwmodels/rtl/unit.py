"""The compute unit of a datapath: lanes, adder tree and accumulator register in one synthesizable Verilog-2001 text."""

from __future__ import annotations

from dataclasses import dataclass

from hwmodels.datapath import Architecture, Datapath, Multiplier, Overflow
from hwmodels.formats import ElementFormat
from hwmodels.primitives.operands import dropped_bits, operands
from hwmodels.rtl.accumulator import accumulator_module
from hwmodels.rtl.lane import Lane, factor, lane_modules
from hwmodels.rtl.multiplier import multiplier_type
from hwmodels.rtl.tree import Tree, tree_module
from hwmodels.rtl.verilog import RtlError, module, vector

MOST_LANES = 1024


@dataclass(frozen=True)
class DotUnit:
    """`lanes` products per cycle, summed exactly in fixed point, added to an accumulator of P bits.

    Args:
        datapath: formats and accumulator; of a tiled one this is the inner accumulator. LUT multipliers only.
        lanes: products per cycle (SIMD), 1 to 1024.
        dropped_bits: low bits left out of every product of minifloats, before its sign is applied; None: as few as let
            `lanes` products fit P, as the cost model assumes. 0 keeps the sum exact (modulo 2^P). Integers drop none.
        pipeline: a register behind the multipliers: one cycle more latency.
        registered: a register in front of the accumulator, which leaves its adder alone in its cycle: another one.

    Ports: clk; enable (the cycle counts); clear (with enable: the sum starts anew with this cycle's products); weights and
    activations (codes, lane 0 in the lowest bits); sum (two's complement, in units of 2^dropped_bits times both steps).
    """

    datapath: Datapath
    lanes: int
    dropped_bits: int | None = None
    pipeline: bool = False
    registered: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.lanes <= MOST_LANES:
            raise RtlError(f"`lanes` must be 1 to {MOST_LANES}, but got lanes={self.lanes}.")
        if self.datapath.multiplier is not Multiplier.LUT:
            raise RtlError("a generated unit multiplies in LUTs, but got multiplier=dsp; use multiplier=lut.")
        if self.datapath.accumulator.architecture is not Architecture.FIXED:
            raise RtlError(
                f"a unit of this kind must have a fixed-point accumulator, but got {self.datapath.accumulator.name}; use "
                "FloatUnit."
            )
        product = operands(self.weight, self.activation)
        if self.dropped_bits is None:
            object.__setattr__(self, "dropped_bits", dropped_bits(product, self.lanes, self.bits, self.overflow))
        if self.dropped and product.is_integer:
            raise RtlError(f"`dropped_bits` must be 0 for integer formats, but got dropped_bits={self.dropped}.")
        # a proof is about the actual weights: it may fit sums in fewer bits than a product of the largest codes
        proved = self.overflow is Overflow.IMPOSSIBLE
        integer_product = product.is_integer and not proved
        least = multiplier_type(factor(self.weight), factor(self.activation))[0] if integer_product else 2
        if self.bits < least:
            raise RtlError(
                f"the accumulator must hold at least one product, {least} bits for {self.weight} x {self.activation}, but got "
                f"bits={self.bits}."
            )
        if not 0 <= self.dropped <= product.product_bits - 2:
            raise RtlError(
                f"at least 2 of the {product.product_bits} bits of a product must be kept, but got {self.bits} accumulator bits "
                f"and dropped_bits={self.dropped} for {self.lanes} lanes; give a wider accumulator or fewer lanes."
            )

    @property
    def dropped(self) -> int:
        """`dropped_bits` with its default resolved."""
        assert self.dropped_bits is not None  # resolved in __post_init__
        return self.dropped_bits

    @property
    def latency(self) -> int:
        """Cycles from products to the sum that holds them."""
        return 1 + int(self.pipeline) + int(self.registered)

    @property
    def weight(self) -> ElementFormat:
        """Format of the weights."""
        return self.datapath.weight.format

    @property
    def activation(self) -> ElementFormat:
        """Format of the activations."""
        return self.datapath.activation.format

    @property
    def bits(self) -> int:
        """P."""
        return self.datapath.accumulator.bits

    @property
    def overflow(self) -> Overflow:
        """What the register does with a sum that it cannot hold; impossible is built as wrap."""
        return self.datapath.accumulator.overflow

    @property
    def limit(self) -> int | None:
        """Bits that any sum needs to have: P where sums are taken modulo 2^P, all where they saturate."""
        return None if self.overflow is Overflow.SATURATE else self.bits

    @property
    def lane(self) -> Lane:
        """One lane."""
        return Lane(self.weight, self.activation, self.dropped, self.limit, self.pipeline)

    @property
    def tree(self) -> Tree:
        """The adder tree."""
        return Tree(self.lane, self.lanes, self.limit)


TOP = "dot"
"""Module name of a unit; its parts are dot_lane, dot_lane_mul, dot_tree and dot_acc."""


def unit_verilog(unit: DotUnit) -> str:
    """The whole synthesizable text of a unit, top module :data:`TOP`; the same value gives the same text."""
    width, _ = unit.lane.type
    summand = unit.tree.type
    negates = unit.lane.negates
    header = (
        f"// dot product of {unit.lanes} lanes: {unit.weight} weights x {unit.activation} activations, accumulator of "
        f"{unit.bits} bits ({unit.overflow}), {unit.dropped} low product bits dropped\n"
    )
    parts = (
        lane_modules(f"{TOP}_lane", unit.lane),
        tree_module(f"{TOP}_tree", unit.tree),
        accumulator_module(f"{TOP}_acc", unit.bits, unit.overflow, summand, carry=negates),
    )
    return header + "\n".join((*parts, _top(unit, width, summand[0])))


def _top(unit: DotUnit, width: int, sum_bits: int) -> str:
    negates = unit.lane.negates
    w, x, lanes = unit.weight.bits, unit.activation.bits, unit.lanes
    ports = ["input wire clk", "input wire clear", "input wire enable"]
    ports += [f"input wire {vector(w * lanes)} weights", f"input wire {vector(x * lanes)} activations"]
    ports += [f"output wire {vector(unit.bits)} sum"]
    lines = [f"wire {vector(width * lanes)} y;", f"wire {vector(sum_bits)} t;"]
    if negates:
        lines += [f"wire {vector(lanes)} n;", "wire c;"]
    late = ""
    for _ in range(unit.latency - 1):
        control = f"{{clear{late}_q, enable{late}_q}} <= {{clear{late}, enable{late}}};"
        lines += [f"reg clear{late}_q, enable{late}_q;", f"always @(posedge clk) {control}"]
        late += "_q"
    clock = ", .clk(clk)" if unit.pipeline else ""
    for i in range(lanes):
        sign = f", .n(n[{i}])" if negates else ""
        codes = f".w(weights[{i * w + w - 1}:{i * w}]), .x(activations[{i * x + x - 1}:{i * x}])"
        lines.append(f"{TOP}_lane lane{i} ({codes}, .y(y[{i * width + width - 1}:{i * width}]){sign}{clock});")
    signs, carry = (", .n(n), .c(c)", ", .c(c)") if negates else ("", "")
    lines.append(f"{TOP}_tree tree (.y(y), .sum(t){signs});")
    summand = "t"
    if unit.registered:
        summand, carry = "t_q", ", .c(c_q)" if negates else ""
        lines += [f"reg {vector(sum_bits)} t_q;", "always @(posedge clk) t_q <= t;"]
        lines += ["reg c_q;", "always @(posedge clk) c_q <= c;"] * negates
    control = f".clk(clk), .clear(clear{late}), .enable(enable{late})"
    lines.append(f"{TOP}_acc acc ({control}, .t({summand}){carry}, .sum(sum));")
    return module(TOP, ports, lines)
