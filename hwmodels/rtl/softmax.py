"""Softmax over rows of a stream as Verilog: 2^(x - largest) / sum, in 16 bits; the base is part of the scale of what comes in.

Two stages of two passes (safe softmax, arXiv 1805.02867, algorithm 2). The first finds the largest value and gives powers: a
table of the bits behind the binary point of the difference and a shifter for those before it. The second adds the powers up and
multiplies each with the reciprocal of their sum.
"""

from __future__ import annotations

from dataclasses import dataclass

from hwmodels.formats import ElementFormat
from hwmodels.primitives.cost import ceil_log2
from hwmodels.primitives.operands import fixed_point_bits
from hwmodels.primitives.scale import SCALE_BITS
from hwmodels.rtl.barrel import window_shift
from hwmodels.rtl.comparator import at_least
from hwmodels.rtl.elementwise import fixed_point_module
from hwmodels.rtl.inverse import InverseUnit, inverse_module
from hwmodels.rtl.multiplier import Factor
from hwmodels.rtl.passes import Passes, part, passes_module, stage_lines, total
from hwmodels.rtl.product import product_modules
from hwmodels.rtl.verilog import RtlError, add, extended, module, table, vector

TOP = "softmax"
"""Module name of a unit."""

POWER_BITS = SCALE_BITS
OCTAVE_BITS = 4
"""Bits of a difference before the binary point that a shifter reads: 16 octaves, as many as a power has bits."""

MOST_FRACTION = 8
"""Bits behind the binary point of a value at most: 0.3 % of a power from code to code (assumed)."""


@dataclass(frozen=True)
class SoftmaxUnit:
    """`lanes` lanes of a softmax over rows of `channels` values of a format; lanes divide channels.

    Ports: as a :class:`~hwmodels.rtl.normalize.NormUnit`, with two memories; y are unsigned, 16 bits behind the binary point.

    Args:
        dsp: products are left to DSP slices.
    """

    format: ElementFormat
    channels: int
    lanes: int = 1
    dsp: bool = False

    def __post_init__(self) -> None:
        if self.lanes < 1 or self.channels % self.lanes:
            raise RtlError(f"`lanes` must divide the channels, but got lanes={self.lanes}, channels={self.channels}.")

    @property
    def words(self) -> int:
        """Words of a row."""
        return self.channels // self.lanes

    @property
    def input_bits(self) -> int:
        """Width of a value in fixed point, and of a difference."""
        return fixed_point_bits(self.format)

    @property
    def fraction(self) -> int:
        """Bits of a value behind its binary point: values span 16 octaves, or more where they have more than 12 bits."""
        return min(max(self.input_bits - OCTAVE_BITS, 0), MOST_FRACTION)

    @property
    def octave_bits(self) -> int:
        """Bits of a difference that a shifter reads."""
        return min(self.input_bits - self.fraction, OCTAVE_BITS)

    @property
    def sum_bits(self) -> int:
        """Width of a sum of powers."""
        return POWER_BITS + ceil_log2(self.channels)

    @property
    def inverse(self) -> InverseUnit:
        """The reciprocal."""
        return InverseUnit(self.sum_bits)

    @property
    def amount_bits(self) -> int:
        """Bits of the shift behind the product: a sum is at least 2^16 - 1, so it has few leading zeros."""
        return (self.sum_bits - POWER_BITS + 1).bit_length()

    @property
    def stages(self) -> tuple[tuple[str, int, Passes], ...]:
        """(prefix, bits of a value in its memory, control) of each stage."""
        return (
            ("top_", self.input_bits, Passes(self.words, delay=0, depth=3, loads=1)),
            ("", POWER_BITS, Passes(self.words, delay=0, depth=3, loads=2)),
        )


def powers(fraction: int) -> list[int]:
    """2^-f for every f of so many bits behind the binary point, in 16 bits; 1 is the largest number of 16 bits."""
    most = (1 << POWER_BITS) - 1
    return [min(round(2.0 ** (POWER_BITS - key / (1 << fraction))), most) for key in range(1 << fraction)]


def softmax_verilog(unit: SoftmaxUnit) -> str:
    """The whole synthesizable text of a unit, top module :data:`TOP`."""
    fmt, lanes, width = unit.format, unit.lanes, unit.input_bits
    ports = [
        *("input wire clk", "input wire reset", "input wire x_valid", "output wire x_ready"),
        *(f"input wire {vector(fmt.bits * lanes)} x", "output wire y_valid", "input wire y_ready"),
        f"output wire {vector(SCALE_BITS * lanes)} y",
    ]
    lines = ["wire power_valid, power_ready;"]
    for i in range(lanes):
        lines += [f"wire {vector(width)} v{i};", f"{TOP}_fixed fixed{i} (.x({part('x', fmt.bits, i)}), .y(v{i}));"]
    modules = fixed_point_module(f"{TOP}_fixed", fmt)
    for (prefix, bits, passes), *ends in zip(unit.stages, ("x", "power"), ("power", "y"), strict=True):
        modules += passes_module(f"{TOP}_{prefix}passes", passes)
        memory, body = stage_lines(prefix, f"{TOP}_{prefix}passes", bits, lanes, passes, *ends)
        ports, lines = [*ports, *memory], [*lines, *body]
    if unit.fraction:
        ports_of_table = [f"input wire {vector(unit.fraction)} f", f"output reg {vector(POWER_BITS)} p"]
        rows = table("p", "f", unit.fraction, powers(unit.fraction), POWER_BITS)
        modules += module(f"{TOP}_table", ports_of_table, rows)
    scale = Factor(SCALE_BITS, signed=False)
    modules += product_modules(f"{TOP}_scale", scale, scale, dsp=unit.dsp)
    modules += inverse_module(f"{TOP}_inverse", unit.inverse)
    return modules + module(TOP, ports, [*lines, *_powers(unit), *_shares(unit)])


