"""`dse synth`: measured beside predicted, one JSON document, one sentence for a mistake."""

import json

import pytest
import typer
from typer.testing import CliRunner

from dse.cli_synth import SynthOptionError, synth
from hwmodels.rtl.verilog import RtlError


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


def test_a_failed_point_is_exit_code_1(tmp_path):
    result = invoke(
        "--weight", "e3m3", "--activation", "e3m3", "--cache", tmp_path, "--workers", 1, "--time-limit", 1, "--json"
    )
    assert result.exit_code == 1
    (point,) = json.loads(result.stdout)["points"]
    assert "must end within 1 s" in point["error"]
    assert "measured" not in point


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("--lanes", "x"), SynthOptionError, "--lanes must be a number or several with commas, but got 'x'"),
        (("--rtl", "here", "--lanes", "1,2"), SynthOptionError, "--rtl must come with one point, but got 2"),
        (("--accumulator", "5"), RtlError, "must hold at least one product, 8 bits for int4 x int4, but got bits=5"),
    ],
)
def test_mistakes_are_one_sentence(arguments, error, message):
    result = invoke("--weight", "int4", "--activation", "int4", *arguments)
    assert isinstance(result.exception, error)
    assert message in str(result.exception)
