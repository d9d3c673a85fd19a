"""How fast a datapath's unit is beside one of INT8: looked up in measured rows, on another maker's part.

The rows (``calibration/fmax_ecp5.csv``, written by ``python -m hwmodels.calibration.measure_fmax``) are units of 8 lanes and
P = 24, placed and routed by nextpnr on a Lattice ECP5. Only ratios of them are given: they say which format is slower, never
what a Xilinx part clocks at. Nothing in the cost model reads them.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeAlias

from hwmodels.catalog import parse_element
from hwmodels.datapath import Datapath, Multiplier
from hwmodels.formats import ElementFormat, IntFormat

TABLE = Path(__file__).parent / "calibration" / "fmax_ecp5.csv"
REFERENCE = "int8"

_Shape: TypeAlias = tuple[int | bool, ...]
_Key: TypeAlias = tuple[_Shape, _Shape, bool]


@dataclass(frozen=True)
class RelativeFmax:
    """Fmax over that of INT8 x INT8, both with or both without a register behind the multipliers.

    Attributes:
        ratio: of the medians over the placer's seeds. least, most: of the extremes of the seeds.
        basis: what was measured.
    """

    ratio: float
    least: float
    most: float
    basis: str

    def __str__(self) -> str:
        return f"{self.ratio:.2f} ({self.least:.2f} to {self.most:.2f}) times that of INT8 x INT8: {self.basis}"

    def as_dict(self) -> dict[str, Any]:
        """A plain description for JSON."""
        return asdict(self)


def relative_fmax(datapath: Datapath, *, pipeline: bool = True) -> RelativeFmax | None:
    """The ratio that was measured for these two formats, in either order.

    None where there is no row, for DSP slices, and for floating-point accumulators.

    What a format's top codes mean and whether an integer is narrow leave out codes, not hardware, so they are not looked at.
    Accumulator and lanes are those of the rows, whatever the datapath's: their carry chains are longer for every format alike
    (assumed).

    Args:
        pipeline: with a register behind the multipliers, as the cost model's units have it.
    """
    rows = _rows()
    weight, activation = _shape(datapath.weight.format), _shape(datapath.activation.format)
    row = rows.get((weight, activation, pipeline)) or rows.get((activation, weight, pipeline))
    fixed_point = datapath.accumulator.mantissa_bits is None
    if row is None or datapath.multiplier is not Multiplier.LUT or not fixed_point:
        return None
    integer = _shape(parse_element(REFERENCE))
    reference = rows[integer, integer, pipeline]
    ratio, least, most = (
        float(row[a]) / float(reference[b])
        for a, b in (("fmax_mhz", "fmax_mhz"), ("fmax_least", "fmax_most"), ("fmax_most", "fmax_least"))
    )
    register = "a register" if pipeline else "no register"
    basis = (
        f"{row['weight']} x {row['activation']}, {row['lanes']} lanes, P = {row['accumulator']}, {register} behind the "
        f"multipliers, on {row['part']} ({row['tool']})"
    )
    return RelativeFmax(round(ratio, 4), round(least, 4), round(most, 4), basis)


def _shape(fmt: ElementFormat) -> _Shape:
    if isinstance(fmt, IntFormat):
        return fmt.bits, fmt.signed
    return fmt.exponent_bits, fmt.mantissa_bits, fmt.signed, fmt.subnormals


@lru_cache(maxsize=1)
def _rows() -> Mapping[_Key, Mapping[str, str]]:
    found = {}
    with TABLE.open(newline="") as file:
        for row in csv.DictReader(file):
            weight, activation = (_shape(parse_element(row[name])) for name in ("weight", "activation"))
            found[weight, activation, row["pipeline"] == "1"] = row
    return found
