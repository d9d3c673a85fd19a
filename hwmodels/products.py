"""The products of a layer on a batch, ready to be summed in any portions: exact, or with their low bits left out.

Exact products are summed by matrix multiplication, in the narrowest type that holds every sum exactly. A truncated product is
no linear function of its factors, so these are looked up: formats of up to 8 bits have at most 65,536 pairs of codes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hwmodels.accumulator import AccumulatorError, Codes, code_range, tile_extremes
from hwmodels.codec import decode_all
from hwmodels.datapath import Datapath
from hwmodels.formats import ElementFormat, IntFormat, Minifloat

Rows: TypeAlias = NDArray[np.intp] | slice

_EXACT_TYPES: tuple[tuple[int, Any], ...] = ((1 << 24, np.float32), (1 << 53, np.float64), (1 << 63, np.int64))
"""Every integer up to the first in magnitude is a value of the second."""


def exact_type(most: int) -> Any:
    """The fastest NumPy type that holds every integer up to `most` in magnitude; object (Python integers) beyond 64 bits."""
    return next((kind for limit, kind in _EXACT_TYPES if most < limit), object)


@dataclass(frozen=True)
class ExactProducts:
    """Products of integer codes.

    Attributes:
        weights: (rows, dot_length); behind :meth:`of_type` (dot_length, rows) of that type.
        activations: (batch, dot_length).
    """

    weights: NDArray[Any]
    activations: NDArray[Any]
    activation: ElementFormat

    def extremes(self, tile: int) -> tuple[NDArray[Any], NDArray[Any]]:
        """Smallest and largest sum of each tile of each row, (rows, tiles)."""
        return tile_extremes(self.weights, self.activation, tile)

    def of_type(self, kind: Any) -> ExactProducts:
        """The same products, to be summed in `kind`."""
        return replace(self, weights=np.ascontiguousarray(self.weights.T.astype(kind)))

    def inputs(self, chosen: slice, columns: slice) -> NDArray[Any]:
        """The inputs of a part of the batch, as :meth:`add` takes them: (batch, columns)."""
        return self.activations[chosen, columns].astype(self.weights.dtype)

    def reach(self, inputs: NDArray[Any], weights: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Sums of the negative and of the positive products of (batch, n) inputs and (n, rows) weights, (batch, rows) each.

        No partial sum leaves them, in any order; together they are the whole sum.
        """
        up = np.maximum(weights, 0)
        down = weights - up
        if self.activation.signed:
            high = np.maximum(inputs, 0)
            low = inputs - high
            return high @ down + low @ up, high @ up + low @ down
        return inputs @ down, inputs @ up

    def of_pairs(self, inputs: NDArray[Any], weights: NDArray[Any], first: NDArray[np.intp]) -> NDArray[Any]:
        """Sums of the products of (pairs, n) inputs and (pairs, n) weights from each of `first` to the next, (pairs, first)."""
        return np.add.reduceat(inputs * weights, first, axis=1)

    def zeros(self, shape: tuple[int, int]) -> NDArray[Any]:
        """Sums to be added to."""
        return np.zeros(shape, dtype=self.weights.dtype)

    def add(self, out: NDArray[Any], inputs: NDArray[Any], weights: NDArray[Any]) -> None:
        """Add the sums of products of (batch, n) inputs and (n, rows) weights to `out`."""
        # a matrix product of one column takes longer than the outer product that it is
        out += np.multiply(inputs, weights) if len(weights) == 1 else inputs @ weights


