"""Compare the derived form of Hadamard transforms with the synthesis table: ``python -m hwmodels.calibration.fit_hadamard``.

Nothing is fitted: the errors of all rows are stated, and those of the rows drawn at random.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hwmodels.calibration.regression import Errors
from hwmodels.rtl.hadamard import HadamardUnit

TABLE = Path(__file__).with_name("hadamard_units.csv")
CONSTANTS = Path(__file__).with_name("hadamard_constants.py")


@dataclass(frozen=True)
class HadamardRow:
    """One synthesized transform."""

    use: str
    family: str
    unit: HadamardUnit
    luts: int
    carry8: float
    ff: int


def read_hadamard_rows(table: Path = TABLE) -> tuple[HadamardRow, ...]:
    """All rows of the table."""
    with table.open(newline="") as file:
        return tuple(
            HadamardRow(
                row["use"],
                row["family"],
                HadamardUnit(int(row["block"]), int(row["bits"]), int(row["lanes"]), row["signed"] == "1"),
                int(row["lut_packed"]),
                float(row["carry8"]),
                int(row["ff"]),
            )
            for row in csv.DictReader(file)
        )


def hadamard_errors(rows: Sequence[HadamardRow]) -> Errors:
    """Errors of the derived form."""
    # imported here: the module needs the constants that this script writes
    from hwmodels.primitives.hadamard import hadamard_luts

    return Errors.of(np.array([hadamard_luts(row.unit) / row.luts - 1 for row in rows]))


def render(rows: Sequence[HadamardRow]) -> str:
    """The text of `hadamard_constants.py`."""
    drawn = [row for row in rows if row.use == "test"]
    blocks = [row.unit.block for row in rows]
    bits = [row.unit.bits for row in rows]
    families = ", ".join(f'"{name}"' for name in sorted({row.family for row in rows}))
    return (
        '"""Written by ``python -m hwmodels.calibration.fit_hadamard``: change the table or the form, not this file."""\n\n'
        "# relative errors (median, 90th percentile) of LUTs, nothing fitted: all rows; rows drawn at random\n"
        f"ERRORS = {hadamard_errors(rows)}\nDRAWN = {hadamard_errors(drawn)}\n"
        f'BASIS = "{TABLE.name}, LUTs of {len(rows)} transforms after synthesis without their delays, none fitted"\n\n'
        "# ranges of the rows, both ends included\n"
        f"BLOCK = {min(blocks), max(blocks)}\n"
        f"BITS = {min(bits), max(bits)}\n"
        f"FAMILIES = ({families})\n"
    )


def main() -> int:
    """Compare, write the constants, print the errors to stderr."""
    rows = read_hadamard_rows()
    CONSTANTS.write_text(render(rows))
    print(hadamard_errors(rows), file=sys.stderr)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
