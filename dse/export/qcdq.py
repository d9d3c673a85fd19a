"""ONNX QCDQ: QuantizeLinear, Clip, DequantizeLinear of standard ONNX, for integers only, through Brevitas' exporter.

Execute such files with onnxruntime's graph optimizations off: its default ones fuse the Clip away and change the results
of formats below 8 bits (measured: outputs off by 0.027 of 0.40 for 4 bits).
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


OPSET = 13
"""The first with scales per channel in (De)QuantizeLinear; any newer runtime reads it."""


def export_qcdq(model: QuantizedModel, example_input: Tensor, path: Path, *, name: str) -> str:
    """Write a quantized network as standard ONNX; return the file's SHA-256. Equal models give equal files.

    Args and errors are those of :func:`dse.export.qonnx.export_qonnx`.
    """
    check_exportable(model.numerics, "qcdq")
    exported = run_manager(
        "brevitas.export.onnx.standard.qcdq.manager.StdQCDQONNXManager", model, example_input, opset=OPSET
    )
    name_like_model(exported, model.module, model.numerics, name)
    describe(exported, model)
    return write_bytes(path, exported.SerializeToString(deterministic=True))
