"""The compute datapath of one layer as Verilog: PE dot products of SIMD lanes, their weights in a ROM, and PE requantizers.

The activations of a vector come SIMD at a time; each group of PE rows takes all of them again (FINN's order), so a vector
takes rows / PE * words cycles. Memories are read from hexadecimal files by `$readmemh`: one of weights (a word holds what a
cycle multiplies, row 0 and lane 0 lowest), with group scales one of these, and of thresholds one for each row and stage, as in
FINN's thresholding_rtl. The order of the words is that of their use, so a ROM is a counter and a block RAM.

Requantizers are those by thresholds (:mod:`hwmodels.rtl.thresholds`), because these alone give the codes of a quantizer that
computes in floating point, for every sum: bias, scale, zero point, rectification and rounding are all in the thresholds.
"""

from __future__ import annotations

from dataclasses import dataclass

from hwmodels.primitives.cost import ceil_div
from hwmodels.rtl.segment import SEGMENT_TOP, SegmentUnit, segment_verilog
from hwmodels.rtl.thresholds import TOP as THRESHOLDS_TOP
from hwmodels.rtl.thresholds import ThresholdUnit, thresholds_verilog
from hwmodels.rtl.unit import TOP, DotUnit, unit_verilog
from hwmodels.rtl.verilog import RtlError, constant, module, vector

RowUnit = DotUnit | SegmentUnit


@dataclass(frozen=True)
class LayerUnit:
    """The datapath of `rows` dot products of `cols` products each.

    Args:
        row: the unit of one row; its lanes are SIMD.
        pe: rows in parallel; divides `rows`.
        depthwise: every row has activations of its own.
        requantizer: None: the sums leave as they are.

    Ports: clk; reset (starts with the first word of a vector); enable (a word comes); activations (lane 0 lowest; of a depthwise
    layer those of all PE rows, row 0 lowest); sums_valid and sums (PE rows, row 0 lowest), once for each group of rows; with a
    requantizer codes_valid and codes, `requantizer_latency` cycles later.
    """

    row: RowUnit
    rows: int
    cols: int
    pe: int
    depthwise: bool = False
    requantizer: ThresholdUnit | None = None

    def __post_init__(self) -> None:
        if self.pe < 1 or self.rows % self.pe:
            raise RtlError(f"`pe` must divide rows, but got pe={self.pe}, rows={self.rows}.")
        if self.cols % self.row.lanes and not (isinstance(self.row, SegmentUnit) and self.row.units == 1):
            raise RtlError(f"the lanes must divide cols, but got lanes={self.row.lanes}, cols={self.cols}.")
        if self.requantizer is not None and (self.requantizer.passes, self.requantizer.sum_bits) != (1, self.sum_bits):
            raise RtlError(
                f"the requantizer of a layer must take a sum of {self.sum_bits} bits per cycle, but got {self.requantizer}."
            )

    @property
    def sum_bits(self) -> int:
        """Width of a sum: P, or that of the outer accumulator."""
        return self.row.outer_bits if isinstance(self.row, SegmentUnit) else self.row.bits

    @property
    def words(self) -> int:
        """Cycles of one dot product; the last segment is filled up with zeros."""
        if isinstance(self.row, SegmentUnit) and self.row.units == 1:
            return ceil_div(self.cols, self.row.segment) * self.row.cycles
        return self.cols // self.row.lanes

    @property
    def folds(self) -> int:
        """Groups of rows that a vector is multiplied with one after the other."""
        return self.rows // self.pe

    @property
    def segments(self) -> int:
        """Words of group scales of one dot product, 0 without."""
        if isinstance(self.row, SegmentUnit) and self.row.scale is not None:
            return self.words // self.row.cycles
        return 0

    @property
    def weight_bits(self) -> int:
        """Bits of one weight code."""
        return self.row.datapath.weight.bits

    @property
    def activation_bits(self) -> int:
        """Bits of one activation code."""
        return self.row.datapath.activation.bits

    @property
    def input_bits(self) -> int:
        """Bits of one word of activations."""
        return self.row.lanes * self.activation_bits * (self.pe if self.depthwise else 1)

    @property
    def scale_bits(self) -> int:
        """Bits of the scale codes of one row's cycle."""
        return self.row.outer.code_bits * self.row.units if isinstance(self.row, SegmentUnit) else 0

    @property
    def latency(self) -> int:
        """Cycles from the last word of a dot product to its sum."""
        return 1 + self.row.latency

    @property
    def requantizer_latency(self) -> int:
        """Cycles from a sum to its code: two for each bit and one for the code's register."""
        return 0 if self.requantizer is None else 2 * self.requantizer.output.bits + 1


