"""From a point of a sweep to a file that was proved to be it: quantize again, write, execute, compare, cost again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isclose
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dse.design import design_of
from dse.evaluate import Evaluator
from dse.executors import single_thread
from dse.export.errors import ExportError
from dse.export.formats import EXPORTERS, check_exportable
from dse.export.gate import GateReport, check_export
from dse.export.probe import probe
from dse.export.qcdq import export_qcdq
from dse.export.qonnx import export_qonnx
from dse.files import as_json, write_text
from dse.onnx_reader.graph import QONNX_DOMAINS, parse_model
from dse.point import DesignPoint
from dse.records import RecordError, Row
from dse.recost import COVERS, cost_on
from dse.results import Results, load_results
from dse.space import LATER
from dse.tables import find_knee
from hwmodels.datapath import Overflow
from hwmodels.errors import BitfrontError
from hwmodels.report import CostReport
from hwmodels.resources import Resources

if TYPE_CHECKING:
    from torch import Tensor

    from workloads.quantize import QuantizedModel

WRITERS = {"qonnx": export_qonnx, "qcdq": export_qcdq}


@dataclass(frozen=True)
class ChosenPoint:
    """A measured point of a sweep, quantized again as it was measured."""

    results: Results
    evaluator: Evaluator
    row: Row
    point: DesignPoint
    model: QuantizedModel

    @property
    def example_input(self) -> Tensor:
        """What the network is exported with."""
        return self.evaluator.source.example_input

    @property
    def name(self) -> str:
        """Of the point, for graphs."""
        return f"{self.results.config.name}-{self.row.id}"

    @property
    def design(self) -> str:
        """The point in words."""
        numerics = self.point.numerics
        return f"{numerics.weight} x {numerics.activation}, {numerics.recipe}, P {self.row.accumulator}"

    def cost(self) -> CostReport:
        """What the point costs, as in the sweep."""
        return self.evaluator.cost(self.point, {layer.name: layer.bits for layer in self.model.layers})


def choose_point(folder: Path, point_id: str, exporter: str) -> ChosenPoint:
    """The point of an id (``knee``: the knee among those that the exporter can write), quantized as in the sweep.

    Raises:
        BitfrontError: no such point, one that was not measured, or a format that the exporter cannot write.
    """
    from workloads.quantize import quantize

    results = load_results(folder)
    single_thread()
    evaluator = Evaluator.of(results.config)
    row = choose(results, point_id, exporter)
    point = exportable_design(results, row, evaluator)
    # P of the point is put in where it is only a claim to prove
    model = quantize(evaluator.model, evaluator.plan, point.numerics, evaluator.calibration_set)
    return ChosenPoint(results, evaluator, row, point, model)


@dataclass(frozen=True)
class PointExport:
    """What was exported and how it compares with the point.

    Attributes:
        cost_covers: what is costed on both sides: all operators, or the layers with weights alone.
        cost_error: why no cost can be read off the file, or None.
    """

    sweep: str
    point: str
    design: str
    exporter: str
    gate: GateReport
    stored: Mapping[str, float | int]
    cost: Resources
    cycles: int
    cost_from_file: Resources | None
    cycles_from_file: int | None
    cost_covers: str
    cost_error: str | None

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
        from_file = None
        if self.cost_from_file is not None:
            from_file = {**self.cost_from_file.as_dict(), "cycles": self.cycles_from_file}
        return {
            "sweep": self.sweep,
            "point": self.point,
            "design": self.design,
            "exporter": self.exporter,
            "equal": self.equal,
            "gate": self.gate.as_dict(),
            "stored": dict(self.stored),
            "cost_covers": self.cost_covers,
            "cost": {**self.cost.as_dict(), "cycles": self.cycles},
            "cost_from_file": from_file,
            "cost_error": self.cost_error,
        }

    def text(self) -> str:
        """For people."""
        costs = [f"  cost of the point  {_brief(self.cost)}, {self.cycles:,} cycles ({self.cost_covers})"]
        if self.cost_from_file is None:
            costs.append(f"  cost from the file: {self.cost_error}")
        else:
            same = "equal" if self.cost_equal else "NOT EQUAL"
            costs.append(
                f"  cost from the file {_brief(self.cost_from_file)}, {self.cycles_from_file:,} cycles: {same}"
            )
        verdict = (
            "equal: the file is what was measured" if self.equal else "NOT EQUAL: the file is not what was measured"
        )
        title = f"{self.exporter} of point {self.point} of {self.sweep} ({self.design}): {self.gate.file}"
        return "\n".join((title, self.gate.text(), *costs, f"  {verdict}"))


def export_point(
    folder: Path, point_id: str, exporter: str, *, output: Path | None, samples: int | None
) -> PointExport:
    """Export a point of a sweep and pass the file through the gate; a JSON report is written beside the file.

    Raises:
        BitfrontError: as :func:`choose_point`, or numbers of the sweep that cannot be reproduced.
    """
    if output is not None and output.suffix != ".onnx":
        # other suffixes are other things: onnx would write JSON to .json, and a study.db is easily given by mistake
        raise ExportError(f"the file to write must end in .onnx, but got {str(output)!r}; for example design.onnx.")
    chosen = choose_point(folder, point_id, exporter)
    path = output or folder / "exports" / f"{chosen.row.id}.{exporter}.onnx"
    made = write_checked(chosen, exporter, path, samples)
    said = made.as_dict()
    said |= {"gate": {**said["gate"], "file": path.name}}  # beside it, wherever both go
    write_text(path.with_suffix(".gate.json"), as_json(said))
    return made


def write_checked(chosen: ChosenPoint, exporter: str, path: Path, samples: int | None) -> PointExport:
    """Write a point's file and pass it through the gate."""
    WRITERS[exporter](chosen.model, chosen.example_input, path, name=chosen.name)
    return examine(chosen, exporter, path, samples)


