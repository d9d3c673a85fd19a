"""Fit the LUT form of window generators to the synthesis table: ``python -m hwmodels.calibration.fit_windows``.

Least squares of the relative error of all LUTs, of which those that store words are derived. Errors are stated in sample, and on
generators drawn at random that no fit ever saw.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hwmodels.calibration.regression import Errors, design, solve
from hwmodels.rtl.window import WindowUnit
from hwmodels.rtl.window_parallel import ParallelWindowUnit
from hwmodels.window_shape import Pair, WindowShape

TABLE = Path(__file__).with_name("window_units.csv")
CONSTANTS = Path(__file__).with_name("window_constants.py")


@dataclass(frozen=True)
class WindowRow:
    """One synthesized generator; `logic_luts` are all but those that store words."""

    use: str
    family: str
    unit: WindowUnit | ParallelWindowUnit
    logic_luts: int
    memory_luts: int
    ff: int
    bram18: int

    @property
    def luts(self) -> int:
        """LUT6 sites."""
        return self.logic_luts + self.memory_luts


@dataclass(frozen=True)
class WindowFit:
    """Fitted factors by feature, with their errors."""

    factors: dict[str, float]
    in_sample: Errors
    test: Errors
    rows: int
    test_rows: int


def _pair(text: str) -> Pair:
    first, second = text.split("x")
    return int(first), int(second)


def read_window_rows(table: Path = TABLE) -> tuple[WindowRow, ...]:
    """All rows of the table."""
    rows = []
    with table.open(newline="") as file:
        for row in csv.DictReader(file):
            size, out, kernel, stride, dilation = (
                _pair(row[name]) for name in ("input", "output", "kernel", "stride", "dilation")
            )
            depthwise = row["depthwise"] == "1"
            shape = WindowShape(int(row["channels"]), size, out, kernel, stride, dilation, depthwise)
            kind = ParallelWindowUnit if row["parallel"] == "1" else WindowUnit
            unit = kind(shape, int(row["bits"]), int(row["lanes"]), row["block"] == "1")
            logic = int(row["lut_packed"]) + int(row["route_through"])
            others = (int(row[name]) for name in ("memory_luts", "ff", "bram18"))
            rows.append(WindowRow(row["use"], row["family"], unit, logic, *others))
    return tuple(rows)


def fit_windows(rows: Sequence[WindowRow]) -> WindowFit:
    """The factors that fit the rows to fit, and their errors; both families have the same logic, so one is fitted."""
    # imported here: the module needs the constants that this script writes
    from hwmodels.primitives.window import features, stored_luts

    plus = [row for row in rows if row.family == "xcup"]
    names = sorted({name for row in plus for name in features(row.unit)})
    stored = {row: stored_luts(row.unit, row.family) for row in plus}
    fitted, unseen = ([row for row in plus if row.use == use] for use in ("fit", "test"))

    def matrix(some: Sequence[WindowRow]) -> np.ndarray:
        return design([features(row.unit) for row in some], [row.luts - stored[row] for row in some], names)

    factors = np.round(solve(matrix(fitted)), 4)

    def errors(some: Sequence[WindowRow]) -> Errors:
        logic = design([features(row.unit) for row in some], [1] * len(some), names) @ factors
        return Errors.of(np.array([(lut + stored[row]) / row.luts - 1 for lut, row in zip(logic, some, strict=True)]))

    return WindowFit(
        factors={name: float(factor) for name, factor in zip(names, factors, strict=True)},
        in_sample=errors(fitted),
        test=errors(unseen),
        rows=len(fitted),
        test_rows=len(unseen),
    )


def render(result: WindowFit, rows: Sequence[WindowRow]) -> str:
    """The text of `window_constants.py`."""
    units = [row.unit for row in rows if row.use == "fit"]
    widths = [unit.width for unit in units]
    depths = [unit.depth for unit in units if isinstance(unit, WindowUnit)]
    families = ", ".join(f'"{name}"' for name in sorted({row.family for row in rows}))
    factors = "".join(f'    "{name}": {factor},\n' for name, factor in result.factors.items())
    return (
        '"""Written by ``python -m hwmodels.calibration.fit_windows``: change the table or the form, not this file."""\n\n'
        f"FACTORS = {{\n{factors}}}\n"
        '"""LUT6 per counted bit, by feature (see `hwmodels.primitives.window`): fitted to the rows to fit."""\n\n'
        "# relative errors (median, 90th percentile): in sample; rows that no fit saw\n"
        f"IN_SAMPLE = {result.in_sample}\nTEST = {result.test}\n"
        f'BASIS = "{TABLE.name}, {result.rows} units, LUTs after synthesis, tested on {result.test_rows} others"\n\n'
        "# ranges of the rows to fit, both ends included\n"
        f"WIDTH = {min(widths), max(widths)}\n"
        f"DEPTH = {min(depths), max(depths)}\n"
        f"FAMILIES = ({families})\n"
    )


def main() -> int:
    """Fit, write the constants, print the errors to stderr."""
    rows = read_window_rows()
    result = fit_windows(rows)
    CONSTANTS.write_text(render(result, rows))
    print(result, file=sys.stderr)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
