"""Executing a file that nobody vouches for in a process of its own first, with limits.

A damaged file may end onnxruntime's process or ask for all memory; it must end in a sentence all the same.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from dse.export.errors import ExportError
from dse.export.execute import Array, Executable
from hwmodels.errors import BitfrontError

SECONDS, BYTES = 300, 16 << 30
"""What one sample may take (assumed; far more than any network of this size needs)."""

_REFUSED = 3


def probe(path: Path, sample: Array, *, seconds: float = SECONDS) -> None:
    """Execute a file on one sample, (1, ...), elsewhere.

    Raises:
        ExportError: it is refused, takes longer or ends its process.
    """
    with tempfile.TemporaryDirectory() as folder:
        stored = Path(folder) / "sample.npy"
        np.save(stored, sample, allow_pickle=False)
        asked = [sys.executable, "-m", "dse.export.probe", str(path), str(stored)]
        try:
            done = subprocess.run(asked, capture_output=True, text=True, timeout=seconds, check=False)
        except subprocess.TimeoutExpired:
            raise ExportError(f"{path} must execute one sample within {seconds:g} s, but it takes longer.") from None
    if done.returncode == _REFUSED:
        raise ExportError(done.stdout.strip())
    if done.returncode:
        raise ExportError(
            f"{path} must execute, but it ended its process (exit code {done.returncode}); it may be damaged."
        )


def main(path: str, sample: str) -> int:
    """In the process of its own."""
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (BYTES, BYTES))
    try:
        Executable(Path(path)).run(np.load(sample, allow_pickle=False))
    except BitfrontError as error:
        print(error)  # read by the process that started this one
        return _REFUSED
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
