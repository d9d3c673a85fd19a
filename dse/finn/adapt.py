"""What a QONNX file lacks for FINN: ReLUs in front of unsigned quantizers, and the comparison of the logits at the end."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from dse.export.errors import ExportError

CLASS = "class"
"""The output of an adapted network: the index of its largest logit, int64, (1, 1)."""

_UNSIGNED = ("Quant", "IntQuant")


def adapt(source: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of a QONNX network that computes the same, in the way FINN reads it.

    - A ReLU stands in front of every unsigned quantizer. It changes nothing, since the quantizer clips at 0 anyway, but FINN
      v0.10.1 takes unsigned quantizers nowhere else.
    - TopK follows the logits; FINN absorbs a scale in front of it, or leaves it to the host.

    Raises:
        ExportError: the network does not have one output.
    """
    model = onnx.ModelProto()
    model.CopyFrom(source)
    graph = model.graph
    if len(graph.output) != 1:
        raise ExportError(f"a network for FINN must have one output, but it has {len(graph.output)}.")
    constants = {tensor.name for tensor in graph.initializer}
    makers = {name: node.op_type for node in graph.node for name in node.output}
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        value = node.input[0] if node.input else ""
        if node.op_type in _UNSIGNED and value not in constants and not _signed(node) and makers.get(value) != "Relu":
            relu = f"{node.name}.relu"
            nodes.append(helper.make_node("Relu", [value], [f"{relu}.out"], name=relu))
            node.input[0] = f"{relu}.out"
        nodes.append(node)
    logits = graph.output[0].name
    graph.initializer.append(numpy_helper.from_array(np.array([1], np.int64), f"{CLASS}.k"))
    nodes.append(helper.make_node("TopK", [logits, f"{CLASS}.k"], [f"{CLASS}.logit", CLASS], name="topk", axis=-1))
    graph.value_info.append(graph.output[0])
    del graph.output[:], graph.node[:]
    graph.node.extend(nodes)
    graph.output.append(helper.make_tensor_value_info(CLASS, TensorProto.INT64, [1, 1]))
    domains = [entry.domain for entry in model.opset_import]
    if domains[0] not in ("", "ai.onnx"):  # qonnx takes the first version for that of the standard operators
        ordered = sorted(model.opset_import, key=lambda entry: entry.domain not in ("", "ai.onnx"))
        imports = [helper.make_opsetid(entry.domain, entry.version) for entry in ordered]
        del model.opset_import[:]
        model.opset_import.extend(imports)
    return model


def _signed(node: onnx.NodeProto) -> bool:
    return next((bool(a.i) for a in node.attribute if a.name == "signed"), True)
