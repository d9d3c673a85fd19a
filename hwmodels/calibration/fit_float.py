"""Fit the LUTs of floating-point dot-product units to their table: ``python -m hwmodels.calibration.fit_float``.

Least squares of the relative error, stated in sample and on the table's test rows, which no fit saw.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hwmodels.calibration.regression import Errors, design, solve
from hwmodels.catalog import parse_element
from hwmodels.datapath import Accumulator, Datapath, TensorQuant
from hwmodels.devices import Family
from hwmodels.rtl.float_tree import FloatUnit

TABLE = Path(__file__).with_name("float_units.csv")
CONSTANTS = Path(__file__).with_name("float_constants.py")
NAMES = ("chain", "clear", "exponent", "lane", "shift", "table")


@dataclass(frozen=True)
class Row:
    """One synthesized unit."""

    use: str
    family: Family
    unit: FloatUnit
    luts: int
    carry8: float
    ff: int


def read_rows(table: Path = TABLE) -> tuple[Row, ...]:
    """All rows of the table."""
    with table.open(newline="") as file:
        return tuple(
            Row(
                row["use"],
                Family(row["family"]),
                _unit(row),
                int(row["lut_packed"]),
                float(row["carry8"]),
                int(row["ff"]),
            )
            for row in csv.DictReader(file)
        )


def _unit(row: dict[str, str]) -> FloatUnit:
    exponent, mantissa = int(row["exponent"]), int(row["mantissa"])
    weight, activation = (TensorQuant(parse_element(row[name])) for name in ("weight", "activation"))
    accumulator = Accumulator(1 + exponent + mantissa, mantissa_bits=mantissa)
    return FloatUnit(Datapath(weight, activation, accumulator), int(row["lanes"]))


@dataclass(frozen=True)
class Fit:
    """Fitted factors by feature, with their errors."""

    factors: dict[str, float]
    in_sample: Errors
    test: Errors
    rows: int
    test_rows: int


def fit(rows: Sequence[Row]) -> Fit:
    """The factors that fit the rows to fit, and their errors; both families have the same LUTs, so one is fitted."""
    # imported here: the module needs the constants that this script writes
    from hwmodels.float_cost import float_structure

    matrices = []
    for use in ("fit", "test"):
        part = [row for row in rows if row.use == use and row.family is Family.XCUP]
        matrices.append(design([float_structure(row.unit).counts for row in part], [row.luts for row in part], NAMES))
    matrix, unseen = matrices
    factors = np.round(solve(matrix), 4)
    return Fit(
        factors={name: float(factor) for name, factor in zip(NAMES, factors, strict=True)},
        in_sample=Errors.of(matrix @ factors - 1),
        test=Errors.of(unseen @ factors - 1),
        rows=len(matrix),
        test_rows=len(unseen),
    )


def render(result: Fit, rows: Sequence[Row]) -> str:
    """The text of `float_constants.py`."""
    units = [row.unit for row in rows if row.use == "fit"]
    ranges = {
        "LANES": [unit.lanes for unit in units],
        "EXPONENT_BITS": [unit.exponent_bits for unit in units],
        "MANTISSA_BITS": [unit.mantissa_bits for unit in units],
        "FORMAT_BITS": [fmt.bits for unit in units for fmt in (unit.weight, unit.activation)],
    }
    factors = "".join(f'    "{name}": {factor},\n' for name, factor in result.factors.items())
    families = ", ".join(f'"{name}"' for name in sorted({str(row.family) for row in rows}))  # two: both are measured
    return (
        '"""Written by ``python -m hwmodels.calibration.fit_float``: change the table or the form, not this file."""\n\n'
        f"FACTORS = {{\n{factors}}}\n"
        '"""LUT6 per counted bit, by feature (see `hwmodels.float_cost`)."""\n\n'
        "# relative errors (median, 90th percentile) of LUTs: in sample; rows that no fit saw\n"
        f"IN_SAMPLE = {result.in_sample}\nTEST = {result.test}\n"
        "MEDIAN_ERROR, P90_ERROR = TEST\n"
        f'BASIS = "{TABLE.name}, {result.rows} units, LUTs after synthesis, tested on {result.test_rows} others"\n\n'
        "# ranges of the rows to fit, both ends included\n"
        + "".join(f"{name} = {min(values), max(values)}\n" for name, values in ranges.items())
        + f"FAMILIES = ({families})\n"
    )


def main() -> int:
    """Fit, write the constants, print the errors to stderr."""
    rows = read_rows()
    result = fit(rows)
    CONSTANTS.write_text(render(result, rows))
    print(result, file=sys.stderr)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
