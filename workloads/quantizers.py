"""Brevitas quantizers of any element format on a scale that is given, and the one rounding kernel they all use.

Scales are decided elsewhere and frozen here: a weight's scale must not follow the weight while GPTQ changes it (with
scales recomputed from the changing weights, 3-bit accuracy falls to that of plain rounding). The modules around the
kernel are Brevitas' own (proxies, quantized layers, export handlers), so a quantized model can be exported by Brevitas.
"""

# Brevitas has no types, so its classes are Any to the checker:
# mypy: disable-error-code="misc, no-any-return, no-untyped-def"

from __future__ import annotations

import warnings

import torch
from torch import Tensor, nn

from hwmodels.formats import ElementFormat, IntFormat, Minifloat, Specials

with warnings.catch_warnings():
    # importing brevitas touches deprecated corners of torch (torch.jit) on every import
    warnings.simplefilter("ignore", DeprecationWarning)
    import brevitas.nn as qnn
    from brevitas.core.function_wrapper import TensorClamp
    from brevitas.core.quant import IntQuant as IntQuantModule
    from brevitas.core.quant.float import FloatQuant
    from brevitas.core.utils import SingleArgStatelessBuffer
    from brevitas.inject import ExtendedInjector
    from brevitas.quant.base import IntQuant
    from brevitas.quant.float_base import FloatActBase, FloatWeightBase
    from brevitas.quant.solver import ActQuantSolver, WeightQuantSolver

__all__ = ["FrozenScale", "activation_quantizer", "qnn", "round_in_place", "weight_quantizer"]


def round_in_place(y: Tensor, fmt: ElementFormat) -> Tensor:
    """Round float32 `y` (on a scale of 1, overwritten) to the values of `fmt`: nearest, ties to even, saturating.

    One kernel for integers and minifloats. A minifloat's step is the power of two in the value's own exponent bits, clamped
    below at the subnormal step, so no logarithm is needed (Brevitas takes one, at 2-3 times the time for equal results).
    """
    low, high = float(fmt.min_value), float(fmt.max_value)
    if isinstance(fmt, IntFormat):
        return y.round_().clamp_(low, high)
    step = (y.view(torch.int32) & 0x7F800000).view(
        torch.float32
    )  # 2^floor(log2 |y|); 0 for zeros and float32 subnormals
    step.clamp_(min=float(fmt.min_normal)).mul_(2.0**-fmt.mantissa_bits)
    return y.div_(step).round_().mul_(step).clamp_(low, high)


class FrozenScale(nn.Module):
    """A scale that does not change, cut to the slice of the weight that Brevitas' GPTQ asks for.

    Args:
        scaling_init: the scale, broadcastable to the tensor.
    """

    def __init__(self, scaling_init: Tensor) -> None:
        super().__init__()
        self.value: Tensor
        self.register_buffer("value", scaling_init)
        self.subtensor_slice_list: list[tuple[int, int] | None] = [
            None
        ]  # set and reset by QuantWeightMixin.quant_weight

    def forward(self, placeholder: Tensor, threshold: Tensor | None = None) -> Tensor:
        """Return the scale; the arguments are Brevitas' protocol and have no influence."""
        if self.subtensor_slice_list == [None] or self.value.ndim < len(self.subtensor_slice_list):
            return self.value
        cuts = zip(self.subtensor_slice_list, self.value.shape, strict=False)
        return self.value[tuple(slice(None) if cut is None or size == 1 else slice(*cut) for cut, size in cuts)]


class _FusedIntQuant(IntQuantModule):
    """Brevitas' integer quantizer with the rounding kernel of this module (zero point 0)."""

    def __init__(self, element_format: IntFormat, input_view_impl: nn.Module) -> None:
        super().__init__(
            narrow_range=element_format.narrow,
            signed=element_format.signed,
            input_view_impl=input_view_impl,
            tensor_clamp_impl=TensorClamp(),
        )
        self.element_format = element_format

    def forward(self, scale: Tensor, zero_point: Tensor, bit_width: Tensor, x: Tensor) -> Tensor:
        return round_in_place(x / scale, self.element_format).mul_(scale)


