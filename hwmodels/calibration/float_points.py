"""The floating-point dot-product units that `hwmodels.float_cost` is fitted to and tested on.

`use` says what a row is for: rows to fit are planned or drawn at random from the whole space, rows to test are drawn with
another seed, and the fit never sees them. A unit is a chain of adders as deep as its tree, which synthesis takes long over: few
lanes show what a lane and an adder cost.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from itertools import islice

from hwmodels.accumulator import float_exponent_bits
from hwmodels.calibration.draws import with_uses
from hwmodels.calibration.measure import Point
from hwmodels.datapath import Accumulator, Datapath, TensorQuant
from hwmodels.devices import Family
from hwmodels.formats import Minifloat
from hwmodels.rtl.float_tree import FloatUnit, float_unit_verilog
from hwmodels.synth import Design

MINIFLOATS = tuple(Minifloat(e, bits - 1 - e) for bits in range(3, 9) for e in range(2, min(bits, 6)))
"""Splits of 3 to 8 bits with two to five exponent bits, all codes finite; one exponent bit is an integer grid."""

DOT_LENGTH = 1024
"""Products that the exponent of every accumulator here holds the sum of, where none is given."""

FIT_SEED, FIT_POINTS = 20261128, 100
TEST_SEED, TEST_POINTS = 20261127, 40


def _unit(
    weight: Minifloat,
    activation: Minifloat,
    lanes: int,
    mantissa_bits: int,
    dot_length: int = DOT_LENGTH,
    more: int = 0,
) -> FloatUnit:
    exponent_bits = float_exponent_bits(max(dot_length, lanes), weight, activation) + more
    accumulator = Accumulator(1 + exponent_bits + mantissa_bits, mantissa_bits=mantissa_bits)
    return FloatUnit(Datapath(TensorQuant(weight), TensorQuant(activation), accumulator), lanes)


def _grid() -> Iterator[FloatUnit]:
    """The planned units."""
    for i, fmt in enumerate(MINIFLOATS):
        yield _unit(fmt, fmt, (1, 2, 3)[i % 3], (10, 7, 5, 8)[i % 4])
    e2m1, e4m3, e5m2, e3m4 = Minifloat(2, 1), Minifloat(4, 3), Minifloat(5, 2), Minifloat(3, 4)
    for mantissa in (3, 6, 14, 23):
        yield _unit(e4m3, e4m3, 1, mantissa)
        yield _unit(e2m1, e2m1, 2, mantissa)
    for pair in ((e4m3, e2m1), (e5m2, e3m4)):
        yield _unit(*pair, 2, 10)
    for more in (1, 2):
        yield _unit(e2m1, e4m3, 1, 10, more=more)
    for fmt in (e2m1, e4m3):
        yield _unit(fmt, fmt, 4, 10)
        yield _unit(fmt, fmt, 8, 10)
    for fmt in (e5m2, e3m4):
        yield _unit(fmt, fmt, 8, 10)


def _drawn(seed: int) -> Iterator[FloatUnit]:
    """Units with every coordinate drawn."""
    rng = random.Random(seed)
    while True:
        pair = rng.choice(MINIFLOATS), rng.choice(MINIFLOATS)
        yield _unit(
            *pair,
            rng.choice((1, 1, 2, 2, 3, 4, 5, 6)),
            rng.randint(3, 16),
            1 << rng.randint(3, 12),
            rng.choice((0, 0, 1)),
        )


def units() -> Sequence[tuple[FloatUnit, str]]:
    """Every unit once, with its use: fit or test."""
    return with_uses((*_grid(), *islice(_drawn(FIT_SEED), FIT_POINTS)), _drawn(TEST_SEED), TEST_POINTS)


def points() -> Sequence[Point]:
    """All units on UltraScale+, and every eighth on 7 series as well."""
    found = []
    for i, (unit, use) in enumerate(units()):
        columns: dict[str, str | int] = {
            "use": use,
            "weight": unit.weight.name,
            "activation": unit.activation.name,
            "lanes": unit.lanes,
            "exponent": unit.exponent_bits,
            "mantissa": unit.mantissa_bits,
        }
        text = float_unit_verilog(unit)
        for family in (Family.XCUP, Family.XC7)[: 1 + (i % 8 == 0)]:
            found.append(Point(columns, Design(text, family)))
    return found
