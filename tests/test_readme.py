"""The README's commands run as they stand there, on a sweep made small; those that share no file are tests of their own."""

import fcntl
import os
import re
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text()
COMMANDS = [line.split("   #")[0].strip() for line in TEXT.splitlines() if line.startswith("dse ")]
INIT, RUN = (next(c for c in COMMANDS if c.startswith(f"dse {name} ")) for name in ("init", "run"))
"""What all others may rest on: the sweep's configuration and its results."""


def chains():
    """The other commands in order: one that reads what another wrote is in its list."""
    found = {}
    for command in (c for c in COMMANDS if c not in (INIT, RUN)):
        words = command.split()
        read = (written for written in found if any(Path(word).is_relative_to(written) for word in words))
        writes = (word for option, word in pairwise(words) if option in ("--output", "--out"))
        found.setdefault(next(read, None) or next(writes, command), []).append(command)
    return list(found.values())


def run(command, folder):
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-c", command], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command}: {done.stderr}"
    assert done.stdout or command == INIT


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """The sweep's configuration and results, made once by whichever worker of pytest-xdist needs them first."""
    base = tmp_path_factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    with (base / "readme.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (base / "readme" / "done").exists():
            shutil.rmtree(base / "readme", ignore_errors=True)
            (base / "readme").mkdir()
            run(INIT, base / "readme")
            shrink(base / "readme" / "sweep.yaml")
            run(RUN, base / "readme")
            (base / "readme" / "done").touch()
    return base / "readme"


@pytest.mark.parametrize("commands", chains(), ids=lambda commands: commands[0].removeprefix("dse "))
def test_every_command_of_the_readme_runs(commands, tmp_path, request):
    if any("sweep" in command for command in commands):
        shutil.copytree(request.getfixturevalue("swept"), tmp_path, dirs_exist_ok=True)
    for name in ("tests", "hwmodels"):
        (tmp_path / name).symlink_to(ROOT / name)
    for command in commands:
        run(command, tmp_path)
        assert not command.startswith("dse front") or (tmp_path / "results" / "sweep" / "front.png").is_file()


def test_every_command_is_in_the_readme_and_in_a_test():
    assert sorted([INIT, RUN, *(command for chain in chains() for command in chain)]) == sorted(COMMANDS)
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
