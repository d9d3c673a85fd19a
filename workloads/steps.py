"""The recipe steps of :mod:`workloads.recipes`, carried out on a quantized network in one pass along its dataflow.

Each layer is treated with the inputs that it will really see: those of the layers before it, already quantized and
treated. GPTQ and AXE see a dense convolution as the matrix that hardware holds (rows x cols, columns in hardware order),
so a tile of AXE is T consecutive products of the hardware's order, and groups of scales may be tiles. A depthwise
convolution is one small problem per channel. Whatever AXE promises is proved again from the final codes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import TypeAlias, cast

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from hwmodels.accumulator import AccumulatorError
from hwmodels.errors import BitfrontError
from hwmodels.formats import ElementFormat, IntFormat
from workloads.assign import Assignment
from workloads.axe import Budget
from workloads.calibration import batch_size
from workloads.fake_quant import channel_axis
from workloads.gptq import SingularError, gptq, hessian
from workloads.graph import ComputeModule, pair
from workloads.numerics import NumericsSpec
from workloads.plan import Layer, Plan
from workloads.recipes import CHANGES_WEIGHTS, Step
from workloads.scales import Scales, expand


class StepError(BitfrontError):
    """A step that cannot be carried out on the data it was given."""


def keeps_rounded_codes(layer: Layer, assignment: Assignment, spec: NumericsSpec) -> bool:
    """Whether no step of the recipe, while it walks along the network, changes the layer's rounded weights.

    AXE knows integer weights and activations only; other layers keep their codes and must fit as they are.
    """
    if Step.GPTQ_FLOAT in spec.recipe.steps:
        return True  # they were chosen before any step runs
    if Step.AXE in spec.recipe.steps:
        formats = (assignment.layers[layer.name].weight.format, assignment.sites[layer.site].format)
        return not all(isinstance(fmt, IntFormat) for fmt in formats)
    return CHANGES_WEIGHTS.isdisjoint(spec.recipe.steps)


def apply_steps(
    network: fx.GraphModule,
    plan: Plan,
    assignment: Assignment,
    spec: NumericsSpec,
    scales: Mapping[str, Scales],
    means: Callable[[], Mapping[str, Tensor]],
    images: Tensor,
) -> None:
    """Carry out the recipe's steps on `network` in place.

    Args:
        network: quantizers at every site; layers whose codes a step chooses are still float, the others on their grid.
        scales: of every layer's weights.
        means: of the float network's outputs, see :func:`float_means`; asked for if bias correction is a step.
        images: calibration inputs.

    Raises:
        StepError: a layer's inputs do not determine its weights (too few images).
        AccumulatorError: AXE is asked for fewer than 3 bits.
    """
    if not spec.recipe.steps:
        return
    if spec.recipe.uses_accumulator and (spec.accumulator_bits or 0) < 3:
        raise AccumulatorError(f"axe must have an accumulator of at least 3 bits, but got P={spec.accumulator_bits}.")
    with torch.no_grad():
        found = means() if Step.BIAS_CORRECTION in spec.recipe.steps else {}
        _Walk(network, plan, assignment, spec, scales, found).run(images)


class _Walk(fx.Interpreter):
    """Runs the quantized graph once, treating every layer before its output is passed on."""

    def __init__(
        self,
        network: fx.GraphModule,
        plan: Plan,
        assignment: Assignment,
        spec: NumericsSpec,
        scales: Mapping[str, Scales],
        means: Mapping[str, Tensor],
    ) -> None:
        super().__init__(network)
        self.layers = {layer.module: layer for layer in plan.layers}
        self.assignment, self.spec, self.scales, self.means = assignment, spec, scales, means
        self.extra_traceback = False  # else torch adds lines about its graph to the text of our errors

    def call_module(self, target: object, args: tuple[object, ...], kwargs: dict[str, object]) -> object:
        layer = self.layers.get(str(target))
        if layer is None:
            return in_batches(self.fetch_attr(str(target)), *args)
        module = cast(ComputeModule, self.fetch_attr(str(target)))
        (inputs,) = args
        assert isinstance(inputs, Tensor)
        for step in self.spec.recipe.steps:
            if step in CHANGES_WEIGHTS and not keeps_rounded_codes(layer, self.assignment, self.spec):
                self._choose_codes(step, module, layer, inputs)
            if step is Step.BIAS_CORRECTION:
                assert module.bias is not None  # the network was built with one
                module.bias += self.means[layer.name] - _channel_means(in_batches(module, inputs))
        return in_batches(module, inputs)

    def _choose_codes(self, step: Step, module: ComputeModule, layer: Layer, inputs: Tensor) -> None:
        """GPTQ or AXE on one layer; its weights become the values of the codes chosen."""
        formats, budget = self.assignment.layers[layer.name], None
        scale = problem_scales(self.scales[layer.name], layer)
        if step is Step.AXE:
            activation, bits = self.assignment.sites[layer.site].format, self.spec.accumulator_bits
            assert isinstance(activation, IntFormat)  # keeps_rounded_codes
            assert bits is not None  # Recipe.check
            tile = formats.tile_size or layer.cols
            budget = partial(Budget, scale=scale, activation=activation, bits=bits, tile=tile)
        statistics = layer_hessian(layer, module, inputs)
        weight = rounded_by_gptq(layer, module.weight, statistics, scale, formats.weight.format, budget)
        module.weight = nn.Parameter(weight, requires_grad=False)


def float_means(plan: Plan, images: Tensor) -> dict[str, Tensor]:
    """Mean output of every layer and channel in the float network: what bias correction restores (arXiv 1906.04721)."""
    found: dict[str, Tensor] = {}

    def see(layer: Layer, module: ComputeModule, inputs: Tensor, output: Tensor) -> None:
        found[layer.name] = _channel_means(output)

    watch_float(plan, images, see)
    return found


See: TypeAlias = Callable[[Layer, ComputeModule, Tensor, Tensor], None]


def watch_float(plan: Plan, images: Tensor, see: See) -> None:
    """Run the float network on all images and show `see` every layer, its module, inputs and output, in dataflow order."""
    layers = {layer.module: layer for layer in plan.layers}

    class Watch(fx.Interpreter):
        def call_module(self, target: object, args: tuple[object, ...], kwargs: dict[str, object]) -> object:
            module = self.fetch_attr(str(target))
            output = in_batches(module, *args)
            if str(target) in layers:
                (inputs,) = args
                see(layers[str(target)], module, cast(Tensor, inputs), output)
            return output

    with torch.no_grad():
        Watch(plan.graph).run(images)


def in_batches(module: nn.Module, *inputs: object) -> Tensor:
    """A module's output for all samples of its inputs, computed :func:`batch_size` at a time."""
    size = batch_size(cast(Tensor, inputs[0]))
    batches = zip(*(torch.split(cast(Tensor, each), size) for each in inputs), strict=True)
    return torch.cat([module(*batch) for batch in batches])


