"""The residual adds and pooling units that the LUT model is fitted to and tested on."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from hwmodels.calibration.draws import with_uses
from hwmodels.calibration.measure import Point
from hwmodels.catalog import parse_element
from hwmodels.devices import Family
from hwmodels.rtl.elementwise import POOL_KINDS, TOP, AddUnit, PoolUnit, elementwise_verilog
from hwmodels.synth import Design

INTEGERS = ("int2", "int4", "int6", "int8", "uint4", "uint8")
MINIFLOATS = (
    *("e2m0", "e2m1", "e3m0", "e2m2", "e3m1", "e4m0", "e2m3", "e3m2", "e4m1", "e2m4", "e3m3", "e4m2", "e5m1"),
    *("e2m5", "e3m4", "finite_e4m3", "finite_e5m2", "ue3m2", "ocp_e4m3"),
)
TEST_SEED, TEST_POINTS = 20261127, 24


def _grid() -> Iterator[AddUnit | PoolUnit]:
    """The planned units."""
    for name in (*INTEGERS, *MINIFLOATS):
        yield AddUnit(parse_element(name))
    for i, name in enumerate(("int4", "int8", "uint8", "e2m1", "e3m2", "e2m4", "finite_e4m3", "finite_e5m2")):
        for kind in POOL_KINDS:
            yield PoolUnit(parse_element(name), (4, 9, 64)[i % 3], kind)


def _drawn() -> Iterator[AddUnit | PoolUnit]:
    """The test units: every coordinate drawn."""
    rng = random.Random(TEST_SEED)
    more = ("int3", "int5", "int7", "uint2", "uint5", "uint6", "ue2m2", "ue4m4", "e6m1", "ue2m1", "e1m5", "ocp_e5m2")
    while True:
        fmt = parse_element(rng.choice((*INTEGERS, *MINIFLOATS, *more)))
        yield (
            PoolUnit(fmt, rng.choice((2, 4, 9, 16, 49, 64)), rng.choice(POOL_KINDS))
            if rng.random() < 0.5
            else AddUnit(fmt)
        )


def units() -> Sequence[tuple[AddUnit | PoolUnit, str]]:
    """Every unit once, with its use: fit or test."""
    return with_uses(_grid(), _drawn(), TEST_POINTS)


def _point(unit: AddUnit | PoolUnit, use: str, family: Family) -> Point:
    columns: dict[str, str | int] = {"use": use, "operation": "add", "format": unit.format.name, "window": ""}
    if isinstance(unit, PoolUnit):
        columns |= {"operation": unit.kind, "window": unit.window}
    return Point(columns, Design(elementwise_verilog(unit), family, TOP))


def points() -> Sequence[Point]:
    """All units on UltraScale+, and every twelfth on 7 series as well."""
    chosen = units()
    plus = [_point(unit, use, Family.XCUP) for unit, use in chosen]
    return [*plus, *(_point(unit, use, Family.XC7) for unit, use in chosen[::12])]
