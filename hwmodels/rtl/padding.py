"""Zero padding of a stream of pixels in front of a window generator, as Verilog: what FINN's FMPadding does.

Two counters follow the padded image, one within a row, one of the rows; a bit for each says whether its place lies inside the
image. Zeros are the synchronous reset of the output's register, so no bit of data takes a LUT.
"""

from __future__ import annotations

from dataclasses import dataclass

from hwmodels.primitives.cost import ceil_log2
from hwmodels.rtl.verilog import RtlError, constant, module, vector

TOP = "padding"
"""Module name of a unit."""


@dataclass(frozen=True)
class Span:
    """One direction of the padded image: `before` zeros, `inside` places of the image, `after` zeros."""

    before: int
    inside: int
    after: int

    @property
    def length(self) -> int:
        """All places."""
        return self.before + self.inside + self.after

    @property
    def pads(self) -> bool:
        """Whether there are any zeros."""
        return self.before + self.after > 0

    @property
    def marks(self) -> tuple[int, ...]:
        """The places in front of a change that a counter must know: into the image, out of it, the last; each once."""
        edges = (self.before - 1, self.before + self.inside - 1) if self.pads else ()
        return tuple(dict.fromkeys(place % self.length for place in (*edges, self.length - 1)))


@dataclass(frozen=True)
class PadUnit:
    """A unit that puts zeros around an image of words.

    Args:
        bits: of a word.
        words: per pixel, in turn.
        rows, columns: of the image, in pixels.

    Ports: clk, reset; in_data, in_valid, in_ready; out_data, out_valid, out_ready. A word passes where valid and ready are high;
    one leaves in each cycle in which the reader is ready and the image need not be waited for.

    Raises:
        RtlError: nothing is padded, or a size that is none.
    """

    bits: int
    words: int
    rows: Span
    columns: Span

    def __post_init__(self) -> None:
        sizes = (self.bits, self.words, self.rows.inside, self.columns.inside)
        zeros = (self.rows.before, self.rows.after, self.columns.before, self.columns.after)
        if min(sizes) < 1 or min(zeros) < 0 or not max(zeros):
            raise RtlError(
                "padding puts at least one row or column of zeros around an image of at least 1 x 1 words, but got bits, words, "
                f"rows, columns = {sizes} and zeros {zeros}."
            )

    @property
    def line(self) -> Span:
        """The columns in words."""
        return Span(*(self.words * pixels for pixels in (self.columns.before, self.columns.inside, self.columns.after)))

    @property
    def counted(self) -> tuple[Span, ...]:
        """What is counted: words of a row, and rows where any of them is zeros."""
        return (self.line, self.rows) if self.rows.pads else (self.line,)

    @property
    def registers(self) -> int:
        """Flip-flops: the word and its valid bit, the counters, a bit for each direction that is padded. Derived."""
        return self.bits + 1 + sum(ceil_log2(span.length) + int(span.pads) for span in self.counted)


def padding_verilog(unit: PadUnit) -> str:
    """The whole synthesizable text of a unit, top module :data:`TOP`."""
    word = vector(unit.bits)
    ports = ["input wire clk", "input wire reset", f"input wire {word} in_data", "input wire in_valid"]
    ports += ["output wire in_ready", f"output reg {word} out_data", "output reg out_valid", "input wire out_ready"]
    lines = [
        "wire go, inside;",
        *_counter("word", unit.line, "go"),
        *(_counter("row", unit.rows, "(go & word_last)") if unit.rows.pads else ()),
        f"assign inside = word_inside{' & row_inside' if unit.rows.pads else ''};",
        "wire move = out_ready | ~out_valid;",
        "assign in_ready = move & inside;",
        "assign go = move & (in_valid | ~inside);",
        "always @(posedge clk) if (reset) out_valid <= 1'b0; else if (move) out_valid <= in_valid | ~inside;",
        f"always @(posedge clk) if (move) out_data <= inside ? in_data : {constant(0, unit.bits)};",
    ]
    return module(TOP, ports, lines)


def _counter(name: str, span: Span, step: str) -> list[str]:
    """A counter of the places of `span` that goes on at `step`: wires `name`_last and `name`_inside."""
    bits, last = ceil_log2(span.length), span.length - 1
    if not bits:
        return [f"wire {name}_last = 1'b1;", f"wire {name}_inside = 1'b1;"]
    lines = [f"reg {vector(bits)} {name};"]
    lines += [f"wire {name}_at{place} = {name} == {constant(place, bits)};" for place in span.marks]
    lines += [
        f"wire {name}_last = {name}_at{last};",
        f"always @(posedge clk) if (reset | {step} & {name}_last) {name} <= {constant(0, bits)}; "
        f"else if ({step}) {name} <= {name} + 1'b1;",
    ]
    if not span.pads:
        return [*lines, f"wire {name}_inside = 1'b1;"]
    enter, leave = ((place - 1) % span.length for place in (span.before, span.before + span.inside))
    first = int(not span.before)
    return [
        *lines,
        f"reg {name}_inside;",
        f"always @(posedge clk) if (reset) {name}_inside <= 1'b{first}; "
        f"else if ({step} & ({name}_at{enter} | {name}_at{leave})) {name}_inside <= {name}_at{enter};",
    ]
