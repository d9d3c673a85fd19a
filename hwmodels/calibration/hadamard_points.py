"""The online Hadamard transforms that the LUT model is compared with: parallel and serial, blocks of 2 to 128 values."""

from __future__ import annotations

import random
from collections.abc import Sequence

from hwmodels.calibration.measure import Point
from hwmodels.devices import Family
from hwmodels.rtl.hadamard import TOP, HadamardUnit, hadamard_verilog
from hwmodels.synth import Design

TEST_SEED, TEST_POINTS = 20261124, 10
MOST_ADDERS = 200
"""Of a drawn test unit: larger ones take minutes to synthesize."""


def _grid() -> list[HadamardUnit]:
    """The planned units: block, bits, lanes."""
    parallel = [(2, 3), (2, 12), (4, 4), (4, 8), (8, 3), (8, 6), (8, 12), (16, 4), (16, 8), (32, 5), (64, 4)]
    serial = [
        (2, 8, 1),
        (4, 5, 1),
        (8, 8, 1),
        (16, 4, 1),
        (16, 8, 4),
        (32, 6, 8),
        (32, 12, 1),
        (64, 8, 2),
        (128, 4, 1),
        (128, 8, 4),
    ]
    units = [HadamardUnit(block, bits, block) for block, bits in parallel]
    units += [HadamardUnit(*each) for each in serial]
    return [*units, HadamardUnit(16, 4, 16, signed=False), HadamardUnit(16, 8, 2, signed=False)]


def _drawn() -> list[HadamardUnit]:
    """The test units."""
    rng = random.Random(TEST_SEED)
    found: dict[HadamardUnit, None] = {}
    while len(found) < TEST_POINTS:
        stages = rng.randint(1, 7)
        lanes = 1 << rng.randint(0, stages)
        unit = HadamardUnit(1 << stages, rng.randint(2, 14), lanes, signed=rng.random() < 0.8)
        if lanes * stages <= MOST_ADDERS and unit not in _grid():
            found[unit] = None
    return list(found)


def units() -> Sequence[tuple[HadamardUnit, str]]:
    """Every unit once, with its use: fit or test."""
    return [*((unit, "fit") for unit in _grid()), *((unit, "test") for unit in _drawn())]


def _point(unit: HadamardUnit, use: str, family: Family) -> Point:
    columns: dict[str, str | int] = {
        "use": use,
        "block": unit.block,
        "bits": unit.bits,
        "lanes": unit.lanes,
        "signed": int(unit.signed),
    }
    return Point(columns, Design(hadamard_verilog(unit), family, TOP))


def points() -> Sequence[Point]:
    """All units on UltraScale+, and every twelfth on 7 series as well."""
    chosen = units()
    plus = [_point(unit, use, Family.XCUP) for unit, use in chosen]
    return [*plus, *(_point(unit, use, Family.XC7) for unit, use in chosen[::12])]
