"""From a design point to its accuracy, measured once per numerics key, and to its cost."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from dse.config import SweepConfig
from dse.point import DesignPoint
from dse.records import Accuracy, Refusal
from dse.recost import cost_network, cost_options, fold_network
from hwmodels.datapath import Overflow
from hwmodels.devices import get_device
from hwmodels.errors import BitfrontError
from hwmodels.estimate import CostReport
from hwmodels.float_parts import with_float_parts
from hwmodels.ops import LayerNumerics, MatMul, Network, Numerics
from workloads.numerics import NumericsSpec
from workloads.recipes import Preparation, Recipe
from workloads.registry import WorkloadRef, get_workload

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

    from workloads.base import Measured, Workload
    from workloads.plan import Plan
    from workloads.quantize import Engine
    from workloads.quantized import LayerOverflow
    from workloads.samples import Samples


@dataclass(frozen=True)
class Evaluator:
    """One workload, loaded once per process, and everything about it that does not depend on the point."""

    workload: WorkloadRef
    test_images: int | None = None
    calibration_images: int | None = None
    degrade: str = "none"
    device: str = "cpu"

    @classmethod
    def of(cls, config: SweepConfig) -> Evaluator:
        """The evaluator that a configuration asks for."""
        asked = config.evaluation
        return cls(config.workload_ref, asked.test_images, asked.calibration_images, asked.degrade, asked.device)

    @cached_property
    def source(self) -> Workload:
        """The workload itself: network and samples as they come."""
        return get_workload(self.workload, degrade=self.degrade)

    @cached_property
    def model(self) -> Module:
        """The float network with its checkpoint's weights."""
        return self.source.load_model()

    @cached_property
    def plan(self) -> Plan:
        """The float network with its places for quantizers."""
        from workloads.plan import make_plan

        return make_plan(self.model, self.source.example_input)

    @cached_property
    def network(self) -> Network:
        """The operators of the dataflow accelerator, where no recipe adds any."""
        from workloads.lowering import lower

        return lower(self.plan, self.source.name, self.context)

    @cached_property
    def context(self) -> int | None:
        """Tokens that a decoder's cache holds: those of a window of text. None where samples are no text."""
        samples = self.calibration_set
        return samples.shape[1] if samples.ndim == 2 else None

    @cached_property
    def _networks(self) -> dict[tuple[Preparation, ...], Network]:
        return {(): self.network}

    def network_of(self, recipe: Recipe) -> Network:
        """The operators of the network that a recipe prepares.

        Raises:
            PreparationError: see :meth:`Engine.prepared`.
        """
        from workloads.lowering import lower

        if recipe.preparations not in self._networks:
            plan = self.engine.prepared(recipe.preparations).plan
            self._networks[recipe.preparations] = lower(plan, self.source.name, self.context)
        return self._networks[recipe.preparations]

    @cached_property
    def test_set(self) -> tuple[Samples, Tensor]:
        """Test images (or windows of text) and labels, as many as the configuration asks for."""
        images, labels = self.source.test()
        _enough("test_images", self.test_images, len(images))
        return images[: self.test_images], labels[: self.test_images]

    @cached_property
    def calibration_set(self) -> Tensor:
        """Calibration images (or windows of text), never seen in the test set."""
        from workloads.samples import in_memory

        images = self.source.calibration()
        _enough("calibration_images", self.calibration_images, len(images))
        return in_memory(images[: self.calibration_images])

    @cached_property
    def engine(self) -> Engine:
        """Quantizes the network in any number of ways, and keeps what they share."""
        from workloads.quantize import Engine

        return Engine(self.model, self.plan, self.calibration_set)

    @cached_property
    def judge(self) -> Callable[[Module], Measured]:
        """Measures a network on the test set; what it needs of the float network is computed once."""
        from workloads.device import copied_to, find_device

        reference = copied_to(self.plan.graph, find_device(self.device))
        return self.source.judge(reference, *self.test_set)

    def measured(self, network: Module) -> Measured:
        """What the judge says of a network, on the device that was asked for."""
        from workloads.device import find_device, placed_on

        judge = self.judge
        with placed_on(network, find_device(self.device)):
            return judge(network)

    def require_caches(self, asked: Iterable[str]) -> None:
        """Refuse a sweep over what attention stores where there is none.

        Raises:
            BitfrontError: the axis has other choices than none.
        """
        if (others := [name for name in asked if name != "none"]) and not self.plan.caches:
            raise BitfrontError(
                f"space.kv_cache must be [none] for {self.source.name}, which has no attention to store keys and values, but got "
                f"{', '.join(others)}."
            )

    def load(self) -> Evaluator:
        """Load network and images now, so that no point's time includes it.

        Raises:
            BitfrontError: the checkpoint is missing or damaged, or more images are asked for than there are.
        """
        _ = self.network, self.engine, self.judge
        return self

    def accuracy(self, spec: NumericsSpec) -> Accuracy | Refusal:
        """Quantize and measure. What a user can cause is a refusal, anything else a failure; neither stops a sweep."""
        import torch

        start = time.perf_counter()
        try:
            quantized = self.engine.quantize(spec)
            metrics = self.measured(quantized.network)
        except BitfrontError as error:
            return Refusal(status="refused", reason=str(error), seconds=time.perf_counter() - start)
        except (ArithmeticError, AssertionError, LookupError, OSError, RuntimeError, TypeError, ValueError) as error:
            text = f"{type(error).__name__}: {error}".splitlines()[0]
            return Refusal(status="failed", reason=text, seconds=time.perf_counter() - start)
        finally:
            torch.set_grad_enabled(True)
        widths = {layer.name: layer.bits for layer in quantized.layers}
        bits = sum(layer.codes.size * layer.weight.bits for layer in quantized.layers)
        return _accuracy(metrics, widths, bits, time.perf_counter() - start, quantized.overflows())

    def float_accuracy(self) -> Accuracy:
        """The float network on the same test images."""
        start = time.perf_counter()
        metrics = self.measured(self.plan.graph)
        weights = sum(layer.rows * layer.cols for layer in self.plan.layers)
        return _accuracy(metrics, {}, 32 * weights, time.perf_counter() - start)

    def numerics(self, spec: NumericsSpec, widths: Mapping[str, int] | None) -> Numerics:
        """Formats per layer and site, with proved widths, or (None) the least widths that could ever be proved.

        A layer that is proved to fit the P asked for cannot overflow, so it has nothing that saturates either.
        """
        from workloads.assign import assign, provisional_numerics

        engine = self.engine.prepared(spec.recipe.preparations)
        if widths is None:
            return provisional_numerics(
                self.network_of(spec.recipe),
                engine.plan,
                spec,
                lambda layer, quant: engine.rounded(layer, quant, spec.weight_rule).codes,
            )
        formats = assign(engine.plan, spec)
        layers = {
            name: LayerNumerics(f.weight, spec.accumulator(widths[name], f.tile_size))
            for name, f in formats.layers.items()
        }
        return Numerics(formats.sites, layers)

    def with_lanes(self, point: DesignPoint) -> DesignPoint:
        """The point with the products per cycle of every layer, where its accuracy depends on them.

        Raises:
            BitfrontError: no folding reaches the frame rate, or an accumulator does not hold the product of a layer.
        """
        spec = point.numerics
        if spec.overflow is Overflow.IMPOSSIBLE:
            return point
        from workloads.accumulation import dropped_bits

        hardware, network = point.hardware, self.network_of(spec.recipe)
        numerics = with_float_parts(network, self.numerics(spec, None), hardware.float_bits)
        device, options = get_device(hardware.device), cost_options(hardware)
        folded = fold_network(network, numerics, device, hardware.target_fps, options, hardware.clock_mhz)
        layers = [op for op in network.compute if not isinstance(op, MatMul)]
        for op in layers:
            datapath = numerics.datapath(op)
            if datapath.accumulator.overflow is not Overflow.IMPOSSIBLE:
                dropped_bits(op.name, datapath, op.dot_length, folded[op.name].simd)
        if not spec.depends_on_lanes:
            return point
        return replace(point, numerics=replace(spec, lanes=tuple((op.name, folded[op.name].simd) for op in layers)))

    def cost(self, point: DesignPoint, widths: Mapping[str, int] | None) -> CostReport:
        """The cost of a design point, folded for its target frame rate.

        Raises:
            BitfrontError: no folding reaches the target, or the model does not cover the formats.
        """
        hardware = point.hardware
        network = self.network_of(point.numerics.recipe)
        quantized = self.numerics(point.numerics, widths)
        numerics = with_float_parts(network, quantized, hardware.float_bits)
        device = get_device(hardware.device)
        report = cost_network(
            network, numerics, device, hardware.target_fps, cost_options(hardware), hardware.clock_mhz
        )
        # FINN's folding stops silently where it gets no further
        if report.fps(hardware.clock_mhz) < hardware.target_fps:
            raise BitfrontError(
                f"a folding must reach target_fps={hardware.target_fps:g} at {hardware.clock_mhz:g} MHz, but "
                f"{report.bottleneck} allows {report.fps(hardware.clock_mhz):.1f}; lower the target or raise the clock."
            )
        if numerics.sites.keys() > quantized.sites.keys():
            note = f"what is measured in floating point is costed in fixed point of {hardware.float_bits} bits, assumed"
            report = replace(report, notes=(*report.notes, note))
        return report


def memo_spec(spec: NumericsSpec) -> NumericsSpec:
    """What is quantized for `spec`: P and T matter to accuracy only where they are used (see NumericsSpec.key)."""
    return spec if spec.uses_accumulator else replace(spec, accumulator_bits=None, tile_size=None)


def _accuracy(
    metrics: Measured,
    widths: dict[str, int],
    weight_bits: int,
    seconds: float,
    overflows: Mapping[str, LayerOverflow] | None = None,
) -> Accuracy:
    columns: dict[str, object] = {**metrics.columns(), "widths": widths, "weight_bits": weight_bits, "seconds": seconds}
    if overflows:
        worst = max(overflows, key=lambda name: overflows[name].rate)
        columns |= {
            "overflows": sum(layer.overflows for layer in overflows.values()),
            "overflow_rate": overflows[worst].rate,
            "overflow_layer": worst if overflows[worst].overflows else None,
            "overflow_rates": {name: layer.rate for name, layer in overflows.items()},
        }
    return Accuracy.model_validate(columns)


def _enough(field: str, wanted: int | None, there: int) -> None:
    if wanted is not None and wanted > there:
        raise BitfrontError(f"evaluation.{field} must be at most {there}, all that the workload has, but got {wanted}.")
