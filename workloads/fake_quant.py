"""The fake-quantizers that evaluation runs on: integers and minifloats by one kernel, bit for bit what Brevitas' quantizers do.

``value = round(x / scale) * scale`` on the grid of a format, computed in float32 as Brevitas computes it, in fewer passes
over memory: it clamps first (nothing that is rounded afterwards can leave the range, and infinities saturate), and it
rounds a minifloat by adding and subtracting 1.5 * 2^23 of the value's own steps, at which float32 itself rounds to nearest,
ties to even. The step is a power of two read from the exponent bits, so no logarithm is taken.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hwmodels.datapath import Granularity, ScaleKind, TensorQuant
from hwmodels.formats import OCP_E4M3, ElementFormat, IntFormat, Minifloat
from workloads.scales import SMALLEST_SCALE

_EXPONENT = 0x7F800000  # the exponent bits of a float32
_ROUNDER = 1.5 * 2.0**23
"""Float32 numbers between 2^23 and 2^24 are 1 apart: adding this rounds what is below 2^22 to whole numbers, ties to even."""


def round_in_place(y: Tensor, fmt: ElementFormat, *, nonnegative: bool = False) -> Tensor:
    """Round float32 `y` (on a scale of 1, overwritten) to the values of `fmt`: nearest, ties to even, saturating.

    NaN stays NaN. The result is that of :func:`hwmodels.codec.quantize` on every other float32 number.

    Args:
        nonnegative: let nothing below zero pass either, so that a ReLU in front need not be computed.
    """
    low = max(float(fmt.min_value), 0.0) if nonnegative else float(fmt.min_value)
    y.clamp_(low, float(fmt.max_value))
    if isinstance(fmt, IntFormat):
        return y.round_()
    binade = (y.view(torch.int32) & _EXPONENT).view(
        torch.float32
    )  # 2^floor(log2 |y|); its step is 2^-mantissa_bits of it
    rounder = binade.clamp_(min=float(fmt.min_normal)).mul_(_ROUNDER * 2.0**-fmt.mantissa_bits)
    return y.add_(rounder).sub_(rounder)


def neighbours(y: Tensor, fmt: ElementFormat) -> tuple[Tensor, Tensor]:
    """The values of `fmt` that float32 `y` (on a scale of 1) lies between, the lower and the upper one.

    The lower one of a value of the format is itself. Outside of the range, both are its end.
    """
    smallest, largest = float(fmt.min_value), float(fmt.max_value)
    clamped = y.clamp(smallest, largest)
    step = torch.ones(())
    if not isinstance(fmt, IntFormat):
        binade = (clamped.view(torch.int32) & _EXPONENT).view(torch.float32)
        step = binade.clamp_(min=float(fmt.min_normal)).mul_(2.0**-fmt.mantissa_bits)
    low = (clamped / step).floor().mul_(step)
    return low, (low + step).clamp(max=largest).where(y >= smallest, low)


class FakeQuant(nn.Module):
    """A quantizer on a scale that does not change.

    Args:
        fmt: of the values.
        scale: float32, broadcastable to the input.
        zero_point: the code of the number zero, of an integer format.
        nonnegative: as in :func:`round_in_place`; only with a zero point of 0.
    """

    def __init__(self, fmt: ElementFormat, scale: Tensor, *, zero_point: int = 0, nonnegative: bool = False) -> None:
        super().__init__()
        assert zero_point == 0 or (isinstance(fmt, IntFormat) and not nonnegative)
        self.format, self.zero_point, self.nonnegative = fmt, zero_point, nonnegative
        self.scale: Tensor
        self.register_buffer("scale", scale)

    def forward(self, x: Tensor) -> Tensor:
        """Return the nearest values of the format times scale, float32, of the shape of `x`."""
        y = x / self.scale
        if self.zero_point == 0:
            return round_in_place(y, self.format, nonnegative=self.nonnegative).mul_(self.scale)
        return round_in_place(y.add_(self.zero_point), self.format).sub_(self.zero_point).mul_(self.scale)


class DynamicFakeQuant(nn.Module):
    """A quantizer that scales every frame, token or group of channels by its own largest values.

    A frame is what hardware takes in at a time: an image, or one token of a window of text.

    Args:
        quant: format and dynamic scaling. Scales are those that :func:`workloads.scales.block_scales` gives to weights.
        tensor: the constant scale of the whole tensor beside E4M3 scales, else None.
        nonnegative: as in :func:`round_in_place`.
    """

    def __init__(self, quant: TensorQuant, tensor: float | None = None, *, nonnegative: bool = False) -> None:
        super().__init__()
        assert quant.scaling.dynamic
        assert (tensor is not None) == (quant.scaling.kind is ScaleKind.E4M3)
        self.quant, self.tensor, self.nonnegative = quant, tensor, nonnegative

    def forward(self, x: Tensor) -> Tensor:
        """Return the nearest values of the format times scale, float32, of the shape of `x`."""
        axis, scaling = channel_axis(x), self.quant.scaling
        match scaling.granularity:
            case Granularity.GROUP:
                size = scaling.group_size or x.shape[axis]
                groups = [*x.shape[:axis], x.shape[axis] // size, size, *x.shape[axis + 1 :]]
                blocks, axes = x.reshape(groups), [axis + 1]
            case Granularity.TENSOR if x.ndim == 4:
                blocks, axes = x, [1, 2, 3]
            case _:
                blocks, axes = x, [axis]
        low, high = blocks.amin(axes, keepdim=True), blocks.amax(axes, keepdim=True)
        if self.nonnegative:
            low, high = low.clamp(min=0.0), high.clamp(min=0.0)
        scale = dynamic_scales(self.quant, low, high, self.tensor)
        rounded = round_in_place(blocks / scale, self.quant.format, nonnegative=self.nonnegative)
        return rounded.mul_(scale).reshape(x.shape)


class HeadFakeQuant(DynamicFakeQuant):
    """A quantizer of keys or values that scales every token of every head by its own largest values."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the nearest values of the format times scale, float32, of `x` (batch, tokens, heads, dim)."""
        return super().forward(x.flatten(1, 2)).view(x.shape)


