"""Fit the LUT form of a dot-product unit to the synthesis table: ``python -m hwmodels.calibration.fit``.

Every pair of formats was synthesized at 8 lanes and P = 24, and what that unit has beyond the form is kept. So the form must
say how other units of a pair differ from that one: the factors have the least squared relative error of these differences and
of those units themselves, relative because a sweep compares ratios. Errors are stated on units that neither saw: other lanes,
accumulators and overflow behaviours of known pairs, and pairs left out, which are given what their nearest neighbours have
(both cross-validated), and the table's test rows, drawn at random over formats, lanes, accumulators and overflow behaviours.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hwmodels.calibration.regression import Errors, Matrix, design, rank_correlation, solve
from hwmodels.catalog import parse_element
from hwmodels.datapath import Overflow
from hwmodels.formats import ElementFormat
from hwmodels.primitives.operands import dropped_bits, operands
from hwmodels.rtl.lane import Lane
from hwmodels.rtl.structure import Structure, unit_structure

TABLE = Path(__file__).with_name("dot_units.csv")
CONSTANTS = Path(__file__).with_name("dot_product_constants.py")

REFERENCE_SHAPE = (8, 24)
"""Lanes and P of the units that every pair of formats is synthesized as."""

FOLDS = 10


@dataclass(frozen=True)
class Row:
    """One synthesized dot-product unit."""

    use: str
    family: str
    weight: ElementFormat
    activation: ElementFormat
    lanes: int
    accumulator_bits: int
    overflow: Overflow
    dropped: int
    luts: int
    carry8: float
    ff: int

    @property
    def lane(self) -> Lane:
        """One of its lanes."""
        limit = None if self.overflow is Overflow.SATURATE else self.accumulator_bits
        return Lane(self.weight, self.activation, self.dropped, limit)

    @property
    def structure(self) -> Structure:
        """What it is made of."""
        return unit_structure(self.lane, self.lanes, self.accumulator_bits, self.overflow)

    @property
    def is_reference(self) -> bool:
        """Whether it is one of the units that every pair of formats is synthesized as: nothing dropped that need not be."""
        dropped = dropped_bits(operands(self.weight, self.activation), *REFERENCE_SHAPE, Overflow.WRAP)
        shape = (self.use, self.lanes, self.accumulator_bits, self.overflow, self.dropped)
        return shape == ("fit", *REFERENCE_SHAPE, Overflow.WRAP, dropped)

    @property
    def pair(self) -> Hashable:
        """Which formats it multiplies, in either order."""
        return tuple(sorted((self.weight.name, self.activation.name)))


@dataclass(frozen=True)
class Fit:
    """Fitted factors by feature, measured LUTs per lane beyond them by pair of formats, and the errors."""

    factors: dict[str, float]
    pairs: dict[tuple[str, str], float]
    known_pair: Errors
    new_pair: Errors
    test: Errors
    rank: float
    rows: int
    known_rows: int
    new_rows: int
    test_rows: int


def read_rows(table: Path = TABLE) -> tuple[Row, ...]:
    """All rows of the table."""
    with table.open(newline="") as file:
        return tuple(
            Row(
                use=row["use"],
                family=row["family"],
                weight=parse_element(row["weight"]),
                activation=parse_element(row["activation"]),
                lanes=int(row["lanes"]),
                accumulator_bits=int(row["accumulator"]),
                overflow=Overflow(row["overflow"]),
                dropped=int(row["dropped"]),
                luts=int(row["lut_packed"]),
                carry8=float(row["carry8"]),
                ff=int(row["ff"]),
            )
            for row in csv.DictReader(file)
        )


def fit(rows: Sequence[Row]) -> Fit:
    """The factors that fit the rows to fit, and their errors; both families have the same LUTs, so one is fitted."""
    # imported here: the modules need the constants that this script writes
    from hwmodels.dot_product import features
    from hwmodels.synthesized_pairs import coordinates, has_mantissas, nearest

    rows = [row for row in rows if row.family == "xcup"]
    counts = [features(row.lane, row.lanes, row.structure) for row in rows]
    names = sorted({name for row in counts for name in row})
    luts = np.array([row.luts for row in rows], dtype=np.float64)
    lanes = np.array([row.lanes for row in rows], dtype=np.float64)
    matrix = design(counts, luts.tolist(), names)
    fitted = np.array([row.use == "fit" for row in rows])
    assert matrix[fitted].any(axis=0).all(), "every feature must be in some row to fit"
    reference = np.array([row.is_reference for row in rows])
    references = {rows[i].pair: i for i in np.flatnonzero(reference)[::-1]}
    base = np.array([references.get(row.pair, -1) for row in rows])
    known = base >= 0
    # of the unit that stands for the pair, as many lanes as this one has, relative to this one's LUTs
    scale = np.where(known, lanes / lanes[base] * luts[base] / luts, 0.0)
    differences, measured = matrix - scale[:, None] * matrix[base], 1 - scale
    of_form = np.where((reference | ~known)[:, None], matrix, differences)
    target = np.where(reference | ~known, 1.0, measured)

    def predicted(factors: Matrix) -> Matrix:
        """Of every row over what was measured, with the measured pair where it is known."""
        return np.where(known, differences @ factors + scale, matrix @ factors)

    factors = np.round(solve(of_form[fitted], target[fitted]), 4)
    shapes = np.flatnonzero(fitted & known & ~reference)
    other_shapes = np.empty(len(shapes))
    for fold in range(FOLDS):
        out = shapes[fold::FOLDS]
        kept = np.setdiff1d(np.flatnonzero(fitted), out)
        other_shapes[fold::FOLDS] = predicted(solve(of_form[kept], target[kept]))[out] - 1
    pairs = list(dict.fromkeys(row.pair for row in rows))
    pair_of = np.array([pairs.index(row.pair) for row in rows])
    stand_ins = np.array(list(references.values()))
    places = np.array([coordinates((row.weight, row.activation)) for row in rows])
    new = np.empty(len(rows))
    for fold in range(FOLDS):
        kept = np.flatnonzero(fitted & (pair_of % FOLDS != fold))
        form = matrix @ solve(of_form[kept], target[kept])
        beyond = (1 - form) * luts / lanes
        for i in np.flatnonzero(pair_of % FOLDS == fold):
            others = stand_ins[pair_of[stand_ins] != pair_of[i]]
            new[i] = form[i] + beyond[others[nearest(places[i], places[others])]].mean() * lanes[i] / luts[i] - 1
    judged = fitted & np.array([has_mantissas((row.weight, row.activation)) for row in rows])
    return Fit(
        factors={name: float(factor) for name, factor in zip(names, factors, strict=True)},
        pairs={
            (rows[i].weight.name, rows[i].activation.name): round(
                float((1 - matrix[i] @ factors) * luts[i] / lanes[i]), 3
            )
            for i in references.values()
        },
        known_pair=Errors.of(other_shapes),
        new_pair=Errors.of(new[judged]),
        test=Errors.of(predicted(factors)[~fitted] - 1),
        rank=rank_correlation((predicted(factors) * luts)[~fitted], luts[~fitted]),
        rows=int(fitted.sum()),
        known_rows=len(shapes),
        new_rows=int(judged.sum()),
        test_rows=int((~fitted).sum()),
    )


def render(result: Fit, rows: Sequence[Row]) -> str:
    """The text of `dot_product_constants.py`."""
    fitted = [row for row in rows if row.use == "fit"]
    lanes = [row.lanes for row in fitted]
    accumulators = [row.accumulator_bits for row in fitted]
    bits = [fmt.bits for row in fitted for fmt in (row.weight, row.activation)]
    families = ", ".join(f'"{name}"' for name in sorted({row.family for row in rows}))
    factors = "".join(f'    "{name}": {factor},\n' for name, factor in result.factors.items())
    pairs = "".join(f'    ("{w}", "{a}"): {beyond},\n' for (w, a), beyond in sorted(result.pairs.items()))
    return (
        '"""Written by ``python -m hwmodels.calibration.fit``: change the table or the form, not this file."""\n\n'
        f"FACTORS = {{\n{factors}}}\n"
        '"""LUT6 per counted bit, by feature (see `hwmodels.dot_product`): fitted to the rows to fit."""\n\n'
        "# relative errors (median, 90th percentile), on units that were not fitted: other lanes, accumulators and overflow\n"
        "# behaviours of known pairs; pairs that were never seen; test rows\n"
        f"KNOWN_PAIR = {result.known_pair}\nNEW_PAIR = {result.new_pair}\nTEST = {result.test}\n"
        f"RANK_CORRELATION = {result.rank:.4f}\n"
        '"""Spearman\'s, on the test rows."""\n\n'
        f'BASIS = "{TABLE.name}, {result.rows} units, LUTs after synthesis, tested on {result.test_rows} others"\n\n'
        "# ranges of the rows to fit, both ends included\n"
        f"LANES = {min(lanes), max(lanes)}\n"
        f"ACCUMULATOR_BITS = {min(accumulators), max(accumulators)}\n"
        f"FORMAT_BITS = {min(bits), max(bits)}\n"
        f"FAMILIES = ({families})\n\n"
        f"PAIRS = {{\n{pairs}}}\n"
        '"""LUT6 per lane beyond the form, as measured at 8 lanes and P = 24, by weight and activation."""\n'
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
