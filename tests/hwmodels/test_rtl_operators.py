"""Zero padding and label select in Icarus Verilog: NumPy's pad and argmax, with a writer and a reader that pause."""

import re
import shutil

import numpy as np
import pytest

from hwmodels.rtl import label_select, padding
from hwmodels.rtl.label_select import LabelUnit, label_select_verilog
from hwmodels.rtl.padding import PadUnit, Span, padding_verilog
from hwmodels.rtl.verilog import RtlError, ports_of, vector

needs_icarus = pytest.mark.skipif(
    shutil.which("iverilog") is None, reason="Icarus Verilog is not on the PATH (Debian, Ubuntu: apt install iverilog)"
)

# what is given is taken where in_ready answers it, so the writer stands in Verilog: a word waits until it is taken
WRITER = """module paced (input wire clk, input wire reset, input wire give, input wire take, output wire {result} result,
    output wire result_valid, output wire taken);
    reg [31:0] next;
    reg {word} words [0:{last}];
    initial $readmemb("words", words);
    wire in_ready, valid;
    {top} unit (.clk(clk), .reset(reset), .in_data(words[next]), .in_valid(give & next <= {last}), .in_ready(in_ready),
        .{output}(result), .out_valid(valid), .out_ready(take));
    assign result_valid = valid & take;
    assign taken = give & in_ready & next <= {last};
    always @(posedge clk) if (reset) next <= 0; else if (taken) next <= next + 1;
endmodule
"""
BENCH = """module bench;
    reg clk = 0, reset = 1;
    reg [1:0] pace [0:{last}];
    reg [1:0] now;
    wire {result} result;
    wire result_valid, taken;
    integer i;
    paced unit (clk, reset, now[0], now[1], result, result_valid, taken);
    initial begin
        $readmemb("pace", pace);
        for (i = 0; i <= {last}; i = i + 1) begin
            now = pace[i];
            #1 if (result_valid & ~reset) $display("%b", result);
            if (taken & ~reset) $display("taken");
            clk = 1;
            #1 clk = 0; reset = 0;
        end
        $finish;
    end
endmodule
"""


def results(text, top, output, words, bits, cycles, seed=0, pauses=True):
    """(what leaves the unit, words taken, cycles) when all `words` of `bits` bits are given in turn."""
    from hwmodels.rtl.icarus import run_icarus

    rng = np.random.default_rng(seed)
    pace = rng.random((cycles, 2)) < (0.6 if pauses else 1.0)
    wide = ports_of(text, top)[output][1]
    where = {"result": vector(wide), "word": vector(bits), "last": len(words) - 1, "top": top, "output": output}
    bench = text + WRITER.format(**where) + BENCH.format(result=vector(wide), last=cycles - 1)
    files = {
        "words": "\n".join(format(word, f"0{bits}b") for word in words),
        "pace": "\n".join("".join("01"[int(bit)] for bit in row[::-1]) for row in pace),
    }
    printed = run_icarus(bench, "bench", files).split()
    return [int(line, 2) for line in printed if line != "taken"], printed.count("taken")


PADS = [
    PadUnit(8, 1, Span(1, 4, 1), Span(1, 4, 1)),
    PadUnit(3, 4, Span(2, 3, 1), Span(0, 5, 3)),
    PadUnit(5, 3, Span(0, 4, 2), Span(2, 3, 0)),
    PadUnit(2, 2, Span(0, 3, 0), Span(1, 2, 1)),
    PadUnit(4, 5, Span(1, 3, 0), Span(0, 2, 0)),
    PadUnit(1, 1, Span(3, 1, 3), Span(0, 1, 0)),
]


def padded(unit, images):
    around = ((unit.rows.before, unit.rows.after), (unit.columns.before, unit.columns.after))
    return np.pad(images, ((0, 0), *around, (0, 0)))


@needs_icarus
@pytest.mark.parametrize("unit", PADS, ids=str)
def test_padding_puts_zeros_around_images(unit) -> None:
    """Two images and the beginning of a third, word by word; what leaves is NumPy's pad of them."""
    rng = np.random.default_rng(1)
    images = rng.integers(1, 1 << unit.bits, (3, unit.rows.inside, unit.columns.inside, unit.words))
    wanted = padded(unit, images).ravel().tolist()
    words = images.ravel().tolist()
    got, _ = results(padding_verilog(unit), padding.TOP, "out_data", words, unit.bits, 4 * len(wanted))
    assert got[: len(wanted)] == wanted