def _channel_means(output: Tensor) -> Tensor:
    channels = channel_axis(output)
    return output.mean(dim=[axis for axis in range(output.ndim) if axis != channels])


def _windows(inputs: Tensor, layer: Layer, module: ComputeModule) -> Iterator[Tensor]:
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


def layer_hessian(layer: Layer, module: ComputeModule, inputs: Tensor) -> Tensor:
    """The Hessian of a layer on these inputs, see :func:`hessian`."""
    return hessian(_windows(inputs, layer, module), layer.rows if layer.depthwise else 1, layer.cols)


def rounded_by_gptq(
    layer: Layer,
    weight: Tensor,
    statistics: Tensor,
    scale: Tensor,
    fmt: ElementFormat,
    make_budget: Callable[[Tensor], Budget] | None = None,
) -> Tensor:
    """The layer's weights as GPTQ rounds them, in their own shape; see :func:`gptq`.

    Raises:
        StepError: the inputs that the Hessian was taken of do not determine the weights.
    """
    try:
        values = gptq(_as_problems(weight_to_matrix(weight), layer), statistics, scale, fmt, make_budget)
    except SingularError as error:
        raise StepError(
            f"the weights of layer {layer.name} must be determined by its inputs on the calibration images to be chosen by "
            "gptq or axe, but they are not; give more images."
        ) from error
    return matrix_to_weight(values.reshape(layer.rows, layer.cols), weight.shape)


def problem_scales(scales: Scales, layer: Layer) -> Tensor:
    """The scale of every weight of a layer, (problems, rows, cols)."""
    return _as_problems(torch.from_numpy(expand(scales, (layer.rows, layer.cols)).copy()), layer)


def _as_problems(matrix: Tensor, layer: Layer) -> Tensor:
    """A layer's matrix (rows, cols) as (problems, rows of one, cols)."""
    return matrix.reshape(layer.rows if layer.depthwise else 1, -1, layer.cols)


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
