"""A compute unit whose dot products are cut into segments: dot-product units below, scales and an outer accumulator on top.

Tiles (AXE) bound the inner accumulator, groups (OCP MX) bring scales of their own; either way the inner sum of a segment is
complete before it goes on. A segment of more products than there are lanes takes several cycles of one inner unit, a
shorter one shares the cycle with others: so many inner units stand side by side.
"""

from __future__ import annotations

from dataclasses import dataclass

from hwmodels.datapath import Datapath, Overflow, ScaleKind
from hwmodels.rtl.outer import OuterStage, outer_modules
from hwmodels.rtl.scale import ProductScale, Scale, ShiftScale, default_scale
from hwmodels.rtl.unit import MOST_LANES, TOP, DotUnit, unit_verilog
from hwmodels.rtl.verilog import RtlError, constant, module, vector
from hwmodels.segment import group_scales, segment_size

SEGMENT_TOP = "segmented"
"""Module name of a segmented unit; its parts are segmented_sums (of :data:`hwmodels.rtl.unit.TOP`) and segmented_outer."""

MOST_PRODUCTS = 4096
"""Of one segment: as many as can be simulated against the formats in seconds."""


@dataclass(frozen=True)
class SegmentUnit:
    """`lanes` products per cycle in segments of the datapath's tile or group, whichever is smaller.

    Args:
        datapath: formats, group scales, and the inner accumulator with its tile. LUT multipliers only.
        lanes: products per cycle (SIMD); a multiple or a divisor of the segment.
        outer_bits: P of the outer accumulator.
        outer_overflow: what it does with a sum that it cannot hold; None: as the inner one. Impossible is built as wrap.
        scale: how group scales are applied; None: as :func:`default_scale`.
        dropped_bits, pipeline: of every inner unit, see :class:`hwmodels.rtl.unit.DotUnit`.

    Ports: clk; enable (the cycle counts); clear (with enable: a dot product starts with this cycle's products; a segment
    that is not complete is lost); weights and activations (lane 0 in the lowest bits); with group scales codes (the scales of
    the segments that end in this cycle, the first segment lowest, of two operands the weight's lowest); sum (two's
    complement), which holds a segment `latency` cycles after its last products. A dot product that is no whole number of
    segments is filled up with zeros.
    """

    datapath: Datapath
    lanes: int
    outer_bits: int
    outer_overflow: Overflow | None = None
    scale: Scale | None = None
    dropped_bits: int | None = None
    pipeline: bool = False

    def __post_init__(self) -> None:
        if segment_size(self.datapath) is None:
            raise RtlError("a segmented unit must have a tile or group scales, but got neither; use a plain unit.")
        if not 1 <= self.lanes <= MOST_LANES:
            raise RtlError(f"`lanes` must be 1 to {MOST_LANES}, but got lanes={self.lanes}.")
        if self.segment > MOST_PRODUCTS:
            raise RtlError(
                f"a segment must have at most {MOST_PRODUCTS} products to be generated, but got {self.segment}; give a smaller "
                "tile or block."
            )
        if max(self.lanes, self.segment) % min(self.lanes, self.segment):
            raise RtlError(
                f"the lanes must divide a segment or be a multiple of it, but got lanes={self.lanes} and segments of "
                f"{self.segment} products; {self._fitting()} lanes would do."
            )
        if self.outer_overflow is None:
            object.__setattr__(self, "outer_overflow", self.datapath.accumulator.overflow)
        object.__setattr__(self, "scale", self._scale())
        _ = self.inner, self.outer  # what they refuse is refused here

    def _fitting(self) -> str:
        fits = [
            n for n in range(1, 2 * max(self.lanes, self.segment)) if not max(n, self.segment) % min(n, self.segment)
        ]
        below, above = [n for n in fits if n < self.lanes][-1:], [n for n in fits if n > self.lanes][:1]
        return " or ".join(map(str, below + above))

    def _scale(self) -> Scale | None:
        kinds = group_scales(self.datapath)
        if not kinds:
            if self.scale is not None:
                raise RtlError(f"a scale must come with group scales, but got {self.scale} and {self.datapath.weight}.")
            return None
        kind = kinds[0]
        if ScaleKind.FLOAT in kinds and len(kinds) > 1:
            raise RtlError(
                "a segment is multiplied by one float scale, but got group scales of both "
                f"weight={self.datapath.weight} and activation={self.datapath.activation}; make both powers of two, or "
                "leave one of them out."
            )
        scale = self.scale or default_scale(kind, self.operands, self.cycles)
        if isinstance(scale, ShiftScale) != (kind is ScaleKind.POWER_OF_TWO):
            form = "shift" if isinstance(scale, ProductScale) else "product"
            raise RtlError(f"group scales of kind {kind} must be a {form}, but got {scale}.")
        if scale.delay > self.cycles:
            raise RtlError(
                f"a scale must be applied before the next segment ends, in {self.cycles} cycles, but got {scale.delay} passes."
            )
        return scale

    @property
    def segment(self) -> int:
        """Products of one inner sum."""
        size = segment_size(self.datapath)
        assert size is not None  # refused in __post_init__
        return size

    @property
    def units(self) -> int:
        """Inner units side by side: segments that share a cycle."""
        return max(self.lanes // self.segment, 1)

    @property
    def cycles(self) -> int:
        """Cycles of one segment."""
        return max(self.segment // self.lanes, 1)

    @property
    def operands(self) -> int:
        """How many of weight and activation have group scales."""
        return len(group_scales(self.datapath))

    @property
    def inner(self) -> DotUnit:
        """One inner unit."""
        return DotUnit(self.datapath, min(self.lanes, self.segment), self.dropped_bits, self.pipeline)

    @property
    def outer(self) -> OuterStage:
        """What stands on top of the inner sums."""
        assert self.outer_overflow is not None  # resolved in __post_init__
        return OuterStage(
            self.datapath.accumulator.bits, self.units, self.outer_bits, self.outer_overflow, self.scale, self.operands
        )

    @property
    def latency(self) -> int:
        """Cycles from the last products of a segment to the sum that holds them."""
        return 1 + int(self.pipeline) + self.outer.delay


def segment_verilog(unit: SegmentUnit) -> str:
    """The whole synthesizable text of a unit, top module :data:`SEGMENT_TOP`; the same value gives the same text."""
    return "\n".join(
        (
            f"// segments of {unit.segment} products, {unit.lanes} lanes: {unit.units} inner units, outer accumulator of "
            f"{unit.outer_bits} bits ({unit.outer_overflow}), scale: {unit.scale}",
            unit_verilog(unit.inner),
            _sums(unit),
            outer_modules(f"{SEGMENT_TOP}_outer", unit.outer),
            _top(unit),
        )
    )


def _operand_ports(unit: SegmentUnit) -> list[str]:
    bits = {"weights": unit.datapath.weight.bits, "activations": unit.datapath.activation.bits}
    control = ["input wire clk", "input wire clear", "input wire enable"]
    return control + [f"input wire {vector(width * unit.lanes)} {name}" for name, width in bits.items()]


def _sums(unit: SegmentUnit) -> str:
    """Inner units and the position within a segment; done and first go with complete sums to the outer stage."""
    w, x, p = unit.datapath.weight.bits, unit.datapath.activation.bits, unit.datapath.accumulator.bits
    lanes, late = unit.inner.lanes, unit.pipeline
    ports = [*_operand_ports(unit), f"output wire {vector(p * unit.units)} sums"]
    ports += ["output wire done", "output wire first"]
    lines = _position(unit.cycles)
    for i in range(unit.units):
        codes = [
            f"{name}[{(i + 1) * bits * lanes - 1}:{i * bits * lanes}]"
            for name, bits in (("weights", w), ("activations", x))
        ]
        lines.append(
            f"{TOP} inner{i} (.clk(clk), .clear(start), .enable(enable), .weights({codes[0]}), .activations({codes[1]}), "
            f".sum(sums[{i * p + p - 1}:{i * p}]));"
        )
    lines += ["reg [1:0] flags;", "always @(posedge clk) flags <= {last & enable, begins};"]
    if late:
        lines += ["reg [1:0] flags_q;", "always @(posedge clk) flags_q <= flags;"]
    lines.append(f"assign {{done, first}} = flags{'_q' if late else ''};")
    return module(f"{SEGMENT_TOP}_sums", ports, lines)


def _position(cycles: int) -> list[str]:
    """Verilog of start and last (first and last cycle of a segment) and begins (no segment of the dot product is complete)."""
    if cycles == 1:
        return ["wire start = 1'b1, last = 1'b1, begins = clear;"]
    bits = (cycles - 1).bit_length()
    return [
        f"reg {vector(bits)} next;",
        "reg fresh;",
        f"wire {vector(bits)} position = next & {{{bits}{{~clear}}}};",
        "wire start = ~|position;",
        f"wire last = position == {constant(cycles - 1, bits)};",
        "wire begins = clear | fresh;",
        "always @(posedge clk) if (enable) begin",
        f"    next <= last ? {bits}'d0 : position + 1;",
        "    fresh <= begins & ~last;",
        "end",
    ]


def _top(unit: SegmentUnit) -> str:
    code = unit.outer.code_bits * unit.units
    ports = [*_operand_ports(unit), *[f"input wire {vector(code)} codes"] * bool(code)]
    ports.append(f"output wire {vector(unit.outer_bits)} sum")
    lines = [
        f"wire {vector(unit.datapath.accumulator.bits * unit.units)} sums;",
        "wire done, first;",
        f"{SEGMENT_TOP}_sums below (.clk(clk), .clear(clear), .enable(enable), .weights(weights), .activations(activations), "
        ".sums(sums), .done(done), .first(first));",
    ]
    codes = "codes"
    if code and unit.pipeline:  # the sums come a cycle later
        lines += [f"reg {vector(code)} codes_q;", "always @(posedge clk) codes_q <= codes;"]
        codes = "codes_q"
    scales = f".codes({codes}), " if code else ""
    lines.append(f"{SEGMENT_TOP}_outer above (.clk(clk), .done(done), .first(first), .sums(sums), {scales}.sum(sum));")
    return module(SEGMENT_TOP, ports, lines)
