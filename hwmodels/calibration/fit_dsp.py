"""Fit the LUTs behind DSP slices to the table of DSP units: ``python -m hwmodels.calibration.fit_dsp``.

Least squares of the relative error, stated in sample and on the table's test rows, which no fit saw. Units whose accumulator
is a slice have no LUT to speak of and take no part.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np

from hwmodels.calibration.regression import Errors, design, solve
from hwmodels.catalog import parse_element
from hwmodels.datapath import Overflow
from hwmodels.devices import Family
from hwmodels.formats import IntFormat
from hwmodels.primitives.dsp_packing import DspBlock, Packing, packing

TABLE = Path(__file__).with_name("dsp_units.csv")
CONSTANTS = Path(__file__).with_name("dsp_constants.py")


@dataclass(frozen=True)
class Row:
    """One synthesized unit."""

    use: str
    family: Family
    slice: DspBlock
    weight: IntFormat
    activation: IntFormat
    bits: int
    overflow: Overflow
    pe: int
    simd: int
    lanes: int
    chain: int
    luts: int
    carry8: float
    ff: int
    dsp: int

    @property
    def packing(self) -> Packing:
        """How its rows share slices."""
        shape = {"pe": self.pe, "simd": self.simd, "lanes": self.lanes, "chain": self.chain}
        return packing(self.weight, self.activation, self.slice, **shape)


def read_rows(table: Path = TABLE) -> tuple[Row, ...]:
    """All rows of the table."""
    with table.open(newline="") as file:
        return tuple(
            Row(
                use=row["use"],
                family=Family(row["family"]),
                slice=cast(DspBlock, row["slice"]),
                weight=cast(IntFormat, parse_element(row["weight"])),
                activation=cast(IntFormat, parse_element(row["activation"])),
                bits=int(row["accumulator"]),
                overflow=Overflow(row["overflow"]),
                luts=int(row["lut_packed"]),
                carry8=float(row["carry8"]),
                **{name: int(row[name]) for name in ("pe", "simd", "lanes", "chain", "ff", "dsp")},
            )
            for row in csv.DictReader(file)
        )


@dataclass(frozen=True)
class Fit:
    """Fitted factors by feature, with their errors."""

    factors: dict[str, float]
    in_sample: Errors
    test: Errors
    rows: int
    test_rows: int


def fit(rows: Sequence[Row]) -> Fit:
    """The factors that fit the rows to fit, and their errors."""
    # imported here: the module needs the constants that this script writes
    from hwmodels.dsp_cost import dsp_structure

    counts = {
        row: dsp_structure(row.packing, row.pe, row.simd, row.bits, row.overflow, row.slice).counts for row in rows
    }
    names = ("bit", "chain", "clamp", "parity")
    fitted, unseen = ([row for row in rows if row.use == use and "clear" not in counts[row]] for use in ("fit", "test"))
    matrix, held_out = (
        design([counts[row] for row in part], [row.luts for row in part], names) for part in (fitted, unseen)
    )
    factors = np.round(solve(matrix), 4)
    return Fit(
        factors={**{name: float(factor) for name, factor in zip(names, factors, strict=True)}, "clear": 1.0},
        in_sample=Errors.of(matrix @ factors - 1),
        test=Errors.of(held_out @ factors - 1),
        rows=len(fitted),
        test_rows=len(unseen),
    )


def render(result: Fit, rows: Sequence[Row]) -> str:
    """The text of `dsp_constants.py`."""
    fitted = [row for row in rows if row.use == "fit"]
    ranges = {
        "WEIGHT_BITS": [row.weight.bits for row in fitted],
        "ACTIVATION_BITS": [row.activation.bits for row in fitted],
        "SIMD": [row.simd for row in fitted],
        "ACCUMULATOR_BITS": [row.bits for row in fitted],
    }
    factors = "".join(f'    "{name}": {factor},\n' for name, factor in result.factors.items())
    families = ", ".join(f'"{name}"' for name in sorted({str(row.family) for row in rows}))  # two: both are measured
    return (
        '"""Written by ``python -m hwmodels.calibration.fit_dsp``: change the table or the form, not this file."""\n\n'
        f"FACTORS = {{\n{factors}}}\n"
        '"""LUT6 per counted bit, by feature (see `hwmodels.dsp_cost`): fitted, but `clear`, the one inverter of a unit that '
        'accumulates in\nits slices."""\n\n'
        "# relative errors (median, 90th percentile) of LUTs: in sample; rows that no fit saw\n"
        f"IN_SAMPLE = {result.in_sample}\nTEST = {result.test}\n"
        "MEDIAN_ERROR, P90_ERROR = TEST\n"
        f'BASIS = "{TABLE.name}, {result.rows} units, LUTs after synthesis, tested on {result.test_rows} others"\n\n'
        "# ranges of the rows to fit, both ends included\n"
        + "".join(f"{name} = {min(values), max(values)}\n" for name, values in ranges.items())
        + f"FAMILIES = ({families})\n"
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
