"""The units of transformers that the LUT model is fitted to and tested on: norms, softmax, scales, rotary positions, gates."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from hwmodels.calibration.draws import with_uses
from hwmodels.calibration.measure import Point
from hwmodels.catalog import parse_element
from hwmodels.devices import Family
from hwmodels.rtl import dynamic, gate, normalize, rotary, softmax
from hwmodels.rtl.dynamic import DynamicUnit, dynamic_verilog
from hwmodels.rtl.gate import GateUnit, gate_verilog
from hwmodels.rtl.normalize import NormUnit, normalize_verilog
from hwmodels.rtl.rotary import RotaryUnit, rotary_verilog
from hwmodels.rtl.softmax import SoftmaxUnit, softmax_verilog
from hwmodels.rtl.transformer_structure import TransformerUnit
from hwmodels.synth import Design

TEST_SEED, TEST_POINTS = 20261129, 30
FORMATS = (
    *("int3", "int4", "int5", "int6", "int7", "int8", "uint8", "int12", "int16", "int16"),
    *("e2m1", "e3m1", "e2m3", "e3m2", "ue2m2", "ue3m2", "finite_e4m3"),
)

NORMS = (
    *(("int8", 64, 1), ("int16", 128, 1), ("int4", 256, 2), ("e2m1", 64, 1), ("e3m2", 128, 1), ("uint8", 32, 2)),
    *(("int6", 96, 4), ("int12", 512, 1)),
)
CENTRED = (("int8", 64, 1), ("int16", 64, 1), ("int4", 96, 2), ("e2m3", 128, 1))
SOFTMAXES = (("int8", 64, 1), ("int16", 256, 1), ("int4", 32, 2), ("e2m1", 17, 1), ("uint8", 128, 4), ("e3m2", 64, 1))
DYNAMICS = ((16, 128, 1, 7), (12, 64, 2, 3), (8, 32, 4, 7), (14, 512, 1, 2))
SHIFTED = ((16, 128, 1, 7), (12, 32, 4, 7), (8, 64, 2, 7), (20, 64, 1, 7))
ROTARIES = (("int8", 32, 1), ("int16", 32, 1), ("int4", 64, 4), ("e2m1", 16, 2), ("uint6", 128, 1))
GATES = (
    *(("int8", "int8", 1), ("int16", "int16", 1), ("uint16", "uint16", 2), ("e2m1", "e2m1", 4), ("e3m2", "e3m2", 2)),
    *(("finite_e4m3", "finite_e4m3", 1), ("int4", "e2m1", 4), ("int8", "e3m2", 2), ("int5", "int12", 2)),
)


def _grid() -> Iterator[TransformerUnit]:
    """The planned units."""
    for name, channels, lanes in NORMS:
        yield NormUnit(parse_element(name), channels, lanes)
    for name, channels, lanes in CENTRED:
        yield NormUnit(parse_element(name), channels, lanes, centred=True)
    for name, channels, lanes in SOFTMAXES:
        yield SoftmaxUnit(parse_element(name), channels, lanes)
    for shifts, shapes in ((False, DYNAMICS), (True, SHIFTED)):
        for bits, block, lanes, digits in shapes:
            yield DynamicUnit(bits, block, lanes, shifts, digits)
    for name, head, lanes in ROTARIES:
        yield RotaryUnit(parse_element(name), head, lanes)
    for first, second, lanes in GATES:
        yield GateUnit(parse_element(first), parse_element(second), lanes)


def _drawn() -> Iterator[TransformerUnit]:
    """The test units: every coordinate drawn; every sixth leaves its products to DSP slices."""
    rng = random.Random(TEST_SEED)
    index = 0
    while True:
        fmt, other = (parse_element(rng.choice(FORMATS)) for _ in range(2))
        lanes, words, dsp = rng.choice((1, 1, 2, 3)), rng.choice((8, 16, 30, 48, 64, 100, 128)), index % 6 == 5
        kind = index % 5
        index += 1
        match kind:
            case 0:
                yield NormUnit(fmt, words * lanes, lanes, rng.random() < 0.4, dsp)
            case 1:
                yield SoftmaxUnit(fmt, words * lanes, lanes, dsp)
            case 2:
                shifts, digits = rng.random() < 0.4, rng.choice((1, 2, 3, 5, 7))
                yield DynamicUnit(rng.randint(6, 17), words * lanes, lanes, shifts, digits, dsp and not shifts)
            case 3:
                yield RotaryUnit(fmt, 1 << rng.randint(4, 7), rng.choice((1, 2)), dsp)
            case _:
                yield GateUnit(fmt, other, lanes)


def units() -> Sequence[tuple[TransformerUnit, str]]:
    """Every unit once, with its use: fit or test."""
    return with_uses(_grid(), _drawn(), TEST_POINTS)


def _columns(unit: TransformerUnit) -> tuple[dict[str, str | int], str, str]:
    """(what the unit is, its Verilog, its top module)."""
    match unit:
        case NormUnit():
            name, text, top = "layer_norm" if unit.centred else "rms_norm", normalize_verilog(unit), normalize.TOP
            shape: dict[str, str | int] = {"format": unit.format.name, "channels": unit.channels}
        case SoftmaxUnit():
            name, text, top = "softmax", softmax_verilog(unit), softmax.TOP
            shape = {"format": unit.format.name, "channels": unit.channels}
        case DynamicUnit():
            name, text, top = "shift_scale" if unit.power_of_two else "scale", dynamic_verilog(unit), dynamic.TOP
            shape = {"format": f"int{unit.bits}", "channels": unit.block, "digits": unit.digits}
        case RotaryUnit():
            name, text, top = "rotary", rotary_verilog(unit), rotary.TOP
            shape = {"format": unit.format.name, "channels": unit.head}
        case GateUnit():
            name, text, top = "gate", gate_verilog(unit), gate.TOP
            shape = {"format": unit.first.name, "second": unit.second.name}
    empty: dict[str, str | int] = {"unit": name, "format": "", "second": "", "channels": "", "digits": ""}
    return empty | shape | {"lanes": unit.lanes, "slices": int(unit.dsp)}, text, top


def _point(unit: TransformerUnit, use: str, family: Family) -> Point:
    columns, text, top = _columns(unit)
    return Point({"use": use, **columns}, Design(text, family, top, unit.dsp))


def points() -> Sequence[Point]:
    """All units on UltraScale+, and every fourteenth on 7 series as well."""
    chosen = units()
    plus = [_point(unit, use, Family.XCUP) for unit, use in chosen]
    return [*plus, *(_point(unit, use, Family.XC7) for unit, use in chosen[::14])]
