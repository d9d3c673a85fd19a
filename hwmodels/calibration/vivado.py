"""Corrections of the calibrated model to implemented operators: fitted to rows that users measured, kept in a JSON file.

A row is an operator in the columns of ``dse cost --batch`` with what its implementation took (``measured_lut``, ``measured_ff``,
``measured_bram18``, ``measured_dsp``: hierarchical utilization after place and route; a RAMB36 counts 2) and the ``tool`` and
``part``. For every kind of operator and resource the simplest law is kept that predicts rows best which it has not seen:
none, a factor, or an offset and a factor. A correction belongs to the model that it was made for and is refused by any other.
"""

from __future__ import annotations

import csv
import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwmodels.batch import calibrated_row
from hwmodels.devices import get_device
from hwmodels.errors import BitfrontError
from hwmodels.finn.rows import MEASURED_PREFIX, ROW_OPERATORS
from hwmodels.resources import Resources

SHIPPED_ROWS = Path(__file__).with_name("vivado_cnv_w1a1.csv")
"""What the shipped correction rests on, and it is thin: one network of FINN (CNV w1a1), one part, one tool; nine matrix-vector
units of 1-bit weights, six windows, seven FIFOs, ten width converters (github Ba1tu3han/Finn_Thesis@1f9eabfa)."""

RESOURCES = ("lut", "ff", "bram18", "dsp")
FORMAT, VERSION = "bitfront correction", 1

LEAST_ROWS = {"factor": 4, "offset and factor": 8}
"""Rows of a kind that a law needs (assumed: two to be fitted and as many to be surprised by for each number)."""

BETTER = 0.9
"""A law must bring the error on unseen rows below this share of a simpler one's, or the simpler one is kept (assumed)."""

_LARGEST = {"offset": 1e6, "factor": 100.0}


class CalibrationError(BitfrontError):
    """Rows that no correction can be fitted to, or a file that is none."""


@dataclass(frozen=True)
class Measured:
    """One implemented operator beside its prediction; `kind` is the operator's name in column ``op``."""

    kind: str
    predicted: Resources
    measured: Mapping[str, float]
    tool: str
    part: str


@dataclass(frozen=True)
class Law:
    """corrected = offset + factor * predicted."""

    offset: float = 0.0
    factor: float = 1.0

    def __call__(self, predicted: float) -> float:
        """The corrected count."""
        return self.offset + self.factor * predicted

    @property
    def name(self) -> str:
        """Which kind of law it is."""
        return "offset and factor" if self.offset else "none" if self.factor == 1 else "factor"

    def __str__(self) -> str:
        return (
            "as it is" if self == Law() else f"{self.factor:.3f} x" + (f" + {self.offset:.0f}" if self.offset else "")
        )


@dataclass(frozen=True)
class Fitted:
    """The law of one kind and resource: predictions lie in [low, high], errors are (median, worst), relative.

    `before`: without the law; `after`: each row predicted by a law fitted to all others.
    """

    kind: str
    resource: str
    rows: int
    law: Law
    low: float
    high: float
    before: tuple[float, float]
    after: tuple[float, float]


@dataclass(frozen=True)
class Correction:
    """The laws of all kinds, what they rest on, and the fingerprint of the model they were fitted to."""

    name: str
    model: str
    tools: tuple[str, ...]
    parts: tuple[str, ...]
    fits: tuple[Fitted, ...]

    @property
    def kinds(self) -> frozenset[str]:
        """The operators that it knows."""
        return frozenset(fit.kind for fit in self.fits)

    def factor(self, kind: str, resource: str, predicted: float) -> float:
        """What a prediction is to be multiplied by; 1 for kinds and resources without a law, and for 0."""
        law = next((fit.law for fit in self.fits if (fit.kind, fit.resource) == (kind, resource)), Law())
        return law(predicted) / predicted if predicted else 1.0

    def as_dict(self) -> dict[str, Any]:
        """The JSON document of :func:`parse_correction`."""
        return {
            "format": FORMAT,
            "version": VERSION,
            "name": self.name,
            "model": self.model,
            "tools": list(self.tools),
            "parts": list(self.parts),
            "fits": [
                {
                    "kind": fit.kind,
                    "resource": fit.resource,
                    "rows": fit.rows,
                    "offset": fit.law.offset,
                    "factor": fit.law.factor,
                    "range": [fit.low, fit.high],
                    "before": list(fit.before),
                    "after": list(fit.after),
                }
                for fit in self.fits
            ],
        }


def read_measured(row: Mapping[str, str]) -> Measured:
    """The operator of a table row, costed, with what was measured.

    Raises:
        CalibrationError: a measured column, the tool or the part is missing, or is not a count.
        BitfrontError: the operator cannot be read or costed.
    """
    missing = [name for name in (*(MEASURED_PREFIX + r for r in RESOURCES), "tool", "part") if not row.get(name)]
    if missing:
        raise CalibrationError(f"a row must have a value in column {missing[0]}, but it is empty.")
    measured = {}
    for resource in RESOURCES:
        text = row[MEASURED_PREFIX + resource]
        try:
            measured[resource] = float(text)
        except ValueError:
            measured[resource] = -1.0
        if not 0 <= measured[resource] < math.inf:
            raise CalibrationError(
                f"column {MEASURED_PREFIX}{resource} must be a count of at least 0, but got {text!r}."
            )
    part = get_device(row["part"])
    predicted, _ = calibrated_row(row, part)
    return Measured(row["op"], predicted, measured, row["tool"], part.name)