def largest(names: list[str], bits: int, *, signed: bool) -> tuple[list[str], str]:
    """(lines, name): the largest of wires of `bits` bits, by a tree of comparators and multiplexers."""
    lines: list[str] = []
    level, depth = list(names), 0
    while len(level) > 1:
        above = []
        for pair in range(0, len(level) - 1, 2):
            node, (first, second) = f"m{depth}_{pair // 2}", level[pair : pair + 2]
            lines += at_least(f"{node}_first", first, second, bits, signed=signed)
            lines.append(f"wire {vector(bits)} {node} = {node}_first ? {first} : {second};")
            above.append(node)
        level, depth = above + level[len(level) & ~1 :], depth + 1
    return lines, level[0]


def _powers(unit: SoftmaxUnit) -> list[str]:
    """The first stage: 2^(x - largest), in registers."""
    width, signed, fraction = unit.input_bits, unit.format.signed, unit.fraction
    values = [f"v{i}" for i in range(unit.lanes)]
    lines, node = largest(values, width, signed=signed)
    lines += [
        f"assign top_kept = {{{', '.join(reversed(values))}}};",
        f"reg {vector(width)} top, complete, subtrahend;",
        *at_least("keep", "top", node, width, signed=signed),
        f"always @(posedge clk) if (top_collect & (top_first | ~keep)) top <= {node};",
        "assign top_finished = top_start;",
        "always @(posedge clk) if (top_start) complete <= top;",
        "always @(posedge clk) if (top_load) subtrahend <= complete;",
    ]
    for i in range(unit.lanes):
        lines += add(f"less{i}", width, "subtrahend", f"~{part('top_held', width, i)}", "1'b1")
        lines += [f"reg {vector(width)} below{i};", f"always @(posedge clk) if (top_go) below{i} <= less{i};"]
        whole, octaves = width - fraction, unit.octave_bits
        if fraction:
            lines.append(f"wire {vector(POWER_BITS)} e{i};")
            lines.append(f"{TOP}_table table{i} (.f(below{i}[{fraction - 1}:0]), .p(e{i}));")
        else:
            lines.append(f"wire {vector(POWER_BITS)} e{i} = {POWER_BITS}'d{powers(0)[0]};")
        most = (1 << octaves) - 1
        lines.append(f"wire {vector(octaves)} by{i} = ~below{i}[{fraction + octaves - 1}:{fraction}];")
        moved, result = window_shift(f"e{i}", POWER_BITS, f"by{i}", octaves, most, POWER_BITS, signed=False)
        far = f"|below{i}[{width - 1}:{fraction + octaves}]" if whole > octaves else "1'b0"
        lines += [*moved, f"reg {vector(POWER_BITS)} power{i};"]
        lines.append(f"always @(posedge clk) if (top_go) power{i} <= {far} ? {POWER_BITS}'d0 : {result};")
    return lines


def _shares(unit: SoftmaxUnit) -> list[str]:
    """The second stage: each power times the reciprocal of their sum."""
    bits, inverse = unit.sum_bits, unit.inverse
    names = [f"power{i}" for i in range(unit.lanes)]
    lines, node, have = total(names, POWER_BITS, "s", signed=False)
    lines += [
        f"assign kept = {{{', '.join(reversed(names))}}};",
        f"reg {vector(bits)} sum;",
        *add("sum_next", bits, f"(sum & {{{bits}{{~first}}}})", extended(node, have, bits, signed=False)),
        "always @(posedge clk) if (collect) sum <= sum_next;",
        f"wire {vector(SCALE_BITS)} value;",
        f"wire {vector(inverse.zeros_bits)} places;",
        f"{TOP}_inverse inverse (.clk(clk), .start(start), .n(sum), .finished(finished), .value(value), .places(places));",
        f"reg {vector(SCALE_BITS)} reciprocal;",
        f"reg {vector(unit.amount_bits)} amount;",
        "always @(posedge clk) if (load[0]) reciprocal <= value;",
        f"always @(posedge clk) if (load[1]) amount <= places{vector(unit.amount_bits)};",
    ]
    for i in range(unit.lanes):
        product = 2 * SCALE_BITS
        lines += [
            f"wire {vector(product)} r{i};",
            f"{TOP}_scale scale{i} (.a({part('held', POWER_BITS, i)}), .b(reciprocal), .p(r{i}));",
            f"reg {vector(product)} scaled{i};",
            f"always @(posedge clk) if (go) scaled{i} <= r{i};",
        ]
        moved, result = window_shift(
            f"scaled{i}", product, "amount", unit.amount_bits, bits - 1, SCALE_BITS, signed=False
        )
        lines += [*moved, f"reg {vector(SCALE_BITS)} y{i};", f"always @(posedge clk) if (go) y{i} <= {result};"]
    return [*lines, f"assign y = {{{', '.join(f'y{i}' for i in reversed(range(unit.lanes)))}}};"]
