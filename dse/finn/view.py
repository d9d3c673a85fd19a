"""An ONNX graph as FINN's compiler looks at it: which nodes quantize weights and which activations, and what feeds what."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import TypeAlias

import numpy as np

from dse.onnx_reader.errors import OnnxReadError
from dse.onnx_reader.graph import Array, Node, OnnxGraph
from dse.onnx_reader.walk import readers_of

QUANTIZERS = ("Quant", "IntQuant", "FloatQuant", "BipolarQuant")
LAYERS = ("Conv", "MatMul", "Gemm")
AFFINE = ("BatchNormalization", "Mul", "Div", "Add", "Sub")
KEEPING = ("Flatten", "Reshape", "Identity", "Dropout", "Transpose")
"""Operators that pass values on, in their order or another."""

Found: TypeAlias = Iterator[tuple[object, str]]
"""What a check finds: (the node or tensor, what is wrong with it in the words that follow "but")."""


class View:
    """The graph of a file, asked in FINN's terms.

    Raises:
        OnnxReadError: a node reads nothing, or what no node before it makes.
    """

    def __init__(self, graph: OnnxGraph) -> None:
        readers_of(graph)
        for node in graph.nodes:
            if not node.inputs and node.op != "Constant":
                raise OnnxReadError(f"{node} must read a tensor, but it reads none.")
        self.graph = graph

    @cached_property
    def maker(self) -> Mapping[str, Node]:
        """The node that makes each tensor."""
        return {name: node for node in self.graph.nodes for name in node.outputs}

    @cached_property
    def _readers(self) -> Mapping[str, list[Node]]:
        readers: dict[str, list[Node]] = {}
        for node in self.graph.nodes:
            for name in dict.fromkeys(node.inputs):
                readers.setdefault(name, []).append(node)
        return readers

    @cached_property
    def _constant_tensors(self) -> frozenset[str]:
        """Tensors that do not depend on the network's input; quantized weights are among them."""
        known = {"", *self.graph.constants}
        for node in self.graph.nodes:
            if all(name in known for name in node.inputs):
                known.update(node.outputs)
        return frozenset(known)

    def readers(self, tensor: str) -> list[Node]:
        """The nodes that read a tensor."""
        return self._readers.get(tensor, [])

    def is_constant(self, tensor: str) -> bool:
        """Whether a tensor is the same for every input of the network."""
        return tensor in self._constant_tensors

    def value(self, node: Node, position: int) -> Array | None:
        """The constant that a node reads at a position; None if it is computed from the input or left out."""
        name = node.inputs[position] if position < len(node.inputs) else ""
        if name in self.graph.constants:
            return self.graph.constants[name]
        made = self.maker.get(name)
        if made is None or made.op != "Constant":
            return None
        value = made.attributes.get("value", made.attributes.get("value_float", made.attributes.get("value_int")))
        return None if value is None or isinstance(value, str) else np.asarray(value)

    def nodes(self, *operators: str) -> Iterator[Node]:
        """The nodes of these operators, in order."""
        return (node for node in self.graph.nodes if node.op in operators)

    def quantizers(self, *, weights: bool) -> Iterator[Node]:
        """The quantizers of constants, or those of activations."""
        return (node for node in self.nodes(*QUANTIZERS) if self.is_constant(node.inputs[0]) is weights)

    def activations(self, node: Node) -> list[str]:
        """The inputs of a node that depend on the network's input."""
        return [name for name in node.inputs if not self.is_constant(name)]

    def source(self, tensor: str, *, through: tuple[str, ...] = KEEPING) -> Node | None:
        """The node that a tensor comes from, looking through some operators; None: the network's input."""
        node = self.maker.get(tensor)
        while node is not None and node.op in through:
            node = self.maker.get(node.inputs[0])
        return node

    def origin(self, tensor: str, through: tuple[str, ...]) -> str:
        """What :meth:`source` finds, in words."""
        source = self.source(tensor, through=through)
        return "the network's input as it is" if source is None else f"what {source} makes"

    def targets(self, tensor: str) -> list[Node]:
        """The nodes that read a tensor, looking through those that only pass values on."""
        found: list[Node] = []
        waiting = list(self.readers(tensor))
        while waiting:
            node = waiting.pop(0)
            if node.op in KEEPING:
                waiting.extend(self.readers(node.outputs[0]))
            else:
                found.append(node)
        return found


def number(value: Array | None) -> str:
    """A constant of one value for a message."""
    return "unknown" if value is None or value.size != 1 else f"{float(value.reshape(-1)[0]):g}"
