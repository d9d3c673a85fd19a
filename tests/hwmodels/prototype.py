"""The prototype's synthesis table (Yosys 0.70, UltraScale+): units that ours must not be larger than."""

import csv
from pathlib import Path

from hwmodels.formats import ElementFormat, IntFormat, Minifloat

TABLE = Path(__file__).parents[1] / "golden" / "synth" / "prototype_xcup_yosys0.70.csv"


def table_format(name: str) -> ElementFormat:
    """The format of the table's spelling: INT4, UINT4, E2M1 (all codes finite)."""
    if name.startswith("E"):
        exponent, _, mantissa = name[1:].partition("M")
        return Minifloat(int(exponent), int(mantissa))
    return IntFormat(int(name.removeprefix("U").removeprefix("INT")), signed=not name.startswith("U"))


def rows(kind: str, **columns: str) -> list[dict[str, str]]:
    """The rows of a kind (`mul`, `dot`) with these values in these columns."""
    with TABLE.open(newline="") as file:
        wanted = {"kind": kind, **columns}.items()
        return [row for row in csv.DictReader(file) if wanted <= row.items()]
