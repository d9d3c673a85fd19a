"""The command line as a user meets it: exit codes, one sentence for a mistake, --json and nothing else on stdout."""

import csv
import io
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

GOLDEN = Path(__file__).parents[1] / "golden" / "finn"
COSTED = ("lut", "carry8", "ff", "dsp", "bram18", "uram", "cycles")


def dse(*arguments, cwd=None):
    command = [sys.executable, "-m", "dse", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, check=False)


def test_help_has_examples_for_every_command():
    shown = dse("--help")
    assert shown.returncode == 0
    commands = re.findall(r"^│ (\w+) ", shown.stdout, flags=re.MULTILINE)
    assert {"init", "check", "run", "front", "cost", "export", "synth"} <= set(commands)
    for command in commands:
        assert "Example" in dse(command, "--help").stdout, command


def test_init_check_and_its_refusal_to_overwrite(tmp_path):
    assert dse("init", tmp_path / "a.yaml").returncode == 0
    again = dse("init", tmp_path / "a.yaml")
    assert again.returncode == 2
    assert "must not exist yet" in again.stderr
    checked = dse("check", tmp_path / "a.yaml", "--quick", "--json")
    assert checked.returncode == 0
    document = json.loads(checked.stdout)
    assert document["numerics_points"] < document["combinations"]
    assert document["trials"] >= 60


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("run", "absent.yaml"), "absent.yaml must be a readable file"),
        (("front", "."), "must be the results folder of a sweep"),
        (("cost",), "one of --rows with --cols, --batch, --network and --results must say what to cost"),
        (("cost", "--rows", "8", "--cols", "9", "--pe", "3"), "`pe` must divide rows, but matvec got pe=3, rows=8"),
        (("cost", "--rows", "8", "--cols", "9", "--weight", "e4m3"), "a bare e4m3 does not say"),
        (("cost", "--rows", "8", "--cols", "9", "--device", "XC9"), "a device must be one of"),
        (("cost", "--rows", "0", "--cols", "9"), "`rows` of an operator must be at least 1, but matvec got rows=0"),
        (("cost", "--rows", "8", "--cols", "9", "--vectors", "0"), "`vectors` of an operator must be at least 1"),
        (
            ("cost", "--rows", "8", "--cols", "9", "--accumulator", "3"),
            "must hold at least one product, 16 bits for int8 x uint8",
        ),
        (("cost", "--rows", "8", "--cols", "9", "--weight", "e2m1", "--multiplier", "dsp"), "use multiplier=lut"),
        (("init", "/proc/none/x.yaml"), "/proc/none/x.yaml must be a file that can be written"),
        (
            ("cost", "--rows", "8", "--cols", "9", "--clock-mhz", "0"),
            "--clock-mhz must be a positive number, but got 0",
        ),
        (("cost", "--rows", "8", "--cols", "9", "--weight", "uint4"), "weights must be signed"),
        (("cost", "--rows", "8", "--cols", "9", "--activation", "e8m0"), "both formats must have a zero"),
        (("cost", "--rows", "8"), "both --rows and --cols must be given"),
        (("cost", "--rows", "9" * 30, "--cols", "9", "--pe", "8"), "numbers of a size that hardware can have"),
        (
            ("cost", "--rows", "8", "--cols", "9", "--accumulator", "9" * 5000),
            "numbers of a size that hardware can have",
        ),
        (("init", "my sweep.yaml"), "the name of my sweep.yaml becomes the sweep's and must be 1 to 64 letters"),
        (("cost", "--network", "absent.onnx", "--target-fps", "10"), "absent.onnx"),
        (("cost", "--network", "absent.onnx"), "--target-fps"),
        (("cost", "--rows", "8", "--cols", "9", "--target-fps", "10"), "--target-fps is of a whole network"),
        (("cost", "--rows", "8", "--cols", "9", "--tile", "-1"), "--tile must be at least 1 product, but got -1"),
        (("export", ".", "--point", "1", "--to", "qonnx"), "must be the results folder of a sweep"),
    ],
)
def test_a_mistake_exits_2_with_one_sentence_and_no_traceback(tmp_path, arguments, message):
    done = dse(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1


def test_cost_of_one_operator_names_formula_source_and_band():
    shape = ("--rows", 64, "--cols", 576, "--vectors", 196, "--pe", 8, "--simd", 16)
    arguments = (*shape, "--weight", "int4", "--activation", "uint4")
    document = json.loads(dse("cost", *arguments, "--device", "XCZU3EG", "--json").stdout)
    assert document["lines"]
    for line in document["lines"]:
        assert line["formula"]
        assert line["source"]
        assert line["band"]
    total = {name: sum(line[name] for line in document["lines"]) for name in COSTED[:-1]}
    assert document["total"] == pytest.approx(total)
    assert document["max_cycles"] == 64 // 8 * (576 // 16) * 196


def test_cost_of_a_floating_point_accumulator():
    shape = ("--rows", 16, "--cols", 64, "--pe", 4, "--simd", 8, "--weight", "e2m1", "--activation", "e2m1", "--json")
    fixed, floating = (json.loads(dse("cost", *shape, "--accumulator", p).stdout) for p in ("auto", "float:e5m10"))
    assert (fixed["accumulator"], floating["accumulator"]) == (15, "float:e5m10")
    assert floating["total"]["lut"] > 2 * fixed["total"]["lut"], "a floating-point adder is dearer than an integer one"


TABLES = ("mvau_hls", "mvau_rtl", "vvau", "swg_hls", "swg_rtl", "thresholding", "fifo", "dwc")


@pytest.mark.parametrize("table", TABLES)
def test_batch_appends_the_costs_of_every_row(table):
    source = GOLDEN / f"{table}.csv"
    done = dse("cost", "--batch", source, "--model", "finn")
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    expected = list(csv.DictReader(io.StringIO(source.read_text())))
    assert len(rows) == len(expected)
    assert tuple(rows[0])[-7:] == COSTED
    for row, golden in zip(rows, expected, strict=True):
        for ours, theirs in (("lut", "LUT"), ("bram18", "BRAM_18K"), ("uram", "URAM"), ("dsp", "DSP")):
            assert float(row[ours]) == float(golden[theirs])
        if "cycles" in golden:
            assert row["cycles"] == golden["cycles"]


@pytest.mark.parametrize("value", ["9" * 30, "9" * 400, "9" * 5000])
@pytest.mark.parametrize("model", ["finn", "calibrated"])
def test_a_number_without_end_in_a_row_is_a_mistake_of_that_row(tmp_path, value, model):
    header, first = (GOLDEN / "mvau_rtl.csv").read_text().splitlines()[:2]
    fields = first.split(",")
    fields[header.split(",").index("MH")] = value
    (tmp_path / "bad.csv").write_text(f"{header}\n{','.join(fields)}\n")
    done = dse("cost", "--batch", tmp_path / "bad.csv", "--model", model)
    assert done.returncode == 1
    assert "line 2: a row must have numbers of a size" in done.stderr
    assert done.stderr.count("\n") == 2


@pytest.mark.parametrize("model", ["finn", "calibrated"])
def test_a_row_that_cannot_be_costed_says_why_and_the_others_are_costed(tmp_path, model):
    lines = (GOLDEN / "fifo.csv").read_text().splitlines()[:3]
    bad = lines[1].replace("StreamingFIFO_rtl", "Mystery")
    (tmp_path / "bad.csv").write_text("\n".join([lines[0], bad, *lines[1:]]))
    done = dse("cost", "--batch", tmp_path / "bad.csv", "--model", model)
    assert done.returncode == 0
    assert dse("cost", "--batch", tmp_path / "bad.csv", "--model", model, "--strict").returncode == 1
    refused, *rows = csv.DictReader(io.StringIO(done.stdout))
    reason = f"{tmp_path / 'bad.csv'}, line 2: column op must be one of MVAU_hls"
    assert refused["error"].startswith(reason)
    assert "but got 'Mystery'." in refused["error"]
    assert all(refused[name] == "" for name in COSTED)
    assert len(rows) == 2
    assert all(row[name] and not row["error"] for row in rows for name in COSTED)
    assert done.stderr == f"1 of 3 rows have no cost but an error:\n{refused['error']}\n"
    document = json.loads(dse("cost", "--batch", tmp_path / "bad.csv", "--model", model, "--json").stdout)
    assert [("error" in row, "lut" in row) for row in document["rows"]] == [(True, False), *[(False, True)] * 2]


def test_uram_on_a_part_without_is_refused_row_by_row():
    """304 of 1,703 rows of FINN's table ask for it; FINN costs them, nothing can build them."""
    table = GOLDEN / "mvau_hls.csv"
    done = dse("cost", "--batch", table)
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    refused = [row for row in rows if row["error"]]
    assert len(refused) == 304
    assert all(row["ram_style"] == "ultra" and "URAM" in row["error"] for row in refused)
    assert done.stderr.splitlines() == [
        "304 of 1703 rows have no cost but an error:",
        *(row["error"] for row in refused),
    ]
    assert all(row["lut"] for row in rows if not row["error"])


@pytest.mark.parametrize(("design", "fps"), [("mlp_w8a8", 1000), ("mlp_w8a8", 100000), ("tfc_w2a2", 10000)])
def test_a_network_costs_from_its_file_what_finn_estimates(design, fps):
    golden = json.loads((GOLDEN / "networks_finn_v0.10.1.json").read_text())[f"{design}_{fps}fps"]
    file = GOLDEN.parent / "onnx" / f"{design}.onnx"
    done = dse(
        "cost", "--network", file, "--device", golden["fpgapart"], "--target-fps", fps, "--model", "finn", "--json"
    )
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    total = {name: golden["total"][theirs] for name, theirs in (("lut", "LUT"), ("bram18", "BRAM_18K"), ("dsp", "DSP"))}
    assert {name: document["total"][name] for name in total} == total
    assert document["max_cycles"] == golden["max_cycles"]
