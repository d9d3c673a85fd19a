"""ONNX QCDQ: QuantizeLinear, Clip, DequantizeLinear of standard ONNX, for integers of up to 8 bits and OCP's FP8.

Execute such files with onnxruntime's graph optimizations off: its default ones fuse the Clip away and change the results
of formats below 8 bits (measured: outputs off by 0.027 of 0.40 for 4 bits).
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


def export_qcdq(model: QuantizedModel, example_input: Tensor, path: Path, *, name: str) -> str:
    """Write a quantized network as standard ONNX; return the file's SHA-256. Equal models give equal files.

    Args and errors are those of :func:`dse.export.qonnx.export_qonnx`.
    """
    check_exportable(model.numerics, "qcdq")
    return write_bytes(path, to_onnx(model, example_input, "qcdq", name=name).SerializeToString(deterministic=True))
