"""An ONNX file as plain values, read without trusting it: bounded in size, nothing executed, no other file opened.

Shapes are not taken from the file either (they could contradict the weights), except that of the network's input: the
walk derives every other one. So ONNX' own shape inference, which is C++ code running on whatever the file says, is not
needed, and neither is an execution of nodes to fold constants.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from onnx import numpy_helper

from dse.onnx_reader.errors import OnnxReadError, quoted
from hwmodels.formats import OCP_E4M3, Minifloat, Specials

MAX_FILE_BYTES = 512 << 20
"""Larger files are refused before they are parsed; protobuf itself ends at 2 GiB."""

MAX_NODES = 4096
MAX_DIMENSION = 1 << 24
"""Pixels or channels along one axis; keeps every product of three within 2^72, so that no later number is absurd."""

Array: TypeAlias = NDArray[np.generic]
Attribute: TypeAlias = int | float | str | list[int] | list[float] | Array

QONNX_DOMAINS = ("qonnx.custom_op.general", "finn.custom_op.general", "onnx.brevitas")
"""Domains of Quant, FloatQuant and the like; the last two are older names of the first."""

STANDARD_DOMAINS = ("", "ai.onnx")

DATA_TYPE_KEY = "finn_datatype"
"""Key of a data type in ONNX' quantization annotations, as QONNX writes it."""

FP8_TYPES = {"float8_e4m3fn": OCP_E4M3, "float8_e5m2": Minifloat(5, 2, specials=Specials.IEEE)}
"""The 8-bit floats of ONNX, by the name of their type in NumPy."""


@dataclass(frozen=True)
class Node:
    """One node: `op` is its type; inputs that are left out have the empty name."""

    op: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Attribute]

    def integer(self, name: str, default: int | None = None) -> int:
        """An integer attribute.

        Raises:
            OnnxReadError: it is missing and has no default, or it is of another type.
        """
        value = self.attributes.get(name, default)
        if not isinstance(value, int):
            raise OnnxReadError(f"attribute {name} of {self} must be an integer, but got {quoted(value)}.")
        return value

    def integers(self, name: str, length: int, default: int) -> tuple[int, ...]:
        """`length` integers, each at least 0 and sane as a size; `default` for each where the attribute is absent."""
        value = self.attributes.get(name, [default] * length)
        whole = isinstance(value, list) and all(isinstance(v, int) and 0 <= v <= MAX_DIMENSION for v in value)
        if not whole or not isinstance(value, list) or len(value) != length:
            raise OnnxReadError(f"attribute {name} of {self} must be {length} sizes, but got {quoted(value)}.")
        return tuple(int(v) for v in value)

    def text(self, name: str, default: str) -> str:
        """A text attribute."""
        value = self.attributes.get(name, default)
        if not isinstance(value, str):
            raise OnnxReadError(f"attribute {name} of {self} must be text, but got {quoted(value)}.")
        return value

    def __str__(self) -> str:
        return f"{self.op[:40]} node {quoted(self.name)}"


@dataclass(frozen=True)
class OnnxGraph:
    """The nodes in the file's (topological) order, the constants, and the one input and one output.

    `input_shape` is that of one image, without the batch axis; empty where the input is text.

    Attributes:
        batch: images at a time; 0 where the file does not fix it.
        domains: of the operator sets that the file imports, in its order; "" is standard ONNX.
        data_types: of tensors, as annotated in QONNX's way (``INT4``).
    """

    name: str
    nodes: tuple[Node, ...]
    constants: Mapping[str, Array]
    input: str
    input_shape: tuple[int, ...]
    outputs: tuple[str, ...]
    metadata: Mapping[str, str]
    batch: int
    domains: tuple[str, ...]
    data_types: Mapping[str, str]


def load_graph(path: Path) -> OnnxGraph:
    """The graph in a file.

    Raises:
        OnnxReadError: the file cannot be read, is too large, is no ONNX model, keeps data in other files, or does not
            have exactly one input with fixed sizes.
    """
    model = parse_model(path)
    graph = model.graph
    if not graph.node:
        raise OnnxReadError(f"{path} must be an ONNX model with nodes, but it has none.")
    if len(graph.node) > MAX_NODES:
        raise OnnxReadError(f"{path} must have at most {MAX_NODES} nodes, but it has {len(graph.node)}.")
    constants = {_text(t.name): stored_array(t, f"initializer {quoted(_text(t.name))}") for t in graph.initializer}
    inputs = [value for value in graph.input if _text(value.name) not in constants]
    if len(inputs) != 1 or not graph.output:
        raise OnnxReadError(
            f"{path} must have one input and an output, but it has {len(inputs)} inputs and {len(graph.output)} outputs."
        )
    return OnnxGraph(
        name=_text(graph.name),
        nodes=tuple(_node(node, index) for index, node in enumerate(graph.node)),
        constants=constants,
        input=_text(inputs[0].name),
        input_shape=_image_shape(inputs[0]),
        outputs=tuple(_text(value.name) for value in graph.output),
        metadata={_text(entry.key): _text(entry.value) for entry in model.metadata_props},
        batch=int(inputs[0].type.tensor_type.shape.dim[0].dim_value),
        domains=tuple(_text(entry.domain) for entry in model.opset_import),
        data_types={
            _text(annotation.tensor_name): _text(entry.value)
            for annotation in graph.quantization_annotation
            for entry in annotation.quant_parameter_tensor_names
            if entry.key == DATA_TYPE_KEY
        },
    )


