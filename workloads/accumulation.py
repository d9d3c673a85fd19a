"""Layers whose accumulators may overflow, summed as hardware sums them, bit by bit, inside a quantized network.

A layer's inputs are brought back to their integer codes, so its products are integers in units of the product of both steps.
They are summed in the order of the columns of its matrix (kernel row, kernel column, input channel), `lanes` of them at a
time: the adder tree of a unit sums the products of one cycle exactly, and its register then holds the sum as well as P bits
can. That is what :func:`hwmodels.accumulate.accumulate` and the generated units (:mod:`hwmodels.rtl.unit`) do, too. How many
products share a cycle matters to a register that saturates, and to no other.

With tiles of T products the register starts anew after each; an outer accumulator of P + ceil(log2(K/T)) bits (AXE, arXiv
2409.17092, section 3.3) holds every sum of the tiles, so it never overflows. A group of weights with a scale of its own is a
tile whose sum is scaled before that. Where products of minifloats are wider than the register, their low bits are left out
as in the generated unit (:func:`hwmodels.primitives.operands.dropped_bits`): a truncated window of exact fixed point.

A layer whose weights are proved to fit P bits cannot overflow, and stays the plain layer that it is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn

from hwmodels.accumulate import accumulate
from hwmodels.accumulator import AccumulatorError, dot_range
from hwmodels.datapath import Accumulator, Datapath, Overflow
from hwmodels.formats import ElementFormat, IntFormat
from hwmodels.ops import LayerNumerics, Numerics
from hwmodels.rtl.unit import DotUnit
from hwmodels.rtl.verilog import RtlError
from workloads.assign import assign
from workloads.calibration import SiteScale
from workloads.fake_quant import round_in_place
from workloads.graph import pair
from workloads.numerics import NumericsSpec
from workloads.plan import Layer, Plan
from workloads.quantized import LayerOverflow, LayerResult, QuantizedModel

_WINDOWS = 1 << 24
"""Input values of a layer that are laid out as the rows of its matrix take them, at once (32 MiB for codes of 8 bits)."""


class AccumulatedLayer(nn.Module):
    """A convolution or linear layer on integer codes, with an accumulator that may overflow; counts what does.

    Args:
        layer: its shape.
        source: the layer of the quantized network that this one stands for; its bias is added behind the sum.
        result: its codes and scales.
        site: the scale of its inputs.
        accumulator: P, T and what a sum does that P bits do not hold.
        lanes: products per cycle (SIMD).

    Raises:
        AccumulatorError: see :func:`dropped_bits`.
    """

    def __init__(
        self,
        layer: Layer,
        source: nn.Conv2d | nn.Linear,
        result: LayerResult,
        site: SiteScale,
        accumulator: Accumulator,
        lanes: int,
    ) -> None:
        super().__init__()
        self.layer, self.result, self.site, self.lanes = layer, result, site, lanes
        self.geometry = None if isinstance(source, nn.Linear) else _Geometry.of(source)
        self.bias = None if source.bias is None else source.bias.detach().double().numpy()
        self.datapath = Datapath(result.weight, result.activation, accumulator)
        self.dropped = dropped_bits(layer.name, self.datapath, layer.cols, lanes)
        self.sums = self.overflows = 0

    @property
    def counts(self) -> LayerOverflow:
        """What has happened since it was made."""
        return LayerOverflow(self.sums, self.overflows)

    def forward(self, x: Tensor) -> Tensor:
        """Return the layer's float32 outputs for inputs that lie on the grid of its site."""
        codes = input_codes(x.cpu(), self.result.activation.format, self.site)
        if self.geometry is None:
            outputs = self._outputs(codes.reshape(-1, self.layer.cols))
            return torch.from_numpy(outputs.reshape(*x.shape[:-1], -1)).to(x.device)
        some = max(1, _WINDOWS // (self.layer.vectors * self.layer.cols))
        parts = [self._convolved(codes[first : first + some]) for first in range(0, len(codes), some)]
        return torch.from_numpy(np.concatenate(parts)).to(x.device)

    def _convolved(self, codes: NDArray[Any]) -> NDArray[np.float32]:
        """(images, rows, height, width) of codes (images, channels, height, width)."""
        assert self.geometry is not None  # of a convolution
        windows = self.geometry.windows(codes, self.site.zero_point)
        images, height, width, kernel, channels = windows.shape
        if self.layer.depthwise:
            by_channel = np.moveaxis(windows, -1, 0).reshape(channels, -1, kernel)
            made = np.concatenate([self._outputs(each, row) for row, each in enumerate(by_channel)], axis=1)
        else:
            made = self._outputs(windows.reshape(-1, kernel * channels))
        return np.ascontiguousarray(np.moveaxis(made.reshape(images, height, width, -1), -1, 1))

    def _outputs(self, inputs: NDArray[Any], row: int | None = None) -> NDArray[np.float32]:
        """(vectors, rows) of inputs (vectors, cols); of one row of weights where it is given."""
        rows = slice(None) if row is None else slice(row, row + 1)
        codes, scales = self.result.codes[rows], self._scales()[rows]
        segment = codes.shape[1] // scales.shape[1]
        total = np.zeros((len(inputs), len(codes)))
        for group, scale in enumerate(scales.T):
            columns = slice(group * segment, (group + 1) * segment)
            weights = codes[:, columns]
            found = accumulate(weights, inputs[:, columns], self.datapath, self.lanes, dropped_bits=self.dropped)
            self.sums += found.sums.size * found.tiles
            self.overflows += int(found.inner_overflows.sum())
            sums = found.sums.astype(np.float64)
            if self.site.zero_point:  # a constant of the row, which the requantizer behind it takes off
                sums -= self.site.zero_point * weights.sum(axis=1)
            total += sums * scale
        if self.bias is not None:
            total += self.bias[rows]
        return total.astype(np.float32)

    def _scales(self) -> NDArray[np.float64]:
        """The value of one unit of a sum, per row and group of weights."""
        weight, activation = self.result.weight.format, self.result.activation.format
        unit = float(self.site.scale) * step(weight) * step(activation) * 2.0**self.dropped
        scales = np.broadcast_to(self.result.scale, (self.layer.rows, self.result.scale.shape[1]))
        return scales.astype(np.float64) * unit


def input_codes(x: Tensor, fmt: ElementFormat, site: SiteScale) -> NDArray[Any]:
    """Values on the grid of a site as integer codes in units of the format's step, in the narrowest type that holds all."""
    elements = round_in_place(
        x / site.scale + site.zero_point, fmt
    ).numpy()  # they are elements, but for rounding errors
    most = fmt.max_code if not isinstance(fmt, IntFormat) else max(fmt.max_code, -fmt.min_code)
    if most >= 1 << 62:
        return np.array([int(v) for v in (elements.astype(np.float64) / step(fmt)).flat], object).reshape(x.shape)
    kind = next(k for k in (np.int16, np.int32, np.int64) if most <= np.iinfo(k).max)
    return (elements if isinstance(fmt, IntFormat) else elements.astype(np.float64) / step(fmt)).astype(kind)


def step(fmt: ElementFormat) -> float:
    """What a code of 1 stands for: 1 of an integer, the smallest subnormal of a minifloat (a power of two)."""
    return 1.0 if isinstance(fmt, IntFormat) else float(fmt.step)


def overflowing(exact: QuantizedModel, plan: Plan, spec: NumericsSpec) -> QuantizedModel:
    """The network `exact`, quantized as `spec` says but for its accumulators, on those that the spec has.

    Layers that are proved to fit stay as they are, the others are summed bit by bit; `exact` itself is not changed.

    Raises:
        AccumulatorError: see :func:`dropped_bits`.
        AccumulatorError, DatapathError: see :func:`workloads.assign.assign`.
    """
    tiles = {name: formats.tile_size for name, formats in assign(plan, spec).layers.items()}
    results = tuple(
        replace(r, tile_size=tiles[r.name], range=dot_range(r.codes, r.activation.format, tiles[r.name]))
        for r in exact.layers
    )
    accumulators = {r.name: spec.accumulator(r.bits, r.tile_size) for r in results}
    network, layers = fx.GraphModule(exact.network, exact.network.graph), dict[str, AccumulatedLayer]()
    for layer, result in zip(plan.layers, results, strict=True):
        accumulator, lanes = accumulators[layer.name], dict(spec.lanes).get(layer.name, 1)
        if accumulator.overflow is Overflow.IMPOSSIBLE:
            continue
        dropped_bits(layer.name, Datapath(result.weight, result.activation, accumulator), layer.cols, lanes)
        site = SiteScale(torch.tensor(exact.site_scales[layer.site]), exact.zero_points.get(layer.site, 0))
        source = exact.network.get_submodule(layer.module)
        assert isinstance(source, nn.Conv2d | nn.Linear)
        layers[layer.name] = AccumulatedLayer(layer, source, result, site, accumulator, lanes)
        network.set_submodule(layer.module, layers[layer.name])

    def overflows() -> dict[str, LayerOverflow]:
        return {r.name: layers[r.name].counts if r.name in layers else LayerOverflow(0, 0) for r in results}

    numerics = Numerics(exact.numerics.sites, {r.name: LayerNumerics(r.weight, accumulators[r.name]) for r in results})
    return replace(exact, network=network.eval(), layers=results, numerics=numerics, overflows=overflows)


def dropped_bits(name: str, datapath: Datapath, dot_length: int, lanes: int) -> int:
    """Low bits of products that the unit of layer `name` leaves out; several tiles that share a cycle have a unit each.

    Raises:
        AccumulatorError: the inputs have a dynamic scale, which sums that may overflow are not simulated for; or there is no
            such unit, because the register does not hold a single product.
    """
    if datapath.activation.scaling.dynamic:
        raise AccumulatorError(
            "sums that may overflow are simulated for inputs with a constant scale, but those of layer "
            f"{name} have {datapath.activation}; use tensor or tensor_po2, or overflow impossible."
        )
    tile = min(datapath.accumulator.tile_size or dot_length, dot_length)
    units = -(-lanes // tile)
    accumulator = replace(datapath.accumulator, tile_size=None)
    try:
        return DotUnit(replace(datapath, accumulator=accumulator), -(-lanes // units)).dropped
    except RtlError as error:
        raise AccumulatorError(f"layer {name} must have a compute unit that exists: {error}") from None


@dataclass(frozen=True)
class _Geometry:
    """How a convolution walks over its input: (rows, columns) each."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]

    @classmethod
    def of(cls, module: nn.Conv2d) -> _Geometry:
        assert not isinstance(module.padding, str)  # tracing refuses names of paddings
        return cls(*(pair(size) for size in (module.kernel_size, module.stride, module.padding, module.dilation)))

    def windows(self, codes: NDArray[Any], padding: int) -> NDArray[Any]:
        """(images, rows, columns, kernel rows * kernel columns, channels) of codes (images, channels, height, width)."""
        border = ((0, 0), *((each, each) for each in self.padding), (0, 0))
        # channels together, as they are read
        padded = np.pad(np.ascontiguousarray(np.moveaxis(codes, 1, -1)), border, constant_values=padding)
        reach = tuple(dilation * (size - 1) + 1 for dilation, size in zip(self.dilation, self.kernel, strict=True))
        (y, x), (dilate_y, dilate_x) = self.stride, self.dilation
        views = np.lib.stride_tricks.sliding_window_view(padded, reach, axis=(1, 2))
        taken = np.moveaxis(views[:, ::y, ::x, :, ::dilate_y, ::dilate_x], 3, -1)
        return np.ascontiguousarray(taken).reshape(*taken.shape[:3], -1, taken.shape[-1])
