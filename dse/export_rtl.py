"""From a point of a sweep to its compute datapath as Verilog (:mod:`dse.export.rtl`)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from dse.design import design_of
from dse.evaluate import Evaluator
from dse.executors import single_thread
from dse.export.errors import ExportError
from dse.export.rtl import SAMPLES, VECTORS, RtlExport, export_datapath
from dse.export.rtl_check import choose_simulator
from dse.point import DesignPoint
from dse.records import RecordError, Row
from dse.recost import cost_options, fold_network
from dse.results import Results, load_results
from dse.tables import find_knee
from hwmodels.datapath import Multiplier
from hwmodels.devices import get_device
from hwmodels.float_parts import with_float_parts
from hwmodels.options import CostModel
from hwmodels.rtl.icarus import TIME_LIMIT_S

if TYPE_CHECKING:
    from workloads.plan import Layer, Plan


def export_rtl(
    folder: Path,
    point_id: str,
    output: Path | None = None,
    *,
    layer: str | None = None,
    samples: int | None = None,
    vectors: int = VECTORS,
    limit_s: float = TIME_LIMIT_S,
) -> RtlExport:
    """Write the compute datapath of a point, simulate it, and compare it with the network; `report.json` is written beside it.

    Args:
        folder: of the sweep's results.
        point_id: a point's id, or knee: the knee among the points of the front that have LUT multipliers.
        output: the folder to write; None: RESULTS/exports/POINT.rtl.
        layer: only this one; None: all layers with weights.
        samples: test images or windows of text whose every vector is compared with the network; None: :data:`SAMPLES`.
        vectors: of each layer that are simulated beside corner vectors.
        limit_s: seconds for each simulation.

    Raises:
        BitfrontError: no such point or layer, one that was not measured, a datapath that no unit is generated for, no
            simulator, or one that fails or takes too long.
    """
    from workloads.samples import in_memory

    simulator = choose_simulator()
    results = load_results(folder)
    single_thread()
    row = _choose(results, point_id)
    evaluator = Evaluator.of(results.config)
    point = design_of(results, row, evaluator)
    _check_hardware(row.id, point)
    recipe = point.numerics.recipe
    plan = evaluator.engine.prepared(recipe.preparations).plan
    layers = _layers(plan, layer)
    quantized = evaluator.engine.quantize(point.numerics)
    hardware, network = point.hardware, evaluator.network_of(recipe)
    foldings = fold_network(
        network,
        with_float_parts(network, quantized.numerics, hardware.float_bits),
        get_device(hardware.device),
        hardware.target_fps,
        cost_options(hardware),
        hardware.clock_mhz,
    )
    return export_datapath(
        quantized,
        plan,
        layers,
        foldings,
        in_memory(evaluator.test_set[0][: samples or SAMPLES]),
        output or folder / "exports" / f"{row.id}.rtl",
        name=f"point {row.id} of {results.config.name}",
        design=f"{point.numerics.weight} x {point.numerics.activation}, {point.numerics.recipe}, P {row.accumulator}",
        vectors=vectors,
        simulator=simulator,
        limit_s=limit_s,
    )


def _choose(results: Results, point_id: str) -> Row:
    if point_id == "knee":
        rows = [row for row in results.front if row.multiplier == Multiplier.LUT and row.model == CostModel.CALIBRATED]
        if not rows:
            raise ExportError(
                f"the front of {results.config.name} must hold a point with LUT multipliers, folded by the calibrated model, to "
                "be exported as RTL, but it has none."
            )
        return find_knee(rows, results.objectives)
    row = results.row(point_id)
    if row.status not in ("ok", "too_big") or not row.metrics:
        reason = row.reason or "it has no datapath"
        raise RecordError(f"a point must have been measured to be exported, but {row.id} is {row.status}: {reason}")
    return row


def _check_hardware(point_id: str, point: DesignPoint) -> None:
    """Refuse what no datapath is generated for.

    Raises:
        ExportError: DSP multipliers, or FINN's own folding.
    """
    hardware = point.hardware
    if hardware.multiplier is not Multiplier.LUT:
        raise ExportError(
            f"the datapath that is exported multiplies in LUTs, but point {point_id} has multiplier={hardware.multiplier}; "
            "choose a point with multiplier=lut."
        )
    if hardware.model != CostModel.CALIBRATED:
        raise ExportError(
            f"the datapath that is exported is folded by the calibrated model, but point {point_id} has model={hardware.model}; "
            "choose a point with model=calibrated."
        )


def _layers(plan: Plan, name: str | None) -> list[Layer]:
    layers = [layer for layer in plan.layers if name in (None, layer.name)]
    if not layers:
        known = ", ".join(layer.name for layer in plan.layers)
        raise ExportError(f"a layer must be one of {known}, but got {name!r}.")
    return layers
