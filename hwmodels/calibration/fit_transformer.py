"""Fit the LUT form of the units of transformers to the synthesis table: ``python -m hwmodels.calibration.fit_transformer``.

Least squares of the relative error. Errors are stated in sample, and on units drawn at random that no fit ever saw.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hwmodels.calibration.regression import Errors, design, solve
from hwmodels.catalog import parse_element
from hwmodels.rtl.dynamic import DynamicUnit
from hwmodels.rtl.gate import GateUnit
from hwmodels.rtl.normalize import NormUnit
from hwmodels.rtl.rotary import RotaryUnit
from hwmodels.rtl.softmax import SoftmaxUnit
from hwmodels.rtl.transformer_structure import TransformerUnit, transformer_structure

TABLE = Path(__file__).with_name("transformer_units.csv")
CONSTANTS = Path(__file__).with_name("transformer_constants.py")


@dataclass(frozen=True)
class TransformerRow:
    """One synthesized unit."""

    use: str
    family: str
    kind: str
    unit: TransformerUnit
    luts: int
    carry8: float
    ff: int
    dsp: int


@dataclass(frozen=True)
class TransformerFit:
    """Fitted factors by feature, with their errors: on unseen rows those of gates, which are small, apart; by kind too."""

    factors: dict[str, float]
    in_sample: Errors
    test: Errors
    gates: Errors
    kinds: dict[str, tuple[Errors, int]]
    rows: int
    test_rows: int


def read_transformer_rows(table: Path = TABLE) -> tuple[TransformerRow, ...]:
    """All rows of the table."""
    with table.open(newline="") as file:
        return tuple(
            TransformerRow(
                *(row["use"], row["family"], row["unit"], _unit(row)),
                *(int(row["lut_packed"]), float(row["carry8"]), int(row["ff"]), int(row["dsp"])),
            )
            for row in csv.DictReader(file)
        )


def _unit(row: dict[str, str]) -> TransformerUnit:
    kind, fmt, lanes, dsp = row["unit"], parse_element(row["format"]), int(row["lanes"]), row["slices"] == "1"
    if kind == "gate":
        return GateUnit(fmt, parse_element(row["second"]), lanes, dsp)
    channels = int(row["channels"])
    match kind:
        case "rms_norm" | "layer_norm":
            return NormUnit(fmt, channels, lanes, kind == "layer_norm", dsp)
        case "softmax":
            return SoftmaxUnit(fmt, channels, lanes, dsp)
        case "rotary":
            return RotaryUnit(fmt, channels, lanes, dsp)
        case _:
            return DynamicUnit(fmt.bits, channels, lanes, kind == "shift_scale", int(row["digits"]), dsp)


def fit_transformer(rows: Sequence[TransformerRow]) -> TransformerFit:
    """The factors that fit the rows to fit, and their errors; both families have the same LUTs, so one is fitted."""
    # imported here: the module needs the constants that this script writes
    from hwmodels.primitives.transformer_units import features

    plus = [row for row in rows if row.family == "xcup"]
    counts = {row: features(transformer_structure(row.unit)) for row in plus}
    fitted, unseen = ([row for row in plus if row.use == use] for use in ("fit", "test"))
    names = sorted({name for row in plus for name in counts[row]})
    matrix = design([counts[row] for row in fitted], [row.luts for row in fitted], names)
    factors = np.round(solve(matrix), 4)
    held_out = design([counts[row] for row in unseen], [row.luts for row in unseen], names) @ factors - 1
    kinds = sorted({row.kind for row in unseen})
    chosen = {kind: np.array([row.kind == kind for row in unseen]) for kind in kinds}
    return TransformerFit(
        factors={name: float(factor) for name, factor in zip(names, factors, strict=True)},
        in_sample=Errors.of(matrix @ factors - 1),
        test=Errors.of(held_out[~chosen["gate"]]),
        gates=Errors.of(held_out[chosen["gate"]]),
        kinds={kind: (Errors.of(held_out[chosen[kind]]), int(chosen[kind].sum())) for kind in kinds},
        rows=len(fitted),
        test_rows=len(unseen),
    )


def _ranges(rows: Sequence[TransformerRow]) -> dict[str, tuple[int, int]]:
    """Ranges of the rows to fit: widths of values in fixed point, words of a vector, lanes."""
    units = [row.unit for row in rows if row.use == "fit"]
    widths = [unit.input_bits for unit in units if not isinstance(unit, DynamicUnit | GateUnit)]
    widths += [unit.bits for unit in units if isinstance(unit, DynamicUnit)]
    words = [unit.words for unit in units if not isinstance(unit, RotaryUnit | GateUnit)]
    found = {"bits": widths, "words": words, "lanes": [unit.lanes for unit in units]}
    return {name: (min(values), max(values)) for name, values in found.items()}


def render(result: TransformerFit, rows: Sequence[TransformerRow]) -> str:
    """The text of `transformer_constants.py`."""
    families = ", ".join(f'"{name}"' for name in sorted({row.family for row in rows}))
    factors = "".join(f'    "{name}": {factor},\n' for name, factor in result.factors.items())
    ranges = "".join(f'    "{name}": {span},\n' for name, span in _ranges(rows).items())
    kinds = "".join(f"# {kind}: {errors} ({count} units)\n" for kind, (errors, count) in result.kinds.items())
    return (
        '"""Written by ``python -m hwmodels.calibration.fit_transformer``: change the table or the form, not this file."""\n\n'
        f"FACTORS = {{\n{factors}}}\n"
        '"""LUT6 per counted bit, by feature (see `hwmodels.primitives.transformer_units`): fitted to the rows to fit."""\n\n'
        "# relative errors (median, 90th percentile): in sample; rows that no fit saw; gates among them; by kind of unit\n"
        f"IN_SAMPLE = {result.in_sample}\nTEST = {result.test}\nGATES = {result.gates}\n{kinds}"
        f'BASIS = "{TABLE.name}, {result.rows} units, LUTs after synthesis, tested on {result.test_rows} others"\n\n'
        f"RANGES = {{\n{ranges}}}\n"
        '"""Ranges of the rows to fit, both ends included: bits of a value in fixed point, words of a vector, lanes."""\n\n'
        f"FAMILIES = ({families})\n"
    )


def main() -> int:
    """Fit, write the constants, print the errors to stderr."""
    rows = read_transformer_rows()
    result = fit_transformer(rows)
    CONSTANTS.write_text(render(result, rows))
    print(result, file=sys.stderr)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
