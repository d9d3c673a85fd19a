"""Fit the LUT forms of zero padding and label select to their table: ``python -m hwmodels.calibration.fit_operators``.

Least squares of the relative error. Errors are stated in sample, and on units drawn at random that no fit ever saw. Units of
fewer than 10 LUTs are left out of both: one LUT more or less is a tenth of them.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hwmodels.calibration.regression import Errors, design, solve
from hwmodels.primitives.cost import ceil_log2
from hwmodels.rtl.label_select import LabelUnit
from hwmodels.rtl.operator_structure import label_features, padding_features
from hwmodels.rtl.padding import PadUnit, Span

TABLE = Path(__file__).with_name("operator_units.csv")
CONSTANTS = Path(__file__).with_name("operator_constants.py")
LEAST_LUTS = 10


@dataclass(frozen=True)
class OperatorRow:
    """One synthesized unit."""

    use: str
    family: str
    unit: PadUnit | LabelUnit
    luts: int
    carry8: float
    ff: int

    @property
    def features(self) -> dict[str, float]:
        """What the form weighs."""
        unit = self.unit
        return dict(padding_features(unit) if isinstance(unit, PadUnit) else label_features(unit))


@dataclass(frozen=True)
class OperatorFit:
    """Fitted factors by feature of one kind of unit, with their errors."""

    factors: dict[str, float]
    in_sample: Errors
    test: Errors
    rows: int
    test_rows: int


def read_operator_rows(table: Path = TABLE) -> tuple[OperatorRow, ...]:
    """All rows of the table."""
    with table.open(newline="") as file:
        return tuple(
            OperatorRow(
                row["use"], row["family"], _unit(row), int(row["lut_packed"]), float(row["carry8"]), int(row["ff"])
            )
            for row in csv.DictReader(file)
        )


def _unit(row: dict[str, str]) -> PadUnit | LabelUnit:
    if row["labels"]:
        return LabelUnit(int(row["bits"]), int(row["labels"]), int(row["pe"]))
    return PadUnit(int(row["bits"]), int(row["words"]), _span(row["rows"]), _span(row["columns"]))


def _span(text: str) -> Span:
    before, inside, after = text.split("+")
    return Span(int(before), int(inside), int(after))


def fit_operators(rows: Sequence[OperatorRow]) -> tuple[OperatorFit, OperatorFit]:
    """The forms of zero padding and of label select, fitted to the rows to fit of UltraScale+."""
    return _fit([row for row in rows if isinstance(row.unit, PadUnit)]), _fit(
        [row for row in rows if isinstance(row.unit, LabelUnit)]
    )


def _fit(rows: Sequence[OperatorRow]) -> OperatorFit:
    counted = [row for row in rows if row.family == "xcup" and row.luts >= LEAST_LUTS]
    planned, drawn = ([row for row in counted if row.use == use] for use in ("fit", "test"))
    names = list(planned[0].features)
    factors = solve(design([row.features for row in planned], [row.luts for row in planned], names)).round(4)

    def errors(some: Sequence[OperatorRow]) -> Errors:
        return Errors.of(design([row.features for row in some], [row.luts for row in some], names) @ factors - 1)

    named = dict(zip(names, factors.tolist(), strict=True))
    return OperatorFit(named, errors(planned), errors(drawn), len(planned), len(drawn))


def render(fits: tuple[OperatorFit, OperatorFit], rows: Sequence[OperatorRow]) -> str:
    """The text of `operator_constants.py`."""
    lines = (f'    "{name}": {factor},\n' for fit in fits for name, factor in fit.factors.items())
    families = ", ".join(f'"{name}"' for name in sorted({row.family for row in rows}))
    planned = [row.unit for row in rows if row.use == "fit"]
    pads = [unit for unit in planned if isinstance(unit, PadUnit)]
    labels = [unit for unit in planned if isinstance(unit, LabelUnit)]
    counters = [ceil_log2(span.length) for unit in pads for span in unit.counted]
    text = (
        '"""Written by ``python -m hwmodels.calibration.fit_operators``: change the table or the form, not this file."""\n\n'
        f"FACTORS = {{\n{''.join(lines)}}}\n"
        '"""LUT6 per count, by feature (see `hwmodels.rtl.operator_structure`): fitted to the rows to fit."""\n\n'
        "# relative errors (median, 90th percentile): in sample; rows that no fit saw\n"
    )
    for name, what, fit in (("PADDING", "paddings", fits[0]), ("LABEL", "label selections", fits[1])):
        basis = f"{TABLE.name}, {fit.rows} {what}, LUTs after synthesis, tested on {fit.test_rows} others"
        text += f'{name}_IN_SAMPLE = {fit.in_sample}\n{name}_TEST = {fit.test}\n{name}_BASIS = "{basis}"\n'
    return text + (
        "\n# ranges of the rows to fit, both ends included\n"
        f"PADDING_COUNTERS = {min(counters), max(counters)}\n"
        f"LABEL_BITS = {min(u.bits for u in labels), max(u.bits for u in labels)}\n"
        f"LABELS = {min(u.labels for u in labels), max(u.labels for u in labels)}\n"
        f"LABEL_LANES = {min(u.pe for u in labels), max(u.pe for u in labels)}\n"
        f"FAMILIES = ({families})\n"
    )


def main() -> int:
    """Fit, write the constants, print the errors to stderr."""
    rows = read_operator_rows()
    fits = fit_operators(rows)
    CONSTANTS.write_text(render(fits, rows))
    print(*fits, sep="\n", file=sys.stderr)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
