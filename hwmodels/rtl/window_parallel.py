"""Generators that give whole windows, as Verilog: the window in shift registers, what lies between its rows in one memory.

Every word that comes moves the window on by one. The rows of the window are a memory of lines apart, whose lines share one
address, because all of them are equally long; it is read before it is written.
"""

from __future__ import annotations

from dataclasses import dataclass

from hwmodels.primitives.cost import ceil_log2
from hwmodels.rtl.verilog import RtlError, constant, module, vector
from hwmodels.rtl.window import TOP, check_window
from hwmodels.window_shape import WindowShape


@dataclass(frozen=True)
class ParallelWindowUnit:
    """A generator of whole windows of `lanes` channels of `bits` bits; `block`: its lines are in block memory.

    Ports: as of a generator of words; out_data holds all taps, the first (top left) lowest.
    """

    shape: WindowShape
    bits: int
    lanes: int
    block: bool = False

    def __post_init__(self) -> None:
        check_window(self.shape, self.bits, self.lanes)

    @property
    def width(self) -> int:
        """Bits of a word that comes."""
        return self.bits * self.lanes

    @property
    def apart(self) -> int:
        """Words from a tap to the next of its row."""
        return self.shape.dilation[1] * (self.shape.channels // self.lanes)

    @property
    def line(self) -> int:
        """Words of a line in memory: those of a row that are not in the window, less one in the next row's first register."""
        row = self.shape.dilation[0] * self.shape.input_size[1] * (self.shape.channels // self.lanes)
        return row - (self.shape.kernel[1] - 1) * self.apart - 1

    @property
    def counts(self) -> dict[str, int]:
        """How far each counter counts: words of a pixel, pixels of a row, rows, and what a window waits for in both."""
        shape = self.shape
        span = [d * (k - 1) for d, k in zip(shape.dilation, shape.kernel, strict=True)]
        counts = {"word": shape.channels // self.lanes, "x": shape.input_size[1], "y": shape.input_size[0]}
        waits = {"x_wait": max(span[1] + 1, shape.stride[1]), "y_wait": max(span[0] + 1, shape.stride[0])}
        return counts | waits | ({"place": self.line} if self.shape.kernel[0] > 1 else {})


def parallel_window_verilog(unit: ParallelWindowUnit) -> str:
    """The text of a generator that gives whole windows, top module :data:`TOP`.

    Raises:
        RtlError: there are fewer windows than the padded input has.
    """
    shape, width = unit.shape, unit.width
    taps = shape.kernel[0] * shape.kernel[1]
    sizes = [
        (size - dilation * (kernel - 1) - 1) // stride + 1
        for size, kernel, stride, dilation in zip(
            shape.input_size, shape.kernel, shape.stride, shape.dilation, strict=True
        )
    ]
    if tuple(sizes) != shape.output_size:
        raise RtlError(f"whole windows leave for all of the padded input, {sizes[0]} x {sizes[1]}, but got {shape}.")
    bits = {name: max(ceil_log2(count), 1) for name, count in unit.counts.items()}
    ports = ["input wire clk", "input wire reset", "input wire in_valid", "output wire in_ready"]
    ports += [f"input wire {vector(width)} in_data", "output reg out_valid", "input wire out_ready"]
    ports += [f"output wire {vector(taps * width)} out_data"]
    lines = ["assign in_ready = ~out_valid | out_ready;", "wire step = in_valid & in_ready;"]
    for name in ("word", "x", "y"):
        count = unit.counts[name]
        last = f"{name} == {constant(count - 1, bits[name])}" if count > 1 else "1'b1"
        lines += [f"reg {vector(bits[name])} {name};", f"wire last_{name} = {last};"]
    lines += [
        "// what must still come before a window of this row, of this column, is whole",
        f"reg {vector(bits['x_wait'])} x_wait;",
        f"reg {vector(bits['y_wait'])} y_wait;",
        "wire pixel = step & last_word;",
        "wire row = pixel & last_x;",
        *_taps(unit),
        "always @(posedge clk)",
        "    if (reset) begin",
        "        word <= 0; x <= 0; y <= 0; out_valid <= 0;",
        f"        x_wait <= {_span(shape, 1)}; y_wait <= {_span(shape, 0)};",
        "    end else begin",
        "        out_valid <= step ? ~|x_wait & ~|y_wait : out_valid & ~out_ready;",
    ]
    if unit.counts["word"] > 1:
        lines.append("        if (step) word <= last_word ? 0 : word + 1'b1;")
    lines += [
        "        if (pixel) x <= last_x ? 0 : x + 1'b1;",
        f"        if (pixel) x_wait <= last_x ? {_span(shape, 1)} : |x_wait ? x_wait - 1'b1 : {shape.stride[1] - 1};",
        "        if (row) y <= last_y ? 0 : y + 1'b1;",
        f"        if (row) y_wait <= last_y ? {_span(shape, 0)} : |y_wait ? y_wait - 1'b1 : {shape.stride[0] - 1};",
        "    end",
    ]
    return module(TOP, ports, lines)


def _span(shape: WindowShape, axis: int) -> int:
    return shape.dilation[axis] * (shape.kernel[axis] - 1)


def _taps(unit: ParallelWindowUnit) -> list[str]:
    """The registers of every row, newest row and newest tap first, and the memory of lines between the rows."""
    (rows, cols), width, line = unit.shape.kernel, unit.width, unit.line
    names = [f"tap{r}_{c}" for r in range(rows) for c in range(cols)]
    lines = [f"wire {vector(width)} {name};" for name in names]
    lines.append(f"assign out_data = {{{', '.join(names)}}};")
    between = (rows - 1) * width
    for r in range(rows):
        if r == 0:
            lines += [f"reg {vector(width)} newest;", "always @(posedge clk) if (step) newest <= in_data;"]
            lines.append("assign tap0_0 = newest;")
        else:
            lines.append(f"assign tap{r}_0 = between[{r * width - 1}:{(r - 1) * width}];")
        for c in range(1, cols):
            lines += _delay(f"row{r}_{c}", f"tap{r}_{c - 1}", f"tap{r}_{c}", width, unit.apart)
    if rows > 1:
        came = ", ".join(f"tap{r}_{cols - 1}" for r in reversed(range(rows - 1)))
        lines += [f"reg {vector(between)} between;"]
        if line == 0:
            lines += [f"always @(posedge clk) if (step) between <= {{{came}}};"]
        else:
            bits, style = max(ceil_log2(line), 1), "block" if unit.block else "distributed"
            lines += [
                f'(* ram_style = "{style}" *) reg {vector(between)} store [0:{line - 1}];',
                f"reg {vector(bits)} place;",
                "always @(posedge clk) begin",
                "    if (step) begin",
                "        between <= store[place];",
                f"        store[place] <= {{{came}}};",
                "    end",
                "    if (reset) place <= 0;",
                f"    else if (step) place <= place == {constant(line - 1, bits)} ? 0 : place + 1'b1;",
                "end",
            ]
    return lines


def _delay(name: str, source: str, target: str, width: int, words: int) -> list[str]:
    """`target` = `source` of `words` words ago."""
    lines = [f"reg {vector(width * words)} {name};"]
    shifted = source if words == 1 else f"{{{name}[{width * (words - 1) - 1}:0], {source}}}"
    lines.append(f"always @(posedge clk) if (step) {name} <= {shifted};")
    return [*lines, f"assign {target} = {name}[{width * words - 1}:{width * (words - 1)}];"]
