"""The requantizers that the LUT model is fitted to and tested on: every form of scale, thresholds, integers and minifloats.

Scaled sums reach `clip` binades above the output's largest number, so that rounding has bits to drop and to clamp. `use` is
as in the table of dot-product units: rows to fit are planned or drawn from the whole space, rows to test drawn with another
seed and never fitted.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from itertools import islice

from hwmodels.calibration.draws import with_uses
from hwmodels.calibration.measure import Point
from hwmodels.catalog import parse_element
from hwmodels.devices import Family
from hwmodels.primitives.scale import SCALE_BITS
from hwmodels.rtl import requantize, thresholds
from hwmodels.rtl.requantize import RequantizeUnit, ScaleForm, clipping_unit, requantize_verilog
from hwmodels.rtl.thresholds import ThresholdUnit, thresholds_verilog
from hwmodels.synth import Design

Unit = RequantizeUnit | ThresholdUnit

INTEGERS = ("int2", "int4", "int8", "uint2", "uint4", "uint6", "uint8", "int4_narrow")
MINIFLOATS = (
    *("e2m0", "e2m1", "e3m0", "e2m2", "e3m1", "e4m0", "e2m3", "e3m2", "e4m1", "e2m4", "e3m3", "e4m2", "e5m1"),
    *("e2m5", "e3m4", "finite_e4m3", "finite_e5m2", "ue3m2", "ocp_e4m3"),
)
COMMON = ("int4", "uint8", "e2m1", "finite_e4m3")
CONSTANTS = (57344, 33760, 63519, 48125, 37062, 41315, 48363, 60747)
"""Normalized 16-bit mantissas that take 1 to 8 adders."""

FIT_SEED, FIT_POINTS = 20261128, 200
TEST_SEED, TEST_POINTS = 20261127, 80
SEARCHES = ((12, "int4", 4), (20, "uint4", 2), (24, "uint8", 8), (24, "uint8", 4), (16, "e3m2", 3))
"""Threshold searches of several passes: bits of the sum, output, passes."""

CLIPS = (0, 1, 2, 4)
DRAWN_FORMS = (ScaleForm.MULTIPLIER, ScaleForm.CONSTANT, ScaleForm.SHIFTER, ScaleForm.WIRES)


def _scaled(
    sum_bits: int,
    output: str,
    form: ScaleForm,
    *,
    clip: int = 1,
    bias: bool = True,
    value: int | None = None,
    passes: int = 1,
) -> RequantizeUnit:
    return clipping_unit(sum_bits, parse_element(output), form, clip=clip, bias=bias, value=value, passes=passes)


def _plain() -> Iterator[Unit]:
    """Planned units without constants or memories: wires, multipliers, multipliers of several passes."""
    for i, output in enumerate((*INTEGERS, *MINIFLOATS)):
        yield _scaled(20, output, ScaleForm.WIRES, clip=CLIPS[i % 3])
    for i, bits in enumerate((8, 12, 28, 36)):
        for output in (*COMMON[i % 2 :: 2], "finite_e5m2"):
            yield _scaled(bits, output, ScaleForm.WIRES, clip=CLIPS[i], bias=bool(i % 2))
    for i, bits in enumerate((8, 12, 16, 24, 32, 40)):
        for output in COMMON if i % 3 == 1 else COMMON[i % 2 :: 2]:
            yield _scaled(bits, output, ScaleForm.MULTIPLIER, clip=CLIPS[i % 4])
    for i, passes in enumerate((2, 3, 4, 8, 16)):
        for bits, output in ((12, COMMON[i % 4]), (20, "uint4"), (32, COMMON[3 - i % 4])):
            yield _scaled(bits, output, ScaleForm.MULTIPLIER, clip=CLIPS[i % 3], passes=passes)


def _special() -> Iterator[Unit]:
    """The other planned units."""
    for i, value in enumerate(CONSTANTS):
        for bits in (10, 24)[i % 2 :]:
            output = COMMON[(i + bits // 10) % 4]
            yield _scaled(bits, output, ScaleForm.CONSTANT, clip=CLIPS[i % 3], bias=bits > 10, value=value)
    yield _scaled(16, "uint4", ScaleForm.CONSTANT, value=CONSTANTS[3], passes=16)
    yield _scaled(16, "e3m2", ScaleForm.CONSTANT, value=CONSTANTS[5], passes=4)
    for i, bits in enumerate((8, 14, 20, 28, 36)):
        for output in (*COMMON[i % 2 :: 2], "e3m2"):
            yield _scaled(bits, output, ScaleForm.SHIFTER, clip=CLIPS[i % 4])
    for i, bits in enumerate((4, 5, 6, 7, 8)):
        for output in ("uint4", COMMON[i % 4]):
            yield _scaled(bits, output, ScaleForm.TABLE, bias=False, value=CONSTANTS[i + 2])
    for i, bits in enumerate((8, 13, 20, 32, 40)):
        yield ThresholdUnit(bits, parse_element(INTEGERS[(i + 2) % 7]))
        yield ThresholdUnit(bits, parse_element(MINIFLOATS[(3 * i + 1) % len(MINIFLOATS)]))
    for bits, output, passes in SEARCHES:
        yield ThresholdUnit(bits, parse_element(output), passes)


def _drawn(seed: int) -> Iterator[Unit]:
    """Units with every coordinate drawn."""
    rng = random.Random(seed)
    while True:
        output = rng.choice((*INTEGERS, *MINIFLOATS))
        bits = rng.randint(8, 40)
        if rng.random() < 0.2:
            width = parse_element(output).bits
            yield ThresholdUnit(
                bits, parse_element(output), rng.choice([p for p in range(1, width + 1) if not width % p])
            )
            continue
        form = rng.choice(DRAWN_FORMS)
        serial = form in (ScaleForm.MULTIPLIER, ScaleForm.CONSTANT) and rng.random() < 0.4
        yield _scaled(
            bits,
            output,
            form,
            clip=rng.choice(CLIPS),
            bias=rng.random() < 0.7,
            value=rng.randrange(1 << SCALE_BITS - 1, 1 << SCALE_BITS) if form is ScaleForm.CONSTANT else None,
            passes=rng.randint(2, SCALE_BITS) if serial else 1,
        )


def units() -> Sequence[tuple[Unit, str]]:
    """Every unit once, with its use: fit or test."""
    fitted = (*_plain(), *_special(), *islice(_drawn(FIT_SEED), FIT_POINTS))
    return with_uses(fitted, _drawn(TEST_SEED), TEST_POINTS)


def _point(unit: Unit, use: str, family: Family) -> Point:
    columns: dict[str, str | int] = {
        "use": use,
        "sum_bits": unit.sum_bits,
        "output": unit.output.name,
        "passes": unit.passes,
    }
    match unit:
        case RequantizeUnit():
            columns |= {"form": unit.form, "bias": int(unit.bias), "shift": unit.shift, "value": unit.value or ""}
            design = Design(requantize_verilog(unit), family, requantize.TOP)
        case ThresholdUnit():
            columns |= {"form": "thresholds", "bias": "", "shift": "", "value": ""}
            design = Design(thresholds_verilog(unit), family, thresholds.TOP)
    return Point(columns, design)


def points() -> Sequence[Point]:
    """All units on UltraScale+, and every sixteenth on 7 series as well (the LUT6 is the same, the carry chain is not)."""
    chosen = units()
    plus = [_point(unit, use, Family.XCUP) for unit, use in chosen]
    return [*plus, *(_point(unit, use, Family.XC7) for unit, use in chosen[::16])]
