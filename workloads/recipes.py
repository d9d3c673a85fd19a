"""Post-training quantization recipes as ordered steps. Nothing here knows torch; :mod:`workloads.steps` carries them out.

To add a recipe: one line in :data:`RECIPES`. To add a step: a member of :class:`Step`, its function in
``workloads/steps.py`` and, if it has demands, a line in :meth:`Recipe.check`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from hwmodels.errors import BitfrontError
from hwmodels.formats import ElementFormat, IntFormat


class RecipeError(BitfrontError):
    """A recipe that does not exist, whose order voids a proof, or that cannot work on the formats given."""


class Step(StrEnum):
    """One post-training quantization step."""

    GPTQ = "gptq"  # error-compensated rounding of the weights (arXiv 2210.17323)
    GPTQ_FLOAT = "gptq_float"  # the same on the float network's inputs: codes do not depend on the activation format
    AXE = "axe"  # GPTQ whose codes respect a P-bit accumulator (arXiv 2409.17092)
    BIAS_CORRECTION = "bias_correction"  # output mean restored through the bias (arXiv 1906.04721)


CHANGES_WEIGHTS = frozenset({Step.GPTQ, Step.GPTQ_FLOAT, Step.AXE})


@dataclass(frozen=True)
class Recipe:
    """Steps after round-to-nearest calibration, in order. The empty recipe is round-to-nearest alone."""

    steps: tuple[Step, ...] = ()

    def __post_init__(self) -> None:
        if len(set(self.steps)) != len(self.steps):
            raise RecipeError(f"each step may stand once in a recipe, but got {self.name}.")
        weight_steps = [s for s in self.steps if s in CHANGES_WEIGHTS]
        if len(weight_steps) > 1:
            raise RecipeError(
                f"one step may choose the weight codes, but {self.name} has {' and '.join(weight_steps)}; "
                "a weight change after AXE would void its proof."
            )
        if weight_steps and self.steps[0] != weight_steps[0]:
            raise RecipeError(f"the step that chooses the weight codes must come first, but got {self.name}.")

    @property
    def name(self) -> str:
        """``rtn`` or the steps joined by +: read back by :func:`parse_recipe`."""
        return "+".join(self.steps) or "rtn"

    def __str__(self) -> str:
        return self.name

    @property
    def uses_accumulator(self) -> bool:
        """Whether the weight codes depend on the accumulator width."""
        return Step.AXE in self.steps

    def check(self, weight: ElementFormat, activation: ElementFormat, accumulator_bits: int | None) -> None:
        """Refuse what cannot work.

        Raises:
            RecipeError: AXE without an accumulator width, or on formats that are not integers.
        """
        if not self.uses_accumulator:
            return
        if accumulator_bits is None:
            raise RecipeError(
                "the axe step must be given an accumulator width P, but accumulator is auto; give P in bits."
            )
        others = [f.name for f in (weight, activation) if not isinstance(f, IntFormat)]
        if others:
            raise RecipeError(f"the axe step works on integer formats, but got {' and '.join(others)}; use intN.")


RECIPES: tuple[str, ...] = (
    "rtn",
    "bias_correction",
    "gptq",
    "gptq+bias_correction",
    "gptq_float",
    "gptq_float+bias_correction",
    "axe",
    "axe+bias_correction",
)
"""The recipes that are offered by name; any checked order of steps joined by + is accepted."""


def parse_recipe(name: str) -> Recipe:
    """The recipe of a name such as ``rtn``, ``gptq`` or ``gptq+bias_correction``.

    Raises:
        RecipeError: a step is unknown or the order is refused.
    """
    text = name.strip().lower()
    if text == "rtn":
        return Recipe()
    known = {s.value for s in Step}
    for part in text.split("+"):
        if part not in known:
            raise RecipeError(
                f"a recipe must be rtn or steps of {', '.join(sorted(known))} joined by +, but got {name!r}."
            )
    return Recipe(tuple(Step(part) for part in text.split("+")))
