"""`dse layers`: what one quantization of a workload does to each of its layers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from rich.table import Table

from dse.config import SweepConfig
from dse.evaluate import Evaluator
from dse.space import AXES, make_space

HEADINGS = {
    "name": "layer",
    "weight": "weight",
    "weight_qsnr_db": "QSNR (dB)",
    "weight_crest": "crest",
    "activation": "input",
    "activation_qsnr_db": "QSNR (dB)",
    "activation_crest": "crest",
    "accumulator_bits": "P",
}
"""The columns of the table, by their names in the document."""


def describe_layers(config: SweepConfig, chosen: Mapping[str, str | None]) -> dict[str, Any]:
    """The document of `dse layers`: the choice of every axis and a row per layer.

    Args:
        config: its workload, rules and calibration images, and its axes.
        chosen: choices by axis; None, or not there: the first one of the configuration.

    Raises:
        BitfrontError: the combination cannot exist, or cannot be carried out on the workload.
    """
    from workloads.layer_report import report_layers

    space = make_space(config)
    choice = {axis: chosen.get(axis) or space.axes[axis][0] for axis in AXES}
    spec = space.spec(choice)
    evaluator = Evaluator.of(config)
    engine = evaluator.engine.prepared(spec.recipe.preparations)
    rows = report_layers(engine.plan, evaluator.engine.quantize(spec), engine.images)
    return {
        "workload": evaluator.source.name,
        "choice": choice,
        "calibration_samples": len(engine.images),
        "definition": "QSNR = -10 log10(||X - Xq||^2 / ||X||^2); crest = median over blocks of max|X| / sigma (arXiv 2510.25602)",
        "layers": [asdict(row) for row in rows],
    }


def layers_table(document: Mapping[str, Any]) -> Table:
    """The document for people."""
    choice = document["choice"]
    table = Table(title=f"{document['workload']}: {choice['weight']} x {choice['activation']}, {choice['recipe']}")
    for column, heading in HEADINGS.items():
        table.add_column(heading, justify="left" if column in ("name", "weight", "activation") else "right")
    for row in document["layers"]:
        cells = (row[column] for column in HEADINGS)
        table.add_row(*(f"{cell:.1f}" if isinstance(cell, float) else str(cell) for cell in cells))
    return table
