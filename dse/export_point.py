"""From a point of a sweep to a file that was proved to be it: quantize again, write, execute, compare, cost again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isclose
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dse.design import design_of
from dse.evaluate import Evaluator, cost_options
from dse.executors import single_thread
from dse.export.errors import ExportError
from dse.export.formats import EXPORTERS, check_exportable
from dse.export.gate import GateReport, check_export
from dse.export.qcdq import export_qcdq
from dse.export.qonnx import export_qonnx
from dse.files import as_json, write_text
from dse.point import DesignPoint
from dse.records import RecordError, Row
from dse.recost import cost_onnx
from dse.results import Results, load_results
from dse.space import LATER
from dse.tables import find_knee
from hwmodels.datapath import Overflow
from hwmodels.devices import get_device
from hwmodels.resources import Resources

if TYPE_CHECKING:
    from workloads.quantize import QuantizedModel

WRITERS = {"qonnx": export_qonnx, "qcdq": export_qcdq}


@dataclass(frozen=True)
class PointExport:
    """What was exported and how it compares with the point."""

    sweep: str
    point: str
    design: str
    exporter: str
    gate: GateReport
    stored: Mapping[str, float | int]
    cost: Resources
    cost_from_file: Resources
    cycles: int
    cycles_from_file: int

    @property
    def cost_equal(self) -> bool:
        """Whether the file costs what the point costs, resource by resource."""
        return self.cost == self.cost_from_file and self.cycles == self.cycles_from_file

    @property
    def equal(self) -> bool:
        """Whether the file is what was measured."""
        return self.gate.equal and self.cost_equal

    def as_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        return {
            "sweep": self.sweep,
            "point": self.point,
            "design": self.design,
            "exporter": self.exporter,
            "equal": self.equal,
            "gate": self.gate.as_dict(),
            "stored": dict(self.stored),
            "cost": {**self.cost.as_dict(), "cycles": self.cycles},
            "cost_from_file": {**self.cost_from_file.as_dict(), "cycles": self.cycles_from_file},
        }

    def text(self) -> str:
        """For people."""
        return "\n".join(
            (
                f"{self.exporter} of point {self.point} of {self.sweep} ({self.design}): {self.gate.file}",
                self.gate.text(),
                f"  cost from the file {_brief(self.cost_from_file)}, {self.cycles_from_file:,} cycles",
                f"  cost of the point  {_brief(self.cost)}, {self.cycles:,} cycles: "
                f"{'equal' if self.cost_equal else 'NOT EQUAL'}",
                f"  {'equal: the file is what was measured' if self.equal else 'NOT EQUAL: the file is not what was measured'}",
            )
        )


def export_point(
    folder: Path, point_id: str, exporter: str, *, output: Path | None, samples: int | None
) -> PointExport:
    """Export a point of a sweep and pass the file through the gate; a JSON report is written beside the file.

    Raises:
        BitfrontError: no such point, one that was not measured, a format that the exporter cannot write, or numbers of the
            sweep that cannot be reproduced.
    """
    from workloads.quantize import quantize

    if output is not None and output.suffix != ".onnx":
        # other suffixes are other things: onnx would write JSON to .json, and a study.db is easily given by mistake
        raise ExportError(f"the file to write must end in .onnx, but got {str(output)!r}; for example design.onnx.")
    results = load_results(folder)
    single_thread()
    evaluator = Evaluator.of(results.config)
    if floating := sorted(evaluator.plan.floating):
        raise ExportError(
            f"a network must compute on integers and minifloats throughout to be exported, but {evaluator.source.name} "
            f"computes in floating point between its layers ({floating[0]}, ...)."
        )
    row = choose(results, point_id, exporter)
    point = exportable_design(results, row, evaluator)
    # the same quantization as in the sweep; P of the point is put in afterwards, where it is only a claim to prove
    quantized = quantize(evaluator.model, evaluator.plan, point.numerics, evaluator.calibration_set)
    path = output or folder / "exports" / f"{row.id}.{exporter}.onnx"
    WRITERS[exporter](quantized, evaluator.source.example_input, path, name=f"{results.config.name}-{row.id}")
    gate = run_gate(path, evaluator, quantized, exporter, samples)
    if samples is None:
        check_reproduced(row, gate)
    report = evaluator.cost(point, {layer.name: layer.bits for layer in quantized.layers})
    hardware = point.hardware
    device, options = get_device(hardware.device), cost_options(hardware)
    again = cost_onnx(path, device, hardware.target_fps, options, hardware.clock_mhz)
    made = PointExport(
        sweep=results.config.name,
        point=row.id,
        design=f"{point.numerics.weight} x {point.numerics.activation}, {point.numerics.recipe}, P {row.accumulator}",
        exporter=exporter,
        gate=gate,
        stored=row.metrics,
        cost=report.total,
        cost_from_file=again.total,
        cycles=report.max_cycles,
        cycles_from_file=again.max_cycles,
    )
    write_text(path.with_suffix(".gate.json"), as_json(made.as_dict()))
    return made


def check_reproduced(row: Row, gate: GateReport) -> None:
    """Refuse a point whose model, quantized again, does not measure what the sweep stored.

    Raises:
        ExportError: another top-1; or another value of a metric that is no count, which other machines may round otherwise.
    """
    for name, value in gate.metrics_model.items():
        stored = row.metrics.get(name)
        if stored is not None and not (value == stored or (name != "top1" and isclose(value, stored, rel_tol=1e-3))):
            raise ExportError(
                f"point {row.id} must give the {name} that the sweep stored, {stored}, but it gives {value}; were versions or "
                "data changed since?"
            )


def run_gate(
    path: Path, evaluator: Evaluator, quantized: QuantizedModel, exporter: str, samples: int | None
) -> GateReport:
    """The gate on the sweep's test set, or on its first samples."""
    from workloads.samples import in_memory

    inputs, labels = evaluator.test_set
    inputs, labels = in_memory(inputs[:samples]), labels[:samples]
    judge = evaluator.judge if samples is None else evaluator.source.judge(evaluator.plan.graph, inputs, labels)
    return check_export(path, quantized, evaluator.source.example_input, inputs, judge, exporter=exporter)


