"""Writing files so that they are there whole or not at all."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

from dse.export.errors import ExportError


def write_whole(path: Path, data: bytes) -> str:
    """Write `data` to `path` in one step (a kill leaves the old file or none); return its SHA-256.

    Raises:
        ExportError: the folder cannot be written to.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).chmod(0o644)
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise ExportError(f"{path} must be a file that can be written, but it cannot: {error.strerror}.") from error
    return sha256(data)


def sha256(data: bytes) -> str:
    """The SHA-256 of some bytes, in hexadecimal."""
    return hashlib.sha256(data).hexdigest()
