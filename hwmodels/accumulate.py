"""Bit-true simulation of accumulators that wrap or saturate, on whole layers: what the hardware of a datapath sums up.

The order is that of the units in :mod:`hwmodels.rtl`: `lanes` products per cycle, summed exactly before the register, which
then holds the sum of each cycle as well as P bits can. With tiles of T products the inner register starts anew after each,
and an outer one adds lanes / T tile sums per cycle (one, where a tile takes several cycles).

Fast where it can be: a wrapping register gives the exact sum modulo 2^P whatever the order, so a tile is one matrix product;
rows whose range is proved to fit are never simulated; and of the others only the sums whose own positive or negative products
could leave a saturating register.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwmodels.accumulator import AccumulatorError, Codes, bits_for_range
from hwmodels.datapath import Datapath, Overflow
from hwmodels.products import ExactProducts, Products, Rows, exact_type, layer_products

_CHUNK = 1 << 16
"""Sums that are simulated at once: their registers stay in the second-level cache."""

_FEW = 1 / 16
"""Share of sums up to which they are simulated one by one (measured: as long as all together at 1/18 to 1/11)."""


@dataclass(frozen=True)
class Accumulated:
    """What the accumulators of a layer hold in the end, and how often they could not hold it.

    Attributes:
        sums: (batch, rows), in units of 2^dropped_bits times both steps; Python integers where 64 bits are too few.
        inner_overflows, outer_overflows: (rows,) sums that left the register: one that saturates was clamped at least once,
            one that wraps is wrong in the end (what wraps back is right). A sum that is not tiled is an inner one.
        tiles: inner sums of one dot product.
    """

    sums: NDArray[Any]
    inner_overflows: NDArray[np.int64]
    outer_overflows: NDArray[np.int64]
    tiles: int

    @property
    def overflow_rate(self) -> float:
        """The share of inner sums that left their register; 0 of no sums."""
        return float(self.inner_overflows.sum()) / max(self.sums.size * self.tiles, 1)


def accumulate(
    weights: Codes,
    activations: Codes,
    datapath: Datapath,
    lanes: int,
    *,
    outer: int | None = None,
    dropped_bits: int = 0,
) -> Accumulated:
    """The sums that the compute unit of a layer gives, bit by bit; group scales are not applied.

    Args:
        weights: (rows, dot_length), integers in units of the weight step.
        activations: (batch, dot_length), integers in units of the activation step.
        datapath: formats and accumulator; with `tile_size` its bits are those of the inner accumulator.
        lanes: products per cycle (SIMD).
        outer: bits of the outer accumulator of a tiled sum, which overflows as the inner one does; None: as many as all
            tile sums need.
        dropped_bits: low bits left out of every product of minifloats, rounding towards minus infinity before their sign is
            applied (the truncated window of :class:`hwmodels.rtl.unit.DotUnit`).

    Raises:
        AccumulatorError: codes outside their formats, shapes that do not match, or sizes below 1; overflow is impossible
            by claim, but the weights can exceed the register.
    """
    if lanes < 1 or (outer is not None and outer < 1):
        raise AccumulatorError(f"`lanes` and `outer` must be at least 1, but got lanes={lanes}, outer={outer}.")
    accumulator, products = datapath.accumulator, layer_products(weights, activations, datapath, dropped_bits)
    (rows, length), batch = products.weights.shape, len(products.activations)
    tile = min(accumulator.tile_size or length, length)
    lows, highs = products.extremes(tile)
    tiles = lows.shape[1]
    most = int(np.maximum(-lows, highs).max())
    if accumulator.overflow is Overflow.IMPOSSIBLE:
        _require_proof(lows, highs, accumulator.bits, "accumulator")
        if outer is not None and tiles > 1:
            _require_proof(lows.sum(axis=1), highs.sum(axis=1), outer, "outer accumulator")
        outer = None
    elif tiles == 1 or (outer is not None and min(most, 1 << accumulator.bits - 1) * tiles < 1 << outer - 1):
        outer = None  # no outer register, or one that holds all
    over = _leaves(lows, highs, accumulator.bits)
    if outer is None and not over.any():
        # nothing to simulate: one tile for all
        tile, over = length, over[:, :1]
        most *= tiles
    # a register that can overflow is narrower than the sums that it cannot hold: with one on top it stays below their double
    products = products.of_type(exact_type(4 * most))
    saturates = accumulator.overflow is Overflow.SATURATE
    parts = [
        [
            _Part(slice(i * tile, (i + 1) * tile), which, products.weights[i * tile : (i + 1) * tile, which], bits)
            for which, bits in _split(over[:, i], accumulator.bits)
        ]
        for i in range(over.shape[1])
    ]
    sums = np.zeros((batch, rows), dtype=np.int64 if 4 * most * tiles < 1 << 63 else object)
    counts = np.zeros((2, rows), dtype=np.int64)
    chunk = max(1, _CHUNK // rows)
    for start in range(0, batch, chunk):
        chosen = slice(start, start + chunk)
        total = _Register(sums[chosen], outer, saturates=saturates)
        for i, tile_parts in enumerate(parts, 1):
            for part in tile_parts:
                values, hit = _tile_sums(products, chosen, part, lanes, saturates=saturates)
                total.value[:, part.rows] += values.astype(sums.dtype)
                counts[0, part.rows] += hit.sum(axis=0)
            if i % max(1, lanes // tile) == 0 or i == len(parts):
                total.clock()
        sums[chosen], hit = total.read()
        counts[1] += hit.sum(axis=0)
    return Accumulated(sums, counts[0], counts[1], tiles)


@dataclass(frozen=True)
class _Part:
    """Rows of one tile that are treated alike: their weights (columns, rows), and the register's bits if it can overflow."""

    columns: slice
    rows: Rows
    weights: NDArray[Any]
    bits: int | None