def row_verilog(row: RowUnit) -> tuple[str, str]:
    """(text, top module) of the unit of one row."""
    return (unit_verilog(row), TOP) if isinstance(row, DotUnit) else (segment_verilog(row), SEGMENT_TOP)


def requantizer_verilog(unit: ThresholdUnit) -> tuple[str, str]:
    """(text, top module) of a requantizer without its memories."""
    return thresholds_verilog(unit), THRESHOLDS_TOP


def weights_file(name: str) -> str:
    """Where the ROM of a layer's weights is read from."""
    return f"data/{name}.weights.hex"


def scales_file(name: str) -> str:
    """Where the ROM of a layer's group scales is read from."""
    return f"data/{name}.scales.hex"


def thresholds_file(name: str, row: int, stage: int) -> str:
    """Where the ROM of one stage's thresholds of one of the PE rows is read from."""
    return f"data/{name}.thresholds.{row}.{stage}.hex"


def layer_verilog(name: str, unit: LayerUnit, row_module: str, requantizer_module: str = "") -> str:
    """The text of module `name`, around the modules of its parts (:func:`row_verilog`, :func:`requantizer_verilog`)."""
    search = "" if unit.requantizer is None else _requantize_module(f"{name}_requantize", unit, requantizer_module)
    return search + ("\n" if search else "") + _top(name, unit, row_module)


def _counter_bits(count: int) -> int:
    return max((count - 1).bit_length(), 1)


def _top(name: str, unit: LayerUnit, row_module: str) -> str:
    lanes, w, p = unit.row.lanes, unit.weight_bits, unit.sum_bits
    word, fold, address = map(_counter_bits, (unit.words, unit.folds, unit.words * unit.folds))
    ports = ["input wire clk", "input wire reset", "input wire enable"]
    ports += [f"input wire {vector(unit.input_bits)} activations"]
    ports += ["output wire sums_valid", f"output wire {vector(p * unit.pe)} sums"]
    lines = [
        "// the place in the vector, and the word of weights",
        f"reg {vector(word)} word;",
        f"reg {vector(fold)} fold;",
        f"reg {vector(address)} address;",
        f"wire last = word == {constant(unit.words - 1, word)};",
        f"wire round = last & fold == {constant(unit.folds - 1, fold)};",
        "always @(posedge clk)",
        "    if (reset) begin",
        "        word <= 0; fold <= 0; address <= 0;",
        "    end else if (enable) begin",
        f"        word <= last ? {word}'d0 : word + {word}'d1;",
        f"        if (last) fold <= round ? {fold}'d0 : fold + {fold}'d1;",
        f"        address <= round ? {address}'d0 : address + {address}'d1;",
        "    end",
        *_rom("weights", weights_file(name), lanes * w * unit.pe, unit.words * unit.folds, "address"),
        f"reg {vector(unit.input_bits)} inputs;",
        f"reg {vector(fold)} fold_q;",
        "reg clear_q, enable_q, last_q;",
        "always @(posedge clk) begin",
        "    inputs <= activations; fold_q <= fold;",
        "    clear_q <= ~|word; enable_q <= enable & ~reset; last_q <= last & enable & ~reset;",
        "end",
    ]
    codes = ""
    if unit.segments:
        lines += _scales(name, unit)
        codes = ".codes(scales[{}]), "
    for row in range(unit.pe):
        given = unit.input_bits // unit.pe if unit.depthwise else unit.input_bits
        first = row * given if unit.depthwise else 0
        lines.append(
            f"{row_module} row{row} (.clk(clk), .clear(clear_q), .enable(enable_q), "
            f".weights(weights[{_part(row, lanes * w)}]), .activations(inputs[{first + given - 1}:{first}]), "
            f"{codes.format(_part(row, unit.scale_bits))}.sum(sums[{_part(row, p)}]));"
        )
    delay = unit.latency - 1
    lines += [
        "// when the sum of a group of rows is there, and which group it is",
        f"reg {vector(delay)} done;",
        f"reg {vector(delay * fold)} groups;",
        "always @(posedge clk) begin",
        f"    done <= {_shifted('done', delay, 1, 'last_q')};",
        f"    groups <= {_shifted('groups', delay, fold, 'fold_q')};",
        "end",
        f"assign sums_valid = done[{delay - 1}];",
    ]
    if unit.requantizer is not None:
        bits, late = unit.requantizer.output.bits, unit.requantizer_latency
        ports += ["output wire codes_valid", f"output wire {vector(bits * unit.pe)} codes"]
        lines += [
            f"reg {vector(late)} ready;",
            f"always @(posedge clk) ready <= {_shifted('ready', late, 1, 'sums_valid')};",
            f"assign codes_valid = ready[{late - 1}];",
        ]
        for row in range(unit.pe):
            files = ", ".join(f'.T{stage}("{thresholds_file(name, row, stage)}")' for stage in range(bits))
            lines.append(
                f"{name}_requantize #({files}) requantize{row} (.clk(clk), .sum(sums[{_part(row, p)}]), "
                f".group(groups[{_part(delay - 1, fold)}]), .code(codes[{_part(row, bits)}]));"
            )
    return module(name, ports, lines)


