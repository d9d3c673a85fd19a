"""Measure ``fmax_ecp5.csv``: ``python -m hwmodels.calibration.measure_fmax [--workers N] [--cache FOLDER]``.

Units of the formats that people compare, each as it is and with a register behind the multipliers, placed and routed on a
Lattice ECP5 (:mod:`hwmodels.timing`).
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from hwmodels.calibration.measure import FOLDER, write_table
from hwmodels.catalog import parse_element
from hwmodels.datapath import Accumulator, Datapath, Overflow, tensor_quant
from hwmodels.nextpnr import TimingError
from hwmodels.rtl.unit import DotUnit, unit_verilog
from hwmodels.timing import TIME_LIMIT_S, Timing, time_all

TABLE = FOLDER / "fmax_ecp5.csv"
LANES, ACCUMULATOR_BITS = 8, 24

PAIRS = tuple(
    tuple(names.split())
    for names in (
        *(f"int{bits} int{bits}" for bits in range(2, 9)),
        "int2 int8",
        "int4 int8",
        "int4 uint4",
        "int4 uint8",
        "int8 uint8",
        *(f"{name} {name}" for name in ("e2m1", "e3m0", "e2m2", "e3m1", "e2m3", "e3m2", "e2m4", "e3m3", "e3m4")),
        "finite_e4m3 finite_e4m3",
        "finite_e5m2 finite_e5m2",
        "e2m1 int4",
        "e2m1 int8",
        "e2m1 uint4",
        "e3m2 int8",
        "finite_e4m3 e2m1",
    )
)
"""Weight and activation formats of the table's rows."""


def units() -> Sequence[DotUnit]:
    """One unit per row."""
    made = []
    for names in PAIRS:
        weight, activation = (tensor_quant(parse_element(name)) for name in names)
        path = Datapath(weight, activation, Accumulator(ACCUMULATOR_BITS, overflow=Overflow.WRAP))
        made += [DotUnit(path, LANES, pipeline=pipeline) for pipeline in (False, True)]
    return made


def row(unit: DotUnit, timing: Timing) -> dict[str, str | int | float]:
    """One line of the table."""
    return {
        "tool": timing.tool,
        "part": timing.part,
        "weight": unit.weight.name,
        "activation": unit.activation.name,
        "lanes": unit.lanes,
        "accumulator": unit.bits,
        "dropped": unit.dropped,
        "pipeline": int(unit.pipeline),
        "fmax_mhz": timing.fmax_mhz,
        "fmax_least": min(timing.fmax_by_seed),
        "fmax_most": max(timing.fmax_by_seed),
        "comb": timing.comb,
        "lut4": timing.lut4,
        "ccu2c": timing.ccu2c,
        "ff": timing.ff,
    }


def main() -> int:
    """Measure the table."""
    parser = argparse.ArgumentParser(prog="python -m hwmodels.calibration.measure_fmax", description="Time a table.")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--cache", type=Path, default=Path("results/.synth"))
    parser.add_argument("--limit", type=float, default=TIME_LIMIT_S, help="seconds per synthesis and per seed")
    asked = parser.parse_args()
    chosen = units()
    found: dict[int, Timing] = {}
    for index, outcome in time_all([unit_verilog(unit) for unit in chosen], asked.cache, asked.workers, asked.limit):
        if isinstance(outcome, TimingError):
            raise TimingError(f"{chosen[index].weight} x {chosen[index].activation}: {outcome}")
        found[index] = outcome
        print(f"\r{len(found)} / {len(chosen)}", end="", file=sys.stderr, flush=True)
    write_table([row(unit, found[index]) for index, unit in enumerate(chosen)], TABLE)
    print(f"\nwrote {TABLE.name}, {len(chosen)} points", file=sys.stderr)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
