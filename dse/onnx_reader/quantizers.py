"""The number format of a quantizer node: Quant and FloatQuant of QONNX, QuantizeLinear / DequantizeLinear of ONNX."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from dse.onnx_reader.errors import OnnxReadError, quoted
from dse.onnx_reader.graph import FP8_TYPES, Array, Node
from dse.onnx_reader.tensors import Codes, Constant, Scale, Tensor, Weight
from hwmodels.codec import quantize
from hwmodels.formats import ElementFormat, FormatError, IntFormat, Minifloat, Specials
from workloads.scales import to_codes

MAX_BITS = 16
"""The widest elements that are read; nothing wider is a low-precision format."""

MAX_EXPONENT_BITS = 8
"""As float32 has; every value is then a finite float64."""

ROUND_TO_NEAREST_EVEN = ("ROUND", "HALF_EVEN")


def constant(node: Node, position: int, role: str, tensors: Mapping[str, Tensor]) -> Array:
    """The constant that a node reads as its input at `position`.

    Raises:
        OnnxReadError: there is no such input or it is no constant.
    """
    name = node.inputs[position] if position < len(node.inputs) else ""
    tensor = tensors.get(name)
    if not isinstance(tensor, Constant):
        raise OnnxReadError(
            f"the {role} of {node} must be a constant of the file, but input {position} ({quoted(name)}) is not."
        )
    return tensor.array


def scalar(node: Node, position: int, role: str, tensors: Mapping[str, Tensor]) -> float:
    """As :func:`constant`, one finite number."""
    array = constant(node, position, role, tensors)
    value = float(array.reshape(-1)[0]) if array.size == 1 else math.nan
    if not math.isfinite(value):
        raise OnnxReadError(
            f"the {role} of {node} must be one finite number, but got {array.size} values or an infinite one."
        )
    return value


def whole(node: Node, position: int, role: str, tensors: Mapping[str, Tensor]) -> int:
    """As :func:`scalar`, a whole number."""
    value = scalar(node, position, role, tensors)
    if value != int(value):
        raise OnnxReadError(f"the {role} of {node} must be a whole number, but got {value:g}.")
    return int(value)


def scale_of(node: Node, tensors: Mapping[str, Tensor]) -> Scale:
    """The scale of a quantizer: one positive number, or one per channel."""
    scale: Scale = constant(node, 1, "scale", tensors).astype(np.float32)
    if scale.size == 0 or not np.isfinite(scale).all() or not (scale > 0).all():
        raise OnnxReadError(f"the scale of {node} must be positive numbers, but some are zero, negative or infinite.")
    return scale


def quant_format(node: Node, tensors: Mapping[str, Tensor]) -> ElementFormat:
    """The format of a Quant, IntQuant or FloatQuant node.

    Raises:
        OnnxReadError: a zero point, another rounding than to nearest, or a format that does not exist here.
    """
    rounding = node.text("rounding_mode", "ROUND").upper()
    if rounding not in ROUND_TO_NEAREST_EVEN:
        raise OnnxReadError(f"{node} must round to nearest even (ROUND), but it has rounding_mode={quoted(rounding)}.")
    try:
        return _float_format(node, tensors) if node.op == "FloatQuant" else _int_format(node, tensors)
    except FormatError as error:
        raise OnnxReadError(f"{node} must have a format that exists: {error}") from None


def _int_format(node: Node, tensors: Mapping[str, Tensor]) -> IntFormat:
    bits = whole(node, 3, "bit width", tensors)
    if not 1 <= bits <= MAX_BITS:
        raise OnnxReadError(f"{node} must have 1 to {MAX_BITS} bits, but got {bits}.")
    signed = bool(node.integer("signed", 1))
    if signed and bits == 1:
        raise OnnxReadError(
            f"{node} must have at least 2 bits where it is signed, but it is bipolar; bipolar values are not supported."
        )
    return IntFormat(bits, signed=signed, narrow=bool(node.integer("narrow", 0)))


def _float_format(node: Node, tensors: Mapping[str, Tensor]) -> Minifloat:
    """The minifloat whose largest value is the node's; the explicit bias counts, also where it is 0."""
    exponent, mantissa = (whole(node, i, f"{role} width", tensors) for i, role in ((2, "exponent"), (3, "mantissa")))
    if not (1 <= exponent <= MAX_EXPONENT_BITS and mantissa >= 0 and exponent + mantissa < MAX_BITS):
        raise OnnxReadError(
            f"{node} must have 1 to {MAX_EXPONENT_BITS} exponent bits and at most {MAX_BITS} bits in all, but got exponent "
            f"{exponent}, mantissa {mantissa}."
        )
    bias = whole(node, 4, "exponent bias", tensors)
    if abs(bias) > 1 << 8:
        raise OnnxReadError(f"{node} must have an exponent bias within 256 of 0, but got {bias}.")
    if not node.integer("has_subnormal", 1) or not node.integer("saturation", 1):
        raise OnnxReadError(f"{node} must have subnormals and saturate, but it does not.")
    largest = scalar(node, 5, "maximum", tensors)
    signed = bool(node.integer("signed", 1))
    codes_lost = bool(node.integer("has_inf", 0)), bool(node.integer("has_nan", 0))
    for specials in _SPECIALS[codes_lost]:
        if specials is Specials.IEEE and exponent < 2:
            continue
        if specials is Specials.FNUZ and (bias != 1 << (exponent - 1) or not signed):
            continue  # all codes finite has the same values; only fnuz' own bias suggests that it is meant
        fmt = Minifloat(exponent, mantissa, bias=bias, specials=specials, signed=signed)
        if float(fmt.max_value) == largest:
            return fmt
    raise OnnxReadError(
        f"{node} must have the largest value of an E{exponent}M{mantissa} with bias {bias} that has "
        f"{'infinities' if codes_lost[0] else 'no infinities'} and {'NaN' if codes_lost[1] else 'no NaN'}, but got {largest:g}."
    )


