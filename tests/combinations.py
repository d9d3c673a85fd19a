"""Every workload x recipe x family of formats, asked for as a sweep's YAML asks for it: what works, and why the rest is refused.

    python -m tests.combinations          # tries all (about ten minutes of one core) and writes docs/combinations.md

Few samples are calibrated on and measured: what is tried is whether a combination runs, not how good it is. The test tries all of
them again.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from dse.config import SweepConfig
from dse.evaluate import Evaluator
from dse.records import Refusal
from dse.space import AXES, make_space
from hwmodels.errors import BitfrontError
from workloads.recipes import RECIPES
from workloads.registry import WORKLOADS, metrics_of

PAGE = Path(__file__).parents[1] / "docs" / "combinations.md"


@dataclass(frozen=True)
class Family:
    """Formats and scalings of weights and activations."""

    name: str
    weight: str
    weight_scaling: str
    activation: str
    activation_scaling: str


FAMILIES = (
    Family("INT", "int4_narrow", "channel", "int8", "tensor"),
    Family("INT, zero point", "int4", "tensor", "int8", "tensor_asym"),
    Family("INT, group scales", "int4", "group16", "int8", "token_dynamic"),
    Family("minifloat", "e2m1", "channel", "e3m2", "tensor"),
    Family("mixed", "e2m1", "channel_po2", "int8", "tensor_po2"),
    Family("MXINT8", "int8_narrow", "group32_po2", "int8_narrow", "group32_po2_dynamic"),
    Family("MXFP4", "ocp_e2m1", "group32_po2", "ocp_e2m1", "group32_po2_dynamic"),
    Family("NVFP4", "ocp_e2m1", "group16_e4m3", "ocp_e2m1", "group16_e4m3_dynamic"),
)
"""One of every kind of format and scale."""

TRIED = tuple(recipe for recipe in RECIPES if not recipe.endswith("+bias_correction"))
"""Bias correction runs behind any recipe: it is tried by itself."""

SAMPLES: Mapping[str, tuple[int, int]] = {"top1": (4, 48), "perplexity": (2, 2)}
"""Test and calibration samples by the workload's first metric: enough for a Hessian of every layer."""

FIRST = "the first one: "
"""Stands in front of the reason why a space is empty."""


def outcome(evaluator: Evaluator, workload: str, recipe: str, family: Family) -> str:
    """``works``, or the sentence that refuses the combination.

    Raises:
        AssertionError: it failed in a way that no sentence explains.
    """
    quality = metrics_of(workload)[0]
    axes = {axis: [getattr(family, axis)] for axis in ("weight", "weight_scaling", "activation", "activation_scaling")}
    space = {**axes, "recipe": [recipe], "accumulator": ["16" if "axe" in recipe else "auto"]}
    try:
        config = SweepConfig.model_validate(
            {"name": "combination", "workload": workload, "objectives": [quality, "lut"], "space": space}
        )
        chosen = make_space(config)
        found = evaluator.accuracy(chosen.spec({axis: chosen.axes[axis][0] for axis in AXES}))
    except BitfrontError as error:
        return str(error).partition(FIRST)[2] or str(error)
    if not isinstance(found, Refusal):
        return "works"
    assert found.status == "refused", f"{workload}, {recipe}, {family.name}: {found.reason}"
    return found.reason


@lru_cache(maxsize=2)
def evaluator_of(workload: str) -> Evaluator:
    """A workload with the few samples that are tried."""
    return Evaluator(workload, *SAMPLES[metrics_of(workload)[0]])


def outcomes(workload: str) -> dict[tuple[str, str], str]:
    """What becomes of every recipe x family on a workload."""
    evaluator, found = evaluator_of(workload), {}
    for recipe in TRIED:
        for family in FAMILIES:
            found[recipe, family.name] = outcome(evaluator, workload, recipe, family)
        print(f"\r{workload}: {recipe:40}", end="", file=sys.stderr, flush=True)
    return found


def section(workload: str, found: Mapping[tuple[str, str], str]) -> str:
    """A workload's table and the reasons below it."""
    reasons = list(dict.fromkeys(reason for reason in found.values() if reason != "works"))
    lines = [
        f"## {workload}",
        "",
        f"| recipe | {' | '.join(f.name for f in FAMILIES)} |",
        f"| --- |{' --- |' * len(FAMILIES)}",
    ]
    for recipe in TRIED:
        cells = [found[recipe, family.name] for family in FAMILIES]
        marks = ["works" if cell == "works" else f"refused ({reasons.index(cell) + 1})" for cell in cells]
        lines.append(f"| `{recipe}` | {' | '.join(marks)} |")
    return "\n".join([*lines, "", *(f"{i}. {reason}" for i, reason in enumerate(reasons, 1)), ""])


HEAD = """\
# What works together

Every recipe on one of every kind of format, for every embedded workload: tried, not claimed (`python -m tests.combinations`).
Bias correction may follow any of them. `axe` and `axe_gpfq` have P = 16 here. Sweeps leave out what is refused, or record why.

| family | weights | activations |
| --- | --- | --- |
"""


def main() -> None:
    """Write the page."""
    families = "".join(
        f"| {f.name} | `{f.weight}`, `{f.weight_scaling}` | `{f.activation}`, `{f.activation_scaling}` |\n"
        for f in FAMILIES
    )
    sections = [section(workload, outcomes(workload)) for workload in WORKLOADS]
    PAGE.write_text("\n".join((HEAD + families, *sections)))


if __name__ == "__main__":
    main()
