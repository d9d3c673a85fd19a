"""Corrections fitted to implemented operators: known laws are found, chance is not, files are read with distrust."""

import csv
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import numerics_of, residual_network

from hwmodels.batch import calibrated_row
from hwmodels.calibration.vivado import (
    RESOURCES,
    SHIPPED_ROWS,
    CalibrationError,
    Correction,
    Law,
    Measured,
    fit_correction,
    parse_correction,
    read_measured,
    shipped_correction,
)
from hwmodels.corrected import correct
from hwmodels.devices import get_device
from hwmodels.estimate import estimate
from hwmodels.finn.rows import cost_row
from hwmodels.folding import fold_for_cycles
from hwmodels.ops import MatVec
from hwmodels.options import CostModel, CostOptions, UnitStyle
from hwmodels.report import CostError
from hwmodels.resources import Resources

UNIT = "MVAU_hls"
NETWORK, DEVICE = residual_network(), get_device("xczu3eg")


def shipped_rows(table: Path = SHIPPED_ROWS) -> list[dict[str, str]]:
    with table.open(newline="") as file:
        return list(csv.DictReader(file))


def made(count: int, law: Callable[[float], float], noise: float = 0.0, kind: str = UNIT) -> list[Measured]:
    """Operators whose measured LUTs follow a law of the predicted ones."""
    rng = np.random.default_rng(0)
    predicted = np.geomspace(100, 5000, count)
    measured = [law(x) * (1 + noise * rng.standard_normal()) for x in predicted]
    return [
        Measured(kind, Resources(lut=x), {"lut": y, "ff": 0.0, "bram18": 0.0, "dsp": 0.0}, "tool", "part")
        for x, y in zip(predicted, measured, strict=True)
    ]


def law_of(correction: Correction, resource: str = "lut", kind: str = UNIT) -> Law:
    return next(fit.law for fit in correction.fits if (fit.kind, fit.resource) == (kind, resource))


@settings(deadline=None, max_examples=30)
@given(st.floats(0.3, 3), st.floats(0, 400), st.integers(8, 20))
def test_a_law_without_noise_is_found(factor: float, offset: float, count: int) -> None:
    correction = fit_correction(made(count, lambda x: offset + factor * x), "law")
    fit = correction.fits[0]
    assert fit.after[1] <= fit.before[1] + 1e-4
    for x in (100, 1000, 5000):
        assert correction.factor(UNIT, "lut", x) * x == pytest.approx(offset + factor * x, rel=0.1)


def test_the_simplest_law_that_predicts_unseen_rows_is_kept() -> None:
    assert law_of(fit_correction(made(9, lambda x: x, noise=0.05), "n")) == Law()
    factor = law_of(fit_correction(made(9, lambda x: 1.5 * x, noise=0.02), "f"))
    assert (factor.offset, factor.factor) == (0, pytest.approx(1.5, rel=0.03))
    both = law_of(fit_correction(made(9, lambda x: 1.2 * x + 300, noise=0.02), "b"))
    assert (both.offset, both.factor) == (pytest.approx(300, rel=0.2), pytest.approx(1.2, rel=0.1))
    assert law_of(fit_correction(made(7, lambda x: 1.2 * x + 300), "few")).name == "factor", "7 rows bear no offset"


def test_the_error_after_is_that_of_rows_which_the_fit_has_not_seen() -> None:
    rows = made(4, lambda x: 2 * x)
    outlier = Measured(UNIT, Resources(lut=1000), {**rows[0].measured, "lut": 4000.0}, "tool", "part")
    fit = fit_correction([*rows, outlier], "o").fits[0]
    assert fit.after[1] == pytest.approx(0.5, abs=1e-3), "the outlier is predicted by the law of the four others"
    assert fit.before == (0.5, 0.75)


@pytest.mark.parametrize("count", [1, 3])
def test_too_few_rows_are_refused_with_what_is_needed(count: int) -> None:
    with pytest.raises(
        CalibrationError, match=rf"at least 4 rows of each kind .* but got {count} of VVAU_hls; add rows"
    ):
        fit_correction([*made(9, lambda x: x), *made(count, lambda x: x, kind="VVAU_hls")], "few")
    with pytest.raises(CalibrationError, match="but got no rows"):
        fit_correction([], "none")


def test_what_is_not_there_stays_so() -> None:
    """Counts that are zero on both sides have errors of zero and no law; a prediction of zero is never scaled."""
    correction = fit_correction(made(9, lambda x: 3 * x), "z")
    assert law_of(correction, "dsp") == Law()
    assert correction.factor(UNIT, "lut", 0) == 1
    assert correction.factor("VVAU_hls", "lut", 10) == 1


def test_the_shipped_correction_finds_nothing_systematic_left() -> None:
    """Its basis is thin, and what was systematic there became physical forms: no law predicts unseen rows better."""
    correction = shipped_correction()
    assert (correction.tools, correction.parts) == (("Vivado 2022.1",), ("XC7Z020",))
    counts = {fit.kind: fit.rows for fit in correction.fits}
    names = ("MVAU_hls", "ConvolutionInputGenerator_rtl", "StreamingFIFO_rtl", "StreamingDataWidthConverter_rtl")
    assert counts == dict(zip(names, (9, 6, 7, 10), strict=True))
    for fit in correction.fits:
        assert fit.after[0] <= fit.before[0] < 0.1
    other = [row for row in shipped_rows(SHIPPED_ROWS.with_name("vivado_unsw_mlp_w2a2.csv")) if row["MW"]]
    changes = [correction.factor(row["op"], "lut", calibrated_row(row)[0].lut) for row in other]
    assert all(abs(change - 1) < 0.2 for change in changes)