_SPECIALS: dict[tuple[bool, bool], tuple[Specials, ...]] = {
    (False, False): (Specials.FNUZ, Specials.NONE),  # Brevitas cannot say that fnuz has a NaN
    (False, True): (Specials.NAN, Specials.FNUZ),
    (True, True): (Specials.IEEE,),
    (True, False): (),
}
"""(infinities, NaN) of a FloatQuant node -> what its top codes may mean."""


def quantized_weight(node: Node, values: Array, scale: Scale, fmt: ElementFormat) -> Weight:
    """Constant values as codes, rounded as the node rounds them: divided by the scale in float32."""
    if values.dtype.kind != "f" or not np.isfinite(values).all():
        raise OnnxReadError(f"the weights of {node} must be finite floating-point numbers, but they are not.")
    try:
        with np.errstate(over="ignore"):  # a value far outside the range becomes infinite and saturates like any other
            scaled = np.divide(values, np.broadcast_to(scale, values.shape), dtype=np.float32)
    except ValueError:
        raise OnnxReadError(
            f"the scale of {node} must broadcast to its weights {values.shape}, but it has the shape {scale.shape}."
        ) from None
    return Weight(to_codes(quantize(fmt, scaled), fmt), fmt, scale)


def zero_point(node: Node, tensors: Mapping[str, Tensor]) -> int:
    """The code of the number zero of a Quant node; a FloatQuant node has none."""
    return 0 if node.op == "FloatQuant" else whole(node, 2, "zero point", tensors)


def code_range(node: Node, kind: np.dtype[np.generic]) -> tuple[int, int]:
    """The integers of the type that codes are stored in; nothing of FP8, whose codes are not integers."""
    if kind.name in FP8_TYPES:
        return (0, 0)
    if kind not in (np.dtype(np.int8), np.dtype(np.uint8)):
        raise OnnxReadError(f"the codes of {node} must be stored as int8 or uint8, but they are {kind}.")
    return (-128, 127) if kind == np.dtype(np.int8) else (0, 255)


def refuse_zero_point(node: Node, tensors: Mapping[str, Tensor]) -> None:
    """Refuse a zero point that is not zero; it may be left out."""
    if len(node.inputs) > 2 and node.inputs[2] and constant(node, 2, "zero point", tensors).astype(np.float32).any():
        raise OnnxReadError(f"{node} must have the zero point 0, but it has another; quantize symmetrically.")


def stored_codes(node: Node, source: Constant) -> Codes:
    """Constants of the file that are codes already."""
    kind = source.array.dtype
    return Codes(source, *code_range(node, kind), format=FP8_TYPES.get(kind.name))


def clipped(node: Node, codes: Codes, tensors: Mapping[str, Tensor]) -> tuple[int, int]:
    """The range that a Clip leaves of integer codes."""
    low, high = (
        whole(node, i, role, tensors) if i < len(node.inputs) and node.inputs[i] else default
        for i, role, default in ((1, "minimum", codes.low), (2, "maximum", codes.high))
    )
    return max(low, codes.low), min(high, codes.high)


def range_format(node: Node, low: int, high: int) -> IntFormat:
    """The integer format whose codes are [low, high].

    Raises:
        OnnxReadError: none has that range.
    """
    bits = max(high.bit_length(), 1) + int(low < 0)
    for narrow in (False, True):
        if low < 0 or not narrow:
            fmt = IntFormat(bits, signed=low < 0, narrow=narrow)
            if (fmt.min_code, fmt.max_code) == (low, high):
                return fmt
    raise OnnxReadError(f"{node} must have the codes of an integer format, but they range from {low} to {high}.")
