"""QONNX: Quant nodes for integers, FloatQuant nodes for minifloats, with constant or computed scales.

What FINN wants holds for files of integers without groups and dynamic scales: batch 1, zero points 0, activations scaled per
tensor, weights per tensor or channel. FloatQuant nodes state their maximum and exponent bias: QONNX takes E4M3 to reach 480, not
448, where none is given. Groups are an axis of their own, in front of the quantizer by a Reshape and behind it gone again.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from dse.export.formats import check_exportable
from dse.export.write import to_onnx
from dse.files import write_bytes

if TYPE_CHECKING:
    from torch import Tensor

    from workloads.quantize import QuantizedModel


def export_qonnx(model: QuantizedModel, example_input: Tensor, path: Path, *, name: str) -> str:
    """Write a quantized network as QONNX; return the file's SHA-256. Equal models give equal files.

    Args:
        model: the network; it is not changed.
        example_input: any frame, shape (1, ...).
        path: of the file, written whole or not at all.
        name: of the graph.

    Raises:
        ExportError: a format or a node that QONNX cannot hold.
        FileError: the file cannot be written.
    """
    check_exportable(model.numerics, "qonnx")
    return write_bytes(path, to_onnx(model, example_input, "qonnx", name=name).SerializeToString(deterministic=True))
