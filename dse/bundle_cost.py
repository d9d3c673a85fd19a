"""The cost of a bundle's network, read off its file again and compared with what the bundle records. Nothing in it is trusted."""

from __future__ import annotations

import json
from collections.abc import Mapping
from math import isclose
from pathlib import Path
from typing import Any

from dse.bundle import COST_FILE, GATE_FILE, NETWORK_FILE
from dse.config_sections import HardwareConfig
from dse.export.errors import ExportError
from dse.point import Hardware
from dse.recost import COVERS, cost_on
from dse.space import hardware_choices
from hwmodels.errors import BitfrontError

MOST_BYTES = 16 << 20
"""Reports are pages of text; larger ones are refused before they are read."""

SAME = 1e-9
"""Relative difference of equal costs: another machine's logarithms may round otherwise."""


def recost(folder: Path) -> tuple[str, bool]:
    """How the cost of the network compares with the recorded one, in words, and whether it differs.

    Raises:
        ExportError: the bundle does not say what its network costs, or on what hardware.
    """
    from dse.onnx_network import read_network

    asked, gate = _json(folder / COST_FILE), _json(folder / GATE_FILE)
    try:
        hardware = _hardware(asked["hardware"])
        covers, recorded = gate["qonnx"]["cost_covers"], gate["qonnx"]["cost_from_file"]
        if covers not in COVERS or not isinstance(recorded, dict):
            raise TypeError
    except (KeyError, TypeError, ValueError):
        raise ExportError(
            f"{folder} must say in {COST_FILE} and {GATE_FILE} on what hardware its network was costed, and at what, but it does "
            "not; export it again."
        ) from None
    try:
        report = cost_on(hardware, *read_network(folder / NETWORK_FILE), covers)
    except BitfrontError as error:
        return f"costed again: {error}", True
    found = {**report.total.as_dict(), "cycles": report.max_cycles}
    records = [recorded, _total(asked)] if covers == COVERS[0] else [recorded]
    differing = [name for record in records for name in found if not _equal(found[name], record.get(name))]
    words = f"costed again on {hardware.device}, {covers}: {found['lut']:,.0f} LUT, {found['cycles']:,} cycles"
    if not differing:
        return f"{words}, as recorded", False
    return f"{words}; recorded are others: {', '.join(dict.fromkeys(differing))}", True


def _hardware(recorded: Any) -> Hardware:
    """The hardware choice, held to the rules of a configuration."""
    (choice,) = hardware_choices(HardwareConfig.model_validate(recorded))
    return choice


def _total(asked: Mapping[str, Any]) -> Mapping[str, Any]:
    """The total of the cost report, with its cycles."""
    total = asked.get("total")
    return {**total, "cycles": asked.get("max_cycles")} if isinstance(total, dict) else {}


def _equal(found: float, recorded: object) -> bool:
    return isinstance(recorded, int | float) and isclose(found, recorded, rel_tol=SAME, abs_tol=SAME)


def _json(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            raw = file.read(MOST_BYTES + 1)
        if len(raw) <= MOST_BYTES:
            return json.loads(raw)
    except (OSError, ValueError, RecursionError):
        pass
    raise ExportError(f"{path} must be a page of JSON, but it is not.")
