"""What FINN asks of quantizers: functions that name each one that breaks a rule, and how; the rules stand in `rules.py`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType

import numpy as np

from dse.finn.view import LAYERS, QUANTIZERS, Found, View, number
from dse.onnx_reader.graph import Array, Node

MOST_THRESHOLD_BITS = 8
"""FINN's `max_multithreshold_bit_width`: a quantizer of 8 bits has 255 thresholds."""


def minifloats(view: View) -> Found:
    """Floating-point quantizers."""
    for node in view.nodes("FloatQuant"):
        exponent, mantissa = (number(view.value(node, position)) for position in (2, 3))
        yield node, f"it quantizes to a minifloat of {exponent} exponent and {mantissa} mantissa bits"


def constant_parameters(view: View) -> Found:
    """Quantizers whose scale, zero point or width is no constant."""
    for node in view.nodes(*QUANTIZERS):
        for position, role in _ROLES[node.op].items():
            name = node.inputs[position] if position < len(node.inputs) else ""
            if name and not view.is_constant(name):
                yield node, f"its {role} is computed from the input (a dynamic scale)"
            elif name and view.value(node, position) is None:
                yield node, f"its {role} is computed by {view.maker[name]}"


_ROLES: Mapping[str, Mapping[int, str]] = MappingProxyType(
    {
        "Quant": {1: "scale", 2: "zero point", 3: "bit width"},
        "IntQuant": {1: "scale", 2: "zero point", 3: "bit width"},
        "FloatQuant": {1: "scale"},
        "BipolarQuant": {1: "scale"},
    }
)


def zero_points(view: View) -> Found:
    """Zero points."""
    for node in view.nodes("Quant", "IntQuant"):
        value = view.value(node, 2)
        if value is not None and (value != 0).any():
            yield node, f"its zero point is {number(value)}"


def scales(view: View) -> Found:
    """Scales that are no scales."""
    for node in view.nodes(*QUANTIZERS):
        scale = view.value(node, 1)
        if scale is not None and not (np.isfinite(scale).all() and np.all(np.greater(scale, 0))):
            yield node, "it has a scale that is zero, negative or infinite"


def rounding(view: View) -> Found:
    """Other roundings."""
    for node in view.nodes("Quant", "IntQuant"):
        mode = node.attributes.get("rounding_mode", "ROUND")
        if str(mode).upper() not in ("ROUND", "HALF_EVEN"):
            yield node, f"it rounds by {mode!r:.40}"


def bipolar(view: View) -> Found:
    """Integer quantizers of one bit."""
    for node in view.nodes("Quant", "IntQuant"):
        if number(view.value(node, 3)) == "1" and node.integer("signed", 1):
            yield node, "it is a signed integer quantizer of 1 bit, whose scale FINN divides by 0"


def signed_weights(view: View) -> Found:
    """Unsigned weights."""
    for node in _integers(view, weights=True):
        if not node.integer("signed", 1):
            yield node, "it is unsigned"


def narrow_weights(view: View) -> Found:
    """Weights with one code more below than above."""
    for node in _integers(view, weights=True):
        if node.integer("signed", 1) and not node.integer("narrow", 0):
            yield node, "its range is not narrow"


def weight_scales(view: View) -> Found:
    """Groups of weights with scales of their own."""
    for node in view.quantizers(weights=True):
        scale = view.value(node, 1)
        if scale is None or scale.size == 1:
            continue
        layers = [target for target in view.targets(node.outputs[0]) if target.op in LAYERS]
        if not layers or not _per_channel(view, node, layers[0], scale):
            yield node, f"its scale has the shape {scale.shape}: groups of weights share scales, as in block formats"


def _per_channel(view: View, node: Node, layer: Node, scale: Array) -> bool:
    """Whether only the axis of the output channels has several scales."""
    weights = view.value(node, 0)
    rank = scale.ndim if weights is None else weights.ndim
    varying = [axis + rank - scale.ndim for axis, size in enumerate(scale.shape) if size > 1]
    transposed = (layer.op == "Gemm" and layer.integer("transB", 0) == 1) or any(
        target.op == "Transpose" for target in view.readers(node.outputs[0])
    )
    return varying == [0 if layer.op == "Conv" or transposed else rank - 1]


def weights_at_layer(view: View) -> Found:
    """Weights that something stands behind."""
    for node in view.quantizers(weights=True):
        direct = view.readers(node.outputs[0])
        if len(direct) == 1 and direct[0].op == "Transpose":
            direct = view.readers(direct[0].outputs[0])
        if len(direct) != 1:
            yield node, f"{len(direct)} nodes read it"
        elif direct[0].op not in LAYERS:
            yield node, f"{direct[0]} stands between"


def per_tensor(view: View) -> Found:
    """Activations with several scales."""
    for node in view.quantizers(weights=False):
        scale = view.value(node, 1)
        if scale is not None and scale.size != 1:
            yield node, f"it has {scale.size} scales"


def activation_bits(view: View) -> Found:
    """Wide activations."""
    for node in _integers(view, weights=False):
        bits = view.value(node, 3)
        if bits is not None and bits.max(initial=0) > MOST_THRESHOLD_BITS:
            yield node, f"it has {number(bits)}"


def unsigned_behind_relu(view: View) -> Found:
    """Signed or narrow quantizers behind a ReLU."""
    for node in _integers(view, weights=False):
        signed, narrow = node.integer("signed", 1), node.integer("narrow", 0)
        if _behind_relu(view, node) and (signed or narrow):
            yield node, "it is signed" if signed else "its range is narrow"


def signed_elsewhere(view: View) -> Found:
    """Unsigned quantizers elsewhere; FINN v0.10.1 refuses them, finn-plus 1.6.1 does not."""
    for node in _integers(view, weights=False):
        if not node.integer("signed", 1) and not _behind_relu(view, node):
            yield node, "it is unsigned and reads " + view.origin(node.inputs[0], ())


def _behind_relu(view: View, node: Node) -> bool:
    source = view.maker.get(node.inputs[0])
    return source is not None and source.op == "Relu"


def _integers(view: View, *, weights: bool) -> Iterator[Node]:
    return (node for node in view.quantizers(weights=weights) if node.op in ("Quant", "IntQuant"))
