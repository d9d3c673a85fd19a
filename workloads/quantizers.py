"""Brevitas' quantizers of any element format on a scale that is given: what evaluation and exports are held against.

Nothing else runs on them: evaluation has a kernel of its own (:mod:`workloads.fake_quant`), and tests hold the two against
each other. Scales are decided elsewhere and frozen here; rounding and everything else is Brevitas' own.
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
    from brevitas.core.utils import SingleArgStatelessBuffer
    from brevitas.inject import ExtendedInjector
    from brevitas.quant.base import IntQuant
    from brevitas.quant.float_base import FloatActBase, FloatWeightBase
    from brevitas.quant.solver import ActQuantSolver, WeightQuantSolver

__all__ = ["FrozenScale", "activation_quantizer", "qnn", "weight_quantizer"]


class FrozenScale(nn.Module):
    """A scale that does not change.

    Args:
        scaling_init: the scale, broadcastable to the tensor.
    """

    def __init__(self, scaling_init: Tensor) -> None:
        super().__init__()
        self.value: Tensor
        self.register_buffer("value", scaling_init)

    def forward(self, placeholder: Tensor, threshold: Tensor | None = None) -> Tensor:
        """Return the scale; the arguments are Brevitas' protocol and have no influence."""
        return self.value


class FrozenZeroPoint(nn.Module):
    """A zero point that does not change.

    Args:
        zero_point: the code of the number zero.
    """

    def __init__(self, zero_point: int) -> None:
        super().__init__()
        self.value: Tensor
        self.register_buffer("value", torch.tensor(float(zero_point)))

    def forward(self, x: Tensor, scale: Tensor, bit_width: Tensor) -> Tensor:
        """Return the zero point; the arguments are Brevitas' protocol and have no influence."""
        return self.value


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
    tensor_clamp_impl = TensorClamp
    int_scaling_impl = SingleArgStatelessBuffer(1.0)


class _IntActivation(_GivenScale, IntQuant, ActQuantSolver):
    tensor_clamp_impl = TensorClamp
    int_scaling_impl = SingleArgStatelessBuffer(1.0)


class _FloatWeight(_GivenScale, FloatWeightBase):
    float_scaling_impl = None
    saturating = True


class _FloatActivation(_GivenScale, FloatActBase):
    float_scaling_impl = None
    saturating = True


def weight_quantizer(fmt: ElementFormat, scale: Tensor) -> type[ExtendedInjector]:
    """The Brevitas weight quantizer of a format with the scale given (float32, broadcastable to the weight)."""
    return _configure(_IntWeight if isinstance(fmt, IntFormat) else _FloatWeight, fmt, scale)


def activation_quantizer(fmt: ElementFormat, scale: Tensor, zero_point: int = 0) -> type[ExtendedInjector]:
    """The Brevitas activation quantizer of a format with the static scale given (float32), of integers with a zero point."""
    made = _configure(_IntActivation if isinstance(fmt, IntFormat) else _FloatActivation, fmt, scale)
    return made.let(zero_point_impl=FrozenZeroPoint, zero_point=zero_point) if zero_point else made


def _configure(base: type[ExtendedInjector], fmt: ElementFormat, scale: Tensor) -> type[ExtendedInjector]:
    if isinstance(fmt, IntFormat):
        return base.let(bit_width=fmt.bits, signed=fmt.signed, narrow_range=fmt.narrow, scaling_init=scale)
    return base.let(
        bit_width=fmt.bits,
        exponent_bit_width=fmt.exponent_bits,
        mantissa_bit_width=fmt.mantissa_bits,
        exponent_bias=fmt.exponent_bias,
        signed=fmt.signed,
        max_available_float=float(fmt.max_value),
        scaling_init=scale,
        **_specials(fmt),
    )
