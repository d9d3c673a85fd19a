"""Tables of operators, one per row: read as CSV, and costed row by row."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hwmodels.calibration.vivado import RESOURCES, Correction
from hwmodels.errors import BitfrontError
from hwmodels.options import CostModel

MAX_CSV_BYTES = 256 << 20
MAX_DIGITS = 12
"""Of a number that is costed: larger ones are no hardware, and would take ages to look for divisors of."""

_TOO_LONG = re.compile(rf"(?<![.\d])\d{{{MAX_DIGITS + 1},}}")

Lines = list[tuple[int, dict[str, str]]]
"""Rows by column name, each with its number in the file."""


class CostError(BitfrontError):
    """Options or tables of `dse cost` that do not say what to cost."""


@contextmanager
def of_a_size(what: str) -> Iterator[None]:
    """Numbers of hundreds of digits are a mistake of the user like any other; only Python's own errors say so."""
    try:
        yield
    except BitfrontError:
        raise
    except (OverflowError, ValueError) as error:
        raise CostError(
            f"{what} must have numbers of a size that hardware can have, but it has not: {error}."
        ) from None


@contextmanager
def line_of(path: Path, number: int, row: dict[str, str]) -> Iterator[None]:
    """Errors of a row name its file and line; numbers that are far too long are one."""
    try:
        with of_a_size("a row"):
            if any(_TOO_LONG.search(value) for value in row.values()):
                raise OverflowError(f"at most {MAX_DIGITS} digits")
            yield
    except BitfrontError as error:
        raise CostError(f"{path}, line {number}: {error}") from None


def cost_rows(path: Path, model: CostModel, correction: Correction | None) -> tuple[list[str], list[dict[str, Any]]]:
    """(columns, rows) of a table with the cost of every operator added, or why it has none in a column `error`.

    That column is there only if a row needs it. A correction adds columns with its factors, 1 where it has no law.
    """
    from hwmodels.batch import calibrated_row
    from hwmodels.finn.rows import cost_row

    header, lines = read_csv(path)
    costed: list[dict[str, Any]] = []
    for number, row in lines:
        try:
            with line_of(path, number, row):
                resources, cycles = cost_row(row) if model is CostModel.FINN else calibrated_row(row)
        except CostError as error:
            costed.append({**row, "error": str(error)})
            continue
        counts = resources.as_dict()
        factors: dict[str, float] = {}
        if correction is not None:
            factors = {name: correction.factor(row["op"], name, counts[name]) for name in RESOURCES}
            counts |= {name: counts[name] * factor for name, factor in factors.items()}
        costed.append(
            {
                **row,
                **{name: plain(count) for name, count in counts.items()},
                "cycles": cycles,
                **{f"correction_{name}": round(factor, 6) for name, factor in factors.items()},
            }
        )
    added = ["lut", "carry8", "ff", "dsp", "bram18", "uram", "cycles"]
    added += [f"correction_{name}" for name in RESOURCES] if correction is not None else []
    return with_columns(header, added, costed), costed


def with_columns(header: Sequence[str], added: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The columns of a costed table: its own, those `added` behind them, and `error` if a row has one."""
    behind = [*added, *(["error"] if any("error" in row for row in rows) else [])]
    return [*(name for name in header if name not in behind), *behind]


def read_csv(path: Path) -> tuple[list[str], Lines]:
    """(header, rows) of a CSV file with a column `op`.

    Raises:
        CostError: the file cannot be read, is no such table, or has rows of other lengths than its header.
    """
    try:
        if path.stat().st_size > MAX_CSV_BYTES:
            raise CostError(
                f"{path} must be at most {MAX_CSV_BYTES >> 20} MiB, but it is {path.stat().st_size >> 20} MiB."
            )
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise CostError(f"the rows must be in a readable CSV file, but {path} is not: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise CostError(f"the rows must be in a CSV file in UTF-8, but {path} is not.") from None
    try:
        reader = csv.DictReader(io.StringIO(text), strict=True)
        header = list(reader.fieldnames or [])
        lines = [(reader.line_num, row) for row in reader]
    except csv.Error as error:
        raise CostError(f"the rows must be in a CSV file, but {path} is not: {error}.") from None
    if "op" not in header or not lines:
        raise CostError(
            f"{path} must have a header with the column op and at least one row below it, but its header is "
            f"{', '.join(header) or 'empty'} and it has {len(lines)} rows."
        )
    for number, row in lines:
        if None in row or None in row.values():
            raise CostError(
                f"{path}, line {number}: a row must have {len(header)} values, one per column of the header, but it has not."
            )
    return header, lines


def plain(value: float) -> float | int:
    """Whole numbers as such: 2700, not 2700.0."""
    return int(value) if float(value).is_integer() else value
