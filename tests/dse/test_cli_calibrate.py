"""`dse calibrate`, and `dse cost` with its file: nothing silently, and one sentence for what cannot be."""

import csv
import io
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from dse.__main__ import main
from hwmodels.calibration.vivado import SHIPPED_ROWS

ROWS = SHIPPED_ROWS
FINN = Path(__file__).parents[1] / "golden" / "finn"


@dataclass(frozen=True)
class Done:
    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def dse(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """The command in this process: what it prints and its exit code."""

    def run(*arguments: object) -> Done:
        monkeypatch.setattr(sys, "argv", ["dse", *map(str, arguments)])
        try:
            code = main()
        except SystemExit as exit_:
            code = exit_.code
        printed = capsys.readouterr()
        return Done(int(code or 0), printed.out, printed.err)

    return run


def scaled(tmp_path: Path, factor: float) -> Path:
    """The shipped rows, every LUT count multiplied."""
    with ROWS.open(newline="") as file:
        rows = list(csv.DictReader(file))
    path = tmp_path / "rows.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows({**row, "measured_lut": str(round(float(row["measured_lut"]) * factor))} for row in rows)
    return path


def test_calibrate_then_cost(dse: Callable[..., Done], tmp_path: Path) -> None:
    out = tmp_path / "mine.json"
    done = dse("calibrate", scaled(tmp_path, 2), "--out", out, "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert json.loads(out.read_text()) == document
    unit = next(fit for fit in document["fits"] if (fit["kind"], fit["resource"]) == ("MVAU_hls", "lut"))
    assert unit["factor"] == pytest.approx(2, rel=0.1)
    assert unit["after"][0] < 0.1 < unit["before"][0]

    costed = dse("cost", "--batch", ROWS, "--correction", out)
    assert costed.returncode == 0, costed.stderr
    corrected = list(csv.DictReader(io.StringIO(costed.stdout)))
    plain = list(csv.DictReader(io.StringIO(dse("cost", "--batch", ROWS).stdout)))
    for ours, before in zip(corrected, plain, strict=True):
        assert float(ours["lut"]) == pytest.approx(float(before["lut"]) * float(ours["correction_lut"]))
        assert ours["ff"] == before["ff"]
    assert float(corrected[0]["correction_lut"]) == pytest.approx(2, rel=0.1)

    shape = ("--rows", 64, "--cols", 576, "--pe", 4, "--simd", 16, "--weight", "int2", "--activation", "uint2")
    report = json.loads(dse("cost", *shape, "--units", "hls", "--correction", out, "--json").stdout)
    assert "mine: lut x" in report["lines"][0]["formula"]
    assert "corrected by mine (Vivado 2022.1)" in report["notes"][-1]


def test_the_table_names_laws_and_errors_before_and_after(dse: Callable[..., Done]) -> None:
    done = dse("calibrate", ROWS)
    assert done.returncode == 0, done.stderr
    for text in ("MVAU_hls", "as it is", "median before", "median after", "Vivado 2022.1", "XC7Z020"):
        assert text in done.stdout


def test_what_cannot_be_calibrated_is_one_sentence(dse: Callable[..., Done], tmp_path: Path) -> None:
    short = tmp_path / "short.csv"
    short.write_text("".join(ROWS.read_text().splitlines(keepends=True)[:3]))
    (tmp_path / "no.json").write_text("{" * 10_000)
    other = tmp_path / "other.json"
    other.write_text('{"format": "bitfront correction", "version": 1}')
    shape = ("--rows", 8, "--cols", 8)
    for arguments, message in (
        (("calibrate", short), "at least 4 rows of each kind"),
        (("calibrate", FINN / "mvau_hls.csv"), "line 2: a row must have a value in column measured_lut"),
        (("calibrate", tmp_path / "absent.csv"), "must be in a readable CSV file"),
        (("cost", *shape, "--correction", tmp_path / "absent.json"), "must be a readable file or shipped"),
        (("cost", *shape, "--correction", tmp_path / "no.json"), "must be a JSON file"),
        (("cost", *shape, "--correction", other), "must have what dse calibrate writes"),
        (("cost", *shape, "--correction", "shipped", "--model", "finn"), "leave one of them out"),
        (("cost", *shape, "--shell"), "it must come with --network"),
        (("cost", *shape, "--label"), "--pixels and --label are of a whole accelerator and the calibrated model"),
        (("cost", *shape, "--weight", "e2m1", "--units", "hls"), "use units=rtl"),
    ):
        done = dse(*arguments)
        assert done.returncode == 2, arguments
        assert message in done.stderr
        assert done.stderr.count("\n") == 1
        assert not done.stdout


def test_a_networks_shell_and_off_chip_weights_are_named(dse: Callable[..., Done]) -> None:
    file = FINN.parent / "onnx" / "tfc_w2a2.onnx"
    asked = ("cost", "--network", file, "--target-fps", 1000, "--units", "hls", "--memory", "external", "--shell")
    done = dse(*asked, "--device", "XCU250")
    assert done.returncode == 0, done.stderr
    assert "interconnect" in done.stdout
    assert "GB/s while all units work; memory of XCU250: 77 GB/s" in done.stdout
    assert "with the shell that moves data on and off the chip" in done.stdout
    assert "no bandwidth stated" in dse(*asked).stdout
    assert "sums of the last layer leave the chip, without scale, bias and label select" in done.stdout


def test_label_select_and_pixels_are_counted_where_they_are_asked_for(dse: Callable[..., Done]) -> None:
    asked = ("cost", "--network", FINN.parent / "onnx" / "tfc_w2a2.onnx", "--target-fps", 1000, "--json")
    done = dse(*asked, "--label", "--pixels")
    assert done.returncode == 0, done.stderr
    sums, label = json.loads(dse(*asked).stdout), json.loads(done.stdout)
    assert 0 < label["total"]["lut"] - sums["total"]["lut"] < 400
    assert [line["component"] for line in label["lines"]].count("label select") == 1
    assert label["notes"][1] == "pixels arrive in 8 bits; the index of the largest score leaves the chip"