@needs_icarus
def test_padding_takes_a_cycle_for_each_word_of_the_padded_image() -> None:
    unit = PADS[1]
    images = np.ones((4, unit.rows.inside, unit.columns.inside, unit.words), int)
    frame, taken = padded(unit, images[:1]).size, images[0].size
    text = padding_verilog(unit)
    # a cycle of reset, and one for the output's register
    got, count = results(text, padding.TOP, "out_data", images.ravel().tolist(), unit.bits, 2 * frame + 2, pauses=False)
    assert len(got) == 2 * frame
    assert count == 2 * taken


LABELS = [
    LabelUnit(6, 10),
    LabelUnit(4, 10, 2),
    LabelUnit(5, 15, 3),
    LabelUnit(3, 20, 5),
    LabelUnit(4, 7, 7),
    LabelUnit(8, 16, 4),
    LabelUnit(3, 16, 16),
    LabelUnit(2, 3),
]


@needs_icarus
@pytest.mark.parametrize("unit", LABELS, ids=str)
def test_the_label_is_that_of_the_first_largest_sum(unit) -> None:
    """NumPy's argmax: random sums with many ties, all sums equal, the largest first and last."""
    rng = np.random.default_rng(2)
    low, high = -(1 << unit.bits - 1), (1 << unit.bits - 1) - 1
    sums = rng.integers(low, high + 1, (60, unit.labels))
    sums[0], sums[1], sums[2], sums[3] = (
        low,
        high,
        np.linspace(high, low, unit.labels),
        np.linspace(low, high, unit.labels),
    )
    sums[4:20] = rng.integers(low, low + 2, (16, unit.labels))
    fields = (sums & ((1 << unit.bits) - 1)).reshape(len(sums), unit.words, unit.pe).astype(object)
    words = [sum(int(value) << unit.bits * i for i, value in enumerate(word)) for word in fields.reshape(-1, unit.pe)]
    text, bits = label_select_verilog(unit), unit.bits * unit.pe
    got, _ = results(text, label_select.TOP, "label", words, bits, 8 * len(words))
    assert got == sums.argmax(axis=1).tolist()


@needs_icarus
@pytest.mark.parametrize("unit", [LABELS[0], LABELS[1], LABELS[4]], ids=str)
def test_label_select_takes_a_cycle_for_each_word(unit) -> None:
    words = [0] * (3 * unit.words)
    text = label_select_verilog(unit)
    got, _ = results(text, label_select.TOP, "label", words, unit.bits * unit.pe, len(words) + 2, pauses=False)
    assert len(got) == 3


@needs_icarus
@pytest.mark.parametrize(
    ("text", "pattern", "wrong"),
    [(padding_verilog(PADS[0]), r"\| row_at4", "| row_at5"), (padding_verilog(PADS[0]), "move & inside", "move")],
)
def test_a_broken_padding_is_found_out(text, pattern, wrong) -> None:
    broken, changes = re.subn(pattern, wrong, text)
    assert changes
    images = np.random.default_rng(1).integers(1, 256, (2, 4, 4, 1))
    got, _ = results(broken, padding.TOP, "out_data", images.ravel().tolist(), 8, 400)
    wanted = padded(PADS[0], images).ravel().tolist()
    assert got[: len(wanted)] != wanted


def test_impossible_units_are_refused() -> None:
    for make, message in (
        (lambda: PadUnit(8, 1, Span(0, 4, 0), Span(0, 4, 0)), "at least one row or column of zeros"),
        (lambda: PadUnit(8, 0, Span(1, 4, 1), Span(0, 4, 0)), "bits, words, rows, columns = (8, 0, 4, 4)"),
        (lambda: LabelUnit(8, 10, 3), "`pe` divides their number, but got bits=8, labels=10, pe=3"),
        (lambda: LabelUnit(8, 1), "at least 2 sums of at least 2 bits"),
    ):
        with pytest.raises(RtlError, match=re.escape(message)):
            make()
