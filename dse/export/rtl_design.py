"""The datapath of every layer of a quantized network: its unit, the contents of its memories, and what its sums mean."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dse.export.errors import ExportError
from hwmodels.accumulate import accumulate
from hwmodels.codec import decode, quantize
from hwmodels.datapath import Datapath, Overflow, ScaleKind, TensorQuant
from hwmodels.formats import E8M0, ElementFormat, IntFormat, Minifloat, Specials
from hwmodels.ops import Folding, divisors
from hwmodels.primitives.cost import ceil_div, ceil_log2
from hwmodels.primitives.scale import SCALE_BITS
from hwmodels.rtl.layer import LayerUnit, RowUnit
from hwmodels.rtl.reference import codes_of, finite_codes
from hwmodels.rtl.scale import ProductScale, Scale, ShiftScale
from hwmodels.rtl.segment import SegmentUnit
from hwmodels.rtl.thresholds import ThresholdUnit, row_thresholds
from hwmodels.rtl.unit import MOST_LANES, DotUnit
from hwmodels.segment import group_scales, segment_size

if TYPE_CHECKING:
    from workloads.layer_tensors import LayerTensors
    from workloads.plan import Layer
    from workloads.quantize import LayerResult, QuantizedModel

Integers = NDArray[Any]

UE4M3 = Minifloat(4, 3, specials=Specials.NAN, signed=False)
"""E4M3 as a scale has no sign."""

MOST_SHIFTS = 128
"""Powers of two that a shift scale tells apart (:class:`ShiftScale`)."""

MANTISSA_MAX = (1 << SCALE_BITS) - 1
"""The largest fixed-point mantissa of a float scale."""

_ANY_WIDTH = 4096

MOST_SEARCHED_BITS = 8
"""Bits of the widest output whose thresholds are stored: 255 a channel."""


@dataclass(frozen=True, eq=False)
class Scales:
    """Group scales as hardware has them: scale = unit * factor, factors being integers.

    Attributes:
        codes: stored, (rows, segments).
        factors: (rows, segments).
        unit: (rows,), times the weight's scale of 1.
    """

    scale: Scale
    codes: Integers
    factors: Integers
    unit: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class LayerDesign:
    """One layer's datapath.

    Args:
        name: of its module and files.
        folding: PE and SIMD of the point; the unit's SIMD differs where that neither divides a segment nor is divided by it.
        result: codes and scales of the weights.
        scales: of groups.
        scale_unit: the weights' scale that one unit of each row's sum stands for, (rows,).
        product_step: steps of both formats times the scale of the inputs.
        zero_point: the input code of the number zero.
    """

    name: str
    unit: LayerUnit
    folding: Folding
    result: LayerResult
    scales: Scales | None
    scale_unit: NDArray[np.float64]
    product_step: float
    zero_point: int

    @property
    def step(self) -> NDArray[np.float64]:
        """What one unit of each row's sum stands for, (rows,)."""
        return np.asarray(self.scale_unit * self.product_step * 2.0**self.dropped, dtype=np.float64)

    @property
    def scale_errors(self) -> NDArray[np.float64]:
        """By how much hardware's scale of each weight differs from the network's, (rows, cols)."""
        rows, cols = self.result.codes.shape
        given = np.repeat(self.result.scale.astype(np.float64), cols // self.result.scale.shape[1], axis=1)
        given = np.broadcast_to(given, (rows, cols))
        if self.scales is None:
            return np.asarray(np.abs(given - self.scale_unit[:, None]), dtype=np.float64)
        assert isinstance(self.unit.row, SegmentUnit)
        held = self.scales.factors.astype(np.float64) * self.scales.unit[:, None]
        held = np.repeat(held, self.unit.row.segment, axis=1)[:, :cols]
        return np.asarray(np.abs(given - held) * (self.result.codes != 0), dtype=np.float64)

    @property
    def path(self) -> Datapath:
        """Formats and accumulator."""
        return self.unit.row.datapath

    def sums(self, inputs: Integers) -> Integers:
        """What the accumulators hold in the end, (vectors, rows), by :func:`hwmodels.accumulate.accumulate`.

        Args:
            inputs: in units of the activation step, (vectors, cols), of a depthwise layer (vectors, rows, cols).
        """
        codes, path = self.result.codes, self.path
        if self.unit.depthwise:
            # no groups: each row is a layer of one row
            each = (self._summed(codes[r : r + 1], inputs[:, r], path) for r in range(self.unit.rows))
            return np.concatenate(list(each), axis=1)
        if self.scales is None:
            return self._summed(codes, inputs, path)
        assert isinstance(self.unit.row, SegmentUnit)
        size = self.unit.row.segment
        plain = replace(path, accumulator=replace(path.accumulator, tile_size=None))
        kind = np.int64 if self.unit.sum_bits < 64 else object
        factors, total = self.scales.factors.astype(kind), np.zeros((len(inputs), len(codes)), dtype=kind)
        for segment in range(factors.shape[1]):
            columns = slice(segment * size, (segment + 1) * size)
            inner = self._summed(codes[:, columns], inputs[:, columns], plain)
            total = total + inner.astype(kind) * factors[:, segment]
        return total

    def _summed(self, codes: Integers, inputs: Integers, path: Datapath) -> Integers:
        return accumulate(codes, inputs, path, self.unit.row.lanes, dropped_bits=self.dropped).sums

    @property
    def dropped(self) -> int:
        """Low bits of products that are left out."""
        row = self.unit.row
        return row.inner.dropped if isinstance(row, SegmentUnit) else row.dropped

    @cached_property
    def offset(self) -> Integers:
        """What the zero point of the inputs adds to the sum of each row: constants, Python integers."""
        codes = self.result.codes.astype(object)
        if self.scales is None:
            return np.asarray(self.zero_point * codes.sum(axis=1))
        assert isinstance(self.unit.row, SegmentUnit)
        parts = np.add.reduceat(codes, np.arange(0, codes.shape[1], self.unit.row.segment), axis=1)
        return np.asarray(self.zero_point * (parts * self.scales.factors).sum(axis=1))

    def exact(self, sums: Integers) -> NDArray[np.float64]:
        """What sums (..., rows) stand for, without the bias."""
        return np.asarray((sums - self.offset).astype(np.float64) * self.step, dtype=np.float64)

    def outputs(self, sums: Integers, bias: NDArray[np.float32]) -> NDArray[np.float32]:
        """The float32 outputs nearest to what sums (..., rows) stand for."""
        exact = self.exact(sums) + bias
        with np.errstate(over="ignore"):
            return exact.astype(np.float32)

    def thresholds(self, tensors: LayerTensors) -> Integers:
        """The thresholds of the requantizer, (rows, 2^bits - 1): the network's own function of every sum."""
        search, behind = self.unit.requantizer, tensors.requantized
        assert search is not None
        assert behind is not None
        return row_thresholds(search, self.unit.rows, lambda sums: behind.apply(self.outputs(sums.T, tensors.bias)).T)


def make_design(quantized: QuantizedModel, layer: Layer, folding: Folding, output: TensorQuant | None) -> LayerDesign:
    """The datapath of a layer, folded as the point is.

    Args:
        output: format and scaling of the constant scale behind the layer; None: its sums leave as they are.

    Raises:
        ExportError: group scales of one layer that lie too far apart for a shift.
        RtlError: a unit that cannot be generated.
    """
    result = next(each for each in quantized.layers if each.name == layer.name)
    path = Datapath(result.weight, result.activation, quantized.numerics.layers[layer.name].accumulator)
    size = segment_size(path)
    segment = None if size is None or size >= layer.cols else size
    lanes = _fitting_lanes(folding.simd, layer.cols, segment)
    if lanes != folding.simd and path.accumulator.overflow is Overflow.SATURATE:
        raise ExportError(
            f"what a saturating accumulator holds depends on the products per cycle, but {layer.name} has SIMD={folding.simd}, "
            f"which does not suit segments of {segment} products ({lanes} would); choose another target frame rate or tile."
        )
    scales = None
    row: RowUnit
    if segment is None:
        row = DotUnit(path, lanes, pipeline=True)
    else:
        if group_scales(path, layer.cols):
            scales = _scales(result, segment)
        row = _segmented(path, lanes, ceil_div(layer.cols, segment), None if scales is None else scales.scale)
    search = None
    if output is not None and output.bits <= MOST_SEARCHED_BITS:
        search = ThresholdUnit(row.outer_bits if isinstance(row, SegmentUnit) else row.bits, output.format)
    unit = LayerUnit(row, layer.rows, layer.cols, folding.pe, layer.depthwise, search)
    return LayerDesign(
        name=module_name(layer.name),
        unit=unit,
        folding=folding,
        result=result,
        scales=scales,
        scale_unit=np.broadcast_to(result.scale[:, 0] if scales is None else scales.unit, layer.rows).astype(
            np.float64
        ),
        product_step=_step(path.weight.format) * _step(path.activation.format) * quantized.site_scales[layer.site],
        zero_point=quantized.zero_points.get(layer.site, 0),
    )


def _step(fmt: ElementFormat) -> float:
    return 1.0 if isinstance(fmt, IntFormat) else float(fmt.step)


def _segmented(path: Datapath, lanes: int, segments: int, scale: Scale | None) -> SegmentUnit:
    """A segmented unit whose outer accumulator has room for every sum of `segments` segments."""
    wide = SegmentUnit(path, lanes, _ANY_WIDTH, scale=scale, pipeline=True)
    return replace(wide, outer_bits=wide.outer.summand_bits + ceil_log2(segments))


def _scales(result: LayerResult, segment: int) -> Scales:
    """The scales of a layer's segments in the form that hardware applies."""
    rows, cols = result.codes.shape
    groups, segments = result.scale.shape[1], ceil_div(cols, segment)
    values = np.repeat(result.scale.astype(np.float64), segments // groups, axis=1)
    match result.weight.scaling.kind:
        case ScaleKind.POWER_OF_TWO:
            used = np.add.reduceat(np.abs(result.codes), np.arange(0, cols, segment), axis=1) > 0
            exponents = np.frexp(values)[1] - 1
            # a segment of zeros may have any scale
            lowest = int(exponents[used].min()) if used.any() else 0
            shifts = np.where(used, exponents - lowest, 0).astype(np.int64)
            reach = 1 << max(int(shifts.max()).bit_length(), 1)
            if reach > MOST_SHIFTS:
                raise ExportError(
                    f"the power-of-two scales of one layer must lie within 2^{MOST_SHIFTS - 1} of each other, but those of "
                    f"{result.name} span 2^{int(shifts.max())}; use float scales."
                )
            shift = ShiftScale(E8M0.exponent_bias // reach * reach, reach)
            factors = np.vectorize(lambda n: 1 << n, otypes=[object])(shifts)
            return Scales(shift, shifts + shift.start, factors, np.full(rows, 2.0**lowest))
        case ScaleKind.E4M3:
            tensor = _tensor_scale(result, values)
            steps = np.rint(values / tensor / float(UE4M3.step)).astype(np.int64)
            return Scales(ProductScale(UE4M3), codes_of(UE4M3, steps), steps, np.full(rows, tensor * float(UE4M3.step)))
        case _:
            top = values.max(axis=1)
            codes = np.rint(values / top[:, None] * MANTISSA_MAX).astype(np.int64)
            return Scales(ProductScale(), codes, codes, top / MANTISSA_MAX)


def _tensor_scale(result: LayerResult, values: NDArray[np.float64]) -> float:
    """The float scale of the whole tensor beside E4M3 scales: the one of which all scales are E4M3 multiples."""
    for code in finite_codes(UE4M3)[:0:-1]:
        tensor = float(values.max()) / decode(UE4M3, int(code))
        ratios = values / tensor
        if np.allclose(quantize(UE4M3, ratios), ratios, rtol=1e-6, atol=0):
            return tensor
    raise ExportError(f"the scales of {result.name} must be E4M3 multiples of one number, but they are not.")


def module_name(layer: str) -> str:
    """A Verilog name for a layer."""
    return "layer_" + re.sub(r"\W", "_", layer)


def _fitting_lanes(simd: int, cols: int, segment: int | None) -> int:
    """The SIMD of a layer's units: the point's where it suits the segments, else the next larger, else the next smaller."""
    if segment is None:
        return simd
    fits = [n for n in divisors(cols) if n <= MOST_LANES and max(n, segment) % min(n, segment) == 0]
    fits += [n for n in divisors(segment) if n not in fits]  # the last segment of a row is filled up with zeros
    return min(fits, key=lambda n: (n < simd, abs(n - simd)))
