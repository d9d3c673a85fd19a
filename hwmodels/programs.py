"""Running another program in a folder, with a time limit, so that nothing of it is left when it ends."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path


def run_program(command: Sequence[str], folder: Path, limit_s: float) -> tuple[int, str]:
    """(exit status, what it printed on stdout and stderr) of a command that runs in `folder`.

    It is a process group of its own, because the programs that it starts must end with it, and `folder` is its place for
    temporary files, because one that is killed does not remove them.

    Raises:
        subprocess.TimeoutExpired: it ran longer than `limit_s` seconds of wall time.
    """
    with subprocess.Popen(
        command,
        cwd=folder,
        env={**os.environ, "TMPDIR": str(folder.resolve())},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    ) as process:
        try:
            output, _ = process.communicate(timeout=limit_s)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    return process.returncode, output
