"""The FIFOs, width converters, forks, memories and controls that the LUT model is fitted to and tested on."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from hwmodels.calibration.draws import others
from hwmodels.calibration.measure import Point
from hwmodels.devices import Family
from hwmodels.rtl import control, memory, stream
from hwmodels.rtl.control import ControlUnit, control_verilog
from hwmodels.rtl.memory import MemoryUnit, memory_verilog
from hwmodels.rtl.stream import ConverterUnit, DuplicateUnit, FifoUnit, stream_verilog
from hwmodels.synth import Design

Unit = FifoUnit | ConverterUnit | DuplicateUnit | MemoryUnit | ControlUnit

TEST_SEED = 20261129
TEST_POINTS = {ControlUnit: 8, FifoUnit: 8, ConverterUnit: 5, MemoryUnit: 7, DuplicateUnit: 1}
"""Units drawn of each kind."""

PLANNED: tuple[Unit, ...] = (
    ControlUnit(9, 1),
    ControlUnit(16, 8),
    ControlUnit(72, 16),
    ControlUnit(64, 10),
    ControlUnit(27, 64),
    ControlUnit(576, 64),
    ControlUnit(2304, 256),
    ControlUnit(9, 16, buffered=False),
    FifoUnit(1, 2, "registers"),
    FifoUnit(16, 2, "registers"),
    FifoUnit(8, 32, "srl"),
    FifoUnit(16, 64, "srl"),
    FifoUnit(4, 128, "srl"),
    FifoUnit(8, 320, "srl"),
    FifoUnit(2, 1024, "srl"),
    FifoUnit(8, 256, "block"),
    FifoUnit(32, 2048, "block"),
    ConverterUnit(4, 8),
    ConverterUnit(8, 64),
    ConverterUnit(24, 4),
    ConverterUnit(64, 16),
    ConverterUnit(24, 16),
    DuplicateUnit(4, 2),
    DuplicateUnit(16, 3),
    MemoryUnit("rom", 6, 144),
    MemoryUnit("rom", 4, 600),
    MemoryUnit("single", 8, 9),
    MemoryUnit("single", 24, 64),
    MemoryUnit("single", 8, 200),
    MemoryUnit("single", 12, 250),
    MemoryUnit("dual", 8, 48),
    MemoryUnit("dual", 16, 200),
)


def _drawn(kind: type) -> Iterator[Unit]:
    """Test units of one kind: every coordinate drawn."""
    rng = random.Random(TEST_SEED)

    def about(most: int) -> int:
        return round(2 ** rng.uniform(0, most))

    while True:
        if kind is ControlUnit:
            yield ControlUnit(about(11), about(8), buffered=rng.random() < 0.8)
        elif kind is FifoUnit:
            form = rng.choice(("srl", "srl", "block", "registers"))
            yield FifoUnit(rng.randint(4, 32), 2 if form == "registers" else 16 + about(10), form)
        elif kind is ConverterUnit:
            narrow, turns = rng.randint(4, 16), rng.randint(2, 12)
            pair = (narrow, narrow * turns) if rng.random() < 0.5 else (narrow * turns, narrow)
            yield ConverterUnit(*pair)
        elif kind is DuplicateUnit:
            yield DuplicateUnit(rng.randint(4, 32), rng.randint(2, 4))
        else:
            yield MemoryUnit(rng.choice(memory.MEMORY_KINDS), rng.randint(4, 24), 16 + about(9))


def units() -> Sequence[tuple[Unit, str]]:
    """Every unit once, with its use: fit or test."""
    tests = [unit for kind, count in TEST_POINTS.items() for unit in others(PLANNED, _drawn(kind), count)]
    return [*((unit, "fit") for unit in PLANNED), *((unit, "test") for unit in tests)]


def _point(unit: Unit, use: str, family: Family) -> Point:
    columns: tuple[str | int, ...]
    match unit:
        case FifoUnit():
            columns = ("fifo", unit.kind, unit.width, unit.depth, "")
        case ConverterUnit():
            columns = ("converter", "", unit.in_width, "", unit.out_width)
        case DuplicateUnit():
            columns = ("duplicate", "", unit.width, "", unit.copies)
        case MemoryUnit():
            columns = ("memory", unit.kind, unit.width, unit.depth, "")
        case ControlUnit():
            columns = ("control", "buffered" if unit.buffered else "", "", unit.words, unit.folds)
    match unit:
        case MemoryUnit():
            text, top = memory_verilog(unit), memory.TOP
        case ControlUnit():
            text, top = control_verilog(unit), control.TOP
        case _:
            text, top = stream_verilog(unit), stream.TOP
    described: dict[str, str | int] = {"use": use}
    described.update(zip(("part", "kind", "width", "depth", "out"), columns, strict=True))
    return Point(described, Design(text, family, top, shift_registers=True, kept_enables=True))


def points() -> Sequence[Point]:
    """All units on UltraScale+, and three on 7 series as well."""
    chosen = units()
    plus = [_point(unit, use, Family.XCUP) for unit, use in chosen]
    return [*plus, *(_point(unit, use, Family.XC7) for unit, use in chosen[2::12])]