def fit_correction(rows: Sequence[Measured], name: str) -> Correction:
    """The best laws for `rows`.

    Raises:
        CalibrationError: a kind with too few rows.
    """
    kinds = list(dict.fromkeys(row.kind for row in rows))
    least = LEAST_ROWS["factor"]
    few = {kind: count for kind in kinds if (count := sum(row.kind == kind for row in rows)) < least}
    if few or not rows:
        given = ", ".join(f"{count} of {kind}" for kind, count in few.items()) or "no rows"
        raise CalibrationError(
            f"a correction needs at least {least} rows of each kind of operator ({LEAST_ROWS['offset and factor']} for an "
            f"offset), but got {given}; add rows or leave these out."
        )
    fits = tuple(
        _fit(kind, resource, [row for row in rows if row.kind == kind]) for kind in kinds for resource in RESOURCES
    )
    tools, parts = (tuple(dict.fromkeys(values)) for values in ((r.tool for r in rows), (r.part for r in rows)))
    return Correction(name, model_fingerprint(), tools, parts, fits)


@lru_cache(maxsize=1)
def shipped_correction() -> Correction:
    """The correction fitted to :data:`SHIPPED_ROWS`, for this version of the model."""
    with SHIPPED_ROWS.open(newline="") as file:
        return fit_correction([read_measured(row) for row in csv.DictReader(file)], "shipped")


def _fit(kind: str, resource: str, rows: Sequence[Measured]) -> Fitted:
    x = np.array([row.predicted.as_dict()[resource] for row in rows])
    y = np.array([row.measured[resource] for row in rows])
    weight = 1 / np.maximum(y, 1)
    best, errors = "none", np.abs(x - y) * weight
    before = _summary(errors)
    for law, least in LEAST_ROWS.items():
        if len(rows) < least or not x.any():
            continue
        kept = [np.arange(len(rows)) != i for i in range(len(rows))]
        unseen = np.array([_solve(law, x[k], y[k], weight[k])(x[i]) for i, k in enumerate(kept)])
        found = np.abs(unseen - y) * weight
        if found.mean() < BETTER * errors.mean():
            best, errors = law, found
    chosen = _solve(best, x, y, weight)
    chosen = Law(round(chosen.offset, 2), round(chosen.factor, 4))
    return Fitted(kind, resource, len(rows), chosen, float(x.min()), float(x.max()), before, _summary(errors))


def _solve(law: str, x: NDArray[np.float64], y: NDArray[np.float64], weight: NDArray[np.float64]) -> Law:
    """The law of least squared relative errors; an offset below 0 or a factor of 0 is no circuit, and gives a factor alone."""
    if law == "none" or not x.any():
        return Law()
    if law == "offset and factor":
        design = np.stack([weight, x * weight], axis=1)
        offset, factor = (float(v) for v in np.linalg.lstsq(design, y * weight, rcond=None)[0])
        if offset >= 0 and factor > 0:
            return Law(offset, factor)
    factor = float((x * y * weight**2).sum() / (x * x * weight**2).sum())
    return Law(0.0, factor) if factor > 0 else Law()


def _summary(errors: NDArray[np.float64]) -> tuple[float, float]:
    return round(float(np.median(errors)), 4), round(float(errors.max()), 4)


@lru_cache(maxsize=1)
def model_fingerprint() -> str:
    """What tells one version of the calibrated model from another: a hash of its predictions for the shipped rows."""
    with SHIPPED_ROWS.open(newline="") as file:
        counts = [calibrated_row(row)[0].as_dict() for row in csv.DictReader(file)]
    text = repr([{name: round(count, 2) for name, count in each.items()} for each in counts])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def parse_correction(document: object) -> Correction:
    """The correction of a JSON document; nothing in it is trusted.

    Raises:
        CalibrationError: it is none, is of another version, or was fitted to another model.
    """
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise CalibrationError(f"a correction must be a JSON object with format {FORMAT!r}, but this is none.")
    if document.get("version") != VERSION:
        raise CalibrationError(
            f"a correction must be of version {VERSION}, but this is of {document.get('version')!r}."
        )
    try:
        fits = tuple(_parse_fit(each) for each in document["fits"])
        tools, parts = (tuple(_text(text) for text in document[key]) for key in ("tools", "parts"))
        made = Correction(_text(document["name"]), _text(document["model"]), tools, parts, fits)
    except (KeyError, TypeError, ValueError) as error:
        raise CalibrationError(
            f"a correction must have what dse calibrate writes, but this has not: {error!r}."
        ) from None
    if made.model != model_fingerprint():
        raise CalibrationError(
            f"a correction holds for the model that it was fitted to, but {made.name} was fitted to another version of it; "
            "run dse calibrate again on its rows."
        )
    return made


def _parse_fit(fit: Mapping[str, Any]) -> Fitted:
    kind, resource, rows = fit["kind"], fit["resource"], fit["rows"]
    if kind not in ROW_OPERATORS or resource not in RESOURCES or type(rows) is not int or rows < 1:
        raise ValueError(f"kind {kind!r}, resource {resource!r}, rows {rows!r}")
    offset, factor = (_number(fit[name], most) for name, most in _LARGEST.items())
    if factor == 0:
        raise ValueError("factor 0")
    reach, before, after = (_pair(fit[key]) for key in ("range", "before", "after"))
    return Fitted(kind, resource, rows, Law(offset, factor), *reach, before, after)


def _pair(values: Sequence[object]) -> tuple[float, float]:
    first, second = values
    return _number(first), _number(second)


def _number(value: object, most: float = 1e12) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= most:
        raise ValueError(f"{value!r} where a number from 0 to {most:g} must be")
    return float(value)


def _text(value: object) -> str:
    if not isinstance(value, str) or not value.isprintable() or not 0 < len(value) <= 200:
        raise ValueError(f"{value!r} where a short text must be")
    return value
