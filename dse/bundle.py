"""A design bundle: one folder with everything that a point is handed on as, and that can be checked where it arrives.

What goes in stands in :data:`PARTS`: one line per exporter. A part that cannot hold the point is left out, and the bundle says
why. `bundle.json` lists every file with its SHA-256; `samples.npz` holds inputs and the outputs that the model gave, so that the
ONNX files can be executed and compared anywhere, without the sweep, its data or its checkpoint (:mod:`dse.bundle_check`).
"""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from dse.export.errors import ExportError
from dse.export.execute import EXECUTORS
from dse.export_point import ChosenPoint, choose_point, write_checked
from dse.files import as_json, sha256, write_bytes, write_text
from dse.manifest import MANIFEST_FILE
from dse.results import CONFIG_FILE
from hwmodels.errors import BitfrontError

BUNDLE_FILE, SAMPLES_FILE, README_FILE = "bundle.json", "samples.npz", "README.md"
NETWORK_FILE, COST_FILE, GATE_FILE = "design.qonnx.onnx", "cost.json", "gate.json"
VERSION = 1

SAMPLES = {"images": 16, "windows": 2}
"""Of the test set, stored with their outputs."""


@dataclass(frozen=True)
class PartReport:
    """What a part wrote: whether it passed its own check, its report, and how to use it in a few words."""

    equal: bool
    report: Mapping[str, Any]
    usage: str


Part: TypeAlias = Callable[[ChosenPoint, Path, int | None], PartReport]
"""(point, folder of the bundle, test samples for the gate) -> report."""


def _onnx(exporter: str, usage: str) -> Part:
    def write(chosen: ChosenPoint, folder: Path, samples: int | None) -> PartReport:
        made = write_checked(chosen, exporter, folder / f"design.{exporter}.onnx", samples)
        report = made.as_dict()
        report["gate"] = {**made.gate.as_dict(), "file": f"design.{exporter}.onnx"}
        return PartReport(made.equal, report, usage)

    return write


def _finn(chosen: ChosenPoint, folder: Path, samples: int | None) -> PartReport:
    from dse.finn.export import export_finn

    made = export_finn(chosen.results.folder, chosen.row.id, output=folder / "finn", samples=samples)
    report = {"mismatching_classes": made.mismatching_classes, "samples": made.samples, "nodes": list(made.nodes)}
    return PartReport(
        made.equal, report, "finn/ builds an accelerator: python finn/build_dataflow.py where finn-plus is installed"
    )


def _rtl(chosen: ChosenPoint, folder: Path, samples: int | None) -> PartReport:
    from dse.export_rtl import export_rtl

    made = export_rtl(chosen.results.folder, chosen.row.id, folder / "rtl")
    report = {"mismatches": made.mismatches, "simulator": made.simulator, "first_difference": made.first_difference}
    return PartReport(
        made.equal, report, "rtl/ is the compute datapath as Verilog, with testbenches that check themselves"
    )


def _cost(chosen: ChosenPoint, folder: Path, samples: int | None) -> PartReport:
    report, hardware = chosen.cost(), chosen.point.hardware
    document = {"hardware": asdict(hardware), "fps": report.fps(hardware.clock_mhz), **report.as_dict()}
    write_text(folder / COST_FILE, as_json(document))
    rows = [f"{'LUT':>10} {'DSP':>6} {'BRAM18':>8}  component"]
    for line in report.lines:
        used = line.resources
        rows.append(
            f"{used.lut:10,.0f} {used.dsp:6,.0f} {used.bram18:8,.0f}  {line.component}: {line.formula} [{line.source}]"
        )
    total = report.total
    rows.append(
        f"{total.lut:10,.0f} {total.dsp:6,.0f} {total.bram18:8,.0f}  total on {hardware.device}, {report.max_cycles:,} cycles"
    )
    write_text(folder / "cost.txt", "\n".join(rows) + "\n")
    return PartReport(
        True,
        {"total": report.total.as_dict(), "cycles": report.max_cycles},
        "cost.txt to read, cost.json to compute with",
    )


def _origin(chosen: ChosenPoint, folder: Path, samples: int | None) -> PartReport:
    """Configuration and manifest of the sweep, and the point's row."""
    for name in (CONFIG_FILE, MANIFEST_FILE):
        source = chosen.results.folder / name
        if source.is_file():
            write_bytes(folder / name, source.read_bytes())
    write_text(folder / "point.json", as_json(chosen.row.model_dump(mode="json")))
    return PartReport(
        True,
        {"point": chosen.row.id},
        f"{CONFIG_FILE}, {MANIFEST_FILE} and point.json say what was measured, with what",
    )


