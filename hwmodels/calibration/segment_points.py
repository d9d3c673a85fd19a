"""Outer stages of segmented units, measured apart from the products, and whole units to test what both models give together.

A row is a unit (formats, lanes, tile or block, dot-product length); `part` says what of it was synthesized: `outer`, what
stands on top of the inner sums, or `whole`. `use` is as in the table of dot-product units: rows to fit are planned, rows to
test are drawn at random and never fitted.

The stage stands in a module of its own below the top: Yosys orders the operands of an adder by its depth in the hierarchy, and
only at the depth that it has in a unit are the rows of its multiplier one LUT6 a bit.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle

from hwmodels.accumulator import bits_by_data_type
from hwmodels.calibration.measure import Point
from hwmodels.catalog import parse_element
from hwmodels.datapath import Accumulator, Datapath, Granularity, Overflow, ScaleKind, Scaling, TensorQuant
from hwmodels.devices import Family
from hwmodels.formats import E8M0, Minifloat, Specials
from hwmodels.primitives.cost import ceil_div, ceil_log2
from hwmodels.rtl.outer import OuterStage, outer_modules
from hwmodels.rtl.scale import ProductScale, Scale, ShiftScale
from hwmodels.rtl.segment import SEGMENT_TOP, SegmentUnit, segment_verilog
from hwmodels.rtl.verilog import RtlError, module, ports_of
from hwmodels.synth import Design

FORMATS = (("int4", "int4"), ("e2m1", "e2m1"), ("int8", "int8"), ("int4", "uint8"), ("e2m1", "int8"), ("e3m2", "int4"))
SEGMENTS = (8, 16, 32, 64, 128)
UE4M3 = Minifloat(4, 3, specials=Specials.NAN, signed=False)
"""The block scale of NVFP4: OCP E4M3 without its sign."""

TEST_SEED, TEST_POINTS, WHOLE_POINTS = 20261123, 32, 24


@dataclass(frozen=True)
class Case:
    """A unit by the choices that a user makes.

    Attributes:
        spare: bits of the inner accumulator above (below, if negative) what every sum of a segment needs.
        scaled: operands with group scales.
        scale: None without; `dropped` of it is subtracted from the outer width.
    """

    formats: tuple[str, str]
    segment: int
    lanes: int
    dot_length: int
    overflow: Overflow
    spare: int = 0
    scaled: int = 0
    scale: Scale | None = None

    def unit(self) -> SegmentUnit:
        """The unit; its outer accumulator holds every sum of scaled segments."""
        weight, activation = map(parse_element, self.formats)
        inner = bits_by_data_type(self.segment, weight, activation) + self.spare
        kind = ScaleKind.FLOAT if isinstance(self.scale, ProductScale) else ScaleKind.POWER_OF_TWO
        group = Scaling(Granularity.GROUP, kind, self.segment)
        first, second = (group if self.scaled > i else Scaling() for i in (0, 1))
        tile = None if self.scaled else self.segment
        path = Datapath(
            TensorQuant(weight, first), TensorQuant(activation, second), Accumulator(inner, tile, self.overflow)
        )
        summand = inner if self.scale is None else self.scale.bits(inner)
        outer = summand + ceil_log2(ceil_div(self.dot_length, self.segment))
        return SegmentUnit(path, self.lanes, outer, scale=self.scale, dropped_bits=0)


def _start(operands: int, reach: int) -> int:
    """The window that holds the scale product 1, as :meth:`ShiftScale.around_one`."""
    return operands * E8M0.exponent_bias // reach * reach


def _tiles() -> Iterator[Case]:
    formats, overflows = cycle(FORMATS), cycle((Overflow.WRAP, Overflow.WRAP, Overflow.SATURATE))
    for segment in SEGMENTS:
        for lanes in (segment, 2 * segment, 4 * segment) if segment < 128 else (segment, 2 * segment):
            for length, spare in ((512, 0), (4096, -3)):
                yield Case(next(formats), segment, lanes, length, next(overflows), spare)
    for units in (3, 5, 8):
        yield Case(("int4", "int4"), 16, 16 * units, 1024, Overflow.WRAP, 0)


def _shifts() -> Iterator[Case]:
    formats, overflows = cycle(FORMATS), cycle((Overflow.WRAP, Overflow.WRAP, Overflow.SATURATE))
    choices = cycle(((16, 0), (16, 0), (8, 0), (32, 0), (16, 4), (32, 12), (16, 0), (8, 3)))
    for segment in SEGMENTS:
        for operands in (1, 2):
            for lanes in (8, segment, 2 * segment):
                reach, dropped = next(choices)
                scale = ShiftScale(_start(operands, reach), reach, dropped)
                yield Case(next(formats), segment, lanes, 1024, next(overflows), 0, operands, scale)
    for units in (4, 3):
        yield Case(("e2m1", "e2m1"), 16, 16 * units, 1024, Overflow.WRAP, 0, 2, ShiftScale(240))
    for spare in (-4, 4, 8):
        yield Case(("int8", "int8"), 32, 8, 1024, Overflow.WRAP, spare, 1, ShiftScale(112))


def _products() -> Iterator[Case]:
    formats, overflows = cycle(FORMATS), cycle((Overflow.WRAP, Overflow.WRAP, Overflow.SATURATE))
    for segment in SEGMENTS:
        for lanes in (segment, 2 * segment) if segment < 64 else (segment,):
            yield Case(next(formats), segment, lanes, 1024, next(overflows), 0, 1, ProductScale())
        yield Case(next(formats), segment, segment, 1024, next(overflows), 0, 1, ProductScale(UE4M3))
    for passes in (2, 3, 4, 6, 8, 16):
        for spare in (0, 4, -2):
            yield Case(
                next(formats),
                16 * passes if passes < 8 else 128,
                8,
                1024,
                next(overflows),
                spare,
                1,
                ProductScale(passes=passes),
            )
    yield Case(("int4", "int4"), 16, 32, 1024, Overflow.WRAP, 0, 1, ProductScale(UE4M3, dropped=6))
    yield Case(("int8", "int8"), 32, 32, 1024, Overflow.WRAP, 0, 1, ProductScale(dropped=8))


def _drawn(rng: random.Random) -> Iterator[Case]:
    """Cases with every choice drawn."""
    while True:
        segment, lanes = rng.choice((8, 16, 24, 32, 48, 64, 96, 128)), rng.choice((4, 8, 16, 32, 48, 64, 96, 128))
        if max(segment, lanes) % min(segment, lanes):
            continue
        cycles = max(segment // lanes, 1)
        scaled = rng.choice((0, 1, 2))
        scale: Scale | None = None
        if scaled and rng.random() < 0.6:
            reach = rng.choice((8, 16, 16, 32))
            scale = ShiftScale(_start(scaled, reach), reach, rng.choice((0, 0, rng.randrange(reach))))
        elif scaled:
            passes = rng.randint(1, min(cycles, 16))
            scaled, scale = 1, rng.choice((ProductScale(passes=passes), ProductScale(UE4M3)))
        formats, length = rng.choice(FORMATS), rng.choice((288, 512, 576, 1024, 2304, 4096))
        overflow = rng.choice((Overflow.WRAP, Overflow.WRAP, Overflow.SATURATE))
        yield Case(formats, segment, lanes, length, overflow, rng.randint(-4, 4), scaled, scale)


def _possible(case: Case) -> SegmentUnit | None:
    """The unit, or None where it is refused (too narrow an accumulator, too wide a product)."""
    try:
        return case.unit()
    except RtlError:
        return None


def cases() -> Sequence[tuple[Case, SegmentUnit, str, str]]:
    """(case, unit, part, use) of every row; each outer stage once."""
    found: list[tuple[Case, SegmentUnit, str, str]] = []
    stages: set[OuterStage] = set()
    for case in (*_tiles(), *_shifts(), *_products()):
        unit = _possible(case)
        if unit is not None and unit.outer not in stages:
            stages.add(unit.outer)
            found.append((case, unit, "outer", "fit"))
    drawn = _drawn(random.Random(TEST_SEED))
    for part, count, lanes in (("outer", TEST_POINTS, 128), ("whole", WHOLE_POINTS, 32)):
        left = count
        while left:
            case = next(drawn)
            unit = _possible(case)
            if unit is not None and unit.outer not in stages and case.lanes <= lanes:
                stages.add(unit.outer)
                found.append((case, unit, part, "test"))
                left -= 1
    return found


def outer_verilog(stage: OuterStage) -> str:
    """The stage below a top module `stage` of the same ports."""
    name = f"{SEGMENT_TOP}_outer"
    text = outer_modules(name, stage)
    ports = ports_of(text, name)
    declared = [f"{kind} wire [{bits - 1}:0] {port}" for port, (kind, bits) in ports.items()]
    return text + module("stage", declared, [f"{name} above ({', '.join(f'.{port}({port})' for port in ports)});"])


def _point(case: Case, unit: SegmentUnit, part: str, use: str, family: Family) -> Point:
    scale = unit.scale
    shift = isinstance(scale, ShiftScale)
    columns: dict[str, str | int] = {
        "use": use,
        "part": part,
        "weight": case.formats[0],
        "activation": case.formats[1],
        "lanes": case.lanes,
        "segment": case.segment,
        "dot_length": case.dot_length,
        "inner": unit.datapath.accumulator.bits,
        "outer": unit.outer_bits,
        "overflow": str(case.overflow),
        "scale": "none" if scale is None else "shift" if shift else scale.format.name,
        "operands": unit.operands,
        "reach": scale.reach if isinstance(scale, ShiftScale) else 0,
        "dropped": 0 if scale is None else scale.dropped,
        "passes": scale.passes if isinstance(scale, ProductScale) else 0,
    }
    if part == "whole":
        return Point(columns, Design(segment_verilog(unit), family, SEGMENT_TOP))
    return Point(columns, Design(outer_verilog(unit.outer), family, "stage"))


def case_of(row: Mapping[str, str]) -> Case:
    """The case that a row of the table describes."""
    operands, reach = int(row["operands"]), int(row["reach"])
    scale: Scale | None = None
    if row["scale"] == "shift":
        scale = ShiftScale(_start(operands, reach), reach, int(row["dropped"]))
    elif row["scale"] != "none":
        scale = ProductScale(parse_element(row["scale"]), int(row["dropped"]), int(row["passes"]))
    formats, segment = (row["weight"], row["activation"]), int(row["segment"])
    spare = int(row["inner"]) - bits_by_data_type(segment, *map(parse_element, formats))
    overflow, lanes, length = Overflow(row["overflow"]), int(row["lanes"]), int(row["dot_length"])
    return Case(formats, segment, lanes, length, overflow, spare, operands, scale)


def points() -> Sequence[Point]:
    """All rows on UltraScale+, and every ninth on 7 series as well."""
    chosen = cases()
    plus = [_point(*case, Family.XCUP) for case in chosen]
    return [*plus, *(_point(*case, Family.XC7) for case in chosen[::9])]
