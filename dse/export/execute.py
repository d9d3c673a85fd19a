"""Executing exported files: whole by onnxruntime, or node by node, so that every tensor between can be seen and replaced.

Node by node means: QONNX' own nodes by the operators of `qonnx`, standard ones each by a session of onnxruntime, as qonnx does
it; but sessions are kept, nodes that read constants alone run once, and no shape need be known, so that batches and windows of
tokens may have any size. That it gives what `qonnx.core.onnx_exec` gives is tested.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from dse.export.build import QONNX_DOMAIN
from dse.export.errors import ExportError
from dse.onnx_reader.errors import quoted
from dse.onnx_reader.graph import parse_model, stored_array

Array: TypeAlias = NDArray[Any]

ONNXRUNTIME_SILENT = 4
"""onnxruntime's log level: errors are raised as well, and its warnings are advice on optimizations that are off here."""

STANDARD = frozenset(
    (
        "Abs",
        "Add",
        "AveragePool",
        "Cast",
        "Clip",
        "Concat",
        "Constant",
        "Conv",
        "Cos",
        "DequantizeLinear",
        "Div",
        "Flatten",
        "Gather",
        "Gelu",
        "Gemm",
        "GlobalAveragePool",
        "Identity",
        "LayerNormalization",
        "LessOrEqual",
        "MatMul",
        "Max",
        "MaxPool",
        "Min",
        "Mul",
        "Neg",
        "Pad",
        "QuantizeLinear",
        "Range",
        "ReduceMax",
        "ReduceMean",
        "ReduceMin",
        "Relu",
        "Reshape",
        "Shape",
        "Sigmoid",
        "Sin",
        "Slice",
        "Softmax",
        "Sqrt",
        "Sub",
        "Transpose",
        "Unsqueeze",
        "Where",
    )
)
"""The standard operators that exports write. Files may come from anywhere, so no others are executed."""

IMAGE_OPERATORS = frozenset(("AveragePool", "Conv", "GlobalAveragePool", "MaxPool"))

CUSTOM = frozenset(("Quant", "FloatQuant"))
"""The operators of QONNX that exports write."""

MOST_TOKENS = 1 << 16
"""The longest range that a file may ask for."""


