"""An ONNX graph under construction: nodes, shared constants, and the data types of tensors.

Every node has one output and is called what its output is called, so that a name in a report leads to the place in a viewer.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from dse.onnx_reader.graph import DATA_TYPE_KEY

Array: TypeAlias = NDArray[Any]

OPSET = 20
"""Of the standard operators: the first with Gelu and FP8 (De)QuantizeLinear; FINN, qonnx and onnxruntime read it."""

IR_VERSION = 9
"""The container's version that belongs to opset 20; newer ones are refused by runtimes that do have the operators."""

QONNX_DOMAIN, QONNX_OPSET = "qonnx.custom_op.general", 2


@dataclass
class Build:
    """Nodes in order, constants by name and data types by tensor."""

    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: dict[str, Array] = field(default_factory=dict)
    datatypes: dict[str, str] = field(default_factory=dict)
    made: set[str] = field(default_factory=set)

    def node(self, op: str, inputs: list[str], name: str, **attributes: object) -> str:
        """Add a node of the standard operators, or of QONNX' quantizers; return its output, which has its name."""
        assert name not in {*self.made, *self.constants}, name  # names are unique
        self.made.add(name)
        domain = QONNX_DOMAIN if op in ("Quant", "FloatQuant") else None
        given = {key: value for key, value in attributes.items() if value is not None}
        self.nodes.append(helper.make_node(op, inputs, [name], name=name, domain=domain, **given))
        return name

    def once(self, op: str, inputs: list[str], name: str, **attributes: object) -> str:
        """As :meth:`node`, for what several parts of a network share: made by the first that asks for it."""
        return name if name in self.made else self.node(op, inputs, name, **attributes)

    def constant(self, name: str, value: object, dtype: Any = np.float32) -> str:
        """Add a constant, or find it again under its name; return the name."""
        array = np.asarray(value, dtype=dtype)
        assert name not in self.made
        assert np.array_equal(self.constants.setdefault(name, array), array), name
        return name

    def number(self, value: float) -> str:
        """A float32 scalar that any node may share, named after its value: `=4`, since a layer may well be called `4`."""
        text = f"{float(value):g}"
        return self.constant(f"={text if float(text) == value else repr(float(value))}", value)

    def sizes(self, *values: int) -> str:
        """A list of int64 (a shape, axes), shared and named after its values."""
        return self.constant(f"[{', '.join(map(str, values))}]", values, np.int64)

    def datatype(self, tensor: str, name: str | None) -> str:
        """Note the QONNX data type of a tensor; return the tensor."""
        if name is not None:
            self.datatypes[tensor] = name
        return tensor

    def model(
        self, name: str, source: onnx.ValueInfoProto, output: onnx.ValueInfoProto, metadata: dict[str, str]
    ) -> onnx.ModelProto:
        """The finished model, checked by ONNX' own checker; its constants are those that a node reads."""
        used = {tensor for node in self.nodes for tensor in node.input}
        constants = [numpy_helper.from_array(array, key) for key, array in self.constants.items() if key in used]
        graph = helper.make_graph(self.nodes, name, [source], [output], constants)
        for tensor, datatype in self.datatypes.items():
            note = onnx.TensorAnnotation(tensor_name=tensor)
            note.quant_parameter_tensor_names.append(onnx.StringStringEntryProto(key=DATA_TYPE_KEY, value=datatype))
            graph.quantization_annotation.append(note)
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(QONNX_DOMAIN, QONNX_OPSET)]
        custom = any(node.domain == QONNX_DOMAIN for node in self.nodes)
        made = helper.make_model(
            graph, producer_name="bitfront", ir_version=IR_VERSION, opset_imports=opsets if custom else opsets[:1]
        )
        helper.set_model_props(made, metadata)
        onnx.checker.check_model(made)
        return made
