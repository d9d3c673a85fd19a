"""The DSP units that `hwmodels.dsp_cost` is fitted to and tested on: packed and plain, split after one product or a cascade.

`use` says what a row is for: rows to fit are planned, rows to test are drawn at random from the whole space with the seed
below, and the fit never sees them. Slices are instances of the vendor's primitive.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence

from hwmodels.calibration.draws import with_uses
from hwmodels.calibration.measure import Point
from hwmodels.datapath import Accumulator, Datapath, Multiplier, Overflow, TensorQuant
from hwmodels.devices import Family
from hwmodels.formats import IntFormat
from hwmodels.rtl.dsp_slice import SliceKind
from hwmodels.rtl.dsp_unit import DspUnit, dsp_unit_verilog
from hwmodels.synth import Design

FAMILIES: Mapping[SliceKind, Family] = {"DSP48E1": Family.XC7, "DSP48E2": Family.XCUP}
TEST_SEED = 20261124
TEST_POINTS = 30


def _unit(
    weight: IntFormat,
    activation: IntFormat,
    dsp: SliceKind,
    pe: int,
    simd: int,
    bits: int = 24,
    overflow: Overflow = Overflow.WRAP,
    *,
    lanes: int | None = None,
    chain: int | None = None,
) -> DspUnit:
    accumulator = Accumulator(bits, overflow=overflow)
    path = Datapath(TensorQuant(weight), TensorQuant(activation), accumulator, Multiplier.DSP)
    return DspUnit(path, dsp, pe, simd, lanes, chain)


def _grid() -> Iterator[DspUnit]:
    """The planned units: every width, both ways out of the slices, both families."""
    kinds: tuple[SliceKind, ...] = ("DSP48E2", "DSP48E1")
    for i, bits in enumerate(range(2, 9)):
        dsp, other = kinds[i % 2], kinds[1 - i % 2]
        yield _unit(IntFormat(bits), IntFormat(bits), dsp, 4, 8)
        yield _unit(IntFormat(bits), IntFormat(bits, signed=False), other, 4, 8)
        yield _unit(IntFormat(bits, narrow=True), IntFormat(10 - bits, signed=False), dsp, 8, 8)
        yield _unit(IntFormat(bits, narrow=True), IntFormat(8), other, 6, 12, chain=1)
    for weight, activation in ((4, 4), (8, 8), (2, 8), (5, 3)):
        formats = IntFormat(weight), IntFormat(activation, signed=False)
        for simd in (1, 3, 24, 64):
            yield _unit(*formats, "DSP48E2", 3, simd, 20)
        for lanes, chain in ((None, 1), (2, None), (1, None)):
            yield _unit(*formats, "DSP48E1", 2, 16, 32, lanes=lanes, chain=chain)
        yield _unit(*formats, "DSP48E1", 2, 6, 32, lanes=1)
        yield _unit(*formats, "DSP48E2", 4, 6, 18, Overflow.SATURATE)


def _drawn() -> Iterator[DspUnit]:
    """The test units: every coordinate drawn."""
    rng = random.Random(TEST_SEED)
    while True:
        weight = IntFormat(rng.randint(2, 8), narrow=rng.random() < 0.5)
        activation = IntFormat(rng.randint(2, 8), signed=rng.random() < 0.5)
        dsp: SliceKind = rng.choice(("DSP48E1", "DSP48E2"))
        overflow = rng.choice((Overflow.WRAP, Overflow.WRAP, Overflow.SATURATE))
        chain = rng.choice((None, None, 1))
        yield _unit(
            weight, activation, dsp, rng.randint(1, 9), rng.randint(1, 20), rng.randint(16, 40), overflow, chain=chain
        )


def units() -> Sequence[tuple[DspUnit, str]]:
    """Every unit once, with its use: fit or test."""
    return with_uses(_grid(), _drawn(), TEST_POINTS)


def points() -> Sequence[Point]:
    """All units, each on the family of its slice."""
    found = []
    for unit, use in units():
        columns: dict[str, str | int] = {
            "use": use,
            "slice": unit.dsp,
            "weight": unit.weight.name,
            "activation": unit.activation.name,
            "accumulator": unit.bits,
            "overflow": str(unit.overflow),
            "pe": unit.pe,
            "simd": unit.simd,
            "lanes": unit.packing.lanes,
            "chain": unit.packing.chain,
        }
        text = dsp_unit_verilog(unit, primitive=True)
        found.append(Point(columns, Design(text, FAMILIES[unit.dsp], dsp=True)))
    return found