def verify_file(path: Path, folder: Path, point_id: str, samples: int | None) -> PointExport:
    """The gate of an export, for any file that claims to be a point.

    Raises:
        BitfrontError: as :func:`choose_point`, or a file that cannot be read or executed.
    """
    exporter = "qonnx" if any(node.domain in QONNX_DOMAINS for node in parse_model(path).graph.node) else "qcdq"
    chosen = choose_point(folder, point_id, exporter)
    probe(path, chosen.example_input.numpy())
    return examine(chosen, exporter, path, samples)


def examine(chosen: ChosenPoint, exporter: str, path: Path, samples: int | None) -> PointExport:
    """Compare a file with a point: what it computes, measures and costs.

    What transformers compute in floating point is not read off a file yet: of them the layers with weights are costed.

    Raises:
        BitfrontError: the file cannot be executed, or the sweep's numbers cannot be reproduced.
    """
    from dse.onnx_network import read_network

    evaluator, hardware = chosen.evaluator, chosen.point.hardware
    gate = run_gate(path, evaluator, chosen.model, exporter, samples)
    if samples is None:
        check_reproduced(chosen.row, gate)

    network, (covers, layers) = evaluator.network_of(chosen.point.numerics.recipe), COVERS
    report = chosen.cost()
    if set(network.sites) - set(chosen.model.numerics.sites):  # computed in floating point
        covers = layers
        report = cost_on(hardware, network, chosen.model.numerics, covers)
    again, error = None, None
    try:
        again = cost_on(hardware, *read_network(path), covers)
    except BitfrontError as reason:
        error = str(reason)
    return PointExport(
        sweep=chosen.results.config.name,
        point=chosen.row.id,
        design=chosen.design,
        exporter=exporter,
        gate=gate,
        stored=chosen.row.metrics,
        cost=report.total,
        cycles=report.max_cycles,
        cost_from_file=None if again is None else again.total,
        cycles_from_file=None if again is None else again.max_cycles,
        cost_covers=covers,
        cost_error=error,
    )


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
        try:
            point = exportable_design(results, row, evaluator)
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
