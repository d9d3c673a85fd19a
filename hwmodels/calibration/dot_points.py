"""The dot-product units that the LUT model is fitted to and tested on: every format, lane count and accumulator of a sweep.

`use` says what a row is for: rows to fit are a planned grid; rows to test are drawn at random from the whole space (formats,
lanes and widths at once), with the seed below, and were synthesized after the form was frozen. The fit never sees them.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import combinations_with_replacement, product

from hwmodels.calibration.measure import Point
from hwmodels.datapath import Accumulator, Datapath, Overflow, TensorQuant
from hwmodels.devices import Family
from hwmodels.formats import ElementFormat, IntFormat, Minifloat
from hwmodels.primitives.operands import operands
from hwmodels.rtl.unit import DotUnit, unit_verilog
from hwmodels.rtl.verilog import RtlError
from hwmodels.synth import Design

INTEGERS = tuple(IntFormat(bits) for bits in range(2, 9))
UNSIGNED = tuple(IntFormat(bits, signed=False) for bits in range(1, 9))
SPLITS = tuple(Minifloat(e, bits - 1 - e) for bits in range(3, 9) for e in range(1, bits))
"""All splits of 3 to 8 bits, with all codes finite."""

MINIFLOATS = tuple(fmt for fmt in SPLITS if fmt.mantissa_bits)
"""The 21 with a mantissa."""

POWERS_OF_TWO = tuple(fmt for fmt in SPLITS if not fmt.mantissa_bits)

COMMON = tuple(
    (a, b)
    for a, b in (
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
)
"""Pairs that lane counts and accumulator widths are varied on."""

ACCUMULATORS = (8, 10, 12, 14, 16, 18, 20, 22, 26, 28, 32, 36, 40, 44, 48)
WIDEST_PAIR = 11
TEST_SEED = 20261123
TEST_POINTS = 65


def _unit(
    pair: tuple[ElementFormat, ElementFormat],
    lanes: int = 8,
    bits: int = 24,
    overflow: Overflow = Overflow.WRAP,
    dropped: int | None = None,
) -> DotUnit:
    weight, activation = pair
    path = Datapath(TensorQuant(weight), TensorQuant(activation), Accumulator(bits, overflow=overflow))
    return DotUnit(path, lanes, dropped_bits=dropped)


def _possible(
    pair: tuple[ElementFormat, ElementFormat], lanes: int, bits: int, overflow: Overflow, dropped: int | None
) -> DotUnit | None:
    """The unit, or None where its accumulator is too narrow for it (what is refused cannot be measured)."""
    try:
        return _unit(pair, lanes, bits, overflow, dropped)
    except RtlError:
        return None


def _pairs() -> Iterator[DotUnit]:
    """Every pair of formats of up to WIDEST_PAIR bits together; of wider ones all integers, all of a format with itself, what the
    figures show, and every format of 4, 6 and 8 bits with 8-bit activations. None stands in both orders but for the latter."""
    signed: tuple[ElementFormat, ...] = (*INTEGERS, *SPLITS)
    pairs = [*combinations_with_replacement(signed, 2), *product(signed, UNSIGNED)]
    selected = {(unit.activation, unit.weight) for unit in _selected_pairs()}
    for weight, activation in sorted(pairs, key=lambda pair: pair[0].bits + pair[1].bits):
        if (weight, activation) in selected:
            continue
        integers = isinstance(weight, IntFormat) and isinstance(activation, IntFormat)
        eight_bit = weight.bits in (4, 6, 8) and activation == IntFormat(8, signed=False)
        if integers or eight_bit or weight == activation or weight.bits + activation.bits <= WIDEST_PAIR:
            yield _unit((weight, activation))
    for pair in COMMON:
        yield _unit(pair)


def _selected_pairs() -> Iterator[DotUnit]:
    """Of unsigned minifloats and those without a mantissa: themselves, and others at a changing distance."""
    signed: tuple[ElementFormat, ...] = (*INTEGERS, *MINIFLOATS)
    for i, fmt in enumerate(SPLITS):
        yield _unit((fmt, replace(fmt, signed=False)))
        if not fmt.mantissa_bits:
            yield _unit((fmt, fmt))
            for step in (1, 4, 9, 13):
                yield _unit((fmt, signed[(i + step) % len(signed)]))


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


def _drawn() -> Iterator[DotUnit]:
    """The test units: every coordinate drawn."""
    rng = random.Random(TEST_SEED)
    everything: tuple[ElementFormat, ...] = (*INTEGERS, *SPLITS)
    while True:
        pair = rng.choice(everything), rng.choice((*everything, *UNSIGNED))
        lanes = rng.choice((1, 2, 3, 4, 5, 6, 8, 9, 12, 16, 18, 24, 32, 48))
        bits = rng.randint(8, 48)
        overflow = rng.choice((Overflow.WRAP, Overflow.WRAP, Overflow.SATURATE))
        dropped = rng.choice((None, None, 0))
        unit = _possible(pair, lanes, bits, overflow, dropped)
        if unit is not None:
            yield unit


def units() -> Sequence[tuple[DotUnit, str]]:
    """Every unit once, with its use: fit or test."""
    planned = dict.fromkeys(unit for unit in (*_selected_pairs(), *_shapes(), *_pairs()) if unit is not None)
    tests: dict[DotUnit, None] = {}
    for unit in _drawn():
        if unit not in planned:
            tests[unit] = None
        if len(tests) == TEST_POINTS:
            break
    return [*((unit, "fit") for unit in planned), *((unit, "test") for unit in tests)]


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
    """All units on UltraScale+, and every 36th on 7 series as well (the LUT6 is the same, the carry chain is not)."""
    chosen = units()
    plus = [_point(unit, use, Family.XCUP) for unit, use in chosen]
    return [*plus, *(_point(unit, use, Family.XC7) for unit, use in chosen[::36])]
