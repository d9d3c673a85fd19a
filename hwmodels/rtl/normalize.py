"""RMSNorm and LayerNorm as Verilog: y = x / sqrt(sum of squares), of values from which the mean was taken before if `centred`.

Without gain and without the factor sqrt(channels): both are scales of what follows. A LayerNorm is two stages of two passes, the
first of which takes the mean away: exact arithmetic, but for a mean that is rounded to the step of values of 12 bits and more.
"""

from __future__ import annotations

from dataclasses import dataclass

from hwmodels.formats import ElementFormat
from hwmodels.primitives.cost import ceil_div, ceil_log2
from hwmodels.primitives.operands import fixed_point_bits
from hwmodels.primitives.scale import SCALE_BITS
from hwmodels.rtl.barrel import window_shift
from hwmodels.rtl.constant import constant_product
from hwmodels.rtl.elementwise import fixed_point_module
from hwmodels.rtl.inverse import InverseUnit, inverse_module
from hwmodels.rtl.multiplier import Factor, multiplier_type
from hwmodels.rtl.passes import Passes, part, passes_module, stage_lines, total
from hwmodels.rtl.product import product_modules
from hwmodels.rtl.verilog import RtlError, add, extended, module, vector

TOP = "normalize"
"""Module name of a unit."""

CENTRED_BITS = 12
"""Bits of a centred value at least: fewer get as many bits behind the binary point of their mean (assumed)."""


@dataclass(frozen=True)
class NormUnit:
    """`lanes` lanes of a norm over vectors of `channels` values of a format; lanes divide channels.

    Ports: clk, reset; x (codes), x_valid, x_ready; y (two's complement, :attr:`output_bits` each, of which
    :attr:`fraction_bits` stand behind the binary point), y_valid, y_ready; and the ports of the memory of a stage.

    Args:
        dsp: products are left to DSP slices.
    """

    format: ElementFormat
    channels: int
    lanes: int = 1
    centred: bool = False
    dsp: bool = False

    def __post_init__(self) -> None:
        if self.lanes < 1 or self.channels % self.lanes:
            raise RtlError(f"`lanes` must divide the channels, but got lanes={self.lanes}, channels={self.channels}.")

    @property
    def words(self) -> int:
        """Words of a vector."""
        return self.channels // self.lanes

    @property
    def input_bits(self) -> int:
        """Width of a value in fixed point."""
        return fixed_point_bits(self.format)

    @property
    def mean_fraction(self) -> int:
        """Bits behind the binary point of a mean."""
        return max(CENTRED_BITS - self.input_bits - 1, 0)

    @property
    def factor(self) -> Factor:
        """What is squared and scaled."""
        if self.centred:
            return Factor(self.input_bits + 1 + self.mean_fraction, signed=True)
        return Factor(self.input_bits, signed=self.format.signed)

    @property
    def square_bits(self) -> int:
        """Width of a square."""
        return multiplier_type(self.factor, self.factor)[0]

    @property
    def sum_bits(self) -> int:
        """Width of a sum of squares, even."""
        bits = 2 * (self.factor.bits - int(self.factor.signed)) + ceil_log2(self.channels) + 1
        return bits + bits % 2

    @property
    def total_bits(self) -> int:
        """Width of a sum of values, with half of the last bit of the mean in it."""
        return self.input_bits + self.mean_fraction + ceil_log2(self.channels) + int(not self.format.signed)

    @property
    def fraction_bits(self) -> int:
        """Bits of a result behind the binary point: 16 for a value of the root mean square."""
        return SCALE_BITS + ceil_div(ceil_log2(self.channels), 2)

    @property
    def output_bits(self) -> int:
        """Width of a result: no value is more than the root of the sum of squares."""
        return self.fraction_bits + 2

    @property
    def inverse(self) -> InverseUnit:
        """The reciprocal root."""
        return InverseUnit(self.sum_bits, root=True)

    @property
    def stages(self) -> tuple[tuple[str, int, Passes], ...]:
        """(prefix, bits of a value in its memory, control) of each stage."""
        norm = ("", self.factor.bits, Passes(self.words, delay=1, depth=3, loads=2))
        mean = ("mean_", self.input_bits, Passes(self.words, delay=0, depth=2, loads=1))
        return (mean, norm) if self.centred else (norm,)


def mean_constant(channels: int) -> tuple[int, int]:
    """(value, shift): value / 2^shift is 1 / channels rounded to 16 bits; value is odd, and 1 of a power of two."""
    shift = ceil_log2(channels) + SCALE_BITS - 1
    value = round((1 << shift) / channels)
    while value % 2 == 0:
        value, shift = value // 2, shift - 1
    return value, shift


def normalize_verilog(unit: NormUnit) -> str:
    """The whole synthesizable text of a unit, top module :data:`TOP`."""
    fmt, lanes, width = unit.format, unit.lanes, unit.input_bits
    factor, wide = unit.factor, unit.output_bits
    ports = [
        *("input wire clk", "input wire reset", "input wire x_valid", "output wire x_ready"),
        *(f"input wire {vector(fmt.bits * lanes)} x", "output wire y_valid", "input wire y_ready"),
        f"output wire {vector(wide * lanes)} y",
    ]
    lines = [f"wire {vector(width)} v{i};" for i in range(lanes)]
    lines += [f"{TOP}_fixed fixed{i} (.x({part('x', fmt.bits, i)}), .y(v{i}));" for i in range(lanes)]
    modules = fixed_point_module(f"{TOP}_fixed", fmt)
    streams = ["x", "mean", "y"] if unit.centred else ["x", "y"]
    if unit.centred:
        lines.append("wire mean_valid, mean_ready;")
    for (prefix, bits, passes), *ends in zip(unit.stages, streams, streams[1:], strict=False):
        modules += passes_module(f"{TOP}_{prefix}passes", passes)
        memory, body = stage_lines(prefix, f"{TOP}_{prefix}passes", bits, lanes, passes, *ends)
        ports, lines = [*ports, *memory], [*lines, *body]
    values = [f"v{i}" for i in range(lanes)]
    if unit.centred:
        lines += _mean(unit, values)
        values = [f"centred{i}" for i in range(lanes)]
    modules += product_modules(f"{TOP}_square", factor, factor, dsp=unit.dsp)
    modules += product_modules(f"{TOP}_scale", factor, Factor(SCALE_BITS, signed=False), dsp=unit.dsp)
    modules += inverse_module(f"{TOP}_inverse", unit.inverse)
    return modules + module(TOP, ports, [*lines, *_norm(unit, values)])


