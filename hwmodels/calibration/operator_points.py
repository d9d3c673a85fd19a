"""The zero paddings and label selections that the LUT models are fitted to and tested on."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from hwmodels.calibration.measure import Point
from hwmodels.devices import Family
from hwmodels.rtl import label_select, padding
from hwmodels.rtl.label_select import LabelUnit, label_select_verilog
from hwmodels.rtl.padding import PadUnit, Span, padding_verilog
from hwmodels.synth import Design

Unit = PadUnit | LabelUnit

TEST_SEED, TEST_POINTS = 20261127, 14
"""Points of each kind."""

_MOST_COMPARED_BITS = 160  # of all comparators of a unit drawn at random, for time


def _grid() -> Iterator[Unit]:
    """The planned units."""
    for size in (4, 8, 14, 28, 56, 112, 224):
        yield PadUnit(8, 1, Span(1, size, 1), Span(1, size, 1))
    for size, words, zeros in ((8, 16, 1), (16, 8, 1), (32, 4, 1), (14, 128, 1), (7, 64, 1), (32, 3, 2), (224, 3, 3)):
        yield PadUnit(16, words, Span(zeros, size, zeros), Span(zeros, size, zeros))
    for size, words in ((8, 1), (32, 4), (28, 16), (112, 1), (56, 2)):
        yield PadUnit(4, words, Span(0, size, 1), Span(0, size, 1))
    for size, words in ((16, 1), (30, 8)):
        yield PadUnit(12, words, Span(0, 1, 0), Span(2, size, 2))
        yield PadUnit(12, words, Span(1, size, 1), Span(0, size, 0))
    for bits, labels in ((8, 10), (16, 10), (24, 10), (12, 100), (16, 1000), (20, 16), (14, 37), (11, 5)):
        yield LabelUnit(bits, labels)
    for bits, labels, pe in (
        *((16, 10, 2), (12, 10, 5), (12, 10, 10), (16, 1000, 2), (16, 1000, 5), (20, 16, 4), (9, 16, 16), (16, 100, 4)),
        *((24, 10, 2), (13, 12, 3), (8, 64, 8), (7, 21, 7)),
    ):
        yield LabelUnit(bits, labels, pe)


def _drawn_padding(rng: random.Random) -> PadUnit:
    zeros = rng.choice(((1, 1), (1, 1), (2, 2), (3, 3), (0, 1), (1, 0), (1, 2)))
    height, width = rng.randint(4, 128), rng.randint(4, 128)
    words = rng.choice((1, 1, 2, 3, 4, 8, 16, 24, 32, 64))
    rows, columns = Span(zeros[0], height, zeros[1]), Span(zeros[0], width, zeros[1])
    if rng.random() < 0.15:
        rows = Span(0, height, 0)
    return PadUnit(rng.randint(2, 32), words, rows, columns)


def _drawn_labels(rng: random.Random) -> LabelUnit:
    while True:
        pe, words, bits = rng.choice((1, 1, 1, 2, 3, 4, 5, 8)), rng.randint(1, 250), rng.randint(4, 28)
        if pe * words > 1 and pe * bits <= _MOST_COMPARED_BITS:
            return LabelUnit(bits, pe * words, pe)


def units() -> Sequence[tuple[Unit, str]]:
    """Every unit once, with its use: fit or test."""
    planned, rng = dict.fromkeys(_grid()), random.Random(TEST_SEED)
    found: list[tuple[Unit, str]] = [(unit, "fit") for unit in planned]
    for draw in (_drawn_padding, _drawn_labels):
        tests: dict[Unit, None] = {}
        while len(tests) < TEST_POINTS:
            unit = draw(rng)
            if unit not in planned:
                tests[unit] = None
        found += [(unit, "test") for unit in tests]
    return found


def _point(unit: Unit, use: str, family: Family) -> Point:
    columns: dict[str, str | int] = {"use": use, "bits": unit.bits}
    match unit:
        case PadUnit():
            columns |= {"words": unit.words, "rows": _text(unit.rows), "columns": _text(unit.columns)}
            columns |= {"labels": "", "pe": ""}
            return Point(columns, Design(padding_verilog(unit), family, padding.TOP))
        case LabelUnit():
            columns |= {"words": "", "rows": "", "columns": "", "labels": unit.labels, "pe": unit.pe}
            return Point(columns, Design(label_select_verilog(unit), family, label_select.TOP))


def _text(span: Span) -> str:
    return f"{span.before}+{span.inside}+{span.after}"


def points() -> Sequence[Point]:
    """All units on UltraScale+, and every twelfth on 7 series as well."""
    chosen = units()
    plus = [_point(unit, use, Family.XCUP) for unit, use in chosen]
    return [*plus, *(_point(unit, use, Family.XC7) for unit, use in chosen[::12])]
