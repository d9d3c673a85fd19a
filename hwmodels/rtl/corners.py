"""Corner vectors of a compute unit: extremes, alternating signs, subnormals, zeros, and sums that must overflow."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from hwmodels.codec import decode_all
from hwmodels.datapath import Datapath
from hwmodels.formats import ElementFormat
from hwmodels.rtl.check import Codes, Flags
from hwmodels.rtl.reference import expected_sums, finite_codes, ordered_codes, products
from hwmodels.rtl.scale import WIDEST_FACTOR, ProductScale
from hwmodels.rtl.segment import SegmentUnit
from hwmodels.rtl.segment_check import segment_testbench
from hwmodels.rtl.segment_reference import expected_segment_sums
from hwmodels.rtl.testbench import testbench
from hwmodels.rtl.unit import DotUnit

MOST_CYCLES = 256
"""Of one run: sums that need more cycles to overflow are left out (and counted as not reached)."""

MANY_LANES = 64
"""Beyond, runs are short: simulators that follow events take time that grows faster than the lanes."""

_WIDE = 640  # bits that no sum here needs


@dataclass(frozen=True, eq=False)
class Corners:
    """One sequence of vectors: weights and activations (cycles, lanes), clear and enable (cycles,), as stored codes.

    Attributes:
        scales: codes of group scales, (cycles, units, operands).
        overflows: cycles in which a register cannot hold its exact sum.
    """

    weights: Codes
    activations: Codes
    scales: Codes
    clear: Flags
    enable: Flags
    overflows: int


def corners(unit: DotUnit | SegmentUnit, seed: int = 0) -> Corners:
    """The corner vectors of a unit: each run starts a new dot product; the last one is random, with pauses."""
    weights, activations, starts = [], [], []
    for w, x in _runs(unit):
        weights.append(w)
        activations.append(x)
        starts.append(np.arange(len(w)) == 0)
    clear = np.concatenate(starts)
    enable = np.ones(len(clear), dtype=np.bool_)
    rng = np.random.default_rng(seed)
    enable[1 - len(weights[-1]) :] = rng.random(len(weights[-1]) - 1) < 0.8
    w, x = np.concatenate(weights), np.concatenate(activations)
    codes = np.zeros((len(w), 1, 0), dtype=np.int64)
    if isinstance(unit, SegmentUnit):
        codes = np.zeros((len(w), unit.units, unit.operands), dtype=np.int64)
        if unit.scale is not None:
            usable = finite_codes(unit.scale.format)
            codes = rng.choice(usable, codes.shape)
            codes[: len(w) // 2] = usable[-1]
    given = Corners(w, x, codes, clear, enable, 0)
    return replace(given, overflows=_overflows(unit, given))


def corner_testbench(unit: DotUnit | SegmentUnit, given: Corners) -> str:
    """The text of the unit's self-checking testbench on its corner vectors."""
    if isinstance(unit, DotUnit):
        return testbench(unit, given.weights, given.activations, given.clear, given.enable)
    return segment_testbench(unit, given.weights, given.activations, given.scales, given.clear, given.enable)


def _runs(unit: DotUnit | SegmentUnit) -> Iterator[tuple[Codes, Codes]]:
    """(weights, activations) of each run."""
    dot, lanes = (unit, unit.lanes) if isinstance(unit, DotUnit) else (unit.inner, unit.lanes)
    formats = (dot.weight, dot.activation)
    (w_low, w_high), (x_low, x_high) = ((codes[0], codes[-1]) for codes in map(ordered_codes, formats))
    many = lanes > MANY_LANES
    cycles = (2 if many else 4) if isinstance(unit, DotUnit) else 2 * unit.cycles

    def held(w: int, x: int, count: int) -> tuple[Codes, Codes]:
        return np.full((count, lanes), w), np.full((count, lanes), x)

    for w in (w_high, w_low):
        for x in (x_high, x_low):
            yield held(w, x, _cycles_to_overflow(unit, w, x, cycles))
    # signs that alternate from lane to lane and from cycle to cycle
    odd = np.add.outer(np.arange(cycles), np.arange(lanes)) % 2 == 1
    all_w, all_x = np.where(odd, w_low, w_high), np.where(odd, x_low, x_high)
    yield from ((all_w, np.full(odd.shape, x_high)), (np.full(odd.shape, w_high), all_x), (all_w, all_x))
    # zero and the smallest magnitudes, subnormals of minifloats, with each other and with the largest
    (some_w, some_x) = (_smallest(fmt) for fmt in formats)
    for w in some_w:
        yield from (held(w, x, cycles) for x in (*some_x, x_high))
    yield from (held(w_high, x, cycles) for x in some_x)
    rng = np.random.default_rng(lanes)
    yield tuple(rng.choice(finite_codes(fmt), (8 if many else 48, lanes)) for fmt in formats)  # type: ignore[misc]


def _smallest(fmt: ElementFormat) -> list[int]:
    """The codes of the three smallest magnitudes (two of unsigned formats): zero and those beside it."""
    ordered = ordered_codes(fmt)
    values = np.abs(decode_all(fmt)[ordered])
    return [int(ordered[i]) for i in np.argsort(values, kind="stable")[: 4 if fmt.signed else 2]]


def _cycles_to_overflow(unit: DotUnit | SegmentUnit, w: int, x: int, least: int) -> int:
    """Cycles in which equal products leave the widest register, at most :data:`MOST_CYCLES`; at least `least`."""
    dot = unit if isinstance(unit, DotUnit) else unit.inner
    each = abs(int(products(dot, np.array([w]), np.array([x]))[0])) * unit.lanes
    bits = dot.bits if isinstance(unit, DotUnit) else unit.outer_bits
    needed = (1 << bits - 1) // each + 2 if each else least
    return max(min(needed, MOST_CYCLES), least)


def _overflows(unit: DotUnit | SegmentUnit, given: Corners) -> int:
    """Cycles after which the sum is another one than with registers that hold everything."""
    control = (given.clear, given.enable)
    w, x, scales = given.weights[:, None], given.activations[:, None], given.scales[:, None]
    if isinstance(unit, DotUnit):
        wide = replace(unit, datapath=_widened(unit.datapath, _WIDE), dropped_bits=unit.dropped)
        held, free = (expected_sums(each, w, x, *control) for each in (unit, wide))
    else:
        narrow = isinstance(unit.scale, ProductScale) and not unit.scale.is_integer
        path = _widened(unit.datapath, WIDEST_FACTOR if narrow else _WIDE)
        roomy = replace(unit, datapath=path, outer_bits=2 * _WIDE, dropped_bits=unit.inner.dropped)
        held, free = (expected_segment_sums(each, w, x, scales, *control) for each in (unit, roomy))
    return int((held != free).sum())


def _widened(path: Datapath, bits: int) -> Datapath:
    return replace(path, accumulator=replace(path.accumulator, bits=bits))
