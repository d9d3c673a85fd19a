"""`dse synth`: measured beside predicted, one JSON document, one sentence for a mistake."""

import json
import os
import shutil

import pytest
import typer
from typer.testing import CliRunner

from dse.cli_synth import SynthOptionError, synth
from dse.synth_units import CutError
from hwmodels import nextpnr, yosys
from hwmodels.datapath import DatapathError
from hwmodels.formats import FormatError
from hwmodels.nextpnr import TimingError
from hwmodels.rtl import icarus
from hwmodels.rtl.icarus import SimulatorError
from hwmodels.rtl.verilog import RtlError
from hwmodels.yosys import SynthError


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return str(tmp_path_factory.mktemp("cache"))


def invoke(*arguments):
    app = typer.Typer()
    app.command()(synth)
    return CliRunner().invoke(app, list(map(str, arguments)))


def test_measured_beside_predicted(cache, tmp_path):
    asked = ("--weight", "e2m1", "--activation", "int3", "--lanes", 2, "--accumulator", 12, "--cache", cache)
    result = invoke(*asked, "--rtl", tmp_path, "--json", "--workers", 1)
    assert result.exit_code == 0, result.output
    (point,) = json.loads(result.stdout)["points"]
    assert point["measured"]["ff"] == point["predicted"]["ff"] == 12
    assert 0 < point["measured"]["lut_packed"] < 100
    assert point["predicted"]["error_band"]["median"] > 0
    assert point["simulated_sums"] == 2048
    assert "module dot (" in (tmp_path / "dot.v").read_text()
    assert "module dot_test" in (tmp_path / "dot_test.v").read_text()
    table = invoke(*asked, "--workers", 1)
    assert table.exit_code == 0
    assert f" {point['measured']['lut_packed']} " in table.stdout
    assert "every unit computed what its formats say on 2,048 simulated sums" in table.stdout


@pytest.mark.skipif(shutil.which("iverilog") is None, reason="Icarus Verilog is not on the PATH (apt install iverilog)")
def test_both_simulators_and_the_relative_timing(cache):
    """A unit so small that three placements take seconds."""
    asked = ("--weight", "int2", "--activation", "int2", "--lanes", 2, "--accumulator", 8, "--cache", cache, "--fmax")
    result = invoke(*asked, "--simulator", "both", "--json", "--workers", 1)
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert [tool.rsplit(" ", 1)[0] for tool in document["simulators"]] == ["Yosys", "Icarus Verilog"]
    (point,) = document["points"]
    assert point["simulated_sums"] == 2 * 2048
    timing = point["timing"]
    assert sorted(timing["fmax_by_seed"])[1] == timing["fmax_mhz"]
    assert timing["ff"] == point["measured"]["ff"] == 8
    table = invoke(*asked, "--simulator", "icarus", "--workers", 1)
    assert table.exit_code == 0
    assert f" {timing['fmax_mhz']:.0f} " in table.stdout
    assert "placed and routed on a Lattice ECP5" in table.stdout
    assert "on 2,048 simulated sums (Icarus Verilog " in table.stdout


@pytest.mark.parametrize(
    ("arguments", "outer", "scale"),
    [
        (("--tile", 4), 14, "none"),
        (("--block", 4, "--block-scale", "po2", "--outer", 30), 30, "shift by 0 to 15, low bits dropped: 0"),
    ],
)
def test_segmented_units_whole(cache, tmp_path, arguments, outer, scale):
    """Four products a segment, two lanes: predicted within a tenth, chains and flip-flops exactly, of a unit this small."""
    asked = ("--weight", "int2", "--activation", "int2", "--lanes", 2, "--accumulator", 6, "--cache", cache, *arguments)
    result = invoke(*asked, "--rtl", tmp_path, "--json", "--workers", 1)
    assert result.exit_code == 0, result.output
    (point,) = json.loads(result.stdout)["points"]
    assert (point["accumulator"], point["segment"], point["outer"], point["scale"]) == (6, 4, outer, scale)
    measured, predicted = point["measured"], point["predicted"]
    assert predicted["lut"] == pytest.approx(measured["lut_packed"], rel=0.1)
    assert (predicted["ff"], predicted["carry8"]) == (measured["ff"], measured["carry8"])
    assert predicted["error_band"]["kind"] in ("measured", "extrapolated")
    assert point["simulated_sums"] > 1500
    assert "module segmented (" in (tmp_path / "segmented.v").read_text()
    assert "module segmented_test" in (tmp_path / "segmented_test.v").read_text()
    table = invoke(*asked, "--workers", 1)
    assert table.exit_code == 0
    assert f" {point['measured']['lut_packed']} " in table.stdout


def test_a_failed_point_is_exit_code_1(tmp_path):
    result = invoke(
        "--weight", "e3m3", "--activation", "e3m3", "--cache", tmp_path, "--workers", 1, "--time-limit", 1, "--json"
    )
    assert result.exit_code == 1
    (point,) = json.loads(result.stdout)["points"]
    assert "must end within 1 s" in point["error"]
    assert "measured" not in point


