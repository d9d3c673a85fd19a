"""`dse cost` beyond one model and one rate: both models side by side, the highest rate, and proofs that a rate does not fit."""

import csv
import io
import json
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from dse.__main__ import main

GOLDEN = Path(__file__).parents[1] / "golden"
MLP = GOLDEN / "onnx" / "mlp_w8a8.onnx"
OPERATOR = ("--rows", 64, "--cols", 576, "--pe", 8, "--simd", 16)


class Done(NamedTuple):
    """How a command ended."""

    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def cost(monkeypatch, capsys):
    """`dse cost` in this process."""

    def run(*arguments) -> Done:
        monkeypatch.setattr(sys, "argv", ["dse", "cost", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        return Done(ended.value.code or 0, *capsys.readouterr())

    return run


@pytest.fixture
def document(cost):
    """The JSON of a `dse cost` that succeeds."""

    def run(*arguments):
        done = cost(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


def test_both_models_of_a_network_are_those_of_each_alone(document):
    asked = ("--network", MLP, "--target-fps", 10_000)
    both, alone = document(*asked, "--compare"), document(*asked)
    assert both["calibrated_total"] == alone["total"]
    assert both["finn_refusal"] is None
    units = {unit["layer"]: unit for unit in both["units"]}
    assert {unit["finn_unit"] for unit in units.values()} == {"MVAU_hls", "MVAU_rtl"}
    last = both["units"][-1]
    assert last["finn"]["lut"] == 0 < last["calibrated"]["lut"]
    assert "FINN counts 0 LUT for an RTL MVAU or VVAU" in {entry["why"] for entry in last["differences"]}


def test_the_table_says_what_finn_does_not_have_and_why_models_differ(cost):
    shown = cost(*OPERATOR, "--weight", "int4", "--activation", "uint4", "--compare").stdout
    assert "MVAU_rtl" in shown
    assert "FINN counts no flip-flops" in shown
    refused = cost(*OPERATOR, "--weight", "e2m1", "--activation", "uint4", "--compare").stdout
    assert "no such format" in refused
    assert "FINN has no estimate: the finn model costs integers" in refused
    assert "where they differ" not in refused


def test_both_models_of_a_table_stand_beside_each_row(cost):
    source = GOLDEN / "finn" / "dwc.csv"
    done = cost("--batch", source, "--compare")
    assert done.returncode == 0, done.stderr
    rows, golden = list(csv.DictReader(io.StringIO(done.stdout))), list(csv.DictReader(io.StringIO(source.read_text())))
    assert len(rows) == len(golden)
    for row, known in zip(rows, golden, strict=True):
        assert float(row["finn_lut"]) == float(known["LUT"])
        assert ("lut: " in row["why"]) == (float(row["finn_lut"]) != float(row["calibrated_lut"]))


def test_rows_that_cannot_be_compared_are_named_beside_the_others(cost, tmp_path):
    lines = (GOLDEN / "finn" / "fifo.csv").read_text().splitlines()[:3]
    table = tmp_path / "one.csv"
    table.write_text("\n".join([*lines, lines[1].replace("StreamingFIFO_rtl", "Mystery")]))
    done = cost("--batch", table, "--compare")
    *compared, refused = csv.DictReader(io.StringIO(done.stdout))
    assert all(row["finn_lut"] and row["calibrated_lut"] and not row["error"] for row in compared)
    assert refused["error"].startswith(f"{table}, line 4: column op must be one of MVAU_hls")
    assert (refused["finn_lut"], refused["why"]) == ("", "")
    assert (done.returncode, done.stderr) == (0, f"1 of 3 rows have no cost but an error:\n{refused['error']}\n")
    document = cost("--batch", table, "--compare", "--strict", "--json")
    assert document.returncode == 1
    assert ["error" in row for row in json.loads(document.stdout)["rows"]] == [False, False, True]
    table.write_text("\n".join([lines[0], lines[1].replace("StreamingFIFO_rtl", "Mystery")]))
    assert cost("--batch", table, "--compare").returncode == 1  # of which no row can be costed


def test_the_highest_rate_fits_and_the_next_one_does_not(cost, document):
    asked = ("--network", MLP, "--device", "XC7Z020", "--multiplier", "dsp")
    found = document(*asked, "--target-fps", "max")
    assert found["exceeds"] == []
    assert found["total"]["dsp"] <= 220
    again = document(*asked, "--target-fps", found["fps"])
    assert again["max_cycles"] <= found["max_cycles"]
    assert again["exceeds"] == []
    above = cost(*asked, "--target-fps", found["fps"] * 1.01)
    assert above.returncode == 1
    shown = cost(*asked, "--target-fps", "max").stdout
    assert "no faster: " in shown


@pytest.mark.parametrize(
    ("fps", "multiplier", "proof"),
    [
        (5e6, "dsp", " needs at least "),
        (1e8, "lut", "cycles per frame, but takes"),
    ],
)
def test_a_rate_out_of_reach_exits_1_with_the_proof(cost, fps, multiplier, proof):
    done = cost("--network", MLP, "--device", "XC7Z020", "--target-fps", fps, "--multiplier", multiplier)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert proof in done.stderr
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((*OPERATOR, "--compare", "--model", "finn"), "--compare is of both models as they are"),
        (("--network", MLP, "--target-fps", "max", "--model", "finn"), "--target-fps max is of the calibrated model"),
        (("--network", MLP, "--target-fps", "fast"), "a positive number or max, but got fast"),
        (("--network", MLP, "--target-fps", "-1"), "a positive number or max, but got -1"),
        (("--network", MLP), "--network must come with --target-fps"),
        ((*OPERATOR, "--strict"), "--strict is of a table: it must come with --batch"),
    ],
)
def test_a_mistake_exits_2(cost, arguments, message):
    done = cost(*arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stdout == ""
