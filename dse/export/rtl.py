"""A quantized network's compute datapath as Verilog in a folder, simulated on the network's own tensors and on corner vectors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dse.export.rtl_check import (
    SIMULATED,
    Part,
    Vectors,
    Verdict,
    check_layer_files,
    check_layer_graph,
    check_unit_files,
    check_unit_graph,
    choose_simulator,
    sources_of,
)
from dse.export.rtl_design import Integers, LayerDesign, make_design
from dse.export.rtl_files import README, describe, design_json, layer_files, makefile, part_files, part_names
from dse.export.rtl_model import ModelCheck, compare_with_model
from dse.files import as_json, write_text
from hwmodels.accumulator import code_range
from hwmodels.ops import Folding
from hwmodels.rtl.check import Simulator
from hwmodels.rtl.corners import corners
from hwmodels.rtl.icarus import TIME_LIMIT_S
from hwmodels.rtl.reference import codes_of
from hwmodels.rtl.thresholds import ThresholdUnit

if TYPE_CHECKING:
    from torch import Tensor

    from workloads.layer_tensors import LayerTensors
    from workloads.plan import Layer, Plan
    from workloads.quantize import QuantizedModel

SAMPLES = 4
"""Test images or windows of text whose every pixel or token is compared, unless told otherwise."""

VECTORS = 4
"""Of these, vectors of each layer that are simulated beside the corner vectors, unless told otherwise."""


@dataclass(frozen=True)
class UnitReport:
    """One dot-product unit on corner vectors; `overflows`: cycles in which they leave its accumulator."""

    name: str
    overflows: int
    verdict: Verdict


@dataclass(frozen=True)
class LayerReport:
    """One layer: its simulation (on `real` and `corner` vectors) and its comparison with the network."""

    layer: str
    module: str
    unit: str
    pe: int
    simd: int
    simd_of_point: int
    real: int
    corner: int
    verdict: Verdict
    model: ModelCheck


@dataclass(frozen=True)
class RtlExport:
    """What was written and how it compares."""

    name: str
    design: str
    folder: str
    simulator: str
    simulated: str
    units: tuple[UnitReport, ...]
    layers: tuple[LayerReport, ...]

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        """Of all simulations."""
        return (*(unit.verdict for unit in self.units), *(layer.verdict for layer in self.layers))

    @property
    def mismatches(self) -> int:
        """Words that differ in simulation."""
        return sum(verdict.wrong for verdict in self.verdicts)

    @property
    def equal(self) -> bool:
        """Every simulated word is what codec and accumulator say, and every sum what the network computed."""
        return self.mismatches == 0 and all(layer.model.equal for layer in self.layers)

    @property
    def first_difference(self) -> str | None:
        """In words, or None."""
        found = [verdict.first_difference for verdict in self.verdicts]
        return next((each for each in (*found, *(layer.model.first_difference for layer in self.layers)) if each), None)

    def as_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        compared = sum(verdict.compared for verdict in self.verdicts)
        counts = {
            "vectors_compared": compared,
            "mismatches": self.mismatches,
            "first_difference": self.first_difference,
        }
        return {"exporter": "rtl", "equal": self.equal, **counts, **asdict(self)}

    def text(self) -> str:
        """For people."""
        lines = [
            f"rtl of {self.name} ({self.design}): {self.folder}",
            f"  simulated by {self.simulator}: {self.simulated}",
        ]
        for layer in self.layers:
            wider = "" if layer.simd == layer.simd_of_point else f" (the point has SIMD {layer.simd_of_point})"
            lines.append(
                f"  {layer.layer}: {layer.pe} x {layer.simd}{wider} in {layer.unit}: {layer.real} + {layer.corner} vectors, "
                f"{layer.verdict.compared} words, {layer.verdict.wrong} wrong; {layer.model.outputs:,} outputs of the network, "
                f"{layer.model.outside} outside of rounding, {layer.model.ties} of {layer.model.codes:,} codes on a tie"
            )
        for unit in self.units:
            lines.append(
                f"  {unit.name}: {unit.verdict.compared} corner vectors, {unit.overflows} of them beyond the accumulator, "
                f"{unit.verdict.wrong} wrong"
            )
        if self.first_difference is not None:
            lines.append(f"  first difference: {self.first_difference}")
        compared = sum(verdict.compared for verdict in self.verdicts)
        state = (
            "equal: the datapath is what was measured"
            if self.equal
            else "NOT EQUAL: the datapath is not what was measured"
        )
        return "\n".join([*lines, f"  {compared:,} words compared, {self.mismatches} mismatches; {state}"])


@dataclass(frozen=True, eq=False)
class _Prepared:
    """A layer before its files are written."""

    layer: Layer
    site: str | None
    design: LayerDesign
    vectors: Vectors
    thresholds: Integers | None
    model: ModelCheck


def export_datapath(
    quantized: QuantizedModel,
    plan: Plan,
    layers: Sequence[Layer],
    foldings: Mapping[str, Folding],
    inputs: Tensor,
    folder: Path,
    *,
    name: str,
    design: str,
    vectors: int = VECTORS,
    simulator: Simulator | None = None,
    limit_s: float = TIME_LIMIT_S,
) -> RtlExport:
    """Write the datapath of `layers` into a folder, simulate it there, and compare it with the network.

    Args:
        foldings: PE and SIMD of every layer.
        inputs: samples whose every vector is compared with the network; `vectors` of each layer are simulated.
        name, design: what it is, for people.
        simulator: default: Icarus where it is installed, else Yosys.
        limit_s: seconds for each simulation.

    Raises:
        BitfrontError: a datapath that no unit is generated for, no simulator, or one that fails or takes too long.
    """
    simulator = simulator or choose_simulator()
    prepared = [_prepare(quantized, plan, layer, foldings[layer.name], inputs, vectors) for layer in layers]
    names = part_names([each.design for each in prepared])
    units = tuple(_units(folder, names, simulator, limit_s))
    reports, described = [], {}
    for each in prepared:
        _write(folder, layer_files(each.design, names, each.vectors, each.thresholds))
        described[each.layer.name] = describe(each.design, names, each.site)
        reports.append(_simulated(each, names, folder, simulator, limit_s))
    benches = [*(unit.name for unit in units), *(each.design.name for each in prepared)]
    about = {"name": name, "design": design}
    _write(folder, {"design.json": design_json(about, described, names), "Makefile": makefile(benches)})
    report = RtlExport(
        name, design, str(folder), simulator.tool, SIMULATED[simulator], units=units, layers=tuple(reports)
    )
    said = report.as_dict() | {"folder": "."}  # which may go anywhere
    _write(folder, {"README.md": README.format(**about), "report.json": as_json(said)})
    return report


def _prepare(
    quantized: QuantizedModel, plan: Plan, layer: Layer, folding: Folding, inputs: Tensor, vectors: int
) -> _Prepared:
    from workloads.layer_tensors import layer_tensors

    tensors = layer_tensors(quantized, plan, layer, inputs)
    behind = tensors.requantized
    design = make_design(quantized, layer, folding, None if behind is None else behind.quant)
    model = compare_with_model(design, tensors, design.sums(tensors.inputs))
    thresholds = None if design.unit.requantizer is None else design.thresholds(tensors)
    return _Prepared(
        layer, None if behind is None else behind.site, design, _vectors(design, tensors, vectors), thresholds, model
    )


def _vectors(design: LayerDesign, tensors: LayerTensors, count: int) -> Vectors:
    """Evenly spaced vectors of the network, then corner vectors."""
    chosen = np.unique(np.linspace(0, len(tensors.inputs) - 1, count).astype(np.int64))
    inputs = np.concatenate([tensors.inputs[chosen], _corner_inputs(design)])
    sums = design.sums(inputs)
    codes, search, behind = None, design.unit.requantizer, tensors.requantized
    if search is not None and behind is not None:
        from workloads.scales import to_codes

        values = behind.apply(design.outputs(sums, tensors.bias))
        codes = codes_of(search.output, to_codes(values, search.output))
    return Vectors(codes_of(design.path.activation.format, inputs), sums, codes, len(chosen))


def _corner_inputs(design: LayerDesign) -> Integers:
    """Input vectors in units of the step: the extremes, alternating, zero, the smallest magnitudes, and the two vectors that
    drive the row that asks for the accumulator's width to its ends."""
    low, high = code_range(design.path.activation.format)
    codes, reach = design.result.codes, design.result.range
    cols = design.unit.cols
    alternating = np.where(np.arange(cols) % 2, low, high)
    flat = [np.full(cols, value) for value in (high, low, 0, 1, *[-1] * (low < 0))] + [alternating]
    shape = (design.unit.rows, cols)
    ends = []
    for row, best, worst in ((reach.high_row, high, low), (reach.low_row, low, high)):
        weights = codes if design.unit.depthwise else codes[row]
        ends.append(np.where(weights > 0, best, np.where(weights < 0, worst, 0)))
    if design.unit.depthwise:
        return np.stack([*(np.broadcast_to(each, shape) for each in flat), *ends])
    return np.stack([*flat, *ends])


