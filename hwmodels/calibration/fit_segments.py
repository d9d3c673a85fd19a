"""Fit the LUT form of an outer stage to the synthesis table: ``python -m hwmodels.calibration.fit_segments``.

Least squares of the relative error; a bit on a carry chain is a LUT, and only the rest is fitted. Errors are stated in
sample and on stages drawn at random that no fit ever saw. Whole segmented units, drawn at random as well, are compared with
the sum of this form and that of dot-product units in the tests.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hwmodels.calibration.regression import Errors, design, rank_correlation
from hwmodels.calibration.segment_points import case_of
from hwmodels.rtl.outer_structure import outer_structure
from hwmodels.rtl.segment import SegmentUnit

TABLE = Path(__file__).with_name("segment_units.csv")
CONSTANTS = Path(__file__).with_name("segment_constants.py")


@dataclass(frozen=True)
class SegmentRow:
    """One synthesized outer stage, or a whole unit."""

    use: str
    part: str
    family: str
    unit: SegmentUnit
    luts: int
    carry8: float
    ff: int


@dataclass(frozen=True)
class SegmentFit:
    """Fitted factors by feature, with their errors."""

    factors: dict[str, float]
    in_sample: Errors
    test: Errors
    rank: float
    rows: int
    test_rows: int


def read_segment_rows(table: Path = TABLE) -> tuple[SegmentRow, ...]:
    """All rows of the table."""
    with table.open(newline="") as file:
        return tuple(
            SegmentRow(
                use=row["use"],
                part=row["part"],
                family=row["family"],
                unit=case_of(row).unit(),
                luts=int(row["lut_packed"]),
                carry8=float(row["carry8"]),
                ff=int(row["ff"]),
            )
            for row in csv.DictReader(file)
        )


def fit_segments(rows: Sequence[SegmentRow]) -> SegmentFit:
    """The factors that fit the outer stages to fit, and their errors; both families have the same LUTs, so one is fitted."""
    # imported here: the module needs the constants that this script writes
    from hwmodels.outer_stage import outer_features

    stages = [row for row in rows if row.part == "outer" and row.family == "xcup"]
    counts = {row: outer_features(outer_structure(row.unit.outer)) for row in stages}
    fitted, unseen = ([row for row in stages if row.use == use] for use in ("fit", "test"))
    names = sorted({name for row in fitted for name in counts[row]} - {"chains"})
    unmeasured = {name for row in unseen for name in counts[row]} - {*names, "chains"}
    assert not unmeasured, f"no row to fit has {unmeasured}"
    # relative to the LUTs measured: what is counted, and what bits on chains, a LUT each, leave to be explained
    matrix, unseen_matrix = (
        design([counts[row] for row in some], [row.luts for row in some], ["chains", *names])
        for some in (fitted, unseen)
    )
    shares = np.linalg.lstsq(matrix[:, 1:], 1 - matrix[:, 0], rcond=None)[0]
    assert (shares > 0).all(), f"every counted bit must cost something, but got {shares}"
    factors = np.array([1.0, *np.round(shares, 4)])
    held_out = unseen_matrix @ factors
    measured = np.array([row.luts for row in unseen], dtype=np.float64)
    return SegmentFit(
        factors={name: float(factor) for name, factor in zip(["chains", *names], factors, strict=True)},
        in_sample=Errors.of(matrix @ factors - 1),
        test=Errors.of(held_out - 1),
        rank=rank_correlation(held_out * measured, measured),
        rows=len(fitted),
        test_rows=len(unseen),
    )


def render(result: SegmentFit, rows: Sequence[SegmentRow]) -> str:
    """The text of `segment_constants.py`."""
    fitted = [row.unit.outer for row in rows if row.use == "fit"]
    inner, outer, units = ([getattr(s, name) for s in fitted] for name in ("inner_bits", "bits", "units"))
    families = ", ".join(f'"{name}"' for name in sorted({row.family for row in rows}))
    factors = "".join(f'    "{name}": {factor},\n' for name, factor in result.factors.items())
    return (
        '"""Written by ``python -m hwmodels.calibration.fit_segments``: change the table or the form, not this file."""\n\n'
        f"FACTORS = {{\n{factors}}}\n"
        '"""LUT6 per counted bit, by feature (see `hwmodels.outer_stage`): fitted to the rows to fit, but for `chains`."""\n\n'
        "# relative errors (median, 90th percentile): in sample; rows that no fit saw\n"
        f"IN_SAMPLE = {result.in_sample}\nTEST = {result.test}\n"
        f"RANK_CORRELATION = {result.rank:.4f}\n"
        '"""Spearman\'s, on the rows that no fit saw."""\n\n'
        "MEDIAN_ERROR, P90_ERROR = TEST\n"
        f'BASIS = "{TABLE.name}, {result.rows} outer stages, LUTs after synthesis, tested on {result.test_rows} others"\n\n'
        "# ranges of the rows to fit, both ends included\n"
        f"INNER_BITS = {min(inner), max(inner)}\n"
        f"OUTER_BITS = {min(outer), max(outer)}\n"
        f"UNITS = {min(units), max(units)}\n"
        f"FAMILIES = ({families})\n"
    )


def main() -> int:
    """Fit, write the constants, print the errors to stderr."""
    rows = read_segment_rows()
    result = fit_segments(rows)
    CONSTANTS.write_text(render(result, rows))
    print(result, file=sys.stderr)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
