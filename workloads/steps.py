"""The recipe steps of :mod:`workloads.recipes`, carried out on a quantized network in one pass along its dataflow.

Each layer is treated with the inputs that it will really see: those of the layers before it, already quantized and
treated. GPTQ and AXE are Brevitas' own classes. They see a dense convolution as the matrix that hardware holds (rows x
cols, columns in hardware order), so a tile of AXE is T consecutive products of the hardware's order, and groups of
scales may be tiles, which Brevitas' convolution path does not offer. Depthwise convolutions go that path, one small
problem per channel; whatever AXE promises is proved again from the final codes.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from hwmodels.accumulator import AccumulatorError
from hwmodels.errors import BitfrontError
from hwmodels.formats import IntFormat
from workloads.assign import Assignment
from workloads.calibration import BATCH
from workloads.numerics import NumericsSpec
from workloads.plan import Layer, Plan
from workloads.quantizers import qnn, weight_quantizer
from workloads.recipes import CHANGES_WEIGHTS, Step

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # as in workloads.quantizers
    warnings.filterwarnings("ignore", message="fast_hadamard_transform")  # an optional kernel for rotations, not used
    from brevitas.graph.gptq import GPTQ
    from brevitas.graph.gpxq import LayerHandler
    from brevitas_examples.common.axe import A2GPTQ

QuantLayer: TypeAlias = "qnn.QuantConv2d | qnn.QuantLinear"

BLOCKS = 100
"""Column blocks between two full updates of the remaining weights (Brevitas' default; results do not depend on it)."""


class StepError(BitfrontError):
    """A step that cannot be carried out on the data it was given."""


@dataclass(frozen=True)
class _InputRange:
    """What AXE asks of an input quantizer."""

    bit_width: Tensor
    signed: bool


def keeps_rounded_codes(layer: Layer, assignment: Assignment, spec: NumericsSpec) -> bool:
    """Whether no step of the recipe changes the layer's rounded weights.

    AXE knows integer weights and activations only; other layers keep their codes and must fit as they are.
    """
    if Step.AXE in spec.recipe.steps:
        formats = (assignment.layers[layer.name].weight.format, assignment.sites[layer.site].format)
        return not all(isinstance(fmt, IntFormat) for fmt in formats)
    return CHANGES_WEIGHTS.isdisjoint(spec.recipe.steps)


def apply_steps(module: fx.GraphModule, plan: Plan, assignment: Assignment, spec: NumericsSpec, images: Tensor) -> None:
    """Carry out the recipe's steps on `module` in place.

    Raises:
        StepError: a layer's inputs do not determine its weights (too few images).
        AccumulatorError: AXE is asked for fewer than 3 bits.
    """
    if not spec.recipe.steps:
        return
    if spec.recipe.uses_accumulator and (spec.accumulator_bits or 0) < 3:
        raise AccumulatorError(f"axe must have an accumulator of at least 3 bits, but got P={spec.accumulator_bits}.")
    with torch.no_grad():
        means = _float_means(plan, images) if Step.BIAS_CORRECTION in spec.recipe.steps else {}
        _Walk(module, plan, assignment, spec, means).run(images)


class _Walk(fx.Interpreter):
    """Runs the quantized graph once, treating every layer before its output is passed on."""

    def __init__(
        self, module: fx.GraphModule, plan: Plan, assignment: Assignment, spec: NumericsSpec, means: dict[str, Tensor]
    ) -> None:
        super().__init__(module)
        self.layers = {layer.module: layer for layer in plan.layers}
        self.assignment, self.spec, self.means = assignment, spec, means
        self.extra_traceback = False  # else torch adds lines about its graph to the text of our errors

    def call_module(self, target: object, args: tuple[object, ...], kwargs: dict[str, object]) -> object:
        layer = self.layers.get(str(target))
        if layer is None:
            return _in_batches(self.fetch_attr(str(target)), args[0])
        quant_layer = self.fetch_attr(str(target))
        (inputs,) = args
        assert isinstance(inputs, Tensor)
        for step in self.spec.recipe.steps:
            if step in CHANGES_WEIGHTS and not keeps_rounded_codes(layer, self.assignment, self.spec):
                _choose_codes(step, quant_layer, layer, self.assignment, self.spec, inputs)
            if step is Step.BIAS_CORRECTION:
                output = _in_batches(quant_layer, inputs)
                quant_layer.bias += self.means[layer.name] - _channel_means(output)
        return _in_batches(quant_layer, inputs)


def _in_batches(module: nn.Module, inputs: object) -> Tensor:
    assert isinstance(inputs, Tensor)
    return torch.cat([module(batch) for batch in torch.split(inputs, BATCH)])


def _channel_means(output: Tensor) -> Tensor:
    return output.mean(dim=[0, *range(2, output.ndim)])


def _float_means(plan: Plan, images: Tensor) -> dict[str, Tensor]:
    """Mean output of every layer and channel in the float network: what bias correction restores (arXiv 1906.04721)."""
    found: dict[str, Tensor] = {}
    layers = {layer.module: layer.name for layer in plan.layers}

    class Means(fx.Interpreter):
        def call_module(self, target: object, args: tuple[object, ...], kwargs: dict[str, object]) -> object:
            out = _in_batches(self.fetch_attr(str(target)), args[0])
            if str(target) in layers:
                found[layers[str(target)]] = _channel_means(out)
            return out

    Means(plan.graph).run(images)
    return found


def _choose_codes(
    step: Step, quant_layer: QuantLayer, layer: Layer, assignment: Assignment, spec: NumericsSpec, inputs: Tensor
) -> None:
    """GPTQ or AXE on one layer; its weights are overwritten by the values of the codes chosen."""
    target = quant_layer if layer.depthwise else _as_matrix(quant_layer, layer, assignment)
    common = {
        "layer": target,
        "name": layer.name,
        "act_order": True,  # largest inputs first: better than in order at 2 and 3 bits and with AXE (measured)
        "len_parallel_layers": 1,
        "create_weight_orig": False,
        "num_blocks": BLOCKS,
    }
    if step is Step.AXE:
        activation = assignment.sites[layer.site].format
        assert isinstance(activation, IntFormat)  # keeps_rounded_codes
        tile = assignment.layers[layer.name].tile_size
        optimizer = A2GPTQ(**common, max_accumulator_bit_width=spec.accumulator_bits, max_accumulator_tile_size=tile)
        optimizer.quant_metadata = _InputRange(torch.tensor(float(activation.bits)), activation.signed)
    else:
        optimizer = GPTQ(**common)
    handler = LayerHandler()
    for batch in torch.split(inputs, BATCH):
        seen = batch if layer.depthwise else _unfold(batch, layer, quant_layer)
        optimizer.compute_iterative_covariance(target, (seen,), handler)
    with warnings.catch_warnings():
        # Brevitas only warns and leaves the layer as it was: here that is an error
        warnings.filterwarnings("error", message="Failed to compute the inverse")
        try:
            optimizer.single_layer_update()
        except UserWarning as warning:
            raise StepError(
                f"{step} of layer {layer.name} must have calibration images that excite all its inputs, but {len(inputs)} "
                "images do not; give more."
            ) from warning
    if not layer.depthwise:
        quant_layer.weight.copy_(matrix_to_weight(target.weight, quant_layer.weight.shape))


def _as_matrix(quant_layer: QuantLayer, layer: Layer, assignment: Assignment) -> qnn.QuantLinear:
    """The layer as a linear layer on its windows, with the same quantizer."""
    scale = quant_layer.quant_weight().scale
    matrix_scale = scale.reshape(-1, 1) if scale[0].numel() == 1 else weight_to_matrix(scale)
    quantizer = weight_quantizer(assignment.layers[layer.name].weight.format, matrix_scale.clone())
    with torch.random.fork_rng(devices=[]):
        matrix = qnn.QuantLinear(layer.cols, layer.rows, bias=False, weight_quant=quantizer)
    matrix.weight.copy_(weight_to_matrix(quant_layer.weight))
    return matrix.eval().requires_grad_(False)


def _unfold(batch: Tensor, layer: Layer, quant_layer: QuantLayer) -> Tensor:
    """The windows of a batch as rows of `cols` values in hardware order."""
    if isinstance(quant_layer, nn.Linear):
        return batch
    windows = F.unfold(batch, layer.kernel, quant_layer.dilation, quant_layer.padding, quant_layer.stride)
    images, _, pixels = windows.shape
    ordered = windows.view(images, layer.in_channels, -1, pixels).permute(0, 3, 2, 1)
    return ordered.reshape(images * pixels, layer.cols)


def weight_to_matrix(weight: Tensor) -> Tensor:
    """A convolution's weights (out, in, kernel rows, kernel columns) as (rows, cols) in hardware order; a matrix stays."""
    return weight.permute(0, 2, 3, 1).flatten(1) if weight.ndim == 4 else weight


def matrix_to_weight(matrix: Tensor, shape: torch.Size) -> Tensor:
    """The inverse of :func:`weight_to_matrix` for weights of `shape`."""
    if len(shape) == 2:
        return matrix
    out, channels, height, width = shape
    return matrix.reshape(out, height, width, channels).permute(0, 3, 1, 2)
