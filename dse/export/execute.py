"""Executing exported files on images, a batch at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.float32]
Logits = NDArray[np.float32]

BATCH = 200
"""Images executed together. qonnx starts an onnxruntime session per node and batch, so small batches are slow."""

ONNXRUNTIME_ERRORS_ONLY = 3
"""onnxruntime's log level: errors; its warnings are advice on optimizations that are off here."""


def qonnx_model(path: Path, batch: int) -> Any:
    """The file as a qonnx model that takes `batch` images, with all shapes known."""
    from qonnx.core.modelwrapper import ModelWrapper
    from qonnx.transformation.change_batchsize import ChangeBatchSize
    from qonnx.transformation.infer_shapes import InferShapes

    return ModelWrapper(str(path)).transform(ChangeBatchSize(batch)).transform(InferShapes())


def run_qonnx(path: Path, images: Images) -> Logits:
    """The outputs of a QONNX (or plain ONNX) file, executed node by node by qonnx; images (n, ...) -> logits (n, classes)."""
    from qonnx.core.onnx_exec import execute_onnx

    outputs = []
    for model, chunk in qonnx_batches(path, images):
        outputs.append(execute_onnx(model, {model.graph.input[0].name: chunk})[model.graph.output[0].name])
    return np.concatenate(outputs)


def run_onnxruntime(path: Path, images: Images) -> Logits:
    """The outputs of a standard ONNX file, executed image by image by onnxruntime with graph optimizations off."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = ONNXRUNTIME_ERRORS_ONLY
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return np.concatenate([session.run(None, {name: images[i : i + 1]})[0] for i in range(len(images))])


EXECUTORS: Mapping[str, tuple[str, Callable[[Path, Images], Logits]]] = {
    "qonnx": ("qonnx, node by node", run_qonnx),
    "qcdq": ("onnxruntime, graph optimizations off", run_onnxruntime),
}
"""For each exporter: the executor in words, and its function."""


def qonnx_batches(path: Path, images: Images) -> Iterator[tuple[Any, Images]]:
    """(qonnx model, images) of every batch; the last one may be smaller and then has a model of its own."""
    models: dict[int, Any] = {}
    for start in range(0, len(images), BATCH):
        chunk = images[start : start + BATCH]
        if len(chunk) not in models:
            models[len(chunk)] = qonnx_model(path, len(chunk))
        yield models[len(chunk)], chunk