PARTS: Mapping[str, Part] = {
    "qonnx": _onnx("qonnx", "design.qonnx.onnx opens in Netron and runs in qonnx; `dse cost --network` costs it"),
    "qcdq": _onnx("qcdq", "design.qcdq.onnx runs in onnxruntime, with graph optimizations off"),
    "finn": _finn,
    "rtl": _rtl,
    "cost": _cost,
    "origin": _origin,
}
"""What a bundle is made of, in order."""

REQUIRED = ("qonnx", "cost", "origin")
"""Parts without which there is no bundle; the others are left out where they cannot hold the point."""


@dataclass(frozen=True)
class BundleExport:
    """A bundle that was written: what each part reported, or why it was left out."""

    folder: Path
    name: str
    parts: Mapping[str, PartReport]
    left_out: Mapping[str, str]

    @property
    def equal(self) -> bool:
        """Whether every part is what was measured."""
        return all(part.equal for part in self.parts.values())

    def as_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        parts = {name: {"equal": part.equal, **part.report} for name, part in self.parts.items()}
        return {
            "bundle": str(self.folder),
            "name": self.name,
            "equal": self.equal,
            "parts": parts,
            "left_out": dict(self.left_out),
        }

    def text(self) -> str:
        """For people."""
        lines = [f"bundle of {self.name}: {self.folder}"]
        lines += [
            f"  {name}: {'equal' if part.equal else 'NOT EQUAL'}; {part.usage}" for name, part in self.parts.items()
        ]
        lines += [f"  {name} is left out: {reason}" for name, reason in self.left_out.items()]
        return "\n".join(lines)


def export_bundle(folder: Path, point_id: str, *, output: Path | None, samples: int | None) -> BundleExport:
    """Write everything that a point is handed on as into a folder of its own.

    Raises:
        BitfrontError: no such point, one that a required part cannot hold, or a folder that is not empty.
    """
    chosen = choose_point(folder, point_id, "qonnx")
    target = output or folder / "exports" / f"{chosen.row.id}.bundle"
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ExportError(
            f"the folder of a bundle must be new or empty, but {target} is not; choose another with --output."
        )
    parts: dict[str, PartReport] = {}
    left_out: dict[str, str] = {}
    for name, write in PARTS.items():
        try:
            parts[name] = write(chosen, target, samples)
        except BitfrontError as error:
            if name in REQUIRED:
                raise
            left_out[name] = str(error)
            shutil.rmtree(target / name, ignore_errors=True)  # what it had begun
    _write_samples(chosen, target / SAMPLES_FILE)
    made = BundleExport(target, chosen.name, parts, left_out)
    write_text(target / GATE_FILE, as_json({name: {"equal": p.equal, **p.report} for name, p in parts.items()}))
    write_text(target / README_FILE, _readme(chosen, made))
    files = {
        str(path.relative_to(target)): sha256(path.read_bytes()) for path in sorted(target.rglob("*")) if path.is_file()
    }
    executed = {f"design.{name}.onnx": name for name in parts if name in EXECUTORS}
    document = {"version": VERSION, "name": chosen.name, "equal": made.equal, "executed": executed, "files": files}
    write_text(target / BUNDLE_FILE, as_json(document))
    return made


def _write_samples(chosen: ChosenPoint, path: Path) -> None:
    """Some test inputs, and what the quantized model makes of them."""
    import torch

    from workloads.samples import in_memory

    inputs, _ = chosen.evaluator.test_set
    some = in_memory(inputs[: SAMPLES["images" if chosen.example_input.is_floating_point() else "windows"]])
    with torch.inference_mode():
        outputs = chosen.model.network(some)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, inputs=some.numpy(), outputs=outputs.numpy())
    write_bytes(path, buffer.getvalue())


def _readme(chosen: ChosenPoint, made: BundleExport) -> str:
    lines = [
        f"# {made.name}",
        "",
        f"{chosen.design}, of the sweep {chosen.results.config.name} of {chosen.evaluator.source.name}.",
        "",
        "`dse verify .` checks this folder: hashes, outputs of the ONNX files on the stored samples, cost of the network.",
        "",
        *(f"- {part.usage}." for part in made.parts.values()),
        f"- {SAMPLES_FILE}: test inputs (`inputs`) and what the quantized model makes of them (`outputs`).",
        "- gate.json: how the files compare with what was measured, on the test set.",
        *(f"- No {name}: {reason}" for name, reason in made.left_out.items()),
    ]
    return "\n".join(lines) + "\n"