def _scales(name: str, unit: LayerUnit) -> list[str]:
    """The ROM of scales: a word for the segments that end in a cycle, read with their last products."""
    assert isinstance(unit.row, SegmentUnit)
    depth, cycles = unit.segments * unit.folds, unit.row.cycles
    bits, place = _counter_bits(depth), _counter_bits(cycles)
    return [
        f"reg {vector(bits)} segment;",
        f"reg {vector(place)} place;",
        f"wire ends = place == {constant(cycles - 1, place)};",
        "always @(posedge clk)",
        "    if (reset) begin",
        "        segment <= 0; place <= 0;",
        "    end else if (enable) begin",
        f"        place <= ends ? {place}'d0 : place + {place}'d1;",
        f"        if (ends) segment <= round ? {bits}'d0 : segment + {bits}'d1;",
        "    end",
        *_rom("scales", scales_file(name), unit.scale_bits * unit.pe, depth, "segment"),
    ]


def _requantize_module(name: str, unit: LayerUnit, requantizer: str) -> str:
    """One row's requantizer with its memories; stage s reads the thresholds of the row group and of the bits found so far.

    A sum takes one cycle into stage 0 and two from stage to stage; its memory is read in the second of each two.
    """
    search = unit.requantizer
    assert search is not None
    fold, bits, stages = _counter_bits(unit.folds), search.threshold_bits, search.output.bits
    grouped, delay = unit.folds > 1, 2 * stages - 1
    header = ", ".join(f'parameter T{stage} = ""' for stage in range(stages))
    ports = ["input wire clk", f"input wire {vector(unit.sum_bits)} sum", f"input wire {vector(fold)} group"]
    ports.append(f"output wire {vector(stages)} code")
    lines = [f"reg {vector(delay * fold)} groups;"] if grouped else []
    lines += [f"always @(posedge clk) groups <= {_shifted('groups', delay, fold, 'group')};"] * grouped
    connected = []
    for stage, address in enumerate(search.address_bits):
        parts = [f"groups[{_part(2 * stage, fold)}]"] * grouped + [f"address{stage}"] * bool(address)
        lines += [f"wire {vector(address)} address{stage};"] * bool(address)
        index = f"{{{', '.join(parts)}}}" if parts else "1'd0"
        lines += _rom(f"threshold{stage}", f"T{stage}", bits, unit.folds << address, index)
        connected.append(f".threshold{stage}(threshold{stage})")
        connected += [f".address{stage}(address{stage})"] * bool(address)
    lines.append(f"{requantizer} search (.clk(clk), .sum(sum), {', '.join(connected)}, .y(code));")
    return module(f"{name} #({header})", ports, lines)


def _rom(name: str, file: str, bits: int, depth: int, address: str) -> list[str]:
    """A memory whose output register is `name`; `file` is a path or the name of a parameter."""
    path = f'"{file}"' if "/" in file else file
    return [
        f"reg {vector(bits)} {name}_rom [0:{depth - 1}];",
        f"initial $readmemh({path}, {name}_rom);",
        f"reg {vector(bits)} {name};",
        f"always @(posedge clk) {name} <= {name}_rom[{address}];",
    ]


def _part(index: int, bits: int) -> str:
    return f"{index * bits + bits - 1}:{index * bits}"


def _shifted(name: str, length: int, bits: int, value: str) -> str:
    """A chain of `length` registers of `bits` bits with `value` shifted in at the low end."""
    return value if length == 1 else f"{{{name}[{(length - 1) * bits - 1}:0], {value}}}"