def choose(results: Results, point_id: str, exporter: str) -> Row:
    """The row of an id; ``knee`` is the knee among the points of the front that the exporter can write."""
    if point_id != "knee":
        row = results.row(point_id)
        if row.status not in ("ok", "too_big") or not row.metrics:
            reason = row.reason or "it has no datapath"
            raise RecordError(f"a point must have been measured to be exported, but {row.id} is {row.status}: {reason}")
        return row
    evaluator = Evaluator.of(results.config)
    writable = []
    for row in results.front:
        point = exportable_design(results, row, evaluator)
        try:
            check_exportable(evaluator.numerics(point.numerics, None), exporter)
        except ExportError:
            continue
        writable.append(row)
    if not writable:
        raise ExportError(
            f"the front of {results.config.name} must hold a point that {exporter} can write "
            f"({EXPORTERS[exporter].holds}), but it has none."
        )
    return find_knee(writable, results.objectives)


def exportable_design(results: Results, row: Row, evaluator: Evaluator) -> DesignPoint:
    """The design point of a row.

    Raises:
        ExportError: its sums may overflow.
        RecordError: as :func:`dse.design.design_of`.
    """
    if (overflow := row.overflow or LATER["overflow"]) != Overflow.IMPOSSIBLE:
        raise ExportError(
            f"a point must be free of overflow to be exported, because ONNX has exact sums only, but {row.id} may "
            f"{overflow}; choose one whose overflow is impossible, or --to rtl."
        )
    return design_of(results, row, evaluator)


def _brief(resources: Resources) -> str:
    return ", ".join(f"{value:,.0f} {name.upper()}" for name, value in resources.as_dict().items() if value)
