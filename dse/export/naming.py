"""Giving the nodes of an exported file the names of the model's layers and sites.

torch names nodes by the path of their module, but of a traced graph it sees the last part of the path only (three layers
`conv1` become `conv1`, `conv1_1`, `conv1_2`), and it numbers inputs by a counter of the process. Names are put right by
order: torch exports the calls of a traced graph in their order, so the n-th addition of the one is that of the other.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

import onnx
from torch import fx

from dse.export.errors import ExportError
from dse.onnx_reader.names import QUANTIZER_SUFFIX
from hwmodels.ops import Numerics
from workloads.graph import Kind, kind, label

INPUT, OUTPUT = "images", "logits"

_ONNX_KINDS: Mapping[str, str] = {
    "Conv": "layer",
    "Gemm": "layer",
    "MatMul": "layer",
    "Quant": "quantizer",
    "FloatQuant": "quantizer",
    "QuantizeLinear": "quantizer",
    "Add": "add",
    "GlobalAveragePool": "pool",
    "AveragePool": "pool",
    "MaxPool": "pool",
    "Relu": "relu",
}

_GRAPH_KINDS: Mapping[Kind, str] = {
    Kind.ADD: "add",
    Kind.AVERAGE_POOL: "pool",
    Kind.MAX_POOL: "pool",
    Kind.RELU: "relu",
}


def name_like_model(model: onnx.ModelProto, module: fx.GraphModule, numerics: Numerics, name: str) -> None:
    """Rename, in place, the graph of `model`, its input, output and nodes; drop constants from its inputs.

    Raises:
        ExportError: the file does not have the calls of the module.
    """
    graph = model.graph
    graph.name = name
    constants = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in constants]
    del graph.input[:]
    graph.input.extend(inputs)
    _rename_tensors(graph, {graph.input[0].name: INPUT, graph.output[0].name: OUTPUT})
    wanted, taken = calls(module, numerics), set[str]()
    for node in graph.node:
        group = _ONNX_KINDS.get(node.op_type)
        if group is None or (group == "quantizer" and node.input[0] in constants):
            continue
        names = wanted[group]
        if not names:
            raise ExportError(
                f"the exported file must have one node per call of the model, but it has one more {node.op_type}."
            )
        base = names.pop(0) + (QUANTIZER_SUFFIX if group == "quantizer" else "")
        unique = next(n for n in (base, *(f"{base}_{i}" for i in range(1, len(graph.node)))) if n not in taken)
        taken.add(unique)
        node.name = unique
    if missing := [names[0] for names in wanted.values() if names]:
        raise ExportError(f"the exported file must have one node per call of the model, but {missing[0]} has none.")


def calls(module: fx.GraphModule, numerics: Numerics) -> dict[str, list[str]]:
    """The names of a quantized module's layers, sites and so on, by kind, in the order of their calls."""
    site_of = {f"quantizers.{site.replace('.', '_')}": site for site in numerics.sites}
    found: dict[str, list[str]] = defaultdict(list)
    for node in module.graph.nodes:
        target = str(node.target)
        if target in site_of:
            found["quantizer"].append(site_of[target])
        elif target in numerics.layers:
            found["layer"].append(target)
        elif (group := _GRAPH_KINDS.get(kind(module, node))) is not None:
            found[group].append(label(node))
    return found


def _rename_tensors(graph: onnx.GraphProto, names: Mapping[str, str]) -> None:
    for value in (*graph.input, *graph.output):
        value.name = names.get(value.name, value.name)
    for node in graph.node:
        for tensors in (node.input, node.output):
            for index, tensor in enumerate(tensors):
                tensors[index] = names.get(tensor, tensor)
