"""`dse check`: what a configuration asks for, how large its space is, and how long it would take."""

from __future__ import annotations

from typing import Any

from dse.config import SweepConfig
from dse.evaluate import Evaluator
from dse.executors import single_thread
from dse.records import Refusal
from dse.space import AXES, hardware_choices, make_space
from dse.sweep import int8_reference
from hwmodels.errors import BitfrontError
from workloads.recipes import Recipe, parse_recipe

RECIPE_TIME = {
    "rtn": 1.0,
    "bias_correction": 1.3,
    "gptq": 4.0,
    "gptq+bias_correction": 4.3,
    "gptq_float": 1.9,
    "gptq_float+bias_correction": 2.6,
    "gpfq": 6.5,
    "gpfq+bias_correction": 7.0,
    "qronos": 7.0,
    "qronos+bias_correction": 7.5,
    "adaround": 18.0,
    "adaround+bias_correction": 18.5,
    "axe": 6.0,
    "axe+bias_correction": 6.3,
    "axe_gpfq": 7.5,
    "axe_gpfq+bias_correction": 8.0,
}
"""Time of a recipe over that of round-to-nearest, measured on digits-resnet (one core); an estimate elsewhere."""


def _recipe_time(name: str) -> float:
    """Of a recipe's steps; what prepares the float network is done once for all points."""
    return RECIPE_TIME.get(Recipe(parse_recipe(name).steps).name, max(RECIPE_TIME.values()))


OVERFLOW_TIME = {"impossible": 1.0, "wrap": 4.0, "saturate": 6.0}
"""Time of a point whose sums are simulated over that of one whose are not, likewise; it grows with the sums that overflow."""


def describe(config: SweepConfig, workers: int, measure: bool) -> dict[str, Any]:
    """The document of `dse check`. With `measure` one INT8 round-to-nearest point is timed on this machine.

    Raises:
        BitfrontError: no combination of the axes can exist, or the timed point fails.
    """
    space = make_space(config)
    size = space.size()
    variants = len(hardware_choices(config.hardware))
    trials = config.search.trials if size is None else min(config.search.trials, size)
    document: dict[str, Any] = {
        "sweep": config.name,
        "workload": config.workload_label,
        "axes": {a: list(space.axes[a]) for a in AXES},
        "combinations": space.combinations,
        "numerics_points": size,
        "never": space.never(),
        "hardware_variants": variants,
        "trials": trials,
        "workers": workers,
        "seconds_per_point": None,
        "estimated_seconds": None,
    }
    if measure:
        single_thread()
        evaluator = Evaluator.of(config)
        evaluator.require_caches(config.space.kv_cache)
        outcome = evaluator.load().accuracy(int8_reference(space))
        if isinstance(outcome, Refusal):
            raise BitfrontError(f"the INT8 reference of {config.name} must be measurable, but: {outcome.reason}")
        factors = [_recipe_time(recipe) for recipe in config.space.recipe]
        simulated = [OVERFLOW_TIME[overflow] for overflow in config.space.overflow]
        seconds = outcome.seconds * sum(factors) / len(factors) * sum(simulated) / len(simulated)
        document["seconds_per_point"] = round(seconds, 2)
        document["estimated_seconds"] = round(seconds * trials / min(workers, config.search.batch))
    return document


def describe_text(document: dict[str, Any]) -> str:
    """The document for people."""
    lines = [f"{document['sweep']}: {document['workload']}"]
    lines += [f"  {axis.replace('_', ' ')}: {', '.join(choices)}" for axis, choices in document["axes"].items()]
    size = document["numerics_points"]
    counted = f"{size:,} numerics points can exist" if size is not None else "more than can be counted"
    lines.append(
        f"{document['combinations']:,} combinations, {counted}, x {document['hardware_variants']} hardware variants each"
    )
    lines += [f"  no point has {choice}: {reason}" for choice, reason in document["never"].items()]
    if document["estimated_seconds"] is not None:
        minutes = document["estimated_seconds"] / 60
        lines.append(
            f"{document['trials']} trials, {document['seconds_per_point']} s each on average: "
            f"about {minutes:.1f} minutes with {document['workers']} workers"
        )
    else:
        lines.append(f"{document['trials']} trials")
    return "\n".join(lines)
