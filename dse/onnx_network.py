"""An ONNX file as a network of operators with the format of every site and layer: what the cost models work on."""

from __future__ import annotations

from pathlib import Path

from dse.onnx_reader.errors import OnnxReadError
from dse.onnx_reader.graph import load_graph
from dse.onnx_reader.operations import follow
from hwmodels.ops import Network, Numerics, ShapeError

__all__ = ["OnnxReadError", "read_network"]


def read_network(path: Path) -> tuple[Network, Numerics]:
    """The operators of a QONNX or QCDQ file, and the formats and proved accumulator widths that run through them.

    Convolutions (ungrouped or depthwise), MatMul and Gemm become matrices behind their windows; quantizers of activations
    become requantizers into the site they make, with batch norm, bias, scale and activation function folded in; pooling,
    residual adds and forks have operators of their own. Accumulator widths are proved from the integer weights, unless the
    file states wider ones (see :mod:`dse.onnx_reader.metadata`).

    The file is not trusted: nothing in it is executed, and no other file is opened.

    Raises:
        OnnxReadError: the file is no such network; one sentence that names the node and what would do.
    """
    graph = load_graph(path)
    walk = follow(graph)
    name = graph.name if graph.name not in ("", "main_graph", "torch_jit", "torch-jit-export") else path.stem
    try:
        network = Network(name, tuple(walk.operators))
    except ShapeError as error:
        raise OnnxReadError(f"{path} must name its layers differently: {error}") from None
    return network, Numerics(walk.sites, walk.numerics)
