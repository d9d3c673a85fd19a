"""Running Yosys: the native `yosys` where it is on the PATH, else the library of the extra `synth` in a process of its own."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from functools import lru_cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from hwmodels.errors import BitfrontError
from hwmodels.programs import run_program

_LIBRARY = "import sys; from pyosys import libyosys as y; y.run_pass('script ' + sys.argv[1], y.Design())"


class SynthError(BitfrontError):
    """A synthesis that could not be run, did not end in time, or failed."""


def native() -> str | None:
    """The path of the native program, or None."""
    return shutil.which("yosys")


@lru_cache(maxsize=1)
def yosys_version() -> str:
    """Version of the Yosys that will run, such as ``0.70``.

    Raises:
        SynthError: there is none.
    """
    program = native()
    if program is None:
        if find_spec("pyosys") is None:
            raise SynthError(
                "synthesis and simulation need Yosys, but neither `yosys` on the PATH nor the package pyosys was found; "
                "install the extra: pip install 'bitfront[synth]'."
            )
        return version("pyosys")
    text = subprocess.run([program, "-V"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"Yosys (\S+)", text)
    if found is None:
        raise SynthError(f"`{program} -V` must name a version of Yosys, but printed {text.strip()!r}.")
    return found[1]


def run_yosys(script: str, folder: Path, limit_s: float) -> None:
    """Run a script of Yosys commands in `folder`, where it finds and leaves its files.

    Raises:
        SynthError: there is no Yosys, it ended with an error, or ran longer than `limit_s` seconds.
    """
    yosys_version()
    path = folder / "run.ys"
    path.write_text(script)
    program = native()
    command = [program, "-q", "-s", path.name] if program else [sys.executable, "-c", _LIBRARY, path.name]
    try:
        status, output = run_program(command, folder, limit_s)
    except subprocess.TimeoutExpired:
        raise SynthError(
            f"a run of Yosys must end within {limit_s:g} s, but did not; give a longer time limit or fewer lanes."
        ) from None
    if status:
        errors = [line for line in output.splitlines() if "ERROR" in line]
        raise SynthError(f"Yosys must accept the design, but ended with: {errors[-1] if errors else status}.")
