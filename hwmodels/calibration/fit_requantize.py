"""Fit the LUT form of requantizers to the synthesis table: ``python -m hwmodels.calibration.fit_requantize``.

Least squares of the relative error over requantizers by scale; those by thresholds have a derived form that is only compared, and
tables a share of theirs. Errors are stated in sample, and on units drawn at random that no fit ever saw. Other units of fewer
than 20 LUTs are left out of both: one LUT more or less is a twentieth of them.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np

from hwmodels.calibration.regression import Errors, Matrix, design, rank_correlation, solve
from hwmodels.catalog import parse_element
from hwmodels.rtl.requantize import RequantizeUnit, ScaleForm, clipping_unit
from hwmodels.rtl.thresholds import ThresholdUnit

TABLE = Path(__file__).with_name("requantize_units.csv")
CONSTANTS = Path(__file__).with_name("requantize_constants.py")
LEAST_LUTS = 20


@dataclass(frozen=True)
class RequantizeRow:
    """One synthesized requantizer."""

    use: str
    family: str
    unit: RequantizeUnit | ThresholdUnit
    luts: int
    carry8: float
    ff: int


@dataclass(frozen=True)
class RequantizeFit:
    """Fitted factors by feature and the share of tables, with their errors; those of thresholds, and of the mean constant."""

    factors: dict[str, float]
    table_share: float
    in_sample: Errors
    test: Errors
    tables: Errors
    mean_constant: Errors
    thresholds: Errors
    rank: float
    rows: int
    test_rows: int
    threshold_rows: int


def read_requantize_rows(table: Path = TABLE) -> tuple[RequantizeRow, ...]:
    """All rows of the table."""
    with table.open(newline="") as file:
        return tuple(
            RequantizeRow(
                row["use"], row["family"], _unit(row), int(row["lut_packed"]), float(row["carry8"]), int(row["ff"])
            )
            for row in csv.DictReader(file)
        )


def _unit(row: dict[str, str]) -> RequantizeUnit | ThresholdUnit:
    bits, output, passes = int(row["sum_bits"]), parse_element(row["output"]), int(row["passes"])
    if row["form"] == "thresholds":
        return ThresholdUnit(bits, output, passes)
    value = int(row["value"]) if row["value"] else None
    return RequantizeUnit(bits, output, ScaleForm(row["form"]), int(row["shift"]), row["bias"] == "1", value, passes)


def fit_requantize(rows: Sequence[RequantizeRow]) -> RequantizeFit:
    """The factors that fit the rows to fit, and their errors; both families have the same LUTs, so one is fitted."""
    # imported here: the module needs the constants that this script writes
    from hwmodels.primitives.requantize import features, most_table_luts, threshold_luts

    xcup = [row for row in rows if row.family == "xcup"]
    by_scale = {row: row.unit for row in xcup if isinstance(row.unit, RequantizeUnit)}
    scaled = {
        row: features(unit)
        for row, unit in by_scale.items()
        if unit.form is not ScaleForm.TABLE and row.luts >= LEAST_LUTS
    }
    fitted, unseen = ([row for row in scaled if row.use == use] for use in ("fit", "test"))
    names = sorted({name for row in fitted for name in scaled[row]})
    unmeasured = {name for row in unseen for name in scaled[row]} - set(names)
    assert not unmeasured, f"no row to fit has {unmeasured}"
    matrix = design([scaled[row] for row in fitted], [row.luts for row in fitted], names)
    factors = np.round(solve(matrix), 4)
    held_out = design([scaled[row] for row in unseen], [row.luts for row in unseen], names) @ factors
    measured = np.array([row.luts for row in unseen], dtype=np.float64)
    looked_up = {row: unit for row, unit in by_scale.items() if unit.form is ScaleForm.TABLE}
    shares = np.array([row.luts / most_table_luts(unit) for row, unit in looked_up.items()])
    share = round(float(np.median(shares)), 4)
    searched = {row: row.unit for row in xcup if isinstance(row.unit, ThresholdUnit)}
    return RequantizeFit(
        factors={name: float(factor) for name, factor in zip(names, factors, strict=True)},
        table_share=share,
        in_sample=Errors.of(matrix @ factors - 1),
        test=Errors.of(held_out - 1),
        tables=Errors.of(share / shares - 1),
        mean_constant=_mean_constant(names, factors),
        thresholds=Errors.of(np.array([threshold_luts(unit) / row.luts - 1 for row, unit in searched.items()])),
        rank=rank_correlation(held_out * measured, measured),
        rows=len(fitted),
        test_rows=len(unseen),
        threshold_rows=len(searched),
    )


def _mean_constant(names: Sequence[str], factors: Matrix) -> Errors:
    """Errors of the mean constant for each of 100 normalized mantissas, as the form itself has them."""
    from hwmodels.primitives.requantize import features, mean_constant_features

    relative = []
    for bits, output in product((8, 16, 32), ("int8", "finite_e4m3")):
        for value in range(32769, 65536, 331):
            unit = clipping_unit(bits, parse_element(output), ScaleForm.CONSTANT, clip=1, value=value)
            known, mean = (
                [counts.get(name, 0) for name in names] for counts in (features(unit), mean_constant_features(unit))
            )
            relative.append(np.dot(mean, factors) / np.dot(known, factors) - 1)
    return Errors.of(np.array(relative))


def render(result: RequantizeFit, rows: Sequence[RequantizeRow]) -> str:
    """The text of `requantize_constants.py`."""
    fitted = [row for row in rows if row.use == "fit"]
    sums = [row.unit.sum_bits for row in fitted]
    outputs = [row.unit.output.bits for row in fitted]
    families = ", ".join(f'"{name}"' for name in sorted({row.family for row in rows}))
    factors = "".join(f'    "{name}": {factor},\n' for name, factor in result.factors.items())
    return (
        '"""Written by ``python -m hwmodels.calibration.fit_requantize``: change the table or the form, not this file."""\n\n'
        f"FACTORS = {{\n{factors}}}\n"
        '"""LUT6 per counted bit, by feature (see `hwmodels.primitives.requantize`): fitted to the rows to fit."""\n\n'
        "# relative errors (median, 90th percentile) by scale: in sample; rows that no fit saw\n"
        f"IN_SAMPLE = {result.in_sample}\nTEST = {result.test}\n"
        f"RANK_CORRELATION = {result.rank:.4f}\n"
        '"""Spearman\'s, on the rows that no fit saw."""\n\n'
        f"TABLE_SHARE = {result.table_share}\n"
        '"""Of the most LUT6 that a table can take: the median of those synthesized."""\n\n'
        f"TABLES = {result.tables}\n"
        f"MEAN_CONSTANT = {result.mean_constant}\n"
        '"""Of a constant whose digits are not known: the mean stands for it."""\n\n'
        f"THRESHOLDS = {result.thresholds}\n"
        '"""Of all units by thresholds: derived, nothing fitted."""\n\n'
        f'BASIS = "{TABLE.name}, {result.rows} units, LUTs after synthesis, tested on {result.test_rows} others"\n'
        f'THRESHOLD_BASIS = "{TABLE.name}, LUTs of {result.threshold_rows} threshold searches after synthesis, none fitted"\n\n'
        "# ranges of the rows to fit, both ends included\n"
        f"SUM_BITS = {min(sums), max(sums)}\n"
        f"OUTPUT_BITS = {min(outputs), max(outputs)}\n"
        f"FAMILIES = ({families})\n"
    )


def main() -> int:
    """Fit, write the constants, print the errors to stderr."""
    rows = read_requantize_rows()
    result = fit_requantize(rows)
    CONSTANTS.write_text(render(result, rows))
    print(result, file=sys.stderr)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
