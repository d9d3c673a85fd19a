"""Weights of a layer on their grid: the codes that are proved and exported, and the values that run."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hwmodels.accumulator import Codes
from hwmodels.codec import quantize
from hwmodels.formats import ElementFormat
from workloads.assign import weight_matrix
from workloads.matrices import matrix_to_weight
from workloads.plan import Layer, Plan
from workloads.qsnr import qsnr_db
from workloads.scales import Scales, expand, to_codes


@dataclass(frozen=True, eq=False)
class Rounded:
    """Codes, scale, values in the shape of the layer's parameter, and QSNR (dB) against the float weights."""

    codes: Codes
    scale: Scales
    values: Tensor
    qsnr_db: float


def on_grid(plan: Plan, layer: Layer, fmt: ElementFormat, scale: Scales, matrix: NDArray[np.float32]) -> Rounded:
    """A matrix (rows, cols) of a layer rounded to the nearest elements of `fmt` times `scale`."""
    scales = expand(scale, matrix.shape)
    elements = quantize(fmt, matrix / scales)
    values = elements.astype(np.float32) * scales
    exact = elements * scales.astype(np.float64)  # an element and a scale have at most 24 bits each
    original = weight_matrix(plan, layer).astype(np.float64)
    weight = matrix_to_weight(torch.from_numpy(values), float_weight(plan, layer).shape)
    return Rounded(to_codes(elements, fmt), scale, weight, qsnr_db(original, exact))


def float_weight(plan: Plan, layer: Layer) -> Tensor:
    """The layer's float weights, in the shape of its parameter."""
    return plan.graph.get_parameter(f"{layer.module}.weight").detach()