@pytest.fixture
def fresh_tools():
    """Tools are looked for once a process: forget what was found, before and after."""
    finders = (yosys.yosys_version, icarus.icarus_version, nextpnr.nextpnr_version)
    for finder in finders:
        finder.cache_clear()
    yield
    for finder in finders:
        finder.cache_clear()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((), SynthError, "pip install 'bitfront[synth]'"),
        (("--simulator", "icarus"), SimulatorError, "apt install iverilog"),
        (("--simulator", "both"), SimulatorError, "apt install iverilog"),
        (("--fmax",), TimingError, "pip install 'bitfront[timing]'"),
    ],
)
def test_an_absent_tool_is_named_with_what_to_install(tmp_path, monkeypatch, fresh_tools, arguments, error, message):
    monkeypatch.setenv("PATH", str(tmp_path))
    module = yosys if error is SynthError else nextpnr
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    result = invoke("--weight", "int2", "--activation", "int2", "--lanes", 1, "--cache", tmp_path, *arguments)
    assert isinstance(result.exception, error)
    assert message in str(result.exception)
    assert result.stdout == ""


def test_a_synthesis_that_fails_is_a_row_and_exit_code_1(tmp_path, monkeypatch, fresh_tools):
    """A program of that name that accepts nothing."""
    program = tmp_path / "yosys"
    program.write_text('#!/bin/sh\n[ "$1" = -V ] && echo Yosys 0.1 || { echo ERROR: no such pass; exit 1; }\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    result = invoke("--weight", "int2", "--activation", "int2", "--lanes", "1,2", "--cache", tmp_path, "--json")
    assert result.exit_code == 1
    points = json.loads(result.stdout)["points"]
    assert [point["error"] for point in points] == [
        "Yosys must accept the design, but ended with: ERROR: no such pass."
    ] * 2
    table = invoke("--weight", "int2", "--activation", "int2", "--lanes", "1,2", "--cache", tmp_path)
    assert table.exit_code == 1
    assert "0 of 2 units computed what their formats say" in table.stdout
    assert table.stderr.count("int2 x int2, ") == 2


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (
            ("--lanes", "x"),
            SynthOptionError,
            "--lanes must be a number of at most 6 digits or several with commas, but got 'x'",
        ),
        (("--accumulator", "9" * 5000), SynthOptionError, "--accumulator must be a number of at most 6 digits"),
        (("--accumulator", ""), SynthOptionError, "--accumulator must be a number of at most 6 digits"),
        (("--lanes", "-1"), SynthOptionError, "--lanes must be a number of at most 6 digits"),
        (("--lanes", "0"), RtlError, "`lanes` must be 1 to 1024, but got lanes=0"),
        (("--lanes", "1025"), RtlError, "`lanes` must be 1 to 1024, but got lanes=1025"),
        (
            ("--lanes", ",".join(map(str, range(1, 4098)))),
            SynthOptionError,
            "at most 4096 points can be asked for at once",
        ),
        (("--accumulator", "1"), DatapathError, "an accumulator must have 2 to 1024 bits, but got bits=1"),
        (("--drop", "1"), RtlError, "`dropped_bits` must be 0 for integer formats"),
        (("--family", "versal"), SynthError, "Yosys synthesizes for xc7, xcup, but got family=versal"),
        (("--weight", "e4m3"), FormatError, "a bare e4m3 does not say what its top codes mean"),
        (("--weight", "int99"), FormatError, "`bits` of a signed integer format must be 2 to 32, but got bits=99"),
        (("--weight", "mxfp4_e2m1"), FormatError, "an element format is needed here"),
        (("--rtl", "here", "--lanes", "1,2"), SynthOptionError, "--rtl must come with one point, but got 2"),
        (("--tile", "12"), RtlError, "but got lanes=8 and segments of 12 products; 6 or 12 lanes would do"),
        (("--tile", "5000"), RtlError, "a segment must have at most 4096 products to be generated, but got 5000"),
        (("--tile", "8", "--accumulator", "7"), RtlError, "must hold at least one product, 8 bits for int4 x int4"),
        (("--tile", "8", "--outer", "20"), RtlError, "must hold at least one segment, 24 bits, but got 20"),
        (("--block-scale", "po2"), CutError, "--block-scale must come with --block"),
        (("--stages", "0", "--pipeline"), SynthOptionError, "--pipeline is a register, but got --stages 0 as well"),
        (("--stages", "2", "--tile", "8"), CutError, "--stages 2 is a register between products and their accumulator"),
        (("--outer", "30"), CutError, "--outer must come with --tile or --block, but got --outer 30 alone."),
        (("--accumulator", "5"), RtlError, "must hold at least one product, 8 bits for int4 x int4, but got bits=5"),
    ],
)
def test_mistakes_are_one_sentence(arguments, error, message):
    result = invoke("--weight", "int4", "--activation", "int4", *arguments)
    assert isinstance(result.exception, error)
    assert message in str(result.exception)
    assert str(result.exception).count(". ") == 0
    assert result.stdout == ""


@pytest.mark.parametrize(
    "arguments",
    [
        ("--family", "xc9"),
        ("--simulator", "verilator"),
        ("--time-limit", "0"),
        ("--time-limit", "inf"),
        ("--time-limit", "nan"),
        ("--workers", "0"),
        ("--drop", "x"),
        ("--tile", "0"),
        ("--block-scale", "e8m0"),
    ],
)
def test_values_that_an_option_cannot_have(arguments):
    result = invoke("--weight", "int4", "--activation", "int4", *arguments)
    assert result.exit_code == 2
    assert f"Invalid value for '{arguments[0]}'" in result.stderr
