"""The recipe steps of :mod:`workloads.recipes`, carried out on a quantized network in one pass along its dataflow.

Each layer is treated with the inputs that it will really see: those of the layers before it, already quantized and
treated; steps that compare with the float network see its inputs of the same layer, too. They see a dense convolution as the
matrix that hardware holds (:mod:`workloads.matrices`), so a tile of AXE is T consecutive products of the hardware's order,
and groups of scales may be tiles. Whatever AXE promises is proved again from the final codes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from types import MappingProxyType
from typing import Final, TypeAlias, cast

import torch
from torch import Tensor, fx, nn

from hwmodels.accumulator import AccumulatorError
from hwmodels.errors import BitfrontError
from hwmodels.formats import IntFormat
from workloads.adaround import adaround
from workloads.assign import Assignment
from workloads.axe import Budget
from workloads.float_walk import Seen, channel_means, in_batches, walk_float
from workloads.gpfq import gpfq
from workloads.gptq import SingularError, gptq
from workloads.graph import ComputeModule
from workloads.matrices import as_problems, layer_hessian, matrix_to_weight, problem_scales, weight_to_matrix
from workloads.numerics import NumericsSpec
from workloads.plan import Layer, Plan
from workloads.problem import Problem
from workloads.qronos import qronos
from workloads.recipes import AXE_STEPS, CHOOSES_CODES, COMPARES_WITH_FLOAT, Step
from workloads.scales import Scales


class StepError(BitfrontError):
    """A step that cannot be carried out on the data it was given."""


Chooser: TypeAlias = Callable[[Problem], Tensor]

CHOOSERS: Final[Mapping[Step, Chooser]] = MappingProxyType(
    {
        Step.GPTQ: gptq,
        Step.GPTQ_FLOAT: gptq,
        Step.AXE: gptq,
        Step.GPFQ: gpfq,
        Step.AXE_GPFQ: gpfq,
        Step.QRONOS: qronos,
        Step.ADAROUND: adaround,
    }
)
"""How each step that chooses codes rounds the weights of one layer."""


def keeps_rounded_codes(layer: Layer, assignment: Assignment, spec: NumericsSpec) -> bool:
    """Whether no step of the recipe, while it walks along the network, changes the layer's rounded weights.

    AXE knows integer weights and activations only; other layers keep their codes and must be proved to fit as they are.
    """
    if Step.GPTQ_FLOAT in spec.recipe.steps:
        return True  # they were chosen before any step runs
    if spec.recipe.uses_accumulator:
        formats = (assignment.layers[layer.name].weight.format, assignment.sites[layer.site].format)
        return not all(isinstance(fmt, IntFormat) for fmt in formats)
    return CHOOSES_CODES.isdisjoint(spec.recipe.steps)


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
        compares = not COMPARES_WITH_FLOAT.isdisjoint(spec.recipe.steps)
        reference = walk_float(plan, images) if compares else None
        _Walk(network, plan, assignment, spec, scales, found, reference).run(images)


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
        reference: Iterator[Seen] | None,
    ) -> None:
        super().__init__(network)
        self.layers = {layer.module: layer for layer in plan.layers}
        self.assignment, self.spec, self.scales, self.means = assignment, spec, scales, means
        self.reference = reference  # the float network, walked in step with this one
        self.extra_traceback = False  # else torch adds lines about its graph to the text of our errors

    def call_module(self, target: object, args: tuple[object, ...], kwargs: dict[str, object]) -> object:
        layer = self.layers.get(str(target))
        if layer is None:
            return in_batches(self.fetch_attr(str(target)), *args)
        module = cast(ComputeModule, self.fetch_attr(str(target)))
        (inputs,) = args
        assert isinstance(inputs, Tensor)
        seen = None if self.reference is None else next(self.reference)
        assert seen is None or seen.layer is layer  # both graphs have their layers in the same order
        for step in self.spec.recipe.steps:
            if step in CHOOSES_CODES and not keeps_rounded_codes(layer, self.assignment, self.spec):
                self._choose_codes(step, module, layer, inputs, None if seen is None else seen.inputs)
            if step is Step.BIAS_CORRECTION:
                assert module.bias is not None  # the network was built with one
                module.bias += self.means[layer.name] - channel_means(in_batches(module, inputs))
        return in_batches(module, inputs)

    def _choose_codes(
        self, step: Step, module: ComputeModule, layer: Layer, inputs: Tensor, float_inputs: Tensor | None
    ) -> None:
        """Round the weights of one layer as the step does; they become the values of the codes chosen."""
        formats, budget = self.assignment.layers[layer.name], None
        scale = problem_scales(self.scales[layer.name], layer)
        if step in AXE_STEPS:
            activation, bits = self.assignment.sites[layer.site].format, self.spec.accumulator_bits
            assert isinstance(activation, IntFormat)  # keeps_rounded_codes
            assert bits is not None  # Recipe.check
            tile = formats.tile_size or layer.cols
            budget = partial(Budget, scale=scale, activation=activation, bits=bits, tile=tile)
        statistics = layer_hessian(layer, module, inputs)
        cross = None if float_inputs is None else layer_hessian(layer, module, inputs, float_inputs)
        weight = as_problems(weight_to_matrix(module.weight), layer)
        fmt = formats.weight.format
        problem = Problem(weight=weight, statistics=statistics, cross=cross, scale=scale, format=fmt, budget=budget)
        module.weight = nn.Parameter(choose_codes(step, layer, module.weight.shape, problem), requires_grad=False)


def choose_codes(step: Step, layer: Layer, shape: torch.Size, problem: Problem) -> Tensor:
    """The layer's weights as the step rounds them, in their own shape.

    Raises:
        StepError: the inputs that the statistics were taken of do not determine the weights.
    """
    try:
        values = CHOOSERS[step](problem)
    except SingularError as error:
        raise StepError(
            f"the weights of layer {layer.name} must be determined by its inputs on the calibration images to be chosen by "
            f"{step}, but they are not; give more images."
        ) from error
    return matrix_to_weight(values.reshape(layer.rows, layer.cols), shape)
