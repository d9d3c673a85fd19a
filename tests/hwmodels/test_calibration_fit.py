"""The fit of the dot-product form: repeated, compared with the committed constants, and held to its stated errors."""

import csv

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import nnls
from scipy.stats import spearmanr

from hwmodels.calibration import dot_product_constants as constants
from hwmodels.calibration.dot_points import TEST_POINTS, units
from hwmodels.calibration.fit import CONSTANTS, TABLE, Row, fit, read_rows, render
from hwmodels.calibration.regression import Errors, rank_correlation, solve
from hwmodels.catalog import parse_element
from hwmodels.datapath import Overflow
from hwmodels.devices import Family
from hwmodels.dot_product import cheapest_encoding, dot_product_band, dot_product_luts, dot_product_unit
from hwmodels.formats import IntFormat, Minifloat
from hwmodels.primitives.cost import WIDENING, BandKind

ROWS = read_rows()
UNSEEN = [row for row in ROWS if row.use == "test" and row.family == "xcup"]


def predicted(row: Row) -> float:
    return dot_product_luts(row.weight, row.activation, row.lanes, row.accumulator_bits, row.overflow, row.dropped)


def test_the_table_holds_every_planned_point() -> None:
    """At least 600 different units; some on 7 series as well."""
    planned = [(use, u.weight, u.activation, u.lanes, u.bits, u.overflow, u.dropped) for u, use in units()]
    keys = [
        (r.use, r.weight, r.activation, r.lanes, r.accumulator_bits, r.overflow, r.dropped)
        for r in ROWS
        if r.family == "xcup"
    ]
    assert keys == planned
    assert len(set(keys)) == len(keys) >= 600
    assert len(UNSEEN) == TEST_POINTS
    assert sum(row.family == "xc7" for row in ROWS) >= 20
    assert {row.overflow for row in ROWS} == {Overflow.WRAP, Overflow.SATURATE}


def test_no_test_row_is_fitted() -> None:
    fitted = {
        (r.weight, r.activation, r.lanes, r.accumulator_bits, r.overflow, r.dropped) for r in ROWS if r.use == "fit"
    }
    assert not any(
        (r.weight, r.activation, r.lanes, r.accumulator_bits, r.overflow, r.dropped) in fitted for r in UNSEEN
    )


def test_the_committed_constants_are_those_of_the_fit() -> None:
    again = fit(ROWS)
    assert again.factors == pytest.approx(constants.FACTORS, abs=2e-4)
    assert again.pairs == pytest.approx(constants.PAIRS, abs=2e-3)
    stated = (constants.KNOWN_PAIR, constants.NEW_PAIR, constants.TEST)
    for errors, committed in zip((again.known_pair, again.new_pair, again.test), stated, strict=True):
        assert (errors.median, errors.p90) == pytest.approx(committed, abs=2e-4)
    assert render(again, ROWS) == CONSTANTS.read_text()


def test_units_that_no_fit_saw() -> None:
    """The aims hold (median error of LUTs <= 2 %, 90th percentile <= 5 %, rank correlation >= 0.998): for other lanes,
    accumulators and overflow behaviours of synthesized pairs, for units drawn at random over everything at once inside
    the stated range, and for pairs of formats with mantissas that were left out; others have bands that say so."""
    errors = {row: predicted(row) / row.luts - 1 for row in UNSEEN}
    overall = Errors.of(np.array(list(errors.values())))
    assert (overall.median, overall.p90) == pytest.approx(constants.TEST, abs=1e-3)
    assert constants.KNOWN_PAIR[0] <= 0.02
    assert constants.KNOWN_PAIR[1] <= 0.05
    bands = {row: dot_product_band(row.lane, row.lanes, row.accumulator_bits, Family.XCUP) for row in UNSEEN}
    inside = Errors.of(np.array([errors[row] for row in UNSEEN if bands[row].kind is BandKind.MEASURED]))
    outside = Errors.of(np.array([errors[row] for row in UNSEEN if bands[row].kind is BandKind.EXTRAPOLATED]))
    assert inside.median <= 0.02
    assert inside.p90 <= 0.05 < outside.p90 < WIDENING * constants.KNOWN_PAIR[1]
    assert constants.NEW_PAIR[0] <= 0.02
    assert constants.NEW_PAIR[1] <= 0.05
    assert spearmanr([predicted(row) for row in UNSEEN], [row.luts for row in UNSEEN]).statistic >= 0.998


def test_a_pair_that_was_never_synthesized_has_the_wider_band() -> None:
    names = (
        "e4m3",
        "int4_narrow",
        "ocp_e4m3",
        "ocp_e5m2",
    )  # the last has an infinity at its top exponent: another shifter
    formats = (Minifloat(4, 3), *(parse_element(name) for name in names[1:]))
    bands = [dot_product_unit(fmt, fmt, 8, 48, Family.XCUP)[1] for fmt in formats]
    assert [(band.median, band.p90) for band in bands] == [constants.KNOWN_PAIR] * 3 + [constants.NEW_PAIR]
    luts = [dot_product_luts(fmt, fmt, 8, 24) for fmt in formats]
    assert luts[0] == luts[2] == pytest.approx(535, abs=0.1), "synthesized: 535 both"
    assert luts[3] == pytest.approx(478, rel=0.02), "synthesized: 478"


