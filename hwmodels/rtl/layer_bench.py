"""A self-checking testbench of a layer's datapath (:mod:`hwmodels.rtl.layer`), and the memory files that it and the layer read.

It runs in Icarus Verilog and in Verilator (5 or later, `--binary --timing`), prints the first word that differs and one line
that :func:`read_verdict` reads.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwmodels.rtl.layer import LayerUnit
from hwmodels.rtl.verilog import RtlError, vector

Codes = NDArray[np.integer] | NDArray[np.object_]
"""Stored codes as integers from 0; Python integers where 64 bits are too few."""

PAUSE = 7
"""A cycle without a word comes after every so many, because nothing may depend on words that come without a break."""

_TEXT = """module {name}_test;
    reg clk, reset, enable;
    reg {input_width} activations;
    reg {input_width} inputs [0:{last_input}];
    wire sums_valid{codes_valid};
    wire {sums_width} sums;
    reg {sums_width} wanted_sums [0:{last_output}];
{codes_declared}
    integer i, seen_sums, seen_codes, wrong_sums, wrong_codes;
    {name} unit (.clk(clk), .reset(reset), .enable(enable), .activations(activations),
        .sums_valid(sums_valid), .sums(sums){ports});
    always #5 clk = ~clk;
    initial begin
        $readmemh("{inputs_file}", inputs);
        $readmemh("{sums_file}", wanted_sums);
{codes_read}
        clk = 0; reset = 1; enable = 0; activations = 0;
        seen_sums = 0; seen_codes = 0; wrong_sums = 0; wrong_codes = 0;
        repeat (3) @(negedge clk);
        reset = 0;
        for (i = 0; i <= {last_input}; i = i + 1) begin
            enable = 1; activations = inputs[i];
            @(negedge clk);
            if (i % {pause} == {pause} - 1) begin
                enable = 0;
                @(negedge clk);
            end
        end
        enable = 0;
        repeat ({drain}) @(negedge clk);
        $display("{name}: %0d of {count} words of sums seen, %0d wrong; %0d of {code_count} words of codes seen, %0d wrong",
            seen_sums, wrong_sums, seen_codes, wrong_codes);
        $finish;
    end
    always @(negedge clk) if (sums_valid === 1'b1) begin
        if (seen_sums <= {last_output}) if (sums !== wanted_sums[seen_sums]) begin
            if (wrong_sums == 0) $display("{name}: first wrong sums: word %0d is %h instead of %h (vector %0d, rows from %0d)",
                seen_sums, sums, wanted_sums[seen_sums], seen_sums / {folds}, (seen_sums % {folds}) * {pe});
            wrong_sums = wrong_sums + 1;
        end
        seen_sums = seen_sums + 1;
    end
{codes_checked}
endmodule
"""

_CODES_CHECKED = """    always @(negedge clk) if (codes_valid === 1'b1) begin
        if (seen_codes <= {last_output}) if (codes !== wanted_codes[seen_codes]) begin
            if (wrong_codes == 0) $display("{name}: first wrong codes: word %0d is %h instead of %h (vector %0d, rows from %0d)",
                seen_codes, codes, wanted_codes[seen_codes], seen_codes / {folds}, (seen_codes % {folds}) * {pe});
            wrong_codes = wrong_codes + 1;
        end
        seen_codes = seen_codes + 1;
    end"""


def layer_testbench(name: str, unit: LayerUnit, vectors: int) -> str:
    """The text of module `name`_test for `vectors` vectors in the files of :func:`vector_files`."""
    count = vectors * unit.folds
    common = {"name": name, "last_output": count - 1, "folds": unit.folds, "pe": unit.pe}
    wide = "" if unit.requantizer is None else vector(unit.requantizer.output.bits * unit.pe)
    return _TEXT.format(
        **common,
        input_width=vector(unit.input_bits),
        last_input=count * unit.words - 1,
        sums_width=vector(unit.sum_bits * unit.pe),
        codes_valid=", codes_valid" if wide else "",
        codes_declared=f"    wire {wide} codes;\n    reg {wide} wanted_codes [0:{count - 1}];" if wide else "",
        ports=", .codes_valid(codes_valid), .codes(codes)" if wide else "",
        inputs_file=f"data/{name}.inputs.hex",
        sums_file=f"data/{name}.sums.hex",
        codes_read=f'        $readmemh("data/{name}.codes.hex", wanted_codes);' if wide else "",
        codes_checked=_CODES_CHECKED.format(**common) if wide else "",
        pause=PAUSE,
        drain=unit.latency + unit.requantizer_latency + 4,
        count=count,
        code_count=count if wide else 0,
    )


def read_verdict(name: str, unit: LayerUnit, vectors: int, printed: str) -> tuple[int, int, str | None]:
    """(words compared, words that differ or are missing, the first difference in words) of what a testbench printed.

    Raises:
        RtlError: it did not come to its end, or a memory file was not of the right size.
    """
    found = re.search(
        rf"^{re.escape(name)}: (\d+) of (\d+) words of sums seen, (\d+) wrong; (\d+) of (\d+) words of codes seen, (\d+) wrong",
        printed,
        re.MULTILINE,
    )
    warned = re.search(r"^.*(?:warning|error).*$", printed, re.MULTILINE | re.IGNORECASE)
    if found is None or warned is not None:
        lines = [line for line in printed.splitlines() if line.strip()]
        raise RtlError(
            f"the testbench of {name} must run to its end without a warning, but it printed: "
            f"{warned[0] if warned else lines[-1] if lines else 'nothing'}."
        )
    seen_sums, sums, wrong_sums, seen_codes, codes, wrong_codes = map(int, found.groups())
    expected = vectors * unit.folds
    assert (sums, codes) == (expected, expected if unit.requantizer else 0)
    first = re.search(rf"^{re.escape(name)}: (first wrong .*)$", printed, re.MULTILINE)
    missing = abs(sums - seen_sums) + abs(codes - seen_codes)
    counts = f"{seen_sums} of {sums} words of sums and {seen_codes} of {codes} of codes came"
    return sums + codes, wrong_sums + wrong_codes + missing, first[1] if first else counts if missing else None


def word(codes: Iterable[Any], bits: int) -> int:
    """Codes side by side, the first in the lowest bits; negative ones in two's complement."""
    mask = (1 << bits) - 1
    return sum((int(code) & mask) << i * bits for i, code in enumerate(codes))


def hex_words(words: Sequence[int], bits: int) -> str:
    """A memory file for `$readmemh`: one word a line."""
    digits = -(-bits // 4)
    return "".join(f"{each:0{digits}x}\n" for each in words)


def weight_words(unit: LayerUnit, weights: Codes) -> str:
    """The ROM of the weights: stored codes of shape (rows, cols), in the order of their use."""
    lanes, bits = unit.row.lanes, unit.weight_bits
    padded = _padded(unit, weights).reshape(unit.folds, unit.pe, unit.words, lanes).transpose(0, 2, 1, 3)
    return hex_words([word(each.ravel(), bits) for group in padded for each in group], lanes * bits * unit.pe)


def scale_words(unit: LayerUnit, scales: Codes) -> str:
    """The ROM of the group scales: stored codes of shape (rows, segments of one dot product)."""
    bits = unit.scale_bits
    by_use = scales.reshape(unit.folds, unit.pe, unit.segments, -1).transpose(0, 2, 1, 3)
    each = bits // by_use.shape[3]
    return hex_words([word(codes.ravel(), each) for group in by_use for codes in group], bits * unit.pe)


def threshold_words(unit: LayerUnit, thresholds: Codes) -> dict[tuple[int, int], str]:
    """The ROMs of the thresholds by (PE row, stage): sums of shape (rows, 2^bits - 1), ascending, thresholds of index 1 first.

    Stage s asks for bit bits - 1 - s of the index, with the bits above it as the address.
    """
    search = unit.requantizer
    assert search is not None
    found = {}
    for stage in range(search.output.bits):
        step = 1 << search.output.bits - 1 - stage
        chosen = thresholds[:, step - 1 :: 2 * step].reshape(unit.folds, unit.pe, -1)
        for row in range(unit.pe):
            words = [word([value], search.threshold_bits) for value in chosen[:, row].ravel()]
            found[row, stage] = hex_words(words, search.threshold_bits)
    return found


def vector_files(name: str, unit: LayerUnit, inputs: Codes, sums: Codes, codes: Codes | None) -> dict[str, str]:
    """The files of a testbench.

    Args:
        inputs: stored activation codes, (vectors, cols), of a depthwise layer (vectors, rows, cols).
        sums: (vectors, rows). codes: stored codes of the same shape, or None without a requantizer.
    """
    lanes, bits, pe = unit.row.lanes, unit.activation_bits, unit.pe
    words: list[int] = []
    for given in inputs:
        if unit.depthwise:
            parts = _padded(unit, given).reshape(unit.folds, pe, unit.words, lanes).transpose(0, 2, 1, 3)
            words += [word(each.ravel(), bits) for group in parts for each in group]
        else:
            one = [word(each, bits) for each in _padded(unit, given[None]).reshape(unit.words, lanes)]
            words += one * unit.folds
    files = {f"data/{name}.inputs.hex": hex_words(words, unit.input_bits)}
    outputs = [("sums", sums, unit.sum_bits)]
    if codes is not None and unit.requantizer is not None:
        outputs.append(("codes", codes, unit.requantizer.output.bits))
    for kind, values, size in outputs:
        grouped = values.reshape(-1, pe)
        files[f"data/{name}.{kind}.hex"] = hex_words([word(each, size) for each in grouped], size * pe)
    return files


def _padded(unit: LayerUnit, codes: Codes) -> NDArray[Any]:
    """Codes (rows, cols) with the zeros that fill up the last segment; the code 0 is the number zero in every format."""
    missing = unit.words * unit.row.lanes - unit.cols
    return np.pad(np.asarray(codes), ((0, 0), (0, missing)))
