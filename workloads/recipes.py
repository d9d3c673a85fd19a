"""Post-training quantization recipes as ordered steps. Nothing here knows torch.

A recipe first prepares the float network (:mod:`workloads.prepare`), which leaves its function as it is; then at most one step
chooses the codes of the weights, and others may follow (:mod:`workloads.steps`).

To add a recipe: one line in :data:`RECIPES`. To add a step: a member of :class:`Step`, its function in
``workloads/steps.py`` and, if it has demands, a line in :meth:`Recipe.check`. To add a preparation: a member of
:class:`Transform`, a row in :data:`NUMBERS` if a number stands in its name, and one in ``workloads/prepare.py``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from hwmodels.errors import BitfrontError
from hwmodels.formats import ElementFormat, IntFormat


class RecipeError(BitfrontError):
    """A recipe that does not exist, whose order voids a proof, or that cannot work on the formats given."""


class Step(StrEnum):
    """One post-training quantization step."""

    GPTQ = "gptq"  # error-compensated rounding of the weights (arXiv 2210.17323)
    GPTQ_FLOAT = "gptq_float"  # the same on the float network's inputs: codes do not depend on the activation format
    GPFQ = "gpfq"  # greedy path following: sums as close to the float network's as each column can bring them
    QRONOS = "qronos"  # GPTQ that makes up for the errors of the layers in front, too (arXiv 2505.11695)
    ADAROUND = "adaround"  # up or down is learned per weight (arXiv 2004.10568)
    AXE = "axe"  # GPTQ whose codes respect a P-bit accumulator (arXiv 2409.17092)
    AXE_GPFQ = "axe_gpfq"  # GPFQ whose codes do
    BIAS_CORRECTION = "bias_correction"  # output mean restored through the bias (arXiv 1906.04721)


class Transform(StrEnum):
    """A way to prepare the float network."""

    ROTATE = "rotate"  # residual stream and heads' values times random Hadamard matrices, merged (arXiv 2404.00456)
    # which channels share a block of the rotation behind (arXiv 2601.22347): even masses, dealt by rank, by rank, random
    MASSDIFF = "massdiff"
    ZIGZAG = "zigzag"
    ABSMAX = "absmax"
    RANDOM = "random"
    EQUALIZE = "equalize"  # weights before and behind each channel made equally large (arXiv 1906.04721)
    SMOOTHQUANT = "smoothquant"  # outliers of activations moved into the weights, alpha in percent (arXiv 2211.10438)
    AWQ = "awq"  # channels that carry most scaled up in the weights, searched for so many bits (arXiv 2306.00978)
    MAGR = "magr"  # smaller largest weights for nearly the same outputs, alpha in thousandths (arXiv 2406.00800)
    HADAMARD = "hadamard"  # online, in blocks of so many channels, of whole vectors without a number (arXiv 2601.22347)


PERMUTATIONS = frozenset({Transform.MASSDIFF, Transform.ZIGZAG, Transform.ABSMAX, Transform.RANDOM})
"""The transforms that say which channels share a block of the rotation behind them."""


@dataclass(frozen=True)
class Number:
    """The whole number in a preparation's name, behind its transform.

    Args:
        what: it is, and what holds for it, in words.
        holds: whether a number is one.
        needed: False: the name may stand without one.
        example: a number that is one.
    """

    what: str
    holds: Callable[[int], bool]
    needed: bool = True
    example: int = 32


_BLOCK = Number("a block size, a power of two from 2", lambda n: n >= 2 and n.bit_count() == 1)

NUMBERS: Mapping[Transform, Number] = {
    **dict.fromkeys(PERMUTATIONS, _BLOCK),
    Transform.SMOOTHQUANT: Number("alpha in percent, from 0 to 100", lambda n: n <= 100, example=50),
    Transform.AWQ: Number("a width of integers, from 2 to 8 bits", lambda n: 2 <= n <= 8, example=4),
    Transform.MAGR: Number("alpha in thousandths, from 1", lambda n: n >= 1, example=10),
    Transform.HADAMARD: replace(_BLOCK, needed=False),
}
"""The transforms with a number in their names."""


@dataclass(frozen=True)
class Preparation:
    """One preparation of the float network.

    Raises:
        RecipeError: the number is not one of the transform's.
    """

    transform: Transform
    number: int | None = None

    def __post_init__(self) -> None:
        known = NUMBERS.get(self.transform)
        if known is None:
            if self.number is not None:
                raise RecipeError(
                    f"{self.transform} must stand without a number, but got {self}; write {self.transform}."
                )
        elif self.number is None and known.needed:
            raise RecipeError(
                f"{self.transform} must have {known.what} in its name, but got none; write {self.transform}{known.example}."
            )
        elif self.number is not None and not known.holds(self.number):
            raise RecipeError(f"the number of {self.transform} must be {known.what}, but got {self}.")

    def __str__(self) -> str:
        """The name: transform and number, as ``hadamard32``."""
        return f"{self.transform}{'' if self.number is None else self.number}"


SCALES_CHANNELS = frozenset({Transform.EQUALIZE, Transform.SMOOTHQUANT, Transform.AWQ})
"""The preparations that give channels factors."""

AXE_STEPS = frozenset({Step.AXE, Step.AXE_GPFQ})
"""The steps whose codes respect the accumulator that is asked for."""

COMPARES_WITH_FLOAT = frozenset({Step.GPFQ, Step.QRONOS, Step.ADAROUND, Step.AXE_GPFQ})
"""The steps that bring a layer's outputs close to those that it has in the float network, on the float network's inputs."""

CHOOSES_CODES = frozenset({Step.GPTQ, Step.GPTQ_FLOAT}) | COMPARES_WITH_FLOAT | AXE_STEPS
"""The steps that choose the weight codes."""


@dataclass(frozen=True)
class Recipe:
    """Steps after round-to-nearest calibration, and preparations before it, in order. The empty recipe is rounding alone."""

    steps: tuple[Step, ...] = ()
    preparations: tuple[Preparation, ...] = ()

    def __post_init__(self) -> None:
        parts = (*(p.transform for p in self.preparations), *self.steps)
        if len(set(parts)) != len(parts):
            raise RecipeError(f"each step may stand once in a recipe, but got {self.name}.")
        for place, first in enumerate(self.preparations):
            rotation, behind = f"hadamard{first.number}", map(str, self.preparations[place + 1 : place + 2])
            if first.transform in PERMUTATIONS and [*behind] != [rotation]:
                raise RecipeError(
                    f"{first} must stand right in front of {rotation}, whose blocks it fills, but got {self.name}; write "
                    f"{first}+{rotation}."
                )
        self._check_preparations()
        weight_steps = [s for s in self.steps if s in CHOOSES_CODES]
        if len(weight_steps) > 1:
            raise RecipeError(
                f"one step may choose the weight codes, but {self.name} has {' and '.join(weight_steps)}; "
                "a weight change after AXE would void its proof."
            )
        if weight_steps and self.steps[0] != weight_steps[0]:
            raise RecipeError(
                f"the step that chooses the weight codes must come first, or right behind the preparations, but got {self.name}."
            )

    def _check_preparations(self) -> None:
        """Refuse preparations of which a later one undoes an earlier one."""
        transforms = [p.transform for p in self.preparations]
        scaling = [t for t in transforms if t in SCALES_CHANNELS]
        if len(scaling) > 1:
            raise RecipeError(
                f"one preparation may scale the channels, but {self.name} has {' and '.join(scaling)}, which set the same "
                "factors; choose one."
            )
        if scaling and Transform.ROTATE in transforms[transforms.index(scaling[0]) :]:
            raise RecipeError(
                "channels must be scaled after they are rotated, because rotate takes factors out of norms, but got "
                f"{self.name}; write rotate in front of {scaling[0]}."
            )
        if Transform.MAGR in transforms and transforms[-1] is not Transform.MAGR:
            raise RecipeError(
                f"magr must be the last preparation, because others make large weights again, but got {self.name}; write "
                f"{self.preparations[-1]} in front of it."
            )

    @property
    def name(self) -> str:
        """``rtn`` or the steps joined by +: read back by :func:`parse_recipe`."""
        return "+".join(map(str, (*self.preparations, *self.steps))) or "rtn"

    def __str__(self) -> str:
        return self.name

    @property
    def rotates_online(self) -> bool:
        """Whether the network gets rotations that stay in it."""
        return any(p.transform is Transform.HADAMARD for p in self.preparations)

    @property
    def uses_accumulator(self) -> bool:
        """Whether the weight codes depend on the accumulator width."""
        return not AXE_STEPS.isdisjoint(self.steps)

    @property
    def _axe(self) -> Step:
        return next(step for step in self.steps if step in AXE_STEPS)

    def check(self, weight: ElementFormat, activation: ElementFormat, accumulator_bits: int | None) -> None:
        """Refuse what cannot work.

        Raises:
            RecipeError: AXE without an accumulator width, or on formats that are not integers.
        """
        if not self.uses_accumulator:
            return
        if accumulator_bits is None:
            raise RecipeError(
                f"the {self._axe} step must be given an accumulator width P, but accumulator is auto; give P in bits."
            )
        others = [f.name for f in (weight, activation) if not isinstance(f, IntFormat)]
        if others:
            raise RecipeError(
                f"the {self._axe} step works on integer formats, but got {' and '.join(others)}; use intN."
            )


RECIPES: tuple[str, ...] = (
    "rtn",
    "bias_correction",
    "gptq",
    "gptq+bias_correction",
    "gptq_float",
    "gptq_float+bias_correction",
    "gpfq",
    "gpfq+bias_correction",
    "qronos",
    "qronos+bias_correction",
    "adaround",
    "adaround+bias_correction",
    "axe",
    "axe+bias_correction",
    "axe_gpfq",
    "axe_gpfq+bias_correction",
    "equalize",
    "equalize+bias_correction",
    "equalize+gptq",
    "smoothquant50",
    "smoothquant50+gptq",
    "awq4",
    "awq4+gptq",
    "magr10+gptq",
    "rotate",
    "hadamard32",
    "massdiff32+hadamard32",
    "rotate+hadamard32",
    "rotate+massdiff32+hadamard32+gptq",
)
"""The recipes that are offered by name; any checked order of steps joined by + is accepted."""


def parse_recipe(name: str) -> Recipe:
    """The recipe of a name such as ``rtn``, ``gptq`` or ``gptq+bias_correction``.

    Raises:
        RecipeError: a step is unknown, its number is refused, or the order is.
    """
    text = name.strip().lower()
    if text == "rtn":
        return Recipe()
    steps: list[Step] = []
    preparations: list[Preparation] = []
    for part in text.split("+"):
        stem, digits = _SPLIT.fullmatch(part).groups()  # type: ignore[union-attr]  # it matches every text
        if part in set(Step):
            steps.append(Step(part))
        elif stem not in set(Transform):
            known = ", ".join((*sorted(Step), *sorted(f"{t}N" if t in NUMBERS else t for t in Transform)))
            raise RecipeError(f"a recipe must be rtn or steps of {known} joined by +, but got {name!r}.")
        elif steps:
            raise RecipeError(
                f"what prepares the float network must come first, but got {name!r}; write {part}+{steps[0]}."
            )
        else:
            preparations.append(Preparation(Transform(stem), int(digits) if digits else None))
    return Recipe(tuple(steps), tuple(preparations))


_SPLIT = re.compile(r"(.*?)(\d{0,9})", re.DOTALL)