def test_what_was_measured_of_a_pair_holds_in_either_order() -> None:
    references = [row for row in ROWS if row.is_reference]
    assert len(references) >= len(constants.PAIRS) > 1300
    for row in references:
        assert predicted(row) == pytest.approx(row.luts, rel=0.015)


def test_flip_flops_are_exact_and_carry_blocks_nearly() -> None:
    """FF exactly in every row; carry blocks in 95 % of the rows of both families, the others within two per lane."""
    exact = []
    for row in ROWS:
        shape = row.weight, row.activation, row.lanes, row.accumulator_bits
        resources, _ = dot_product_unit(*shape, Family(row.family), row.overflow, row.dropped)
        assert resources.ff == row.ff
        exact.append(resources.carry8 == row.carry8)
        assert abs(resources.carry8 - row.carry8) <= 2 * row.lanes
    assert np.mean(exact) >= 0.95


def test_both_families_have_the_same_luts() -> None:
    found = {
        (r.family, r.weight, r.activation, r.lanes, r.accumulator_bits, r.overflow, r.dropped): r.luts for r in ROWS
    }
    seven = {key[1:]: luts for key, luts in found.items() if key[0] == "xc7"}
    assert all(found["xcup", *key] == luts for key, luts in seven.items())


def test_the_ranking_of_formats_survives_the_model() -> None:
    """Of all pairs of 8-lane units at P = 24 that differ by more than 5 % in LUTs, the model orders at least 98 % rightly."""
    rows = [r for r in ROWS if (r.lanes, r.accumulator_bits, r.family, r.use) == (8, 24, "xcup", "fit")]
    pairs = [(row.luts, predicted(row)) for row in rows]
    ordered = [
        (a[0] < b[0]) == (a[1] < b[1]) for i, a in enumerate(pairs) for b in pairs[:i] if abs(a[0] / b[0] - 1) > 0.05
    ]
    assert np.mean(ordered) > 0.98


def test_sign_and_magnitude_is_taken_where_it_is_smaller() -> None:
    """A narrow INT4 is E1M2: its magnitudes multiply in a table of LUT6. Both encodings are in the table, so it is measured."""
    luts = {(r.weight.name, r.activation.name): r.luts for r in ROWS if r.is_reference}
    assert luts["e1m2", "e1m2"] < 0.75 * luts["int4", "int4"]
    narrow, wide = IntFormat(4, narrow=True), IntFormat(4)
    assert cheapest_encoding(narrow, narrow, 8, 24, Overflow.WRAP) == (Minifloat(1, 2), Minifloat(1, 2))
    assert cheapest_encoding(wide, wide, 8, 24, Overflow.WRAP) == (wide, wide)
    for bits in range(3, 9):
        grid, fmt = IntFormat(bits, narrow=True), Minifloat(1, bits - 2)
        chosen = [cheapest_encoding(each, each, 8, 24, Overflow.WRAP) for each in (grid, fmt)]
        assert len({dot_product_luts(*pair, 8, 24) for pair in chosen}) == 1, "the same numbers cost the same"


@pytest.mark.parametrize(
    ("fmt", "lanes", "bits", "family", "reason"),
    [
        (IntFormat(4), 129, 24, Family.XCUP, "lanes 129 outside 1..128"),
        (IntFormat(4), 8, 60, Family.XCUP, "accumulator bits 60 outside 8..48"),
        (IntFormat(12), 8, 24, Family.XCUP, "format bits 12 outside 1..8"),
        (IntFormat(4), 8, 24, Family.VERSAL, "family versal instead of xc7 or xcup"),
    ],
)
def test_outside_the_table_the_band_says_so_and_widens(fmt, lanes, bits, family, reason) -> None:
    inside = dot_product_unit(IntFormat(4), IntFormat(4), 8, 24, Family.XC7)[1]
    assert (inside.kind, inside.median, inside.p90) == (BandKind.MEASURED, *constants.KNOWN_PAIR)
    outside = dot_product_unit(fmt, fmt, lanes, bits, family)[1]
    assert outside.kind is BandKind.EXTRAPOLATED
    assert reason in outside.basis
    assert outside.median is not None
    assert outside.median > constants.KNOWN_PAIR[0]


@given(st.integers(1, 6), st.integers(8, 40), st.integers(0, 2**32 - 1))
def test_factors_are_those_of_scipy(columns: int, rows: int, seed: int) -> None:
    matrix = np.random.default_rng(seed).normal(0.3, 1.0, (rows, columns))
    assert solve(matrix) == pytest.approx(nnls(matrix, np.ones(rows))[0], abs=1e-6)


def test_ties_share_their_rank() -> None:
    first, second = np.array([1.0, 2.0, 2.0, 5.0]), np.array([3.0, 1.0, 4.0, 4.0])
    assert rank_correlation(first, second) == pytest.approx(spearmanr(first, second).statistic)


def test_the_table_is_plain_csv() -> None:
    with TABLE.open(newline="") as file:
        header = next(csv.reader(file))
    assert header[:8] == ["tool", "family", "use", "weight", "activation", "lanes", "accumulator", "overflow"]
