"""Sliding-window generators as Verilog: a frame comes word by word, the words of its windows leave.

One word a cycle (:class:`WindowUnit`): a ring of words, a read address that a nest of loops moves, and two counters, of the words
that may be read and of those that are still needed. Whole windows (:class:`ParallelWindowUnit`): the window itself in shift
registers, the lines between its rows in one memory.
"""

from __future__ import annotations

from dataclasses import dataclass

from hwmodels.primitives.cost import ceil_div, ceil_log2
from hwmodels.rtl.verilog import RtlError, add, constant, module, table, vector
from hwmodels.window_shape import WindowShape

TOP = "window"
LUTRAM_WORDS = 64
"""Words of a column of distributed memory: a ring of whole columns costs no more."""

RING_TOP_BITS = 5
"""Bits of an address in which the ring is not a power of two: with the carry below them they are six, a LUT6 per bit."""


@dataclass(frozen=True)
class Loop:
    """One loop of a nest: how often it runs, and how many words it moves on each time."""

    count: int
    step: int


@dataclass(frozen=True)
class WindowUnit:
    """A generator of windows of `lanes` channels of `bits` bits, one word a cycle; `block`: its ring is in block memory.

    Ports: clk, reset; in_valid, in_ready, in_data; out_valid, out_ready, out_data.
    """

    shape: WindowShape
    bits: int
    lanes: int
    block: bool = False

    def __post_init__(self) -> None:
        check_window(self.shape, self.bits, self.lanes)

    @property
    def width(self) -> int:
        """Bits of a word."""
        return self.bits * self.lanes

    @property
    def depth(self) -> int:
        """Words of the ring: the window generator's depth, in whole granules."""
        return ring_words(self.shape.buffer_depth(self.lanes, parallel=False))

    @property
    def words(self) -> int:
        """Words of a frame."""
        return self.shape.input_size[0] * self.shape.input_size[1] * (self.shape.channels // self.lanes)

    @property
    def loops(self) -> tuple[Loop, ...]:
        """The nest in which words leave, outermost first, without loops of one turn; neighbours that step alike are one."""
        shape, fold = self.shape, self.shape.channels // self.lanes
        row = shape.input_size[1] * fold
        windows = [
            Loop(shape.output_size[0], shape.stride[0] * row),
            Loop(shape.output_size[1], shape.stride[1] * fold),
        ]
        taps = [Loop(shape.kernel[0], shape.dilation[0] * row), Loop(shape.kernel[1], shape.dilation[1] * fold)]
        nest = [*windows, Loop(fold, 1), *taps] if shape.depthwise else [*windows, *taps, Loop(fold, 1)]
        return _merged(nest, keep=len(windows))


def _merged(nest: list[Loop], keep: int) -> tuple[Loop, ...]:
    """Loops of one turn left out, an inner loop joined to the one outside it where that only goes on; windows stay apart."""
    found: list[Loop] = []
    for i, loop in enumerate(nest):
        if loop.count == 1 and i >= keep:
            continue
        if i > keep and len(found) > keep and found[-1].step == loop.count * loop.step:
            found[-1] = Loop(found[-1].count * loop.count, loop.step)
        else:
            found.append(loop)
    return tuple(found)


def ring_words(depth: int) -> int:
    """Words of a ring for `depth` words: a multiple of what its highest address bits count, at least a column of LUTRAM."""
    granule = max(LUTRAM_WORDS, 1 << max(ceil_log2(depth) - RING_TOP_BITS, 0))
    return ceil_div(depth, granule) * granule


def check_window(shape: WindowShape, bits: int, lanes: int) -> None:
    """Refuse words that do not divide a pixel, and windows outside of the padded input.

    Raises:
        RtlError: says what must hold.
    """
    if bits < 1 or lanes < 1 or shape.channels % lanes:
        raise RtlError(
            f"a window generator needs bits >= 1 and lanes that divide its channels, but got bits={bits}, lanes={lanes}, "
            f"channels={shape.channels}."
        )
    for size, out, kernel, stride, dilation in zip(
        shape.input_size, shape.output_size, shape.kernel, shape.stride, shape.dilation, strict=True
    ):
        if (size - dilation * (kernel - 1) - 1) // stride + 1 < out:
            raise RtlError(f"the windows of a generator must lie in its padded input, but got {shape}.")


def moves(unit: WindowUnit) -> tuple[list[int], list[int]]:
    """(words that the read position moves, words that the oldest needed one moves) by the outermost loop that goes on.

    The first of each is for a step of the innermost loop, the last for the end of the frame.
    """
    loops = unit.loops
    windows, inner = loops[:2], loops[::-1]
    read, behind = [], 0
    for loop in inner:
        read.append(loop.step - behind)
        behind += (loop.count - 1) * loop.step
    read.append(unit.words - behind)
    start = (windows[0].count - 1) * windows[0].step + (windows[1].count - 1) * windows[1].step
    oldest = [0] * (len(loops) - 2)
    oldest += [windows[1].step, windows[0].step - (windows[1].count - 1) * windows[1].step, unit.words - start]
    return read, oldest


def window_verilog(unit: WindowUnit) -> str:
    """The text of a generator that gives one word a cycle, top module :data:`TOP`."""
    depth, width, loops = unit.depth, unit.width, unit.loops[::-1]
    address = ceil_log2(depth)
    read_moves, oldest_moves = moves(unit)
    lead = max(*map(abs, read_moves), depth).bit_length() + 1
    used = max(*map(abs, oldest_moves), depth).bit_length() + 1
    style = "block" if unit.block else "distributed"
    ports = ["input wire clk", "input wire reset", "input wire in_valid", "output wire in_ready"]
    ports += [f"input wire {vector(width)} in_data", "output reg out_valid", "input wire out_ready"]
    ports += [f"output reg {vector(width)} out_data"]
    lines = [
        f'(* ram_style = "{style}" *) reg {vector(width)} ring [0:{depth - 1}];',
        f"reg {vector(address)} read, written;",
        "// words that may be read, less than one if the next is not there yet; words that are still needed or to come",
        f"reg {vector(lead)} lead;",
        f"reg {vector(used)} used;",
        f"assign in_ready = used[{used - 1}] | used < {constant(depth, used)};",
        "wire write = in_valid & in_ready;",
        f"wire there = ~lead[{lead - 1}] & |lead;",
        "wire step = there & (~out_valid | out_ready);",
    ]
    done = "1'b1"
    for i, loop in enumerate(loops):
        bits = max(ceil_log2(loop.count), 1)
        last = f"loop{i} == {constant(loop.count - 1, bits)}" if loop.count > 1 else "1'b1"
        lines += [f"reg {vector(bits)} loop{i};", f"wire last{i} = {last};", f"wire turn{i} = {done};"]
        done = f"turn{i} & last{i}"
    lines.append(f"wire frame = {done};")
    turns = ["frame", *(f"turn{i}" for i in reversed(range(1, len(loops))))]

    def chosen(values: list[int], bits: int) -> str:
        """The value of the outermost loop that goes on."""
        cases = zip(turns, values[:0:-1], strict=True)
        return " : ".join([*(f"{turn} ? {constant(value, bits)}" for turn, value in cases), constant(values[0], bits)])

    cleared = " ".join(f"loop{i} <= 0;" for i in range(len(loops)))
    lines += [
        f"wire {vector(address)} move = {chosen([m % depth for m in read_moves], address)};",
        *_ring_next("read_next", "read", "move", address, depth),
        *_ring_next("written_next", "written", f"{address}'d1", address, depth),
        f"wire {vector(lead)} taken = {{{lead}{{step}}}} & ({chosen([-m for m in read_moves], lead)});",
        f"wire {vector(used)} freed = {{{used}{{step}}}} & ({chosen([-m for m in oldest_moves], used)});",
        *add("lead_next", lead, "lead", "taken", "write"),
        *add("used_next", used, "used", "freed", "write"),
    ]
    lines += [
        "always @(posedge clk) begin",
        "    if (write) ring[written] <= in_data;",
        "    if (step) out_data <= ring[read];",
        "    if (reset) begin",
        f"        read <= 0; written <= 0; lead <= 0; used <= 0; out_valid <= 0; {cleared}",
        "    end else begin",
        "        if (write) written <= written_next;",
        "        lead <= lead_next; used <= used_next;",
        "        if (step) begin",
        "            read <= read_next;",
        *(f"            if (turn{i}) loop{i} <= last{i} ? 0 : loop{i} + 1'b1;" for i in range(len(loops))),
        "        end",
        "        out_valid <= step | (out_valid & ~out_ready);",
        "    end",
        "end",
    ]
    return module(TOP, ports, lines)


def _ring_next(target: str, place: str, move: str, bits: int, words: int) -> list[str]:
    """`target` = (place + move) modulo `words`: a sum, and a table for the bits above a granule."""
    if words == 1 << bits:
        return [f"wire {vector(bits)} {target} = {place} + {move};"]
    top = max(bits - (words & -words).bit_length() + 1, 1)
    low, turns = bits - top, words >> (bits - top)
    rows = table(f"{target}_top", f"{target}_sum[{bits}:{low}]", top + 1, [k % turns for k in range(2 << top)], top)
    sums = f"wire {vector(bits + 1)} {target}_sum = {{1'b0, {place}}} + {{1'b0, {move}}};"
    joined = f"{{{target}_top, {target}_sum[{low - 1}:0]}}" if low else f"{target}_top"
    return [sums, f"reg {vector(top)} {target}_top;", *rows, f"wire {vector(bits)} {target} = {joined};"]
