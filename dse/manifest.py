"""What is needed to repeat a sweep, beside its results: versions, seed, hashes of data and weights, the host."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

from dse.config import SweepConfig
from dse.files import as_json, write_text
from dse.records import STUDY_FILE, RecordError
from dse.space import LATER
from hwmodels.float_parts import FLOAT_BITS
from workloads.registry import get_workload, metrics_of

MANIFEST_FILE = "manifest.json"
PACKAGES = ("bitfront", "torch", "brevitas", "numpy", "optuna", "qonnx", "onnx", "onnxruntime", "scikit-learn", "scipy")
"""Recorded; those in :data:`DECISIVE` decide what an accuracy or a proposal is, and must not change within a sweep."""

DECISIVE = ("bitfront", "torch", "brevitas", "numpy", "optuna", "scikit-learn", "scipy")


def make_manifest(config: SweepConfig) -> dict[str, Any]:
    """The manifest of a sweep that starts now. Trials are left out of the configuration's hash: a sweep may be extended."""
    workload = get_workload(config.workload_ref, degrade=config.evaluation.degrade)
    asked = config.model_dump(mode="json")
    asked["search"].pop("trials")
    for axis, choice in LATER.items():  # a sweep from before the axis asked for the same
        if asked["space"][axis] == [choice]:
            asked["space"].pop(axis)
    if asked["hardware"]["float_bits"] == FLOAT_BITS and "top1" in metrics_of(config.workload_ref):
        asked["hardware"].pop("float_bits")  # of text networks, what it is for was not costed before
    if asked["evaluation"]["device"] == "cpu":
        asked["evaluation"].pop("device")
    if asked["evaluation"]["degrade"] == "none":  # as in the sweeps of before there was a choice
        asked["evaluation"].pop("degrade")
    return {
        "sweep": config.name,
        "seed": config.seed,
        "config_sha256": hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest(),
        "workload": {
            "name": workload.name,
            "data_id": workload.data_id,
            "checkpoint_sha256": workload.checkpoint_id,
        },
        "versions": {name: version(name) for name in PACKAGES},
        "host": {
            "platform": platform.platform(),
            "machine": platform.machine(),
            "python": platform.python_version(),
            "cpus": os.cpu_count(),
        },
    }


def open_manifest(folder: Path, config: SweepConfig) -> None:
    """Write the manifest of a new sweep, or check that the one there belongs to the same sweep and the same versions.

    Raises:
        RecordError: the folder belongs to another configuration, other data or other versions; says which.
    """
    path = folder / MANIFEST_FILE
    now = make_manifest(config)
    if not path.exists():
        if (folder / STUDY_FILE).exists():
            raise RecordError(
                f"{folder} must have the {MANIFEST_FILE} of its {STUDY_FILE}, but it has none, so what was measured there is "
                "unknown; choose another name, or another folder with --results."
            )
        write_text(path, as_json(now))
        return
    try:
        there = json.loads(path.read_text(encoding="utf-8"))
        decisive = {**there["versions"]}
        checks = {
            "configuration": (there["config_sha256"], now["config_sha256"]),
            "workload data": (there["workload"], now["workload"]),
            **{f"version of {n}": (decisive.get(n), now["versions"][n]) for n in DECISIVE},
        }
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise RecordError(
            f"{path} must be a sweep's manifest, but it cannot be read; choose another name or folder."
        ) from None
    changed = [name for name, (before, after) in checks.items() if before != after]
    if changed:
        raise RecordError(
            f"{folder} must hold the same sweep to be resumed, but its {', '.join(changed)} differ; "
            "choose another name, or another folder with --results."
        )
