"""Programs with a time limit: what they start ends with them, and their temporary files lie in the folder given."""

import subprocess
import time
from pathlib import Path

import pytest

from hwmodels.programs import run_program


def running(pid):
    """Whether a process does anything yet: one that was killed may stay in the table until its parent asks for it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_status_and_output(tmp_path):
    assert run_program(["sh", "-c", "echo out; echo err >&2; exit 3"], tmp_path, 10) == (3, "out\nerr\n")
    assert run_program(["sh", "-c", 'printf "\\377 $PWD $TMPDIR"'], tmp_path, 10) == (
        0,
        f"\ufffd {tmp_path} {tmp_path}",
    )


def test_a_time_out_ends_the_whole_group(tmp_path):
    with pytest.raises(subprocess.TimeoutExpired):
        run_program(["sh", "-c", "sleep 60 & echo $! > child; wait"], tmp_path, 1)
    child = int((tmp_path / "child").read_text())
    until = time.monotonic() + 20
    while running(child) and time.monotonic() < until:
        time.sleep(0.01)  # a signal takes effect when the process is scheduled
    assert not running(child)
