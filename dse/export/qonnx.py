"""QONNX: Quant nodes for integers, FloatQuant nodes for minifloats, through Brevitas' exporter.

What FINN wants holds for files without minifloats and groups: batch 1, zero points 0, activations scaled per tensor, weights
per tensor or channel. Every quantizer of this project states its maximum and its exponent bias, so that the two traps of
this path stay open: Brevitas cannot export a minifloat that states no maximum, and QONNX takes E4M3 to reach 480, not 448,
where none is given. Groups of weights that share a scale are written as one scale per weight.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from dse.export.formats import check_exportable
from dse.export.metadata import describe
from dse.export.naming import name_like_model
from dse.export.through_brevitas import run_manager
from dse.files import write_bytes

if TYPE_CHECKING:
    from torch import Tensor

    from workloads.quantize import QuantizedModel


OPSET = 20
"""The newest that torch's exporter writes; FINN and qonnx read it."""


def export_qonnx(model: QuantizedModel, example_input: Tensor, path: Path, *, name: str) -> str:
    """Write a quantized network as QONNX; return the file's SHA-256. Equal models give equal files.

    Args:
        model: the network; it is not changed.
        example_input: any image, shape (1, ...): the file takes batches of 1.
        path: of the file, written whole or not at all.
        name: of the graph.

    Raises:
        ExportError: a format that QONNX cannot hold, or a failing exporter.
        FileError: the file cannot be written.
    """
    check_exportable(model.numerics, "qonnx")
    exported = run_manager("brevitas.export.onnx.qonnx.manager.QONNXManager", model, example_input, opset=OPSET)
    name_like_model(exported, model.module, model.numerics, name)
    describe(exported, model)
    return write_bytes(path, exported.SerializeToString(deterministic=True))
