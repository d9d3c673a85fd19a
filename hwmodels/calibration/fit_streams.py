"""Fit the LUT forms of FIFOs, converters, forks and controls: ``python -m hwmodels.calibration.fit_streams``.

Least squares of the relative error of what is left beside the LUTs that store or select words, which are derived. Errors are of
all LUTs: in sample, and on units drawn at random that no fit ever saw; of memories, to which nothing is fitted, on all rows.
Units of fewer than 10 LUTs are left out: one LUT more or less is a tenth of them.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hwmodels.calibration.regression import Errors, design, solve
from hwmodels.rtl.control import ControlUnit
from hwmodels.rtl.memory import MemoryUnit
from hwmodels.rtl.stream import ConverterUnit, DuplicateUnit, FifoUnit
from hwmodels.rtl.stream_structure import StreamStructure, stream_structure

TABLE = Path(__file__).with_name("stream_units.csv")
CONSTANTS = Path(__file__).with_name("stream_constants.py")
LEAST_LUTS = 10

Unit = FifoUnit | ConverterUnit | DuplicateUnit | MemoryUnit | ControlUnit


@dataclass(frozen=True)
class StreamRow:
    """One synthesized unit; `luts` are LUT6 sites, those that store words and those that a register's bit passes included."""

    use: str
    family: str
    unit: Unit
    luts: int
    ff: int
    bram18: int


@dataclass(frozen=True)
class StreamFit:
    """Fitted factors by feature, with their errors, and the errors of the derived memories."""

    factors: dict[str, float]
    in_sample: Errors
    test: Errors
    memories: Errors
    rows: int
    test_rows: int
    memory_rows: int


def read_stream_rows(table: Path = TABLE) -> tuple[StreamRow, ...]:
    """All rows of the table."""
    with table.open(newline="") as file:
        return tuple(
            StreamRow(
                row["use"],
                row["family"],
                _unit(row),
                int(row["lut_packed"]) + int(row["route_through"]) + int(row["memory_luts"]),
                int(row["ff"]),
                int(row["bram18"]),
            )
            for row in csv.DictReader(file)
        )


def _unit(row: dict[str, str]) -> Unit:
    match row["part"]:
        case "fifo":
            return FifoUnit(int(row["width"]), int(row["depth"]), row["kind"])
        case "converter":
            return ConverterUnit(int(row["width"]), int(row["out"]))
        case "duplicate":
            return DuplicateUnit(int(row["width"]), int(row["out"]))
        case "memory":
            return MemoryUnit(row["kind"], int(row["width"]), int(row["depth"]))
        case _:
            return ControlUnit(int(row["depth"]), int(row["out"]), row["kind"] == "buffered")


def fit_streams(rows: Sequence[StreamRow]) -> StreamFit:
    """The factors that fit the rows to fit, and their errors; both families have the same logic, so one is fitted."""
    # imported here: the modules need the constants that this script writes
    from hwmodels.primitives.memory import Access, memory_luts
    from hwmodels.primitives.stream import features

    large = [row for row in rows if row.family == "xcup" and row.luts >= LEAST_LUTS]
    stored = [(row, row.unit) for row in large if isinstance(row.unit, MemoryUnit)]
    built = [(row, stream_structure(row.unit)) for row in large if not isinstance(row.unit, MemoryUnit)]
    names = sorted({name for _, structure in built for name in features(structure)})

    def select(use: str) -> list[tuple[StreamRow, StreamStructure]]:
        return [(row, structure) for row, structure in built if row.use == use]

    # fitted is what the derived LUTs leave
    fitted = select("fit")
    left = [row.luts - structure.data for row, structure in fitted]
    factors = np.round(solve(design([features(structure) for _, structure in fitted], left, names)), 4)

    def errors(some: Sequence[tuple[StreamRow, StreamStructure]]) -> Errors:
        logic = design([features(structure) for _, structure in some], [1] * len(some), names) @ factors
        predicted = logic + np.array([structure.data for _, structure in some])
        return Errors.of(predicted / np.array([row.luts for row, _ in some]) - 1)

    memories = [
        memory_luts(Access(unit.kind), unit.width, unit.depth, row.family) / row.luts - 1 for row, unit in stored
    ]
    return StreamFit(
        factors={name: float(factor) for name, factor in zip(names, factors, strict=True)},
        in_sample=errors(fitted),
        test=errors(select("test")),
        memories=Errors.of(np.array(memories)),
        rows=len(fitted),
        test_rows=len(select("test")),
        memory_rows=len(stored),
    )


def render(result: StreamFit, rows: Sequence[StreamRow]) -> str:
    """The text of `stream_constants.py`."""
    families = ", ".join(f'"{name}"' for name in sorted({row.family for row in rows}))
    widths = [row.unit.width for row in rows if isinstance(row.unit, FifoUnit | DuplicateUnit)]
    widths += [max(row.unit.in_width, row.unit.out_width) for row in rows if isinstance(row.unit, ConverterUnit)]
    depths = [row.unit.depth for row in rows if isinstance(row.unit, FifoUnit)]
    stored = [row.unit for row in rows if isinstance(row.unit, MemoryUnit)]
    factors = "".join(f'    "{name}": {factor},\n' for name, factor in result.factors.items())
    return (
        '"""Written by ``python -m hwmodels.calibration.fit_streams``: change the table or the form, not this file."""\n\n'
        f"FACTORS = {{\n{factors}}}\n"
        '"""LUT6 per counted bit, and of each unit besides (see `hwmodels.primitives.stream`): fitted to the rows to fit."""\n\n'
        "# relative errors (median, 90th percentile): in sample; rows that no fit saw; memories, which are derived\n"
        f"IN_SAMPLE = {result.in_sample}\nTEST = {result.test}\nMEMORIES = {result.memories}\n"
        f'BASIS = "{TABLE.name}, {result.rows} units, LUTs after synthesis, tested on {result.test_rows} others"\n'
        f'MEMORY_BASIS = "{TABLE.name}, {result.memory_rows} memories, LUTs after synthesis"\n\n'
        "# the widest word and the most words of all rows: of FIFOs, converters and forks; of memories\n"
        f"MOST = {max(widths), max(depths)}\n"
        f"MEMORY_MOST = {max(unit.width for unit in stored), max(unit.depth for unit in stored)}\n"
        f"FAMILIES = ({families})\n"
    )


def main() -> int:
    """Fit, write the constants, print the errors to stderr."""
    rows = read_stream_rows()
    result = fit_streams(rows)
    CONSTANTS.write_text(render(result, rows))
    print(result, file=sys.stderr)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