class Executable:
    """An ONNX file that is executed node by node.

    Args:
        path: of the file; it is not trusted.

    Raises:
        ExportError: a node is none of :data:`STANDARD` and :data:`CUSTOM`, or reads a tensor that nothing before it makes.
        OnnxReadError: the file cannot be read, is too large or no ONNX model, or keeps data elsewhere.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.proto = parse_model(path)
        graph = self.proto.graph
        self.nodes: tuple[onnx.NodeProto, ...] = tuple(graph.node)
        self.constants: dict[str, Any] = {t.name: _stored(t) for t in graph.initializer}
        inputs = [value.name for value in graph.input if value.name not in self.constants]
        if len(inputs) != 1 or len(graph.output) != 1:
            raise ExportError(
                f"{path} must have one input and one output, but it has {len(inputs)} and {len(graph.output)}."
            )
        self.input, self.output = inputs[0], str(graph.output[0].name)
        self.opsets = {opset.domain: opset.version for opset in self.proto.opset_import}
        self._check()
        self._sessions: dict[str, Any] = {}

    def _check(self) -> None:
        made = {self.input, *self.constants, ""}
        for node in self.nodes:
            known = (
                CUSTOM if node.domain == QONNX_DOMAIN else STANDARD if node.domain in ("", "ai.onnx") else frozenset()
            )
            if node.op_type not in known or len(node.output) != 1:
                raise ExportError(
                    f"{self.path} must hold the operators that exports write, but {where(node)} is none of them."
                )
            for name in node.input:
                if name not in made:
                    raise ExportError(
                        f"{where(node)} of {self.path} must read what nodes before it make, but {name!r} is not."
                    )
            if node.output[0] in made:
                raise ExportError(f"every tensor of {self.path} must be made once, but {where(node)} makes it again.")
            made.add(node.output[0])
        if not self.output or self.output not in made:
            raise ExportError(f"the output of {self.path} must be made by a node, but {self.output!r} is not.")

    @cached_property
    def folded(self) -> Mapping[str, Array]:
        """The constants, and what nodes make of constants alone."""
        known = {"": np.zeros(0), **self.constants}
        for node in self.nodes:
            if all(name in known for name in node.input):
                self.execute(node, known)
        del known[""]
        return known

    @cached_property
    def active(self) -> tuple[onnx.NodeProto, ...]:
        """The nodes that depend on the input, in order."""
        return tuple(node for node in self.nodes if node.output[0] not in self.folded)

    def run(self, inputs: Array) -> Array:
        """The output for a batch; tensors are dropped after their last reader."""
        context = {**self.folded, self.input: inputs}
        left = Counter(name for node in self.active for name in node.input)
        left[self.output] += 1
        for node in self.active:
            self.execute(node, context)
            for name in node.input:
                left[name] -= 1
                if not left[name] and name not in self.folded:
                    context.pop(name, None)
        return context[self.output]

    def execute(self, node: onnx.NodeProto, context: dict[str, Array]) -> None:
        """Execute one node on the tensors of a context, and put its output there.

        Raises:
            ExportError: it fails; with the reason.
        """
        try:
            if node.op_type == "Range" and int(context[node.input[1]]) > MOST_TOKENS:
                raise ValueError(f"it counts more than {MOST_TOKENS} tokens")
            made = self._custom(node, context) if node.domain == QONNX_DOMAIN else self._standard(node, context)
        except Exception as error:  # onnxruntime and qonnx raise bare exceptions of many kinds
            raise ExportError(
                f"{where(node)} of {self.path} must execute, but it does not: {reason(error)}."
            ) from error
        context[node.output[0]] = made

    def _custom(self, node: onnx.NodeProto, context: dict[str, Array]) -> Array:
        from qonnx.custom_op.registry import getCustomOp

        with np.errstate(all="ignore"):
            own = {name: context[name] for name in node.input}
            getCustomOp(node, self.opsets.get(node.domain)).execute_node(own, self.proto.graph)
        made: Array = own[node.output[0]]
        return made

    def _standard(self, node: onnx.NodeProto, context: dict[str, Any]) -> Any:
        given = {name: context[name] for name in node.input if name}
        hidden = [value for value in given.values() if isinstance(value, _Hidden)]
        feeds = {name: value for name, value in given.items() if not isinstance(value, _Hidden)}
        for value in hidden:
            feeds |= value.feeds
        nodes = [*(part for value in hidden for part in value.nodes), node]
        constants = list({t.name: t for value in hidden for t in value.constants}.values())
        if node.op_type == "QuantizeLinear" and hidden:
            return _Hidden(tuple(nodes), feeds, tuple(constants))
        session = self._sessions.get(node.output[0])
        if session is None:
            values = [
                helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(a.dtype), None)
                for n, a in feeds.items()
            ]
            outputs = [helper.make_empty_tensor_value_info(node.output[0])]
            opsets = [helper.make_opsetid("", self.opsets.get("", 1))]
            graph = helper.make_graph(nodes, "node", values, outputs, constants)
            model = helper.make_model(graph, ir_version=self.proto.ir_version, opset_imports=opsets)
            session = self._sessions[node.output[0]] = onnxruntime_session(model.SerializeToString())
        if node.op_type in IMAGE_OPERATORS and any(value.ndim != 4 for value in feeds.values() if value.ndim != 1):
            raise ValueError("it must read images, which have four axes")  # onnxruntime ends the process
        made: Array = session.run(None, feeds)[0]
        return made


@dataclass(frozen=True, eq=False)
class _Hidden:
    """A tensor of FP8, which numpy has not: the nodes, inputs and constants that it is made of. Its reader runs with them."""

    nodes: tuple[onnx.NodeProto, ...]
    feeds: Mapping[str, Array]
    constants: tuple[onnx.TensorProto, ...]


def _stored(tensor: onnx.TensorProto) -> Any:
    if tensor.data_type in (onnx.TensorProto.FLOAT8E4M3FN, onnx.TensorProto.FLOAT8E5M2):
        return _Hidden((), {}, (tensor,))
    return stored_array(tensor, f"initializer {quoted(tensor.name)}")


def where(node: onnx.NodeProto) -> str:
    """A node for messages."""
    return f"node {str(node.name or node.output[0])[:80]!r} ({str(node.op_type)[:40]})"


def reason(error: BaseException) -> str:
    """The first line of an error, short, without the full stop."""
    return (str(error).splitlines() or [type(error).__name__])[0][:200].rstrip(". ")


def onnxruntime_session(model: bytes | str) -> Any:
    """A session of onnxruntime on one thread, with graph optimizations off."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = ONNXRUNTIME_SILENT
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"], enable_fallback=0)


Run: TypeAlias = Callable[[Array], Array]


def _node_by_node(path: Path) -> Run:
    return Executable(path).run


def _onnxruntime(path: Path) -> Run:
    session = onnxruntime_session(Executable(path).proto.SerializeToString())
    name = session.get_inputs()[0].name

    def run(inputs: Array) -> Array:
        try:
            made: Array = session.run(None, {name: inputs})[0]
        except Exception as error:  # as above
            raise ExportError(f"{path} must execute in onnxruntime, but it does not: {reason(error)}.") from error
        return made

    return run


EXECUTORS: Mapping[str, tuple[str, Callable[[Path], Run]]] = {
    "qonnx": ("qonnx and onnxruntime, node by node", _node_by_node),
    "qcdq": ("onnxruntime, graph optimizations off", _onnxruntime),
}
"""For each exporter: the executor in words, and what makes it of a file."""


def batches(count: int, size: int) -> Iterable[slice]:
    """Slices of at most `size`."""
    return (slice(start, min(start + size, count)) for start in range(0, count, size))
