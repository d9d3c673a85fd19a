"""A quantized network as an ONNX model of a dialect, and where its values are in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import onnx
from onnx import TensorProto, helper

from dse.export.emit import Emission
from dse.export.metadata import described
from dse.export.quantizers import Dialect, Qcdq, Qonnx

if TYPE_CHECKING:
    from torch import Tensor

    from workloads.quantize import QuantizedModel

DIALECTS: Mapping[str, Dialect] = {"qonnx": Qonnx(), "qcdq": Qcdq()}
"""How the exporters write quantizers."""

IMAGES, TOKENS, OUTPUT = "images", "tokens", "logits"
"""The names of a file's input and output."""


def to_onnx(model: QuantizedModel, example_input: Tensor, dialect: str, *, name: str) -> onnx.ModelProto:
    """The network as an ONNX model. Equal models give equal files.

    Images come one at a time, as FINN wants it (standard ONNX: any number); windows of tokens in any number, of any length.

    Args:
        model: the network; it is not changed.
        example_input: one frame, (1, ...); integers are tokens.
        dialect: of :data:`DIALECTS`.
        name: of the graph.

    Raises:
        ExportError: a node that cannot be written.
    """
    text = not example_input.is_floating_point()
    emission = _emission(model, example_input, dialect)
    made = emission.run()
    for node in emission.build.nodes:
        for names in (node.input, node.output):
            names[:] = [OUTPUT if tensor == made else tensor for tensor in names]
    if (kept := emission.build.datatypes.pop(made, None)) is not None:
        emission.build.datatypes[OUTPUT] = kept
    if text:
        source = helper.make_tensor_value_info(TOKENS, TensorProto.INT64, ["windows", "tokens"])
        sizes: list[str | int | None] = ["windows", "tokens", None]
    else:
        images = 1 if dialect == "qonnx" else "images"
        source = helper.make_tensor_value_info(IMAGES, TensorProto.FLOAT, [images, *example_input.shape[1:]])
        sizes = [images, None]
    output = helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, sizes)
    return emission.build.model(name, source, output, described(model, example_input.shape[1] if text else 1))


def tensor_names(model: QuantizedModel, example_input: Tensor, dialect: str) -> Mapping[str, str]:
    """By node of the network, the tensor that holds its value in the network's file."""
    emission = _emission(model, example_input, dialect)
    made = emission.run()
    return {node.name: OUTPUT if tensor == made else tensor for node, tensor in emission.tensors.items()}


def _emission(model: QuantizedModel, example_input: Tensor, dialect: str) -> Emission:
    return Emission(model, DIALECTS[dialect], IMAGES if example_input.is_floating_point() else TOKENS)
