"""Fit the LUT formula of a dot-product unit to the synthesis table: ``python -m hwmodels.calibration.fit``.

Plain least squares of the relative error (each row divided by its measured LUTs), because a sweep compares ratios. The
error is stated in sample and cross-validated: each pair of formats is predicted by a fit that has not seen it, and, harder,
each family (integers; mixed; minifloats by their largest exponent width) by a fit that has seen no member of it.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hwmodels.formats import ElementFormat, IntFormat, Minifloat
from hwmodels.primitives.operands import Operands, operands

TABLE = Path(__file__).with_name("prototype_xcup_yosys0.70.csv")
CONSTANTS = Path(__file__).with_name("dot_product_constants.py")


@dataclass(frozen=True)
class Row:
    """One synthesized dot-product unit."""

    weight: ElementFormat
    activation: ElementFormat
    lanes: int
    accumulator_bits: int
    luts: int
    carry4: int
    ff: int

    @property
    def operands(self) -> Operands:
        """The widths of its products."""
        return operands(self.weight, self.activation)

    @property
    def pair(self) -> Hashable:
        """Which formats it multiplies, in either order, signed or not."""
        names = (self.weight.name.removeprefix("u"), self.activation.name.removeprefix("u"))
        return tuple(sorted(names))

    @property
    def family(self) -> Hashable:
        """integers, mixed, or the largest exponent width of two minifloats."""
        exponents = self.operands.exponents
        return ("integer", "mixed", f"e{max(exponents, default=0)}")[len(exponents)]


@dataclass(frozen=True)
class Fit:
    """Fitted factors with their relative errors (median, 90th percentile): in sample, by pair, by family."""

    factors: tuple[float, ...]
    in_sample: tuple[float, float]
    by_pair: tuple[float, float]
    by_family: tuple[float, float]
    rows: int


def table_format(name: str) -> ElementFormat:
    """The format of the table's spelling: INT4, UINT4, E2M1 (all codes finite)."""
    if name.startswith("E"):
        exponent, _, mantissa = name[1:].partition("M")
        return Minifloat(int(exponent), int(mantissa))
    return IntFormat(int(name.removeprefix("U").removeprefix("INT")), signed=not name.startswith("U"))


def read_rows(table: Path = TABLE) -> tuple[Row, ...]:
    """The dot-product units that we would build: exact fixed point through a shifter (see the table's README)."""
    with table.open(newline="") as file:
        return tuple(
            Row(
                table_format(row["wfmt"]),
                table_format(row["afmt"]),
                int(row["lanes"]),
                int(row["acc_bits"]),
                luts=int(row["lut_packed"]),
                carry4=int(row["carry4"]),
                ff=int(row["ff"]),
            )
            for row in csv.DictReader(file)
            if row["kind"] == "dot" and row["impl"] == "shift"
        )


def _solve(design: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.linalg.lstsq(design, np.ones(len(design)), rcond=None)[0], dtype=np.float64)


def _errors(relative: NDArray[np.float64]) -> tuple[float, float]:
    absolute = np.abs(relative)
    return float(np.median(absolute)), float(np.percentile(absolute, 90))


def _cross_validated(design: NDArray[np.float64], groups: Sequence[Hashable]) -> tuple[float, float]:
    """Errors of predicting each group from all others."""
    relative = np.empty(len(design))
    for group in set(groups):
        held_out = np.array([other == group for other in groups])
        relative[held_out] = design[held_out] @ _solve(design[~held_out]) - 1
    return _errors(relative)


def fit(rows: Sequence[Row]) -> Fit:
    """The factors of :func:`hwmodels.dot_product.features` that fit `rows`, and their errors."""
    # imported here: the module needs the constants that this script writes
    from hwmodels.dot_product import features

    counts = np.array([features(row.operands, row.lanes, row.accumulator_bits).as_tuple() for row in rows])
    design = counts / np.array([row.luts for row in rows])[:, None]
    factors = _solve(design)
    return Fit(
        factors=tuple(round(float(factor), 4) for factor in factors),
        in_sample=_errors(design @ factors - 1),
        by_pair=_cross_validated(design, [row.pair for row in rows]),
        by_family=_cross_validated(design, [row.family for row in rows]),
        rows=len(rows),
    )


def render(result: Fit, rows: Sequence[Row]) -> str:
    """The text of `dot_product_constants.py`."""
    lanes = [row.lanes for row in rows]
    accumulators = [row.accumulator_bits for row in rows]
    widths = [width for row in rows for width in (row.operands.narrow, row.operands.wide)]
    exponents = max(max(row.operands.exponents, default=0) for row in rows)
    stated = "".join(
        f"{name} = {value[0]:.4f}, {value[1]:.4f}\n"
        for name, value in (
            ("IN_SAMPLE", result.in_sample),
            ("BY_PAIR", result.by_pair),
            ("BY_FAMILY", result.by_family),
        )
    )
    return (
        '"""Written by ``python -m hwmodels.calibration.fit``: change the table or the form, not this file."""\n\n'
        f"FACTORS = {result.factors}\n"
        '"""Of multiplier, tree, within, beyond (see `hwmodels.dot_product`)."""\n\n'
        "# relative errors (median, 90th percentile): in sample; formats unseen; whole family of formats unseen\n"
        f"{stated}"
        "MEDIAN_ERROR, P90_ERROR = BY_PAIR\n"
        f'BASIS = "{TABLE.name}, {result.rows} units, LUTs after synthesis, cross-validated over pairs of formats"\n\n'
        "# ranges of the table, both ends included\n"
        f"LANES = {min(lanes), max(lanes)}\n"
        f"ACCUMULATOR_BITS = {min(accumulators), max(accumulators)}\n"
        f"WIDTHS = {min(widths), max(widths)}\n"
        f"MOST_EXPONENT_BITS = {exponents}\n"
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