@dataclass(frozen=True)
class TruncatedProducts:
    """Products with their low bits left out.

    Attributes:
        weights, activations: as in :class:`ExactProducts`, but indices into the table; the weights' run along its rows.
        table: (all activation codes, weight codes that occur), ascending in value; behind :meth:`of_type` flat, of that type.
    """

    weights: NDArray[np.intp]
    activations: NDArray[np.intp]
    table: NDArray[Any]

    def extremes(self, tile: int) -> tuple[NDArray[Any], NDArray[Any]]:
        """As :meth:`ExactProducts.extremes`; truncated products are monotone in the input as well."""
        first, last = (self.table[end][self.weights] for end in (0, -1))
        lows, highs = np.minimum(np.minimum(first, last), 0), np.maximum(np.maximum(first, last), 0)
        starts = np.arange(0, self.weights.shape[1], tile)
        return np.add.reduceat(lows, starts, axis=1), np.add.reduceat(highs, starts, axis=1)

    def of_type(self, kind: Any) -> TruncatedProducts:
        """The same products, to be summed in `kind`."""
        weights, activations = np.ascontiguousarray(self.weights.T), self.activations * self.table.shape[1]
        return TruncatedProducts(weights, activations, self.table.astype(kind).ravel())

    def inputs(self, chosen: slice, columns: slice) -> NDArray[Any]:
        """As :meth:`ExactProducts.inputs`."""
        return self.activations[chosen, columns]

    def zeros(self, shape: tuple[int, int]) -> NDArray[Any]:
        """As :meth:`ExactProducts.zeros`."""
        return np.zeros(shape, dtype=self.table.dtype)

    def add(self, out: NDArray[Any], inputs: NDArray[Any], weights: NDArray[Any]) -> None:
        """As :meth:`ExactProducts.add`."""
        for k, row in enumerate(weights):
            # every index is inside: "clip" only spares the check
            out += np.take(self.table, inputs[:, k : k + 1] + row, mode="clip")


Products: TypeAlias = ExactProducts | TruncatedProducts


def layer_products(weights: Codes, activations: Codes, datapath: Datapath, dropped_bits: int) -> Products:
    """The products of (rows, dot_length) weight codes and (batch, dot_length) activation codes, in units of their steps.

    Raises:
        AccumulatorError: codes that are none of their formats, shapes that do not match, bits of integers dropped.
    """
    w, x = np.asarray(weights), np.asarray(activations)
    weight, activation = datapath.weight.format, datapath.activation.format
    _require_codes("weight", w, weight)
    _require_codes("activation", x, activation)
    if not w.size or w.shape[1] != x.shape[1]:
        raise AccumulatorError(
            f"weights (rows, dot_length) and activations (batch, dot_length) must agree, but got shapes {w.shape} and {x.shape}."
        )
    if not dropped_bits:
        return ExactProducts(w, x, activation)
    if dropped_bits < 0 or (isinstance(weight, IntFormat) and isinstance(activation, IntFormat)):
        raise AccumulatorError(
            f"`dropped_bits` must be at least 0, and 0 for integer formats, but got dropped_bits={dropped_bits}."
        )
    # of the weights only codes that occur, so that no entry is larger than the sums that are made
    columns, places = np.unique(w, return_inverse=True)
    grid = _grid(activation)
    indices = np.searchsorted(grid, x)
    if not np.isin(columns, _grid(weight)).all() or (grid[indices] != x).any():
        raise AccumulatorError(
            f"codes must be values of {weight} and {activation} in units of their steps, but some lie between them."
        )
    table = _truncated(columns[None], weight, grid[:, None], activation, dropped_bits)
    return TruncatedProducts(places.reshape(w.shape), indices, table)


def _require_codes(name: str, codes: NDArray[Any], fmt: ElementFormat) -> None:
    low, high = code_range(fmt)
    is_matrix = codes.ndim == 2 and codes.dtype.kind in "iuO"
    if not is_matrix or (codes.size and not low <= codes.min() <= codes.max() <= high):
        reach = f" from {codes.min()} to {codes.max()}" if codes.size else ""
        raise AccumulatorError(
            f"{name} codes must be a matrix of integers from {low} to {high} ({fmt}), but got shape {codes.shape}, "
            f"{codes.dtype}{reach}."
        )


def _grid(fmt: ElementFormat) -> NDArray[Any]:
    """Every value of a format in units of its step, ascending."""
    if isinstance(fmt, IntFormat):
        return np.arange(fmt.min_code, fmt.max_code + 1)
    values = sorted({int(Fraction(v) / fmt.step) for v in decode_all(fmt).tolist() if np.isfinite(v)})
    return np.array(values, dtype=np.int64 if fmt.max_code < 1 << 62 else object)


def _truncated(
    weights: NDArray[Any], weight: ElementFormat, activations: NDArray[Any], activation: ElementFormat, bits: int
) -> NDArray[np.object_]:
    """Exact products less their `bits` low bits, rounded towards minus infinity before the sign of a minifloat is applied."""
    sign: Any = 1
    value: Any = 1
    for codes, fmt in ((weights.astype(object), weight), (activations.astype(object), activation)):
        negative = (codes < 0) & isinstance(fmt, Minifloat)
        sign = sign * np.where(negative, -1, 1).astype(object)
        value = value * np.where(negative, -codes, codes)
    return np.asarray(sign * (value // (1 << bits)), dtype=object)
