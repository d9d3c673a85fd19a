"""`dse export --to finn`: a point of a sweep as a folder that FINN builds from, and that was proved to be the point."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx

from dse.evaluate import Evaluator
from dse.export.errors import ExportError
from dse.export.formats import check_exportable
from dse.export_point import PointExport, choose, export_point, exportable_design
from dse.files import as_json, write_bytes, write_text
from dse.finn.adapt import adapt
from dse.finn.classes import mismatching_classes
from dse.finn.folder import MODEL, NETWORK, nodes_of, write_folder
from dse.finn.preflight import Preflight, preflight
from dse.point import Hardware
from dse.recost import cost_options
from dse.results import load_results
from hwmodels.finn_nodes import FinnNode

EXPORTER = "finn"


@dataclass(frozen=True)
class FinnExport:
    """What was exported, how it compares with the point, and what FINN's rules say of it.

    Attributes:
        network: the report on ``network.onnx``, whose output are logits.
        samples: images on which ``model.onnx`` was executed too.
        mismatching_classes: of them, how many it puts into another class.
        sha256: of ``model.onnx``.
        preflight: of ``model.onnx``; it passes, or nothing was written.
        nodes: names of FINN's nodes.
    """

    folder: str
    network: PointExport
    samples: int
    mismatching_classes: int
    sha256: str
    preflight: Preflight
    nodes: tuple[str, ...]

    @property
    def equal(self) -> bool:
        """Whether both files are what was measured."""
        return self.network.equal and self.mismatching_classes == 0

    def as_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        return {
            **self.network.as_dict(),
            "exporter": EXPORTER,
            "equal": self.equal,
            "folder": self.folder,
            "classes": {
                "file": MODEL,
                "sha256": self.sha256,
                "samples": self.samples,
                "mismatching": self.mismatching_classes,
            },
            "preflight": self.preflight.as_dict(),
            "nodes": list(self.nodes),
        }

    def text(self) -> str:
        """For people."""
        advice = len(self.preflight.findings)
        return "\n".join(
            (
                self.network.text(),
                f"{self.folder}: {MODEL} puts {self.mismatching_classes} of {self.samples} images into another class; FINN takes "
                f"it ({advice} pieces of advice: dse preflight {Path(self.folder) / MODEL})",
                f"  {len(self.nodes)} nodes folded; next: python {Path(self.folder) / 'build_dataflow.py'}, where finn-plus is "
                "installed",
            )
        )


def export_finn(results_folder: Path, point_id: str, *, output: Path | None, samples: int | None) -> FinnExport:
    """Export a point of a sweep as a folder for FINN.

    Args:
        results_folder: of the sweep.
        point_id: of the point, or ``knee``.
        output: the folder to write; default: RESULTS/exports/POINT.finn.
        samples: test images to compare on; None: all.

    Raises:
        BitfrontError: no such point, a format that FINN does not map, a network that its rules refuse, or numbers of the sweep
            that cannot be reproduced.
    """
    from workloads.samples import in_memory

    results = load_results(results_folder)
    row = choose(results, point_id, EXPORTER)
    evaluator = Evaluator.of(results.config)
    point = exportable_design(results, row, evaluator)
    check_exportable(evaluator.numerics(point.numerics, None), EXPORTER)
    folder = output or results_folder / "exports" / f"{row.id}.{EXPORTER}"
    if folder.exists() and not folder.is_dir():
        raise ExportError(f"--to finn must write a folder, but {str(folder)!r} is a file.")
    network = export_point(results_folder, row.id, "qonnx", output=folder / NETWORK, samples=samples)
    made = complete(folder, point.hardware, title=f"Point {row.id} of {results.config.name}")
    images = in_memory(evaluator.test_set[0][:samples]).numpy()
    report = FinnExport(
        folder=str(folder),
        network=network,
        samples=len(images),
        mismatching_classes=mismatching_classes(folder / NETWORK, folder / MODEL, images),
        sha256=made.sha256,
        preflight=made.preflight,
        nodes=tuple(node.name for node in made.nodes),
    )
    said = report.as_dict()
    # the folder may go anywhere: its own report names what lies in it
    said |= {
        "folder": ".",
        "gate": {**said["gate"], "file": NETWORK},
        "preflight": {**said["preflight"], "file": MODEL},
    }
    write_text(folder / "gate.json", as_json(said))
    return report


@dataclass(frozen=True)
class Completed:
    """What was put beside a network: the hash of ``model.onnx``, what FINN's rules say of it, and the nodes that were folded."""

    sha256: str
    preflight: Preflight
    nodes: tuple[FinnNode, ...]


def complete(folder: Path, hardware: Hardware, *, title: str) -> Completed:
    """Write everything that FINN needs beside the ``network.onnx`` of a folder.

    Args:
        folder: with the network, as QONNX.
        hardware: part, frame rate, clock, and the cost model whose folding is taken.
        title: of its README.

    Raises:
        ExportError: the network breaks a rule of FINN's; names all of them.
        BitfrontError: FINN has no such format, or no folding reaches the frame rate.
    """
    model = adapt(onnx.load(folder / NETWORK))
    digest = write_bytes(folder / MODEL, model.SerializeToString(deterministic=True))
    report = preflight(folder / MODEL)
    if not report.passes:
        broken = " ".join(str(finding) for finding in report.findings if not finding.advice)
        raise ExportError(f"FINN must take {folder / MODEL}, but it breaks its rules. {broken}")
    nodes = nodes_of(folder / NETWORK, hardware, cost_options(hardware))
    write_folder(folder, nodes, hardware, title=title)
    return Completed(digest, report, nodes)
