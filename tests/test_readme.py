"""The README's commands run as they stand there, on a sweep made small."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text()
COMMANDS = [line.split("   #")[0].strip() for line in TEXT.splitlines() if line.startswith("dse ")]


def test_every_command_of_the_readme_runs(tmp_path):
    assert {c.split()[1] for c in COMMANDS} == {
        "init",
        "check",
        "run",
        "front",
        "export",
        "layers",
        "preflight",
        "cost",
        "synth",
        "calibrate",
        "verify",
    }
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    for folder in ("tests", "hwmodels"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    for command in COMMANDS:
        done = subprocess.run(
            ["bash", "-c", command], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{command}: {done.stderr}"
        assert done.stdout or command.startswith("dse init")
        if command.startswith("dse init"):
            shrink(tmp_path / "sweep.yaml")
    assert (tmp_path / "results" / "sweep" / "front.png").is_file()


def shrink(path):
    """The sweep that `dse init` wrote, in seconds instead of minutes."""
    data = yaml.safe_load(path.read_text())
    data["search"] |= {"trials": 4, "batch": 2}
    data["space"] |= {
        "weight": ["int4", "e2m1"],
        "weight_scaling": ["channel"],
        "recipe": ["rtn"],
        "accumulator": ["auto"],
    }
    data["evaluation"] = {"test_images": 100, "calibration_images": 32}
    path.write_text(yaml.safe_dump(data))


@pytest.mark.parametrize("link", re.findall(r"\]\(([^)h][^)]*)\)", TEXT))
def test_every_link_of_the_readme_leads_somewhere(link):
    assert (ROOT / link).exists()


def test_the_make_targets_of_the_readme_exist():
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^make (\w+)", TEXT, flags=re.MULTILINE):
        assert f"\n{target}:" in makefile
