"""A sweep over a network and images of the user's: from the YAML to the rows, also on degraded images."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from dse.check import describe
from dse.config import ConfigError, SweepConfig, parse_config
from dse.records import RecordError
from dse.results import load_results
from dse.run import run_sweep
from dse.template import render
from workloads.registry import ImageNetwork, Preprocessing

MODULE = """\
from torch import nn


def make():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2)
    )
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "my_sweep_network.py").write_text(MODULE)
    rng = np.random.default_rng(0)
    for i in range(8):
        folder = tmp_path / "images" / ("dark", "light")[i % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 128 * (1 + i % 2), (20, 24, 3), dtype=np.uint8)).save(folder / f"{i}.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def image_config(**changes: object) -> SweepConfig:
    data = yaml.safe_load(render("digits-resnet", "mine"))
    data["workload"] = {
        "model": "my_sweep_network:make",
        "images": "images",
        "preprocessing": {"resize": 18, "crop": 16, "mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]},
    }
    data["search"] |= {"trials": 2, "batch": 2, "population": 2, "sampler": "random"}
    axes = {"weight": ["int4", "e2m1"], "activation": ["int8"], "recipe": ["rtn"], "accumulator": ["auto"]}
    data["space"] |= axes | {"weight_scaling": ["channel"], "activation_scaling": ["tensor"]}
    return parse_config(yaml.safe_dump(data | changes))


def test_a_network_of_the_users_is_swept_from_the_yaml(here: Path) -> None:
    config = image_config()
    prepared = Preprocessing(18, 16, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    assert config.workload_ref == ImageNetwork("my_sweep_network:make", None, "images", None, prepared)
    assert parse_config(config.as_yaml()) == config
    assert describe(config, 1, measure=False)["workload"] == "my_sweep_network:make"
    run_sweep(config, here / "results", 1)
    results = load_results(here / "results" / "mine")
    assert [row.status for row in results.rows] == ["reference", "ok", "ok", "ok"]
    assert {row.samples for row in results.rows} == {7}
    manifest = json.loads((results.folder / "manifest.json").read_text())
    assert manifest["workload"]["name"] == "my_sweep_network.make"


def test_degraded_images_are_another_sweep(here: Path) -> None:
    run_sweep(image_config(), here / "results", 1)
    plain = load_results(here / "results" / "mine").rows
    degraded = image_config(evaluation={"degrade": "noise0.3"})
    with pytest.raises(
        RecordError, match=r"must hold the same sweep to be resumed, but its configuration, workload data"
    ):
        run_sweep(degraded, here / "results", 1)
    run_sweep(degraded, here / "noisy", 1)
    noisy = load_results(here / "noisy" / "mine").rows
    assert noisy[0].loss != plain[0].loss
    assert [row.lut for row in noisy] == [row.lut for row in plain]  # calibration images are as they were


def test_mistakes_stand_at_their_paths(here: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        image_config(
            workload={"model": "resnet18", "images": "x", "imagess": "y", "preprocessing": {"crop": 300}},
            evaluation={"degrade": "fog"},
        )
    lines = str(caught.value).splitlines()
    assert (
        "  workload.imagess: unknown key; known here: model, checkpoint, images, calibration_images, preprocessing"
        in lines
    )
    assert any(line.startswith("  workload.preprocessing: `crop` must be within 1 to resize=256") for line in lines)
    assert any(line.startswith("  evaluation.degrade: a degradation must be none, noiseX") for line in lines)
    with pytest.raises(ConfigError, match=r"workload\.images: this key is required"):
        image_config(workload={"model": "resnet18"})


def test_text_is_not_degraded() -> None:
    data = yaml.safe_load(render("tiny-llama", "x")) | {"evaluation": {"degrade": "blur1"}}
    with pytest.raises(
        ConfigError, match=r"only images can be degraded, but tiny-llama reads text; leave degrade out\."
    ):
        parse_config(yaml.safe_dump(data))


@pytest.mark.parametrize("name", ["digits-mobilenet", "digits-vit"])
def test_the_other_embedded_networks_are_swept(name: str, tmp_path: Path) -> None:
    data = yaml.safe_load(render(name, "embedded"))
    data["space"] |= {"weight": ["int4", "e2m1"], "activation": ["int6"], "recipe": ["rtn"], "accumulator": ["auto"]}
    data["space"] |= {"weight_scaling": ["channel"], "activation_scaling": ["tensor"]}
    data["search"] |= {"trials": 2, "batch": 2, "population": 2, "sampler": "random"}
    data["hardware"] |= {"device": "XCZU7EV", "target_fps": 500}
    data["evaluation"] = {"test_images": 100, "calibration_images": 32}
    run_sweep(parse_config(yaml.safe_dump(data)), tmp_path, 1)
    rows = load_results(tmp_path / "embedded").rows
    assert [row.status for row in rows] == ["reference", "ok", "ok", "ok"]
    assert all(row.top1 > 0.5 and row.samples == 100 for row in rows)
    assert all(row.lut > 3000 for row in rows[1:])
