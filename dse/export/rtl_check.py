"""Simulation of what was written: whole layers in Icarus Verilog, or their units and requantizers by the graph of Yosys."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dse.export.errors import ExportError
from dse.export.rtl_design import Integers, LayerDesign
from hwmodels.rtl.check import Simulator, mismatches
from hwmodels.rtl.corners import Corners
from hwmodels.rtl.icarus import SimulatorError, icarus_version, run_icarus_files
from hwmodels.rtl.layer import RowUnit, requantizer_verilog, row_verilog
from hwmodels.rtl.layer_bench import read_verdict
from hwmodels.rtl.reference import codes_of
from hwmodels.rtl.segment import SegmentUnit
from hwmodels.rtl.segment_check import segment_mismatches, simulate_segments
from hwmodels.rtl.simulate import code_bits, elaborate, integers, run, simulate_unit
from hwmodels.rtl.thresholds import ThresholdUnit, code_at
from hwmodels.rtl.unit import DotUnit
from hwmodels.yosys import SynthError, yosys_version


@dataclass(frozen=True)
class Verdict:
    """What a simulation said.

    Attributes:
        compared: words, sums or codes.
        wrong: of them, or missing.
        first_difference: in words, or None.
    """

    compared: int
    wrong: int
    first_difference: str | None


@dataclass(frozen=True, eq=False)
class Vectors:
    """What a layer is simulated on: stored codes, and what must come of them.

    Attributes:
        inputs: (vectors, cols), of a depthwise layer (vectors, rows, cols).
        sums: (vectors, rows). codes: the same, or None without a requantizer.
        real: how many of the vectors, the first ones, are the network's own.
    """

    inputs: Integers
    sums: Integers
    codes: Integers | None
    real: int


def choose_simulator() -> Simulator:
    """Icarus Verilog where it is installed, else Yosys.

    Raises:
        ExportError: neither is; names what to install.
    """
    try:
        icarus_version()
        return Simulator.ICARUS
    except SimulatorError:
        pass
    try:
        yosys_version()
        return Simulator.YOSYS
    except SynthError:
        raise ExportError(
            "an exported datapath must be simulated, but there is neither Icarus Verilog (Debian, Ubuntu: apt install iverilog) "
            "nor Yosys (the extra synth: pip install 'bitfront[synth]'); install one of them."
        ) from None


Part = RowUnit | ThresholdUnit
"""A module that layers share."""

SIMULATED = {
    Simulator.ICARUS: "whole layers with their memories, and every unit on corner vectors",
    Simulator.YOSYS: "units and requantizers on the same vectors, without the memories and counters around them",
}
"""What each simulator is given."""


def check_unit_files(folder: Path, name: str, sources: list[str], limit_s: float) -> Verdict:
    """Run the written testbench of a unit on its corner vectors in Icarus."""
    printed = run_icarus_files(folder, sources, f"{name}_test", limit_s)
    found = re.search(r"^(\d+) of (\d+) vectors wrong", printed, re.MULTILINE)
    if found is None:
        raise ExportError(f"the testbench of {name} must run to its end, but it printed {printed[:80]!r}.")
    wrong, compared = int(found[1]), int(found[2])
    return Verdict(compared, wrong, f"{name}: {wrong} of {compared} corner vectors" if wrong else None)


def check_layer_files(folder: Path, design: LayerDesign, vectors: int, sources: list[str], limit_s: float) -> Verdict:
    """Run the written testbench of a layer in Icarus."""
    printed = run_icarus_files(folder, sources, f"{design.name}_test", limit_s)
    return Verdict(*read_verdict(design.name, design.unit, vectors, printed))


def check_unit_graph(unit: RowUnit, given: Corners) -> Verdict:
    """Corner vectors of a unit by the graph of Yosys."""
    graph = elaborate(*row_verilog(unit))
    w, x = given.weights[:, None], given.activations[:, None]
    control = (given.clear, given.enable)
    if isinstance(unit, DotUnit):
        wrong, compared = mismatches(unit, graph, w, x, *control)
    else:
        wrong, compared = segment_mismatches(unit, graph, w, x, given.scales[:, None], *control)
    return Verdict(compared, wrong, f"{wrong} of {compared} corner vectors" if wrong else None)


def check_layer_graph(design: LayerDesign, vectors: Vectors, thresholds: Integers | None) -> Verdict:
    """A layer's dot products, and its requantizer with the thresholds that its memories would give, by the graph of Yosys."""
    unit = design.unit
    rows, count = unit.rows, len(vectors.inputs)
    missing = unit.words * unit.row.lanes - unit.cols
    stored = np.pad(codes_of(design.path.weight.format, design.result.codes), ((0, 0), (0, missing)))
    inputs = vectors.inputs if unit.depthwise else np.repeat(vectors.inputs[:, None], rows, axis=1)
    shape = (count * rows, unit.words, unit.row.lanes)
    x = np.pad(inputs, ((0, 0), (0, 0), (0, missing))).reshape(shape).transpose(1, 0, 2)
    w = np.tile(stored, (count, 1)).reshape(shape).transpose(1, 0, 2)
    clear, enable = np.arange(unit.words) == 0, np.ones(unit.words, dtype=np.bool_)
    graph = elaborate(*row_verilog(unit.row))
    if isinstance(unit.row, SegmentUnit):
        codes = np.zeros((unit.words, count * rows, unit.row.units, unit.row.operands), dtype=np.int64)
        if design.scales is not None:
            each = np.tile(design.scales.codes, (count, 1)).reshape(count * rows, unit.segments, unit.row.units, -1)
            codes = np.repeat(each.transpose(1, 0, 2, 3), unit.row.cycles, axis=0)
        sums = simulate_segments(unit.row, graph, w, x, codes, clear, enable)[-1]
    else:
        sums = simulate_unit(unit.row, graph, w, x, clear, enable)[-1]
    wrong = sums.reshape(count, rows) != vectors.sums
    compared, first = wrong.size, _first(design, wrong, "sum")
    if vectors.codes is not None and unit.requantizer is not None and thresholds is not None:
        missed = _searched(unit.requantizer, vectors.sums, thresholds, vectors.codes)
        compared, first = compared + missed.size, first or _first(design, missed, "code")
        return Verdict(compared, int(wrong.sum() + missed.sum()), first)
    return Verdict(compared, int(wrong.sum()), first)