def _mean(unit: NormUnit, values: list[str]) -> list[str]:
    """The first stage: centred values, in registers."""
    width, signed, bits, fraction = unit.input_bits, unit.format.signed, unit.total_bits, unit.mean_fraction
    centred = unit.factor.bits
    lines, node, have = total(values, width, "t", signed=signed)
    value, shift = mean_constant(unit.channels)
    entering = (
        f"{{{extended(node, have, bits - fraction, signed=signed)}, {fraction}'d0}}"
        if fraction
        else extended(node, have, bits, signed=signed)
    )
    half = ((1 << shift) // value + 1) // 2  # half of the last bit of the mean: what is cut off behind it rounds
    lines += [
        f"reg {vector(bits)} total, complete;",
        *add("total_next", bits, f"(mean_first ? {bits}'d{half} : total)", entering),
        "always @(posedge clk) if (mean_collect) total <= total_next;",
        "assign mean_finished = mean_start;",
        "always @(posedge clk) if (mean_start) complete <= total;",
        f"reg {vector(width + fraction + int(not signed))} mean;",
    ]
    product, name, size = constant_product("complete", Factor(bits, signed=True), value)
    lines += product
    mean_bits = width + fraction + int(not signed)
    lines.append(f"always @(posedge clk) if (mean_load) mean <= {_cut(name, size, shift, mean_bits)};")
    for i in range(unit.lanes):
        kept = f"mean_h{i}"
        lines.append(f"wire {vector(width)} {kept} = {part('mean_held', width, i)};")
        first = extended(kept, width, centred - fraction, signed=signed)
        first = f"{{{first}, {fraction}'d0}}" if fraction else first
        lines += add(f"minus{i}", centred, first, f"~{extended('mean', mean_bits, centred, signed=True)}", "1'b1")
        lines += [f"reg {vector(centred)} centred{i};", f"always @(posedge clk) if (mean_go) centred{i} <= minus{i};"]
    lines.append(f"assign mean_kept = {{{', '.join(reversed(values))}}};")
    return lines


def _cut(name: str, have: int, low: int, want: int) -> str:
    """Bits `low` and up of a signed wire, as `want` bits."""
    top = min(low + want, have)
    inner = f"{name}[{top - 1}:{low}]"
    return inner if top - low == want else f"{{{{{low + want - top}{{{name}[{have - 1}]}}}}, {inner}}}"


def _norm(unit: NormUnit, values: list[str]) -> list[str]:
    """The second stage, or the only one."""
    factor, bits, squares, wide = unit.factor, unit.sum_bits, unit.square_bits, unit.output_bits
    inverse = unit.inverse
    lines: list[str] = [f"assign kept = {{{', '.join(reversed(values))}}};"]
    for i, value in enumerate(values):
        lines += [
            f"wire {vector(squares)} p{i};",
            f"{TOP}_square square{i} (.a({value}), .b({value}), .p(p{i}));",
            f"reg {vector(squares)} q{i};",
            f"always @(posedge clk) q{i} <= p{i};",
        ]
    adders, node, have = total([f"q{i}" for i in range(unit.lanes)], squares, "s", signed=False)
    lines += adders
    lines += [
        f"reg {vector(bits)} sum;",
        # one is added, so that a vector of zeros has a root
        *add("sum_next", bits, f"(first ? {bits}'d1 : sum)", extended(node, have, bits, signed=False)),
        "always @(posedge clk) if (collect) sum <= sum_next;",
        f"wire {vector(SCALE_BITS)} value;",
        f"wire {vector(inverse.zeros_bits)} places;",
        f"{TOP}_inverse inverse (.clk(clk), .start(start), .n(sum), .finished(finished), .value(value), .places(places));",
        f"reg {vector(SCALE_BITS)} root;",
        f"reg {vector(inverse.zeros_bits - 1)} amount;",
        "always @(posedge clk) if (load[0]) root <= value;",
        f"always @(posedge clk) if (load[1]) amount <= places[{inverse.zeros_bits - 1}:1];",
    ]
    product, signed = multiplier_type(factor, Factor(SCALE_BITS, signed=False))
    low = SCALE_BITS + bits // 2 - 1 - unit.fraction_bits
    for i in range(unit.lanes):
        lines += [
            f"wire {vector(product)} r{i};",
            f"{TOP}_scale scale{i} (.a({part('held', factor.bits, i)}), .b(root), .p(r{i}));",
            f"reg {vector(product)} scaled{i};",
            f"always @(posedge clk) if (go) scaled{i} <= r{i};",
        ]
        assert low >= 0
        moved, result = window_shift(f"scaled{i}", product, "amount", inverse.zeros_bits - 1, low, wide, signed=signed)
        lines += [*moved, f"reg {vector(wide)} y{i};", f"always @(posedge clk) if (go) y{i} <= {result};"]
    return [*lines, f"assign y = {{{', '.join(f'y{i}' for i in reversed(range(unit.lanes)))}}};"]
