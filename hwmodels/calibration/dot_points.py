"""The dot-product units that the LUT model is fitted to and tested on: every format, lane count and accumulator of a sweep.

`use` says what a row is for: rows to fit are a planned grid and units drawn at random from the whole space (formats, lanes and
widths at once); rows to test are drawn alike with another seed. The fit never sees them.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import combinations_with_replacement, islice, product

from hwmodels.calibration.draws import with_uses
from hwmodels.calibration.measure import Point
from hwmodels.datapath import Accumulator, Datapath, Overflow, TensorQuant
from hwmodels.devices import Family
from hwmodels.formats import ElementFormat, IntFormat, Minifloat
from hwmodels.primitives.operands import operands
from hwmodels.rtl.unit import DotUnit, unit_verilog
from hwmodels.rtl.verilog import RtlError
from hwmodels.synth import Design

Pair = tuple[ElementFormat, ElementFormat]

INTEGERS = tuple(IntFormat(bits) for bits in range(2, 9))
UNSIGNED = tuple(IntFormat(bits, signed=False) for bits in range(1, 9))
SPLITS = tuple(Minifloat(e, bits - 1 - e) for bits in range(3, 9) for e in range(1, bits))
"""All splits of 3 to 8 bits, with all codes finite."""

UNSIGNED_MINIFLOATS = tuple(replace(fmt, signed=False) for fmt in SPLITS if fmt.mantissa_bits and fmt.exponent_bits > 1)
"""What activations without a sign may be; with one exponent bit they are unsigned integers, without a mantissa powers of two."""

COMMON: tuple[Pair, ...] = (
    (IntFormat(2), IntFormat(2)),
    (IntFormat(3), IntFormat(4)),
    (IntFormat(4), IntFormat(4)),
    (IntFormat(4), IntFormat(8, signed=False)),
    (IntFormat(6), IntFormat(6)),
    (IntFormat(8), IntFormat(8)),
    (Minifloat(2, 1), Minifloat(2, 1)),
    (Minifloat(2, 1), IntFormat(8)),
    (Minifloat(3, 0), Minifloat(3, 0)),
    (Minifloat(2, 3), Minifloat(2, 3)),
    (Minifloat(3, 2), Minifloat(3, 2)),
    (Minifloat(3, 2), IntFormat(4)),
    (Minifloat(4, 3), Minifloat(4, 3)),
    (Minifloat(4, 3), Minifloat(2, 1)),
    (Minifloat(5, 2), Minifloat(5, 2)),
)
"""Pairs that lane counts and accumulator widths are varied on."""

ACCUMULATORS = (8, 10, 12, 14, 16, 18, 20, 22, 26, 28, 32, 36, 40, 44, 48)
FIT_SEED, FIT_POINTS = 20261128, 150
TEST_SEED, TEST_POINTS = 20261127, 150


def _unit(
    pair: Pair,
    lanes: int = 8,
    bits: int = 24,
    overflow: Overflow = Overflow.WRAP,
    dropped: int | None = None,
) -> DotUnit:
    weight, activation = pair
    path = Datapath(TensorQuant(weight), TensorQuant(activation), Accumulator(bits, overflow=overflow))
    return DotUnit(path, lanes, dropped_bits=dropped)


def _possible(pair: Pair, lanes: int, bits: int, overflow: Overflow, dropped: int | None) -> DotUnit | None:
    """The unit, or None where its accumulator is too narrow for it (what is refused cannot be measured)."""
    try:
        return _unit(pair, lanes, bits, overflow, dropped)
    except RtlError:
        return None


def _pairs() -> Iterator[DotUnit]:
    """Every pair of signed formats in one order, every signed format with every unsigned one; the common ones in both orders."""
    signed: tuple[ElementFormat, ...] = (*INTEGERS, *SPLITS)
    unsigned: tuple[ElementFormat, ...] = (*UNSIGNED, *UNSIGNED_MINIFLOATS)
    yield from map(_unit, combinations_with_replacement(signed, 2))
    yield from map(_unit, product(signed, unsigned))
    yield from map(_unit, COMMON)


def _shapes() -> Iterator[DotUnit | None]:
    """The common pairs over lanes, accumulator widths, overflow and dropped bits."""
    for pair in COMMON:
        for lanes in (1, 2, 3, 4, 12, 16, 32):
            yield _unit(pair, lanes, 24 if operands(*pair).product_bits < 24 else 28)
    for lanes, few in ((64, COMMON[::3]), (128, COMMON[:7:3])):
        for pair in few:
            yield _unit(pair, lanes, 32)
    for i, pair in enumerate(COMMON):
        for bits in ACCUMULATORS[i % 2 :: 2]:
            yield _possible(pair, 8, bits, Overflow.WRAP, None)
        for bits in (16, 24, 32):
            yield _possible(pair, 8, bits, Overflow.SATURATE, None)
            yield _possible(pair, 8, bits, Overflow.WRAP, 0)


def _drawn(seed: int) -> Iterator[DotUnit]:
    """Units with every coordinate drawn."""
    rng = random.Random(seed)
    everything: tuple[ElementFormat, ...] = (*INTEGERS, *SPLITS)
    while True:
        pair = rng.choice(everything), rng.choice((*everything, *UNSIGNED, *UNSIGNED_MINIFLOATS))
        lanes = rng.choice((1, 2, 3, 4, 5, 6, 8, 9, 12, 16, 18, 24, 32, 48))
        bits = rng.randint(8, 48)
        overflow = rng.choice((Overflow.WRAP, Overflow.WRAP, Overflow.SATURATE))
        dropped = rng.choice((None, None, 0))
        unit = _possible(pair, lanes, bits, overflow, dropped)
        if unit is not None:
            yield unit


def units() -> Sequence[tuple[DotUnit, str]]:
    """Every unit once, with its use: fit or test."""
    planned = (unit for unit in (*_pairs(), *_shapes()) if unit is not None)
    return with_uses((*planned, *islice(_drawn(FIT_SEED), FIT_POINTS)), _drawn(TEST_SEED), TEST_POINTS)


def _point(unit: DotUnit, use: str, family: Family) -> Point:
    columns: dict[str, str | int] = {
        "use": use,
        "weight": unit.weight.name,
        "activation": unit.activation.name,
        "lanes": unit.lanes,
        "accumulator": unit.bits,
        "overflow": str(unit.overflow),
        "dropped": unit.dropped,
    }
    return Point(columns, Design(unit_verilog(unit), family))


def points() -> Sequence[Point]:
    """All units on UltraScale+, and every 48th on 7 series as well (the LUT6 is the same, the carry chain is not)."""
    chosen = units()
    plus = [_point(unit, use, Family.XCUP) for unit, use in chosen]
    return [*plus, *(_point(unit, use, Family.XC7) for unit, use in chosen[::48])]