def _split(over: NDArray[np.bool_], bits: int) -> Iterator[tuple[Rows, int | None]]:
    """(rows, bits) of the rows that can leave a register of `bits` bits, and of those that cannot."""
    for rows, limit in ((np.flatnonzero(over), bits), (np.flatnonzero(~over), None)):
        if len(rows) == len(over):
            yield slice(None), limit
        elif len(rows):
            yield rows, limit


def _tile_sums(
    products: Products, chosen: slice, part: _Part, lanes: int, *, saturates: bool
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """(inner sums, which overflowed) of one tile of a part of the batch, both (batch, rows)."""
    inputs = products.inputs(chosen, part.columns)
    length, rows = part.weights.shape
    if saturates and part.bits is not None and isinstance(products, ExactProducts) and lanes < length:
        lows, highs = products.reach(inputs, part.weights)
        pairs = np.nonzero(_leaves(lows, highs, part.bits))
        if len(pairs[0]) <= _FEW * lows.size:
            return _few_sums(products, inputs, part, lanes, lows + highs, pairs)
    register = _Register(products.zeros((len(inputs), rows)), part.bits, saturates=saturates)
    # only clamping depends on what is summed when
    step = lanes if saturates and part.bits is not None else length
    for first in range(0, length, step):
        cycle = slice(first, first + step)
        products.add(register.value, inputs[:, cycle], part.weights[cycle])
        register.clock()
    return register.read()


def _few_sums(
    products: ExactProducts,
    inputs: NDArray[Any],
    part: _Part,
    lanes: int,
    sums: NDArray[Any],
    pairs: tuple[NDArray[np.intp], ...],
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """As :func:`_tile_sums` in a saturating register, where only the sums of `pairs` (samples, rows) can leave it."""
    samples, rows = pairs
    hit = np.zeros(sums.shape, dtype=bool)
    if len(samples):
        first = np.arange(0, inputs.shape[1], lanes)
        cycles = products.of_pairs(inputs[samples], part.weights.T[rows], first)
        register = _Register(np.zeros(len(samples), dtype=sums.dtype), part.bits, saturates=True)
        for cycle in cycles.T:
            register.value += cycle
            register.clock()
        sums[samples, rows], hit[samples, rows] = register.read()
    return sums, hit


class _Register:
    """Many registers of one width at once, as arrays of any shape; None for the width holds everything."""

    def __init__(self, value: NDArray[Any], bits: int | None, *, saturates: bool) -> None:
        """`value` is what they hold in the beginning, and is overwritten."""
        self.value = value
        self.half = None if bits is None else 1 << bits - 1
        self.saturates = saturates and bits is not None
        if self.saturates:
            # extremes before clamping tell in the end which were clamped: cheaper than asking in every cycle
            self.highest, self.lowest = value.copy(), value.copy()

    def clock(self) -> None:
        """End a cycle in which `value` was added to. Wrapping can wait for :meth:`read`: it commutes with adding."""
        if self.saturates and self.half is not None:
            np.maximum(self.highest, self.value, out=self.highest)
            np.minimum(self.lowest, self.value, out=self.lowest)
            np.minimum(self.value, self.half - 1, out=self.value)
            np.maximum(self.value, -self.half, out=self.value)

    def read(self) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """(values, which of them overflowed)."""
        if self.half is None:
            return self.value, np.zeros(self.value.shape, dtype=bool)
        if self.saturates:
            return self.value, np.asarray((self.highest >= self.half) | (self.lowest < -self.half), dtype=bool)
        turns = self.value + self.half
        if turns.dtype.kind == "f":  # exact, because the divisor is a power of two; five times faster than //
            np.floor(np.multiply(turns, 0.5 / self.half, out=turns), out=turns)
        else:
            turns //= 2 * self.half
        return self.value - turns * (2 * self.half), np.asarray(turns != 0, dtype=bool)


def _leaves(lows: NDArray[Any], highs: NDArray[Any], bits: int) -> NDArray[np.bool_]:
    half = 1 << bits - 1
    return np.asarray((lows < -half) | (highs >= half), dtype=bool)


def _require_proof(lows: NDArray[Any], highs: NDArray[Any], bits: int, what: str) -> None:
    needed = bits_for_range(int(lows.min()), int(highs.max()))
    if needed > bits:
        raise AccumulatorError(
            f"every partial sum must fit the {what} of P={bits} bits where overflow is impossible, but the weights need "
            f"{needed} bits; give as many, or let it wrap or saturate."
        )