class _FusedFloatQuant(FloatQuant):
    """Brevitas' minifloat quantizer with the rounding kernel of this module."""

    element_format: Minifloat

    def forward(self, x: Tensor):
        scale = self.scaling_impl(x, None)
        y = round_in_place(x / scale, self.element_format).mul_(scale)
        clamp = self.float_clamp_impl
        return (
            y,
            scale,
            self.zero_point_impl(),
            self.exponent_bit_width_impl(),
            self.mantissa_bit_width_impl(),
            self.exponent_bias_impl(),
            clamp.saturating,
            clamp.inf_values,
            clamp.nan_values,
        )


def _specials(fmt: Minifloat) -> dict[str, tuple[str, ...] | None]:
    """Brevitas' `inf_values` and `nan_values`: mantissa strings of the top exponent that are no numbers."""
    m = fmt.mantissa_bits
    all_codes = [format(code, f"0{m}b") for code in range(1 << m)]
    match fmt.specials:
        case Specials.NAN:
            return {"inf_values": None, "nan_values": (all_codes[-1],)}
        case Specials.IEEE:
            return {"inf_values": (all_codes[0],), "nan_values": tuple(all_codes[1:])}
        case Specials.NONE | Specials.FNUZ:
            return {"inf_values": None, "nan_values": None}


class _GivenScale(ExtendedInjector):
    """What all quantizers share: one frozen scale, used as it is."""

    scaling_impl = FrozenScale
    scaling_impl_type = "const"
    restrict_scaling_type = "fp"
    scaling_per_output_type = "tensor"  # only statistics would use it; the scale's own shape says its granularity


class _IntWeight(_GivenScale, IntQuant, WeightQuantSolver):
    int_quant = _FusedIntQuant
    int_scaling_impl = SingleArgStatelessBuffer(1.0)


class _IntActivation(_GivenScale, IntQuant, ActQuantSolver):
    int_quant = _FusedIntQuant
    int_scaling_impl = SingleArgStatelessBuffer(1.0)


class _FloatWeight(_GivenScale, FloatWeightBase):
    tensor_quant = _FusedFloatQuant
    float_scaling_impl = None
    saturating = True


class _FloatActivation(_GivenScale, FloatActBase):
    tensor_quant = _FusedFloatQuant
    float_scaling_impl = None
    saturating = True


def weight_quantizer(fmt: ElementFormat, scale: Tensor) -> type[ExtendedInjector]:
    """The Brevitas weight quantizer of a format with the scale given (float32, broadcastable to the weight)."""
    return _configure(_IntWeight if isinstance(fmt, IntFormat) else _FloatWeight, fmt, scale)


def activation_quantizer(fmt: ElementFormat, scale: Tensor) -> type[ExtendedInjector]:
    """The Brevitas activation quantizer of a format with the static scale given (float32)."""
    return _configure(_IntActivation if isinstance(fmt, IntFormat) else _FloatActivation, fmt, scale)


def _configure(base: type[ExtendedInjector], fmt: ElementFormat, scale: Tensor) -> type[ExtendedInjector]:
    if isinstance(fmt, IntFormat):
        return base.let(
            bit_width=fmt.bits, signed=fmt.signed, narrow_range=fmt.narrow, element_format=fmt, scaling_init=scale
        )
    fused = type("_FusedFloatQuant", (_FusedFloatQuant,), {"element_format": fmt})
    return base.let(
        tensor_quant=fused,
        bit_width=fmt.bits,
        exponent_bit_width=fmt.exponent_bits,
        mantissa_bit_width=fmt.mantissa_bits,
        exponent_bias=fmt.exponent_bias,
        signed=fmt.signed,
        max_available_float=float(fmt.max_value),
        scaling_init=scale,
        **_specials(fmt),
    )
