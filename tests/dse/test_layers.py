"""`dse layers` prints a row per layer, and refuses in one sentence what cannot be quantized."""

import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from dse.cli import app
from dse.template import render
from hwmodels.errors import BitfrontError

LAYERS = 15


@pytest.fixture
def config(tmp_path: Path) -> Path:
    data = yaml.safe_load(render("digits-resnet", "layers")) | {"evaluation": {"calibration_images": 16}}
    (path := tmp_path / "layers.yaml").write_text(yaml.safe_dump(data))
    return path


def test_the_document_has_a_row_per_layer(config: Path) -> None:
    asked = ["--weight", "e2m1", "--activation", "ue2m2", "--weight-scaling", "group16", "--json"]
    done = CliRunner().invoke(app, ["layers", str(config), *asked])
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    assert document["workload"] == "digits-resnet"
    assert document["calibration_samples"] == 16
    assert document["choice"]["recipe"] == "rtn"  # the configuration's first
    rows = {row["name"]: row for row in document["layers"]}
    assert len(rows) == LAYERS
    assert rows["block4.expand"]["weight"] == "e2m1/group16"
    assert rows["block4.expand"]["activation"] == "ue2m2/tensor"
    assert rows["block4.depthwise"]["weight"] == "e2m1/channel"
    assert rows["stem"]["weight_qsnr_db"] > 40 > rows["block4.expand"]["weight_qsnr_db"] > 15
    assert all(row["weight_crest"] >= 1 and row["activation_crest"] > 1 for row in rows.values())
    assert all(8 <= row["accumulator_bits"] <= 24 for row in rows.values())


def test_the_table_names_every_layer_and_its_width(config: Path) -> None:
    done = CliRunner().invoke(app, ["layers", str(config), "--weight", "int4", "--activation", "int4"])
    assert done.exit_code == 0, done.output
    assert "digits-resnet: int4 x int4, rtn" in done.stdout
    assert sum("/channel" in line and "/tensor" in line for line in done.stdout.splitlines()) == LAYERS
    assert "10 log10" in done.stderr


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (["--weight", "e4m3"], "a bare e4m3 does not say what its top codes mean"),
        (["--activation-scaling", "channel"], "the products of one sum must share their activation scale"),
        (["--recipe", "magic"], "a recipe must be rtn or steps of"),
    ],
)
def test_what_cannot_be_is_refused(config: Path, asked: list[str], message: str) -> None:
    done = CliRunner().invoke(app, ["layers", str(config), *asked])
    assert isinstance(done.exception, BitfrontError)
    assert message in str(done.exception)