def parse_model(path: Path) -> onnx.ModelProto:
    """The protobuf message of a file.

    Raises:
        OnnxReadError: the file cannot be read, is too large, is no ONNX model, or keeps data in other files.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise OnnxReadError(f"{path} must be a readable ONNX file: {error.strerror}.") from None
    if len(raw) > MAX_FILE_BYTES:
        raise OnnxReadError(f"{path} must be at most {MAX_FILE_BYTES >> 20} MiB to be read, but it is larger.")
    model = onnx.ModelProto()
    try:
        model.ParseFromString(raw)
    except (DecodeError, ValueError, RuntimeError):
        raise OnnxReadError(f"{path} must be an ONNX model, but it cannot be parsed; it may be damaged.") from None
    return model


def stored_array(tensor: onnx.TensorProto, what: str) -> Array:
    """The values of a tensor that the file itself holds."""
    if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
        raise OnnxReadError(
            f"{what} must be stored inside the ONNX file, but it lies in another file; save the model in one file."
        )
    if math.prod(max(int(d), 0) for d in tensor.dims) > MAX_FILE_BYTES:
        raise OnnxReadError(
            f"{what} must not be larger than its file, but it claims the shape {quoted(list(tensor.dims))}."
        )
    try:
        array: Array = numpy_helper.to_array(tensor)
    except (ValueError, TypeError, KeyError, IndexError, OverflowError, NotImplementedError):
        raise OnnxReadError(
            f"{what} must hold the values its shape and type ask for, but it does not; the file may be damaged."
        ) from None
    if array.dtype.kind not in "fiub" and array.dtype.name not in FP8_TYPES:
        raise OnnxReadError(f"{what} must hold numbers, but it has the type {array.dtype}.")
    return array


def _node(node: onnx.NodeProto, index: int) -> Node:
    op, domain = _text(node.op_type), _text(node.domain)
    name = _text(node.name) or f"{op}_{index}"
    known = QONNX_DOMAINS if op in _CUSTOM else STANDARD_DOMAINS
    if domain not in (*known, *STANDARD_DOMAINS):
        raise OnnxReadError(
            f"node {quoted(name)} must be a standard ONNX or QONNX operator, but it is {quoted(op)} of the domain "
            f"{quoted(domain)}."
        )
    if not node.output:
        raise OnnxReadError(f"{op} node {quoted(name)} must have an output, but it has none.")
    attributes = {_text(a.name): value for a in node.attribute if (value := _attribute(a, name)) is not None}
    return Node(op, name, tuple(map(_text, node.input)), tuple(map(_text, node.output)), attributes)


_CUSTOM = ("Quant", "IntQuant", "FloatQuant", "BipolarQuant", "Trunc")


def _attribute(attribute: onnx.AttributeProto, node: str) -> Attribute | None:
    """The value of an attribute; None for kinds that no supported operator has (subgraphs, strings in lists)."""
    value: Attribute | None = None
    kinds = onnx.AttributeProto
    match attribute.type:
        case kinds.INT:
            value = int(attribute.i)
        case kinds.FLOAT:
            value = float(attribute.f)
        case kinds.STRING:
            value = bytes(attribute.s).decode("utf-8", "replace")
        case kinds.INTS:
            value = [int(v) for v in attribute.ints]
        case kinds.FLOATS:
            value = [float(v) for v in attribute.floats]
        case kinds.TENSOR:
            value = stored_array(attribute.t, f"attribute {quoted(_text(attribute.name))} of node {quoted(node)}")
    return value


def _image_shape(value: onnx.ValueInfoProto) -> tuple[int, ...]:
    sizes = [int(d.dim_value) for d in value.type.tensor_type.shape.dim][1:]
    if value.type.tensor_type.elem_type == onnx.TensorProto.INT64 and len(sizes) == 1:
        return ()  # windows of tokens
    if len(sizes) not in (1, 3) or not all(1 <= size <= MAX_DIMENSION for size in sizes):
        raise OnnxReadError(
            f"input {quoted(_text(value.name))} must have the fixed shape (images, features) or (images, channels, height, "
            f"width), or be int64 (windows, tokens), but behind the images it has {quoted(sizes)}."
        )
    return tuple(sizes)


def _text(value: str | bytes) -> str:
    """A text of the file; protobuf hands out bytes where it is no UTF-8."""
    return value if isinstance(value, str) else value.decode("utf-8", "replace")
