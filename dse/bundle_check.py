"""Checking a design bundle where it arrives: its files, and what its ONNX files compute. Nothing in it is trusted."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dse.bundle import BUNDLE_FILE, COST_FILE, GATE_FILE, NETWORK_FILE, SAMPLES_FILE, VERSION
from dse.bundle_cost import recost
from dse.export.errors import ExportError
from dse.export.execute import EXECUTORS
from dse.export.probe import probe
from dse.files import sha256
from hwmodels.errors import BitfrontError

MOST_FILES, MOST_BYTES = 10_000, 512 << 20
"""Bundles with more or larger files are refused before they are read."""

MOST_DISAGREEING, MOST_DIFFERENCE = 0.01, 0.25
"""Share of outputs whose largest logit may be another, and difference as a share of the largest logit, on another machine: its
float32 sums round otherwise, and a rounding tie moves a logit by some steps (assumed; torch and onnxruntime differ by up to 0.11
of the largest logit on tiny-llama in MXFP4; the gate compares node by node)."""


@dataclass(frozen=True)
class BundleCheck:
    """What a bundle is after it has travelled: what is wrong with it, and how its files execute."""

    folder: Path
    name: str
    files: int
    wrong: tuple[str, ...]
    executed: Mapping[str, str]
    cost: str | None

    @property
    def equal(self) -> bool:
        """Whether nothing is wrong."""
        return not self.wrong

    def as_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        return {**asdict(self), "folder": str(self.folder), "equal": self.equal}

    def text(self) -> str:
        """For people."""
        lines = [f"bundle of {self.name}: {self.folder}, {self.files} files"]
        lines += [f"  {name}: {found}" for name, found in self.executed.items()]
        lines += [] if self.cost is None else [f"  {self.cost}"]
        lines += [f"  wrong: {what}" for what in self.wrong]
        lines.append(
            "  equal: the bundle is what was exported"
            if self.equal
            else "  NOT EQUAL: the bundle is not what was exported"
        )
        return "\n".join(lines)


def verify_bundle(folder: Path) -> BundleCheck:
    """Check the hashes of a bundle's files, execute its ONNX files on its samples, and cost its network again.

    Raises:
        ExportError: the folder is no bundle, its list names files outside of it, or it does not say what it was costed for.
    """
    document = _document(folder)
    wrong = [text for name, digest in document["files"].items() if (text := _changed(folder, name, digest)) is not None]
    executed: dict[str, str] = {}
    cost = None
    if not wrong:
        inputs, outputs = _samples(folder / SAMPLES_FILE)
        for name, exporter in document["executed"].items():
            try:
                executed[name], differs = _execute(folder / name, exporter, inputs, outputs)
            except BitfrontError as error:
                executed[name], differs = str(error), True
            if differs:
                wrong.append(f"{name} does not give the stored outputs")
        cost, differs = recost(folder)
        if differs:
            wrong.append(f"{NETWORK_FILE} does not cost what is recorded")
    return BundleCheck(folder, document["name"], len(document["files"]), tuple(wrong), executed, cost)


def _document(folder: Path) -> dict[str, Any]:
    """The list of a bundle, every name in it a path inside the folder."""
    path = folder / BUNDLE_FILE
    try:
        with path.open("rb") as file:
            raw = file.read(MOST_FILES * 200 + 1)
        document = json.loads(raw) if len(raw) <= MOST_FILES * 200 else None
    except (OSError, ValueError, RecursionError):
        document = None
    shape = {"version": int, "name": str, "executed": dict, "files": dict}
    if not isinstance(document, dict) or not all(isinstance(document.get(key), kind) for key, kind in shape.items()):
        raise ExportError(
            f"{folder} must be a design bundle, but it has no {BUNDLE_FILE} that says so; `dse export --to bundle` makes one."
        )
    if document["version"] != VERSION:
        raise ExportError(f"a bundle must have version {VERSION} to be verified, but got {document['version']}.")
    for name, digest in document["files"].items():
        plain = re.fullmatch(r"[\w.+-]+(/[\w.+-]+)*", name) and ".." not in name.split("/")
        if not plain or not isinstance(digest, str):
            raise ExportError(f"the files of a bundle must lie in its folder, but {folder} lists {name[:80]!r}.")
    for name, exporter in document["executed"].items():
        if name not in document["files"] or exporter not in EXECUTORS:
            raise ExportError(f"what a bundle executes must be one of its files, but {folder} names {name[:80]!r}.")
    if missing := [
        name for name in (SAMPLES_FILE, NETWORK_FILE, COST_FILE, GATE_FILE) if name not in document["files"]
    ]:
        raise ExportError(f"a bundle must hold {missing[0]}, but {folder} does not list it.")
    return document


def _changed(folder: Path, name: str, digest: str) -> str | None:
    """What is wrong with a file, or None."""
    path = folder
    for part in name.split("/"):
        path = path / part
        if path.is_symlink():
            return f"{name} is a link"
    try:
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size > MOST_BYTES:
            return f"{name} is larger than {MOST_BYTES >> 20} MiB"
        return None if sha256(path.read_bytes()) == digest else f"{name} has changed"
    except OSError as error:
        return f"{name} cannot be read: {error.strerror}"


def _samples(path: Path) -> tuple[Any, Any]:
    """Stored inputs and outputs; nothing in the file is executed."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            inputs, outputs = stored["inputs"], stored["outputs"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise ExportError(f"{path} must hold inputs and outputs as NumPy stores them, but it does not.") from error
    if (
        inputs.dtype not in (np.float32, np.int64)
        or outputs.dtype != np.float32
        or not len(inputs)
        or len(inputs) != len(outputs)
    ):
        raise ExportError(f"{path} must hold equally many inputs and outputs, but it holds others.")
    return inputs, outputs


def _execute(path: Path, exporter: str, inputs: Any, outputs: Any) -> tuple[str, bool]:
    """How a file's outputs compare with the stored ones, in words, and whether they differ by more than machines do."""
    probe(path, inputs[:1])
    words, prepare = EXECUTORS[exporter]
    made = prepare(path)(inputs)
    if made.shape != outputs.shape:
        return f"gives outputs of shape {made.shape}, not {outputs.shape}", True
    difference = float(np.abs(made.astype(np.float64) - outputs).max())
    share = difference / max(float(np.abs(outputs).max()), float(np.finfo(np.float32).tiny))
    disagreeing = int((made.argmax(-1) != outputs.argmax(-1)).sum())
    count = outputs[..., 0].size
    found = f"{disagreeing} of {count} outputs mismatch, largest difference {difference:.3g}"
    return f"executed by {words} on {len(inputs)} samples: {found}", not (
        share <= MOST_DIFFERENCE and disagreeing <= MOST_DISAGREEING * count
    )
