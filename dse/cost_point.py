"""`dse cost --results`: what a point of a sweep is made of, line by line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dse.cost_print import print_report
from dse.design import design_of
from dse.evaluate import Evaluator
from dse.records import RecordError
from dse.results import load_results
from dse.tables import find_knee
from hwmodels.devices import get_device


def cost_point(folder: Path, point_id: str, json: bool) -> None:
    """Cost a point again, with the accumulators that were proved for it, and print every line.

    Args:
        folder: of the sweep's results.
        point_id: of the point; ``knee``: the front's.
        json: one document instead of a table.

    Raises:
        RecordError: no such point, one without a cost, or one that costs something else by now.
    """
    results = load_results(folder)
    row = find_knee(results.front, results.objectives) if point_id == "knee" else results.row(point_id)
    if row.lut is None:
        raise RecordError(
            f"a point must have a cost to be taken apart, but {row.id} is {row.status}: {row.reason or 'float'}."
        )
    evaluator = Evaluator.of(results.config)
    point = design_of(results, row, evaluator)
    report = evaluator.cost(point, results.widths.get(row.numerics_key or ""))
    if report.total.lut != row.lut:
        raise RecordError(
            f"point {row.id} must cost what the sweep stored, {row.lut:,.0f} LUT, but it costs {report.total.lut:,.0f}; were "
            "versions changed since?"
        )
    spec, hardware = point.numerics, point.hardware
    asked: dict[str, Any] = {"sweep": results.config.name, "point": row.id, "weight": spec.weight.name}
    asked |= {"activation": spec.activation.name, "kv_cache": None if spec.kv_cache is None else spec.kv_cache.name}
    print_report(report, get_device(hardware.device), hardware.clock_mhz, asked, json)
