"""Corrections in files: written whole or not at all, read with distrust."""

from __future__ import annotations

import json
from pathlib import Path

from dse.files import as_json, write_text
from hwmodels.calibration.vivado import CalibrationError, Correction, parse_correction, shipped_correction

SHIPPED_NAME = "shipped"
MAX_BYTES = 4 << 20


def load_correction(name: str) -> Correction:
    """The correction in a file, or with the name ``shipped`` the one that comes with this package.

    Raises:
        CalibrationError: no such file, or what is in it is no correction for this version of the model.
    """
    if name == SHIPPED_NAME:
        return shipped_correction()
    path = Path(name)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise CalibrationError(f"{path} must be at most {MAX_BYTES >> 20} MiB, but it is larger.")
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CalibrationError(
            f"--correction must be a readable file or {SHIPPED_NAME}, but {path} is not: {error.strerror}."
        ) from None
    except (ValueError, RecursionError):
        raise CalibrationError(f"{path} must be a JSON file, but it is not.") from None
    try:
        return parse_correction(document)
    except CalibrationError as error:
        raise CalibrationError(f"{path}: {error}") from None


def save_correction(correction: Correction, path: Path) -> None:
    """Write the file that :func:`load_correction` reads."""
    write_text(path, as_json(correction.as_dict()))
