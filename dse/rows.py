"""From a design point to its row: what is known before it is quantized, and what its measurement and its cost say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from dse.evaluate import Evaluator, memo_spec
from dse.point import DesignPoint, family
from dse.records import Accuracy, Refusal, Row
from dse.space import LATER, Choice
from hwmodels.datapath import Overflow
from hwmodels.devices import get_device
from hwmodels.errors import BitfrontError
from hwmodels.estimate import CostReport
from workloads.numerics import NumericsSpec


def too_narrow(spec: NumericsSpec, widths: Mapping[str, int]) -> str | None:
    """Why the accumulator asked for cannot be proved safe, or None."""
    if spec.accumulator_bits is None or spec.overflow is not Overflow.IMPOSSIBLE:
        return None
    layer = max(widths, key=lambda name: widths[name])
    if widths[layer] <= spec.accumulator_bits:
        return None
    return (
        f"layer {layer} needs an accumulator of {widths[layer]} bits, but P={spec.accumulator_bits} was asked for; "
        f"give P >= {widths[layer]}, a recipe with the axe step or overflow saturate."
    )


def precheck(evaluator: Evaluator, point: DesignPoint, utilization: float) -> str | Refusal | None:
    """What is known of a point before it is quantized, in milliseconds once its network is prepared: the reason (text) why it
    cannot fit its part even with the narrowest accumulators; the refusal of a network that cannot be prepared so, of a P that
    is narrower than those, of a frame rate that no folding reaches or of formats that the cost model does not cover; or None."""
    spec = point.numerics
    try:
        if spec.accumulator_bits is not None and not spec.uses_accumulator:
            least = evaluator.numerics(memo_spec(spec), None).layers
            reason = too_narrow(spec, {name: layer.accumulator.bits for name, layer in least.items()})
            if reason is not None:
                return Refusal(status="refused", reason=reason, seconds=0.0)
        return _exceeded(evaluator.cost(evaluator.with_lanes(point), None), point, utilization)
    except BitfrontError as error:
        return Refusal(status="refused", reason=str(error), seconds=0.0)


def make_row(
    point_id: str,
    choice: Choice | None,
    point: DesignPoint,
    evaluator: Evaluator,
    outcome: Accuracy | Refusal | str,
    utilization: float,
) -> Row:
    """The row of one variant. `outcome` is its accuracy, its refusal, or the reason (text) why it was never quantized."""
    common = _described(point_id, choice, point)
    if isinstance(outcome, str):
        return _row(common, _columns(evaluator.cost(point, None), point), status="too_big", reason=outcome)
    if isinstance(outcome, Refusal):
        return _row(common, status=outcome.status, reason=outcome.reason, seconds=outcome.seconds)
    measured = measured_columns(outcome) | {"accumulator_bits": max(outcome.widths.values())}
    if reason := too_narrow(point.numerics, outcome.widths):
        return _row(common, measured, status="refused", reason=reason)
    try:
        report = evaluator.cost(point, outcome.widths)
    except BitfrontError as error:
        return _row(common, measured, status="refused", reason=str(error))
    reason = _exceeded(report, point, utilization)
    return _row(common, measured, _columns(report, point), status="too_big" if reason else "ok", reason=reason)


def measured_columns(accuracy: Accuracy) -> dict[str, object]:
    """The columns of a row that a measurement fills."""
    return {**accuracy.metrics, "weight_bits": accuracy.weight_bits, "seconds": accuracy.seconds}


def _row(*columns: Mapping[str, object], **more: object) -> Row:
    return Row.model_validate({name: value for part in (*columns, more) for name, value in part.items()})


def _described(point_id: str, choice: Choice | None, point: DesignPoint) -> dict[str, object]:
    spec, hardware = point.numerics, point.hardware
    asked = choice or {
        "weight": spec.weight.format.name,
        "activation": spec.activation.format.name,
        "weight_scaling": spec.weight.scaling.name,
        "activation_scaling": spec.activation.scaling.name,
        "recipe": spec.recipe.name,
        "accumulator": "auto" if spec.accumulator_bits is None else str(spec.accumulator_bits),
        "tile": "none" if spec.tile_size is None else str(spec.tile_size),
        "weight_rule": spec.weight_rule.name,
        "activation_rule": "auto" if spec.activation_rule is None else spec.activation_rule.name,
    }
    asked = {"overflow": spec.overflow.value, **_stored(spec), **asked}
    return {
        "id": point_id,
        "family": family(spec),
        **asked,
        "edge": "same" if spec.edge is None else spec.edge.name,
        "residual": "same" if spec.residual is None else spec.residual.name,
        "rotation": spec.rotation.name if spec.recipe.rotates_online else None,
        "device": hardware.device,
        "target_fps": hardware.target_fps,
        "clock_mhz": hardware.clock_mhz,
        "multiplier": str(hardware.multiplier),
        "memory": hardware.memory,
        "model": hardware.model,
        "float_bits": hardware.float_bits,
        "numerics_key": memo_spec(spec).key,
        "hardware_key": hardware.key,
    }


def _stored(spec: NumericsSpec) -> dict[str, str]:
    """The columns of what attention stores."""
    if spec.kv_cache is None:
        return {axis: LATER[axis] for axis in ("kv_cache", "kv_scaling")}
    return {"kv_cache": spec.kv_cache.format.name, "kv_scaling": spec.kv_cache.scaling.name}


def _columns(report: CostReport, point: DesignPoint) -> dict[str, object]:
    total = report.total
    uncalibrated = sum(line.resources.lut for line in report.lines if line.band.kind == "not yet calibrated")
    return {
        **total.as_dict(),
        "cycles": report.max_cycles,
        "fps": report.fps(point.hardware.clock_mhz),
        "bottleneck": report.bottleneck,
        "uncalibrated_lut_share": uncalibrated / total.lut if total.lut else 0.0,
        "memory_gbs": report.bandwidth_gbs(point.hardware.clock_mhz) or None,
    }


def _exceeded(report: CostReport, point: DesignPoint, utilization: float) -> str | None:
    device = get_device(point.hardware.device)
    over = report.exceeded(replace(device, resources=device.resources * utilization), point.hardware.clock_mhz)
    if not over:
        return None
    parts = ", ".join(f"{needed:,.0f} {name} of {available:,.0f}" for name, needed, available in over)
    return f"the design must fit {device.name} at {utilization:.0%} utilization, but it needs {parts}."
