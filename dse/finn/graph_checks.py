"""What FINN asks of layers, branches and the graph around them: functions that name each breach; see `rules.py`."""

from __future__ import annotations

from dse.finn.view import AFFINE, KEEPING, LAYERS, QUANTIZERS, Found, View
from dse.onnx_reader.graph import Array, Node

MAPPED = (*QUANTIZERS, *LAYERS, *AFFINE, *KEEPING, "Constant", "Relu", "MaxPool", "GlobalAveragePool", "TopK")
"""The operators that FINN maps, or absorbs, or (TopK) leaves to the host; minifloats and codes have rules of their own."""

_CODES = ("QuantizeLinear", "DequantizeLinear", "Clip")


def operators(view: View) -> Found:
    """Operators that FINN does not have."""
    for node in view.graph.nodes:
        if node.op not in MAPPED + _CODES:
            yield node, f"FINN has no {node.op[:40]}"


def one_constant(view: View) -> Found:
    """Products of two activations."""
    for node in view.nodes(*LAYERS):
        if len(view.activations(node)) > 1:
            yield node, "it multiplies two activations"


def codes(view: View) -> Found:
    """Quantizers of standard ONNX."""
    for node in view.nodes("QuantizeLinear"):
        yield node, "it is in the QCDQ style"
    for node in view.nodes("Clip"):
        if (source := view.source(node.inputs[0])) is None or source.op != "QuantizeLinear":
            yield node, "FINN has no Clip of activations"


def quantized_weights(view: View) -> Found:
    """Layers with plain weights."""
    for node in view.nodes(*LAYERS):
        weights = node.inputs[1] if len(node.inputs) > 1 else ""
        if view.is_constant(weights) and not _quantized_or_typed(view, weights, ("Transpose",)):
            yield node, "they are not quantized"


def quantized_inputs(view: View) -> Found:
    """Layers that read plain activations."""
    for node in view.nodes(*LAYERS):
        for name in view.activations(node)[:1]:
            if not _quantized_or_typed(view, name, (*KEEPING, "MaxPool")):
                yield node, "it reads " + view.origin(name, (*KEEPING, "MaxPool"))


def quantized_pools(view: View) -> Found:
    """Pools that do."""
    for node in view.nodes("MaxPool", "GlobalAveragePool"):
        if not _quantized_or_typed(view, node.inputs[0], (*KEEPING, "MaxPool")):
            yield node, "it reads " + view.origin(node.inputs[0], (*KEEPING, "MaxPool"))


def _quantized_or_typed(view: View, tensor: str, through: tuple[str, ...]) -> bool:
    """Whether a tensor comes from a quantizer, or is annotated as an integer."""
    source = view.source(tensor, through=through)
    typed = view.graph.data_types.get(tensor if source is not None else view.graph.input, "")
    return (source is not None and source.op in (*QUANTIZERS, *_CODES)) or typed.startswith(("INT", "UINT", "BIPOLAR"))


def residual_adds(view: View) -> Found:
    """Adds of two streams on different grids."""
    for node in view.nodes("Add", "Sub"):
        if len(view.activations(node)) < 2:
            continue
        left, right = (view.source(name) for name in node.inputs[:2])
        if left is None or right is None or left.op not in QUANTIZERS or right.op not in QUANTIZERS:
            yield node, "it adds what is not quantized"
        elif _grid(view, left) != _grid(view, right):
            yield node, f"{left} and {right} differ in scale, width or sign"


def _grid(view: View, node: Node) -> tuple[object, ...]:
    numbers = [value.ravel().tolist() if (value := view.value(node, i)) is not None else None for i in (1, 3)]
    return (*numbers, node.op, node.integer("signed", 1), node.integer("narrow", 0))


def convolutions(view: View) -> Found:
    """Convolutions that are neither ungrouped nor depthwise."""
    for node in view.nodes("Conv"):
        groups, shape = node.integer("group", 1), _weight_shape(view, node)
        if shape is not None and len(shape) != 4:
            yield node, f"it has weights of the shape {shape}"
        elif groups > 1 and shape is not None and (shape[0], shape[1]) != (groups, 1):
            yield node, f"it has {groups} groups of {shape[1]} channels for {shape[0]} outputs"


def _weight_shape(view: View, node: Node) -> tuple[int, ...] | None:
    source = view.source(node.inputs[1]) if len(node.inputs) > 1 else None
    value = view.value(node, 1) if source is None or source.op not in QUANTIZERS else view.value(source, 0)
    return None if value is None else value.shape


def absorbed(view: View) -> Found:
    """Scales, biases and ReLUs end in thresholds, in the TopK, or on the host behind the last layer."""
    for node in view.nodes("Relu", *AFFINE):
        if len(view.activations(node)) != 1:
            continue
        for target in view.targets(node.outputs[0]):
            if target.op not in (*QUANTIZERS, *AFFINE, "Relu", "TopK", "MaxPool", "QuantizeLinear"):
                yield node, f"{target} reads it as it is"


def layouts(view: View) -> Found:
    """Activations that are reordered."""
    for node in view.nodes("Transpose"):
        if view.activations(node):
            yield node, "it reorders activations"


def batch(view: View) -> Found:
    """Several images, or any number."""
    if view.graph.batch != 1:
        given = f"{view.graph.batch} images at a time" if view.graph.batch > 0 else "no fixed number of images"
        yield f"input {view.graph.input!r:.40}", f"it takes {given}"


def opset_order(view: View) -> Found:
    """Another operator set than ONNX' own in front."""
    first = view.graph.domains[0] if view.graph.domains else None
    if first not in ("", "ai.onnx"):
        yield "the list of operator sets", "it begins with " + (f"{first!r:.60}" if first is not None else "nothing")


def topk(view: View) -> Found:
    """Outputs that are not an index."""
    for name in view.graph.outputs:
        made = view.maker.get(name)
        if made is None or made.op != "TopK":
            yield f"output {name!r:.40}", f"it ends in {'nothing' if made is None else made}"


def last_scale(view: View) -> Found:
    """A last layer whose sums cannot be compared as they are."""
    for node in view.nodes("TopK"):
        source, values = view.source(node.inputs[0]), []
        while source is not None and source.op in AFFINE and len(view.activations(source)) == 1:
            values += [value for i in range(len(source.inputs)) if (value := view.value(source, i)) is not None]
            source = view.source(view.activations(source)[0])
        if source is None or source.op not in LAYERS:
            continue
        values += [value for value in (_weight_scale(view, source), view.value(source, 2)) if value is not None]
        if any(value.size > 1 for value in values):
            yield source, "it has a scale per class or a bias"


def _weight_scale(view: View, layer: Node) -> Array | None:
    quantizer = view.source(layer.inputs[1]) if len(layer.inputs) > 1 else None
    return view.value(quantizer, 1) if quantizer is not None and quantizer.op in QUANTIZERS else None