def _units(folder: Path, names: Mapping[Part, str], simulator: Simulator, limit_s: float) -> Iterator[UnitReport]:
    """Write every part; simulate the dot-product units on their corner vectors."""
    for part, name in names.items():
        given = None if isinstance(part, ThresholdUnit) else corners(part)
        _write(folder, part_files(part, name, given))
        if isinstance(part, ThresholdUnit) or given is None:
            continue
        if simulator is Simulator.ICARUS:
            verdict = check_unit_files(folder, name, [f"rtl/{name}.v", f"test/{name}_test.v"], limit_s)
        else:
            verdict = check_unit_graph(part, given)
        yield UnitReport(name, given.overflows, verdict)


def _simulated(
    prepared: _Prepared, names: Mapping[Part, str], folder: Path, simulator: Simulator, limit_s: float
) -> LayerReport:
    design, vectors = prepared.design, prepared.vectors
    count = len(vectors.inputs)
    if simulator is Simulator.ICARUS:
        verdict = check_layer_files(folder, design, count, sources_of(design, names), limit_s)
    else:
        verdict = check_layer_graph(design, vectors, prepared.thresholds)
    return LayerReport(
        layer=prepared.layer.name,
        module=design.name,
        unit=names[design.unit.row],
        pe=design.unit.pe,
        simd=design.unit.row.lanes,
        simd_of_point=design.folding.simd,
        real=vectors.real,
        corner=count - vectors.real,
        verdict=verdict,
        model=prepared.model,
    )


def _write(folder: Path, files: Mapping[str, str]) -> None:
    for path, text in files.items():
        write_text(folder / path, text)
