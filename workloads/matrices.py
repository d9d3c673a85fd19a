"""A layer as the matrix that hardware holds, and as the least-squares problems that rounding it poses.

A dense convolution is one problem: rows x cols weights, columns in hardware order (see :class:`workloads.plan.Layer`). A
depthwise one is one small problem per channel. A linear layer is its matrix.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from workloads.calibration import batch_size
from workloads.gptq import hessian
from workloads.graph import ComputeModule, pair
from workloads.plan import Layer
from workloads.scales import Scales, expand


def weight_to_matrix(weight: Tensor) -> Tensor:
    """A convolution's weights (out, in, kernel rows, kernel columns) as (rows, cols) in hardware order; a matrix stays."""
    return weight.permute(0, 2, 3, 1).flatten(1) if weight.ndim == 4 else weight


def matrix_to_weight(matrix: Tensor, shape: torch.Size) -> Tensor:
    """The inverse of :func:`weight_to_matrix` for weights of `shape`."""
    if len(shape) == 2:
        return matrix
    out, channels, height, width = shape
    weight = matrix.reshape(out, height, width, channels).permute(0, 3, 1, 2)
    # not .contiguous(): it leaves a 1x1 kernel the strides of channels-last, and torch would add in another order
    return weight.clone(memory_format=torch.contiguous_format)


def as_problems(matrix: Tensor, layer: Layer) -> Tensor:
    """A layer's matrix (rows, cols) as (problems, rows of one, cols)."""
    return matrix.reshape(layer.rows if layer.depthwise else 1, -1, layer.cols)


def problem_scales(scales: Scales, layer: Layer) -> Tensor:
    """The scale of every weight of a layer, (problems, rows, cols)."""
    return as_problems(torch.from_numpy(expand(scales, (layer.rows, layer.cols)).copy()), layer)


def layer_hessian(layer: Layer, module: ComputeModule, inputs: Tensor, others: Tensor | None = None) -> Tensor:
    """The Hessian of a layer on these inputs, or its inputs' products with `others`, see :func:`workloads.gptq.hessian`."""
    views = layer_windows(inputs, layer, module)
    other_views = None if others is None else layer_windows(others, layer, module)
    return hessian(views, layer.rows if layer.depthwise else 1, layer.cols, other_views)


def layer_windows(inputs: Tensor, layer: Layer, module: ComputeModule) -> Iterator[Tensor]:
    """What the rows of the layer's matrix are multiplied with, batch by batch, as views for :func:`hessian`.

    Their values follow each other as (problems, vectors, cols), columns in hardware order: of a dense layer (images, pixels,
    kernel pixels, channels), of a depthwise one, of which each channel is a problem, (channels, images, pixels, kernel).
    """
    for batch in torch.split(inputs, batch_size(inputs)):
        if isinstance(module, nn.Linear):
            yield batch
            continue
        (kernel_y, kernel_x), (pad_y, pad_x) = pair(module.kernel_size), pair(module.padding)  # type: ignore[arg-type]
        (step_y, step_x), (dilate_y, dilate_x) = pair(module.stride), pair(module.dilation)
        padded = F.pad(batch, (pad_x, pad_x, pad_y, pad_y))
        if not layer.depthwise:  # channels together, as they are read
            padded = padded.contiguous(memory_format=torch.channels_last)
        images, channels, height, width = padded.shape
        by_image, by_channel, by_row, by_pixel = padded.stride()
        rows = (height - dilate_y * (kernel_y - 1) - 1) // step_y + 1
        pixels = (width - dilate_x * (kernel_x - 1) - 1) // step_x + 1
        sizes = (images, rows, pixels, kernel_y, kernel_x, channels)
        strides = (by_image, step_y * by_row, step_x * by_pixel, dilate_y * by_row, dilate_x * by_pixel, by_channel)
        taken = padded.as_strided(sizes, strides)
        yield taken.permute(5, 0, 1, 2, 3, 4) if layer.depthwise else taken
