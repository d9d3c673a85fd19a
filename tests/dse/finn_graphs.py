"""A small QONNX graph that FINN takes, built node by node, so that each rule can be broken alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

DOMAIN = "qonnx.custom_op.general"


class Graph:
    """Nodes and constants; `quant` adds a quantizer and returns its output."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, name: str, values: object) -> str:
        self.constants.append(numpy_helper.from_array(np.asarray(values, dtype=np.float32), name))
        return name

    def node(self, op: str, name: str, inputs: list[str], domain: str = "", **attributes: object) -> str:
        self.nodes.append(helper.make_node(op, inputs, [f"{name}.out"], name=name, domain=domain, **attributes))
        return f"{name}.out"

    def quant(
        self, name: str, source: str, *, bits: int = 4, signed: int = 1, narrow: int = 0, scale: object = 0.25
    ) -> str:
        inputs = [
            source,
            self.constant(f"{name}.scale", scale),
            self.constant(f"{name}.zero", 0),
            self.constant(f"{name}.bits", bits),
        ]
        return self.node("Quant", name, inputs, DOMAIN, signed=signed, narrow=narrow, rounding_mode="ROUND")

    def weights(self, name: str, shape: tuple[int, ...], scale: object = 0.5) -> str:
        values = np.arange(np.prod(shape)).reshape(shape) % 7 - 3
        return self.quant(name, self.constant(f"{name}.float", values / 2), narrow=1, scale=scale)


def accepted() -> onnx.ModelProto:
    """Conv and depthwise Conv around a residual add, then MatMul and TopK: (1, 4, 6, 6) -> one index."""
    g = Graph()
    x = g.quant("input", g.node("Relu", "relu0", ["x"]), bits=8, signed=0)
    x = g.node("Conv", "conv", [x, g.weights("conv.w", (4, 4, 3, 3), np.full((4, 1, 1, 1), 0.5))], pads=[1, 1, 1, 1])
    x = g.quant("act", g.node("Relu", "relu1", [x]), signed=0)
    left = g.quant("left", g.node("Conv", "dw", [x, g.weights("dw.w", (4, 1, 3, 3))], group=4, pads=[1, 1, 1, 1]))
    right = g.quant("right", x)
    x = g.quant("sum", g.node("Relu", "relu3", [g.node("Add", "add", [left, right])]), signed=0)
    x = g.quant("pooled", g.node("Relu", "relu4", [g.node("GlobalAveragePool", "pool", [x])]), signed=0)
    x = g.node("MatMul", "head", [g.node("Flatten", "flatten", [x]), g.weights("head.w", (4, 3))])
    g.constants.append(numpy_helper.from_array(np.array([1]), "k"))
    g.nodes.append(helper.make_node("TopK", [x, "k"], ["values", "index"], name="topk"))
    graph = helper.make_graph(
        g.nodes,
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4, 6, 6])],
        [helper.make_tensor_value_info("index", TensorProto.INT64, [1, 1])],
        initializer=g.constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20), helper.make_opsetid(DOMAIN, 2)])


def write(folder: Path, edit: Callable[[onnx.ModelProto], None] = lambda model: None) -> Path:
    """The accepted graph after an edit, as a file."""
    model = accepted()
    edit(model)
    path = folder / "graph.onnx"
    path.write_bytes(model.SerializeToString())
    return path
