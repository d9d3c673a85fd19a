"""Files that are there whole or not at all, and JSON as bitfront writes it."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hwmodels.errors import BitfrontError


class FileError(BitfrontError):
    """A file that cannot be written."""


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A temporary file beside `path` that takes its place when the block ends without an error.

    Raises:
        FileError: no file can be written there.
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=path.suffix)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        temporary.chmod(0o644)
        temporary.replace(path)
    except OSError as error:
        reason = error.strerror or error
        raise FileError(f"{path} must be a file that can be written, but it cannot: {reason}.") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_bytes(path: Path, data: bytes) -> str:
    """Write a file whole or not at all; return its SHA-256."""
    with atomic(path) as temporary:
        temporary.write_bytes(data)
    return sha256(data)


def sha256(data: bytes) -> str:
    """The SHA-256 of some bytes, in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def as_json(data: Mapping[str, Any] | Sequence[Any]) -> str:
    """JSON as it is written to files and stdout: indented, stable, no NaN."""
    return json.dumps(data, indent=2, allow_nan=False) + "\n"