def dynamic_scales(quant: TensorQuant, low: Tensor, high: Tensor, tensor: float | None = None) -> Tensor:
    """The float32 scales of blocks whose values lie in [low, high]: :func:`workloads.scales.block_scales`, in torch."""
    fmt, kind = quant.format, quant.scaling.kind
    absmax = torch.maximum(-low, high).double()
    scale = high.double().clamp(min=0.0) / float(fmt.max_value)
    if fmt.min_value < 0:
        scale = torch.maximum(scale, low.double().clamp(max=0.0) / float(fmt.min_value))
    if kind is ScaleKind.E4M3:
        assert tensor is not None
        rounded = round_in_place((scale / tensor).float(), OCP_E4M3)
        scale = rounded.double().clamp(min=float(OCP_E4M3.step)) * tensor
    elif kind is ScaleKind.POWER_OF_TWO and isinstance(fmt, Minifloat) and fmt.mantissa_bits:
        scale = _power_of_two(torch.frexp(absmax.clamp(min=SMALLEST_SCALE))[1] - 1 - fmt.max_exponent)
    elif kind is ScaleKind.POWER_OF_TWO:
        mantissa, exponent = torch.frexp(scale)
        scale = torch.where(scale == 0, 0.0, _power_of_two(exponent - (mantissa == 0.5).int()))
    return torch.where(absmax <= 0, 1.0, scale).clamp(min=SMALLEST_SCALE).float()


def _power_of_two(exponent: Tensor) -> Tensor:
    return torch.ldexp(torch.ones_like(exponent, dtype=torch.float64), exponent)


def channel_axis(x: Tensor) -> int:
    """The axis of a tensor's channels: 1 for images (n, channels, height, width), the last for everything else."""
    return 1 if x.ndim == 4 else x.ndim - 1