def test_measured_rows_are_rows_of_dse_cost_too() -> None:
    assert {f"measured_{name}" for name in RESOURCES} <= set(shipped_rows()[0])
    for row in shipped_rows():
        assert read_measured(row).predicted == calibrated_row(row)[0]
        assert cost_row(row)[0].lut >= 0


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("measured_lut", "", "must have a value in column measured_lut"),
        ("measured_ff", "many", "measured_ff must be a count of at least 0, but got 'many'"),
        ("measured_dsp", "-1", "at least 0, but got '-1'"),
        ("measured_bram18", "inf", "at least 0, but got 'inf'"),
        ("tool", "", "must have a value in column tool"),
    ],
)
def test_a_row_without_a_measurement_is_refused(column: str, value: str, message: str) -> None:
    with pytest.raises(CalibrationError, match=message):
        read_measured({**shipped_rows()[0], column: value})


def test_a_file_gives_back_the_correction() -> None:
    correction = fit_correction(made(9, lambda x: 1.2 * x + 300, noise=0.02), "mine")
    assert parse_correction(json.loads(json.dumps(correction.as_dict()))) == correction


def _changed(path: tuple[Any, ...], value: Any) -> Mapping[str, Any]:
    document: Any = json.loads(json.dumps(fit_correction(made(9, lambda x: 2 * x), "mine").as_dict()))
    inner = document
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return document


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("format",), "else", "must be a JSON object with format"),
        (("version",), 2, "must be of version 1, but this is of 2"),
        (("model",), "0" * 16, "fitted to another version of it; run dse calibrate again"),
        (("fits", 0, "factor"), float("nan"), "must have what dse calibrate writes"),
        (("fits", 0, "factor"), 0, "factor 0"),
        (("fits", 0, "factor"), 1e9, "from 0 to 100 must be"),
        (("fits", 0, "offset"), -5, "from 0 to 1e\\+06 must be"),
        (("fits", 0, "kind"), "MVAU", "kind 'MVAU'"),
        (("fits", 0, "rows"), True, "rows True"),
        (("fits", 0, "before"), [0.1], "must have what dse calibrate writes"),
        (("fits",), 7, "must have what dse calibrate writes"),
        (("name",), "a\x1b[31m", "where a short text must be"),
        (("tools",), ["x" * 300], "where a short text must be"),
    ],
)
def test_a_file_that_is_no_correction_is_refused(path: tuple[Any, ...], value: Any, message: str) -> None:
    with pytest.raises(CalibrationError, match=message):
        parse_correction(_changed(path, value))
    with pytest.raises(CalibrationError, match="must be a JSON object"):
        parse_correction([])


def test_a_corrected_report_says_what_was_done_in_every_line() -> None:
    options = CostOptions(units=UnitStyle.HLS)
    report = estimate(NETWORK, numerics_of(NETWORK, "int4", "uint4"), fold_for_cycles(NETWORK, 10_000), DEVICE, options)
    rows = [*made(9, lambda x: 1.5 * x), *made(9, lambda x: 2 * x + 100, kind="ConvolutionInputGenerator_rtl")]
    correction = fit_correction(rows, "mine")
    after = correct(report, NETWORK.operators, options, correction)
    windows = 0
    for old, new in zip(report.lines, after.lines, strict=True):
        name = old.layer.removesuffix(".requantize")
        is_unit = name in {op.name for op in NETWORK.compute if isinstance(op, MatVec)} and "FIFO" not in old.component
        if old.component == "window":
            windows += 1
            assert new.resources.lut == pytest.approx(100 + 2 * old.resources.lut, rel=0.01)
        elif is_unit and old.component != "width converter":
            assert new.resources.lut == pytest.approx(1.5 * old.resources.lut, rel=1e-3)
        else:
            assert new == old
        assert (new != old) == ("mine: lut x" in new.formula)
        assert new.resources.ff == old.resources.ff
    assert windows
    (*_, note) = after.notes
    assert f"LUT {report.total.lut:,.0f} to {after.total.lut:,.0f}" in note
    assert "it does not know: FIFO, add" in note
    assert after.total == Resources.sum(line.resources for line in after.lines)
    assert after.cycles == report.cycles


def test_units_of_our_own_style_have_no_law_and_finns_model_no_correction() -> None:
    options = CostOptions()
    report = estimate(NETWORK, numerics_of(NETWORK, "int4", "uint4"), fold_for_cycles(NETWORK, 10_000), DEVICE, options)
    correction = fit_correction(made(9, lambda x: 1.5 * x), "mine")
    after = correct(report, NETWORK.operators, options, correction)
    assert after.lines == report.lines
    assert "dot products" in after.notes[-1]
    with pytest.raises(CostError, match="a correction is one of the calibrated model"):
        correct(report, NETWORK.operators, CostOptions(model=CostModel.FINN), correction)
