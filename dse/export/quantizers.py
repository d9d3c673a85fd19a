"""Quantizers as ONNX nodes: what the two dialects, QONNX and standard ONNX, write for weights and for activations.

The data types noted beside tensors are those of the *codes*: `INT4` where the scale is 1, else `SCALEDINT<4>` (qonnx' name for
integers times a scale) and `FLOAT<e,m,b>` for minifloats; the scale stands at the quantizer.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from onnx import TensorProto, helper

from dse.export.build import Array, Build
from dse.export.errors import ExportError
from dse.export.scales import dynamic_scale, float_quant
from dse.onnx_reader.names import CODES_SUFFIX, QUANTIZER_SUFFIX
from hwmodels.codec import decode_all, quantize
from hwmodels.datapath import ScaleKind, TensorQuant
from hwmodels.formats import OCP_E4M3, ElementFormat, IntFormat, Minifloat, Specials
from workloads.quantized import LayerResult


class Dialect(Protocol):
    """How a quantizer is written."""

    def weight(self, build: Build, layer: LayerResult, values: Array, scale: Array) -> str:
        """Weights `values` (on their grid) with scales that broadcast to them; their tensor."""

    def static(
        self, build: Build, fmt: ElementFormat, scale: float, zero_point: int, source: str, name: str, site: str
    ) -> str:
        """Activations on a constant scale; the quantized tensor, called `name`."""

    def dynamic(
        self, build: Build, quant: TensorQuant, tensor: float | None, source: str, axes: list[int], name: str
    ) -> str:
        """Activations scaled by their own largest values over `axes`; the quantized tensor, called `name`."""


class Qonnx:
    """Quant for integers, FloatQuant for minifloats, of any scale."""

    def weight(self, build: Build, layer: LayerResult, values: Array, scale: Array) -> str:
        """As :class:`Dialect`. E4M3 scales are written as such, times the scale of the tensor."""
        name = f"{layer.name}.weight"
        if layer.weight.scaling.kind is ScaleKind.E4M3:
            codes, tensor = e4m3_scales(layer.name, scale)
            grid = build.datatype(build.constant(f"{name}.scale.e4m3", codes), _datatype(OCP_E4M3))
            scales = build.node("Mul", [grid, build.constant(f"{name}.scale.tensor", tensor)], f"{name}.scale")
        else:
            scales = build.constant(f"{name}.scale", scale)
        quantized = _qonnx(build, layer.weight.format, build.constant(name, values), scales, 0, f"{name}.quant")
        return build.datatype(quantized, _datatype(layer.weight.format, unscaled=bool((scale == 1).all())))

    def static(
        self, build: Build, fmt: ElementFormat, scale: float, zero_point: int, source: str, name: str, site: str
    ) -> str:
        """As :class:`Dialect`."""
        quantized = _qonnx(
            build, fmt, source, build.constant(f"{site}{QUANTIZER_SUFFIX}.scale", scale), zero_point, name
        )
        return build.datatype(quantized, _datatype(fmt, unscaled=scale == 1 and zero_point == 0))

    def dynamic(
        self, build: Build, quant: TensorQuant, tensor: float | None, source: str, axes: list[int], name: str
    ) -> str:
        """As :class:`Dialect`; the scale is computed by standard operators (:mod:`dse.export.scales`)."""
        scale = dynamic_scale(build, quant, tensor, source, axes, name)
        return build.datatype(_qonnx(build, quant.format, source, scale, 0, name), _datatype(quant.format))


def _qonnx(build: Build, fmt: ElementFormat, source: str, scale: str, zero_point: int, name: str) -> str:
    match fmt:
        case Minifloat():
            return float_quant(build, fmt, source, scale, name)
        case IntFormat():
            inputs = [source, scale, build.number(float(zero_point)), build.number(float(fmt.bits))]
            return build.node(
                "Quant", inputs, name, narrow=int(fmt.narrow), rounding_mode="ROUND", signed=int(fmt.signed)
            )


class Qcdq:
    """QuantizeLinear, Clip, DequantizeLinear: integers of up to 8 bits and the two FP8 formats of OCP, on constant scales."""

    def weight(self, build: Build, layer: LayerResult, values: Array, scale: Array) -> str:
        """As :class:`Dialect`: stored as codes of 8 bits."""
        fmt, name = layer.weight.format, f"{layer.name}.weight"
        codes = np.round(values / scale) if isinstance(fmt, IntFormat) else quantize(fmt, values / scale)
        stored = _add_codes(build, fmt, name, codes)
        axis = None if scale.size == 1 else int(np.argmax(scale.shape))
        scales = build.constant(f"{name}.scale", scale.reshape(-1) if axis is not None else scale.reshape(()))
        if isinstance(fmt, IntFormat):
            stored = _clipped(build, fmt, stored, f"{name}.clip")
        made = build.node("DequantizeLinear", [stored, scales], f"{name}.quant", axis=axis)
        return build.datatype(made, _datatype(fmt))

    def static(
        self, build: Build, fmt: ElementFormat, scale: float, zero_point: int, source: str, name: str, site: str
    ) -> str:
        """As :class:`Dialect`."""
        assert zero_point == 0  # refused before anything is written
        scales = build.constant(f"{site}{QUANTIZER_SUFFIX}.scale", scale)
        kind = fmt.name if isinstance(fmt, Minifloat) else "int8" if fmt.signed else "uint8"
        zero = _add_codes(build, fmt, f"0.{kind}", np.zeros(()))
        codes = build.node("QuantizeLinear", [source, scales, zero], f"{name}{CODES_SUFFIX}")
        if isinstance(fmt, IntFormat):
            codes = _clipped(build, fmt, codes, f"{name}.clip")
        return build.datatype(build.node("DequantizeLinear", [codes, scales], name), _datatype(fmt))

    def dynamic(
        self, build: Build, quant: TensorQuant, tensor: float | None, source: str, axes: list[int], name: str
    ) -> str:
        """Refused before anything is written."""
        raise AssertionError(name)


FP8 = {OCP_E4M3: TensorProto.FLOAT8E4M3FN, Minifloat(5, 2, specials=Specials.IEEE): TensorProto.FLOAT8E5M2}
"""The minifloats that ONNX has a type for."""


def _add_codes(build: Build, fmt: ElementFormat, name: str, codes: Array) -> str:
    if isinstance(fmt, IntFormat):
        return build.constant(name, codes, np.int8 if fmt.signed else np.uint8)
    return build.constant(name, codes, helper.tensor_dtype_to_np_dtype(FP8[fmt]))


def _clipped(build: Build, fmt: IntFormat, codes: str, name: str) -> str:
    """Codes of 8 bits narrowed to those of the format."""
    kind = np.int8 if fmt.signed else np.uint8
    info = np.iinfo(kind)
    if (fmt.min_code, fmt.max_code) == (info.min, info.max):
        return codes
    low, high = (build.constant(f"{code}.{kind.__name__}", code, kind) for code in (fmt.min_code, fmt.max_code))
    return build.node("Clip", [codes, low, high], name)


def e4m3_scales(layer: str, scale: Array) -> tuple[Array, np.float32]:
    """(numbers of E4M3, one float32) whose products, rounded to float32, are the scales of a layer's weights.

    Raises:
        ExportError: there are none: the scales are not of that kind.
    """
    grid = decode_all(OCP_E4M3)
    grid = np.unique(grid[np.isfinite(grid) & (grid > 0)])[::-1]
    largest = float(scale.max())
    for number in grid:
        middle = np.float32(largest / number)
        for tensor in (middle, np.nextafter(middle, np.float32(0)), np.nextafter(middle, np.float32(np.inf))):
            near = grid[np.abs(grid - (scale / tensor)[..., None]).argmin(axis=-1)].astype(np.float32)
            if np.array_equal(near * tensor, scale):
                return near, tensor
    raise ExportError(
        f"the scales of layer {layer} must be E4M3 numbers times one scale of the tensor, but they are not."
    )


def _datatype(fmt: ElementFormat, *, unscaled: bool = False) -> str | None:
    """The name that qonnx reads back; None for a minifloat that it would take for another (it reads a bias of 0 as unstated)."""
    match fmt:
        case IntFormat():
            return f"{'INT' if fmt.signed else 'UINT'}{fmt.bits}" if unscaled else f"SCALEDINT<{fmt.bits}>"
        case Minifloat(exponent_bias=0, default_bias=default) if default:
            return None
        case Minifloat():
            return f"FLOAT<{fmt.exponent_bits},{fmt.mantissa_bits},{fmt.exponent_bias}>"
