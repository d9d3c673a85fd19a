"""Fit the LUT form of adds and pools to the synthesis table: ``python -m hwmodels.calibration.fit_elementwise``.

Least squares of the relative error. Errors are stated in sample, and on units drawn at random that no fit ever saw. Units of
fewer than 10 LUTs are left out of both: one LUT more or less is a tenth of them.
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
from hwmodels.rtl.elementwise import AddUnit, PoolUnit
from hwmodels.rtl.elementwise_structure import elementwise_structure

TABLE = Path(__file__).with_name("elementwise_units.csv")
CONSTANTS = Path(__file__).with_name("elementwise_constants.py")
LEAST_LUTS = 10


@dataclass(frozen=True)
class ElementwiseRow:
    """One synthesized add or pooling unit."""

    use: str
    family: str
    unit: AddUnit | PoolUnit
    luts: int
    carry8: float
    ff: int


@dataclass(frozen=True)
class ElementwiseFit:
    """Fitted factors by feature, with their errors."""

    factors: dict[str, float]
    in_sample: Errors
    test: Errors
    rows: int
    test_rows: int


def read_elementwise_rows(table: Path = TABLE) -> tuple[ElementwiseRow, ...]:
    """All rows of the table."""
    with table.open(newline="") as file:
        return tuple(
            ElementwiseRow(
                row["use"], row["family"], _unit(row), int(row["lut_packed"]), float(row["carry8"]), int(row["ff"])
            )
            for row in csv.DictReader(file)
        )


def _unit(row: dict[str, str]) -> AddUnit | PoolUnit:
    fmt = parse_element(row["format"])
    return AddUnit(fmt) if row["operation"] == "add" else PoolUnit(fmt, int(row["window"]), row["operation"])


def fit_elementwise(rows: Sequence[ElementwiseRow]) -> ElementwiseFit:
    """The factors that fit the rows to fit, and their errors; both families have the same LUTs, so one is fitted."""
    # imported here: the module needs the constants that this script writes
    from hwmodels.primitives.elementwise import features

    plus = [row for row in rows if row.family == "xcup" and row.luts >= LEAST_LUTS]
    counts = {row: features(elementwise_structure(row.unit)) for row in plus}
    fitted, unseen = ([row for row in plus if row.use == use] for use in ("fit", "test"))
    names = sorted({name for row in plus for name in counts[row]})
    matrix = design([counts[row] for row in fitted], [row.luts for row in fitted], names)
    factors = np.round(solve(matrix), 4)
    held_out = design([counts[row] for row in unseen], [row.luts for row in unseen], names) @ factors
    return ElementwiseFit(
        factors={name: float(factor) for name, factor in zip(names, factors, strict=True)},
        in_sample=Errors.of(matrix @ factors - 1),
        test=Errors.of(held_out - 1),
        rows=len(fitted),
        test_rows=len(unseen),
    )


def render(result: ElementwiseFit, rows: Sequence[ElementwiseRow]) -> str:
    """The text of `elementwise_constants.py`."""
    bits = [row.unit.format.bits for row in rows if row.use == "fit"]
    families = ", ".join(f'"{name}"' for name in sorted({row.family for row in rows}))
    factors = "".join(f'    "{name}": {factor},\n' for name, factor in result.factors.items())
    return (
        '"""Written by ``python -m hwmodels.calibration.fit_elementwise``: change the table or the form, not this file."""\n\n'
        f"FACTORS = {{\n{factors}}}\n"
        '"""LUT6 per counted bit, by feature (see `hwmodels.primitives.elementwise`): fitted to the rows to fit."""\n\n'
        "# relative errors (median, 90th percentile): in sample; rows that no fit saw\n"
        f"IN_SAMPLE = {result.in_sample}\nTEST = {result.test}\n"
        f'BASIS = "{TABLE.name}, {result.rows} units, LUTs after synthesis, tested on {result.test_rows} others"\n\n'
        "# ranges of the rows to fit, both ends included\n"
        f"FORMAT_BITS = {min(bits), max(bits)}\n"
        f"FAMILIES = ({families})\n"
    )


def main() -> int:
    """Fit, write the constants, print the errors to stderr."""
    rows = read_elementwise_rows()
    result = fit_elementwise(rows)
    CONSTANTS.write_text(render(result, rows))
    print(result, file=sys.stderr)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