def _first(design: LayerDesign, wrong: Integers, what: str) -> str | None:
    if not wrong.any():
        return None
    vector, row = (int(i) for i in np.argwhere(wrong)[0])
    return f"{design.result.name}: first wrong {what}: vector {vector}, row {row}"


def _searched(search: ThresholdUnit, sums: Integers, thresholds: Integers, codes: Integers) -> Integers:
    """Which codes (vectors, rows) the search does not find, or finds by asking for other thresholds than it must."""
    bits, (count, rows) = search.output.bits, sums.shape
    place = {code_at(search.output, index): index for index in range(1 << bits)}
    index = np.array([place[int(code)] for code in codes.ravel()])
    row = np.tile(np.arange(rows), count)
    held = {"sum": code_bits(sums.astype(object).reshape(-1, 1), search.sum_bits)}
    for stage in range(bits):
        found = index >> bits - stage  # the bits above this stage's
        chosen = thresholds[row, ((2 * found + 1) << bits - 1 - stage) - 1]
        held[f"threshold{stage}"] = code_bits(chosen.astype(object).reshape(-1, 1), search.threshold_bits)
    graph = elaborate(*requantizer_verilog(search))
    last = run(graph, [held] * (2 * bits + 2))[-1]
    wrong = (last["y"] != code_bits(codes.reshape(-1, 1), bits)).any(axis=0)
    for stage in range(1, bits):
        asked = integers(np.concatenate([last[f"address{stage}"], np.zeros((1, len(index)), dtype=np.bool_)]))
        wrong |= asked != index >> bits - stage
    return np.asarray(wrong).reshape(count, rows)


def sources_of(design: LayerDesign, names: Mapping[Part, str]) -> list[str]:
    """The files of a layer's testbench, by the names of its parts."""
    parts = [design.unit.row, *([design.unit.requantizer] if design.unit.requantizer is not None else [])]
    return [f"test/{design.name}_test.v", f"rtl/{design.name}.v", *(f"rtl/{names[part]}.v" for part in parts)]
