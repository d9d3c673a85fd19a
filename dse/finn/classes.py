"""Whether the file for FINN says the same classes as the network that passed the gate: both executed by qonnx."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dse.finn.adapt import CLASS

BATCH = 200
"""Images executed together; qonnx starts a session per node and batch."""


def run(path: Path, images: NDArray[np.float32]) -> Iterator[dict[str, Any]]:
    """The tensors of every batch of images (n, channels, height, width), by name."""
    from qonnx.core.modelwrapper import ModelWrapper
    from qonnx.core.onnx_exec import execute_onnx
    from qonnx.transformation.change_batchsize import ChangeBatchSize
    from qonnx.transformation.infer_shapes import InferShapes

    for start in range(0, len(images), BATCH):
        chunk = images[start : start + BATCH]
        model = ModelWrapper(str(path)).transform(ChangeBatchSize(len(chunk))).transform(InferShapes())
        yield execute_onnx(model, {model.graph.input[0].name: chunk})


def mismatching_classes(network: Path, adapted: Path, images: NDArray[np.float32]) -> int:
    """How many images the network (by its largest logit) and the file adapted from it put into different classes."""
    different = 0
    for plain, made in zip(run(network, images), run(adapted, images), strict=True):
        (logits,) = plain.values()
        different += int((logits.argmax(axis=-1) != made[CLASS].reshape(len(logits))).sum())
    return different
