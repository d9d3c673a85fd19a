"""From an ONNX graph to operators and formats, by following the tensors from the input to the output.

The operators, their names and their order are those of :mod:`workloads.lowering`: a file that was exported from a model
reads back as the model's own network. What each kind of node does stands in :mod:`dse.onnx_reader.operations`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from dse.onnx_reader import layers
from dse.onnx_reader.errors import OnnxReadError, quoted
from dse.onnx_reader.graph import Node, OnnxGraph
from dse.onnx_reader.metadata import StatedLayer, stated_frame, stated_layers, stated_sites
from dse.onnx_reader.names import layer_name, site_name, unique
from dse.onnx_reader.tensors import Constant, Grid, Stream, Tensor, Weight
from hwmodels.accumulator import AccumulatorError, dot_range
from hwmodels.datapath import Accumulator, DatapathError, Granularity, ScaleKind, Scaling, TensorQuant
from hwmodels.ops import Duplicate, LayerNumerics, Operator, Requantize

PASSING = ("Flatten", "Reshape", "Identity", "Dropout")
"""Operators that pass values on in their order."""

MEASURING = ("Abs", "ReduceMax", "ReduceMin")
"""Operators that look at activations for the sake of their scale; they are part of the quantizer."""


@dataclass
class Walk:
    """What is known of the tensors so far, and the operators and formats found."""

    graph: OnnxGraph
    operators: list[Operator] = field(default_factory=list)
    sites: dict[str, TensorQuant] = field(default_factory=dict)
    numerics: dict[str, LayerNumerics] = field(default_factory=dict)
    tensors: dict[str, Tensor] = field(default_factory=dict)
    pending: dict[str, Requantize] = field(default_factory=dict)
    """By tensor: the requantizer in front of a residual add; it is emitted with the add."""

    def __post_init__(self) -> None:
        self.tensors = {name: Constant(array) for name, array in self.graph.constants.items()}
        self.tensors[self.graph.input] = layers.input_tensor(self.graph)
        self.readers = readers_of(self.graph)
        self.stated = stated_layers(self.graph.metadata)
        self.stated_sites = stated_sites(self.graph.metadata)
        self.frame = stated_frame(self.graph.metadata)
        self.names: set[str] = set()

    # what nodes read -------------------------------------------------------------------------------------------------

    def tensor(self, node: Node, position: int = 0) -> Tensor:
        """The tensor that a node reads."""
        name = node.inputs[position] if position < len(node.inputs) else ""
        if name not in self.tensors:
            raise OnnxReadError(
                f"{node} must read a tensor that a node before it makes, but its input {position} is {quoted(name)}."
            )
        return self.tensors[name]

    def stream(self, node: Node, position: int = 0) -> Stream:
        """The activations that a node reads."""
        tensor = self.tensor(node, position)
        if not isinstance(tensor, Stream):
            raise OnnxReadError(
                f"{node} must read activations at input {position}, but that tensor does not come from the input."
            )
        return tensor

    def on_grid(self, node: Node, position: int = 0) -> tuple[Stream, Grid]:
        """The quantized activations that a node reads."""
        stream = self.stream(node, position)
        if stream.grid is None:
            raise OnnxReadError(
                f"{node} must read quantized activations, but its input {quoted(node.inputs[position])} is not quantized; "
                "put a quantizer in front of it."
            )
        return stream, stream.grid

    # what nodes make -------------------------------------------------------------------------------------------------

    def emit(self, operator: Operator) -> str:
        """Add an operator; return its name."""
        self.operators.append(operator)
        self.names.add(operator.name)
        return operator.name

    def new_name(self, node: Node) -> str:
        """The name of the layer that a node is."""
        return unique(layer_name(node.name), self.names)

    def quantize(self, node: Node, source: Stream, quant: TensorQuant, scale: float | None, output: str) -> Stream:
        """The stream `output` behind the quantizer `node`: requantized into a site, duplicated for several readers."""
        if source.op is None and source.grid is not None:
            raise OnnxReadError(
                f"the network's input must be quantized once before a layer with weights, but {node} quantizes it again."
            )
        readers = self.readers[output]
        residual = len(readers) == 1 and readers[0].op == "Add"
        # both inputs of a residual add share the site
        site = f"{layer_name(readers[0].name)}.in" if residual else unique(site_name(node.name), self.sites)
        quant = replace(quant, scaling=self._stated_scaling(site, source, quant.scaling))
        if self.sites.setdefault(site, quant) != quant:
            raise OnnxReadError(
                f"both inputs of a residual add must have one format, but at {site} they are {self.sites[site]} and {quant}."
            )
        op = source.op
        if op is not None:
            name = (
                f"{op}.requantize" if f"{op}.requantize" not in self.names else unique(f"{site}.requantize", self.names)
            )
            requantizer = Requantize(name, op, source.channels, source.vectors, site)
            if residual:
                self.pending[output] = requantizer
            else:
                op = self.emit(requantizer)
        count = self.count_readers(output)
        if count > 1 and not source.floating:
            op = self.emit(Duplicate(f"{site}.duplicate", source.channels, source.vectors, count, site))
        return replace(source, op=op, grid=Grid(site, quant, scale))

    def _stated_scaling(self, site: str, source: Stream, found: Scaling) -> Scaling:
        """The scaling of a site: as the nodes have it, or as the file states it, where the nodes may be either."""
        stated = self.stated_sites.get(site, found)
        either = [found, replace(found, kind=ScaleKind.FLOAT)] if not found.dynamic else [found]
        if found.dynamic and source.flat and found.granularity is Granularity.TOKEN:
            either.append(replace(found, granularity=Granularity.TENSOR))
        if not found.dynamic:
            either += [replace(scaling, zero_point=True) for scaling in either]
        if stated not in either:
            raise OnnxReadError(
                f"the scale of site {quoted(site)} must be what its nodes say, {found}, but the file claims {stated}."
            )
        return stated

    def count_readers(self, tensor: str) -> int:
        """Nodes that read a tensor, looking through those that only pass it on; the network's output counts."""
        count, tensors = 0, [tensor]
        while tensors:
            name = tensors.pop()
            count += self.graph.outputs.count(name)
            for reader in self.readers[name]:
                if reader.op in MEASURING:
                    continue
                if reader.op in PASSING:
                    tensors.append(reader.outputs[0])
                else:
                    count += 1
        return count

    def layer(self, node: Node, source: Grid, weight: Weight, operators: tuple[Operator, ...]) -> str:
        """Add a layer with weights (its window, then its matrix) and its formats; return its name."""
        name = operators[-1].name
        stated = self.stated.get(name, StatedLayer())
        matrix, scaling = layers.scaled_matrix(node, weight, stated.group_size)
        tile = stated.tile_size
        if tile is None and scaling.group_size is not None and scaling.group_size < matrix.shape[1]:
            tile = scaling.group_size  # sums of differently scaled products cannot share an accumulator
        try:
            proved = dot_range(matrix, source.quant.format, tile).bits
            bits = proved if stated.accumulator_bits is None else stated.accumulator_bits
            if bits < proved:
                raise OnnxReadError(
                    f"the accumulator of {name} must have {proved} bits for its weights, but the file claims {bits}."
                )
            accumulator = Accumulator(max(bits, 2), tile)
        except (AccumulatorError, DatapathError) as error:
            raise OnnxReadError(f"the accumulator of {node} cannot be sized: {error}") from None
        self.numerics[name] = LayerNumerics(TensorQuant(weight.format, scaling), accumulator)
        for operator in operators:
            self.emit(operator)
        return name


def readers_of(graph: OnnxGraph) -> Mapping[str, list[Node]]:
    """The nodes that read each tensor; of nodes that pass values on, the readers of the values alone.

    Raises:
        OnnxReadError: a tensor is made twice, or read before it is made.
    """
    readers: dict[str, list[Node]] = {name: [] for name in (graph.input, *graph.constants, "")}
    for node in graph.nodes:
        for name in dict.fromkeys(node.inputs):
            if name not in readers:
                raise OnnxReadError(
                    f"{node} must read tensors that nodes before it make, but nothing makes {quoted(name)}."
                )
            if name == node.inputs[0] or node.op not in PASSING:
                readers[name].append(node)
        for name in node.outputs:
            if name and name in readers:
                raise OnnxReadError(f"every tensor must be made once, but {node} makes {quoted(name)} again.")
            readers[name] = []
    return readers
