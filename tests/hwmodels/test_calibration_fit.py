"""The fit of the dot-product form: repeated, compared with the committed constants, and held to its stated errors."""

import csv
from itertools import pairwise

import numpy as np
import pytest

from hwmodels.calibration import dot_product_constants as constants
from hwmodels.calibration.fit import CONSTANTS, TABLE, Row, fit, read_rows, render, table_format
from hwmodels.devices import Family
from hwmodels.dot_product import dot_product_chains, dot_product_luts, dot_product_unit
from hwmodels.primitives.carry import carry_blocks
from hwmodels.primitives.cost import BandKind

ROWS = read_rows()

# the stated measurements of 8-lane units at P = 24 (LUTs after packing)
GOLDEN = {
    ("int4", "int4"): 207,
    ("e2m1", "e2m1"): 231,
    ("e3m0", "e3m0"): 228,
    ("int6", "int6"): 383,
    ("e3m2", "e3m2"): 403,
    ("int8", "int8"): 651,
    ("finite_e4m3", "finite_e4m3"): 631,
    ("finite_e5m2", "finite_e5m2"): 561,
    ("int8", "int4"): 315,
    ("finite_e4m3", "int4"): 491,
}


def error(row: Row) -> float:
    return dot_product_luts(row.operands, row.lanes, row.accumulator_bits) / row.luts - 1


def test_the_table_is_read_whole() -> None:
    with TABLE.open(newline="") as file:
        table = list(csv.DictReader(file))
    assert len(table) == 279
    assert len(ROWS) == sum(row["kind"] == "dot" and row["impl"] == "shift" for row in table) == 134
    read = {(r.weight.name, r.activation.name): r.luts for r in ROWS if r.lanes == 8}
    assert {pair: read[pair] for pair in GOLDEN} == GOLDEN


def test_the_shifter_is_what_we_would_build() -> None:
    """Every minifloat unit that was also built with operands widened to integers is larger that way."""
    with TABLE.open(newline="") as file:
        table = [row for row in csv.DictReader(file) if row["kind"] == "dot"]
    keyed = {(r["impl"], r["wfmt"], r["afmt"], r["lanes"]): int(r["lut_packed"]) for r in table}
    widened = {key[1:]: luts for key, luts in keyed.items() if key[0] == "int"}
    assert len({key[0] for key in widened}) == 7
    assert all(keyed["shift", *key] < luts for key, luts in widened.items())


def test_the_committed_constants_are_those_of_the_fit() -> None:
    again = fit(ROWS)
    assert again.factors == pytest.approx(constants.FACTORS, abs=2e-4)
    stated = (constants.IN_SAMPLE, constants.BY_PAIR, constants.BY_FAMILY)
    for errors, committed in zip((again.in_sample, again.by_pair, again.by_family), stated, strict=True):
        assert errors == pytest.approx(committed, abs=2e-4)
    assert render(again, ROWS) == CONSTANTS.read_text()


def test_stated_errors_hold_on_the_table() -> None:
    errors = np.abs([error(row) for row in ROWS])
    assert (np.median(errors), np.percentile(errors, 90)) == pytest.approx(constants.IN_SAMPLE, abs=1e-3)
    assert errors.max() < 0.13


def test_cross_validated_errors_beat_the_aim() -> None:
    assert constants.MEDIAN_ERROR <= 0.037
    assert constants.P90_ERROR <= 0.065
    assert constants.BY_FAMILY[0] > constants.BY_PAIR[0], "an unseen family must be harder than an unseen pair"


def test_every_feature_costs_something() -> None:
    assert all(factor > 0 for factor in constants.FACTORS)


def test_the_ranking_of_formats_survives_the_model() -> None:
    """Of all pairs of 8-lane units that differ by more than 10 % in LUTs, the model orders at least 98 % rightly."""
    units = [(row.luts, dot_product_luts(row.operands, row.lanes, 24)) for row in ROWS if row.lanes == 8]
    ordered = [
        (a[0] < b[0]) == (a[1] < b[1]) for i, a in enumerate(units) for b in units[:i] if abs(a[0] / b[0] - 1) > 0.1
    ]
    assert np.mean(ordered) > 0.98


def test_flip_flops_and_carry_chains_of_the_table() -> None:
    """FF exactly; CARRY4 derived from chain widths: median error 0, 90th percentile below 14 %."""
    errors = []
    for row in ROWS:
        resources, _ = dot_product_unit(row.weight, row.activation, row.lanes, row.accumulator_bits, Family.XCUP)
        assert resources.ff == row.ff
        chains = dot_product_chains(row.operands, row.lanes, row.accumulator_bits)
        errors.append(abs(2 * carry_blocks(chains, Family.XC7) / row.carry4 - 1))
    assert np.median(errors) == 0
    assert np.percentile(errors, 90) < 0.14


@pytest.mark.parametrize(
    ("weight", "lanes", "bits", "family", "reason"),
    [
        ("INT4", 2, 24, Family.XCUP, "lanes 2 outside 4..64"),
        ("INT4", 8, 20, Family.XCUP, "accumulator bits 20 outside 24..24"),
        ("INT12", 8, 24, Family.XCUP, "multiplied widths 12 outside 1..8"),
        ("E6M1", 8, 24, Family.XCUP, "exponent of 6 bits above 5"),
        ("INT4", 8, 24, Family.XC7, "family xc7 instead of xcup"),
        ("INT4", 8, 24, Family.VERSAL, "family versal instead of xcup"),
    ],
)
def test_outside_the_table_the_band_says_so_and_widens(
    weight: str, lanes: int, bits: int, family: Family, reason: str
) -> None:
    fmt = table_format(weight)
    inside = dot_product_unit(table_format("INT4"), table_format("INT4"), 8, 24, Family.XCUP)[1]
    assert (inside.kind, inside.median, inside.p90) == (
        BandKind.MEASURED,
        constants.MEDIAN_ERROR,
        constants.P90_ERROR,
    )
    outside = dot_product_unit(fmt, fmt, lanes, bits, family)[1]
    assert outside.kind is BandKind.EXTRAPOLATED
    assert reason in outside.basis
    assert outside.median is not None
    assert outside.median > constants.MEDIAN_ERROR
    assert outside.p90 is not None
    assert outside.p90 > constants.BY_FAMILY[1], "wider than what an unseen family of formats costs in accuracy"


@pytest.mark.parametrize("kind", ["INT{}", "E2M{}", "E3M{}"])
def test_measured_units_grow_with_their_bits_as_the_model_does(kind: str) -> None:
    names = [kind.format(i) for i in range(1, 9)]
    found = {row.weight.name: row for row in ROWS if row.lanes == 8 and row.weight == row.activation}
    measured = [found[n.lower()] for n in names if n.lower() in found]
    assert len(measured) >= 4
    for narrow, wide in pairwise(measured):
        assert narrow.luts < wide.luts
        assert dot_product_luts(narrow.operands, 8, 24) < dot_product_luts(wide.operands, 8, 24)
