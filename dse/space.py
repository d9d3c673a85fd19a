"""The search space: axes of named choices, the combinations that exist, and the design point of each."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from dse.config import SweepConfig
from dse.config_sections import HardwareConfig, RulesConfig
from dse.point import DesignPoint, Hardware
from hwmodels.catalog import parse_element
from hwmodels.datapath import DatapathError, Multiplier, Overflow, TensorQuant, parse_scaling
from hwmodels.errors import BitfrontError
from workloads.numerics import NumericsSpec, is_minifloat, parse_rotation
from workloads.recipes import parse_recipe
from workloads.scale_rule import parse_scale_rule

AXES = (
    "weight",
    "activation",
    "weight_scaling",
    "activation_scaling",
    "recipe",
    "accumulator",
    "tile",
    "weight_rule",
    "activation_rule",
    "overflow",
    "kv_cache",
    "kv_scaling",
)
"""The numerics axes, in the order of the table's columns; each is a list of names in the configuration."""

LATER = {"overflow": "impossible", "kv_cache": "none", "kv_scaling": "token"}
"""Axes that came after the first sweeps, with the choice that these have made: where it is the only one, the search does not
know the axis, so that it asks for the same points as before."""

ENUMERATION_LIMIT = 500_000
"""Combinations up to which the space is counted exactly and its rest drawn from without repetition."""

Choice = Mapping[str, str]

# a space is gone through combination by combination, and its names are few
_element, _scaling = cache(parse_element), cache(parse_scaling)
_recipe, _scale_rule = cache(parse_recipe), cache(parse_scale_rule)


class SpaceError(BitfrontError):
    """A search space without a single point that can exist."""


@dataclass(frozen=True)
class Space:
    """The axes of a sweep and the rules beside them."""

    axes: Mapping[str, tuple[str, ...]]
    rules: RulesConfig
    multipliers: tuple[Multiplier, ...] = (Multiplier.LUT,)

    @property
    def searched(self) -> tuple[str, ...]:
        """The axes that a choice has: all but the later ones with nothing to choose."""
        return tuple(a for a in AXES if a not in LATER or self.axes[a] != (LATER[a],))

    @property
    def combinations(self) -> int:
        """The size of the product of all axes, impossible combinations included."""
        return math.prod(len(choices) for choices in self.axes.values())

    def spec(self, choice: Choice) -> NumericsSpec:
        """The numerics of one choice per axis.

        Raises:
            BitfrontError: the combination cannot exist; says why.
        """
        overflow = Overflow(choice.get("overflow", LATER["overflow"]))
        proved = overflow is Overflow.IMPOSSIBLE
        if choice["tile"] != "none" and proved and not _recipe(choice["recipe"]).uses_accumulator:
            raise DatapathError(
                f"a tile size is a setting of the axe step and of accumulators that may overflow, but the recipe is "
                f"{choice['recipe']} and overflow is impossible."
            )
        spec = NumericsSpec(
            weight=TensorQuant(_element(choice["weight"]), _scaling(choice["weight_scaling"])),
            activation=TensorQuant(_element(choice["activation"]), _scaling(choice["activation_scaling"])),
            recipe=_recipe(choice["recipe"]),
            edge=None if self.rules.edge == "same" else _element(self.rules.edge),
            rotation=parse_rotation(self.rules.rotation),
            residual=None if self.rules.residual == "same" else _element(self.rules.residual),
            accumulator_bits=None if choice["accumulator"] == "auto" else int(choice["accumulator"]),
            tile_size=None if choice["tile"] == "none" else int(choice["tile"]),
            weight_rule=_scale_rule(choice["weight_rule"]),
            activation_rule=None if choice["activation_rule"] == "auto" else _scale_rule(choice["activation_rule"]),
            overrides=tuple(layer.override() for layer in self.rules.layers),
            overflow=overflow,
            kv_cache=self._kv_cache(choice),
        )
        if has_minifloat(spec) and Multiplier.LUT not in self.multipliers:
            raise DatapathError("minifloats need multiplier lut, but hardware.multiplier is dsp alone; add lut.")
        return spec

    def _kv_cache(self, choice: Choice) -> TensorQuant | None:
        name, scaling = (choice.get(axis, LATER[axis]) for axis in ("kv_cache", "kv_scaling"))
        if name != "none":
            return TensorQuant(_element(name), _scaling(scaling))
        if scaling in self.axes["kv_scaling"][1:]:
            raise DatapathError(
                f"keys and values that are not quantized have no scale, but kv_cache is none and kv_scaling {scaling}."
            )
        return None

    def exists(self, choice: Choice) -> bool:
        """Whether the combination can exist."""
        try:
            self.spec(choice)
        except BitfrontError:
            return False
        return True

    def __iter__(self) -> Iterator[dict[str, str]]:
        """Every combination that can exist, in a fixed order."""
        for values in self._product(self.searched):
            choice = dict(zip(self.searched, values, strict=True))
            if self.exists(choice):
                yield choice

    def size(self) -> int | None:
        """The number of numerics points that can exist, or None beyond :data:`ENUMERATION_LIMIT` combinations."""
        return sum(1 for _ in self) if self.combinations <= ENUMERATION_LIMIT else None

    def never(self) -> dict[str, str]:
        """``axis: choice`` of every choice that is in no combination that can exist, with the reason of the first one.

        Among more than :data:`ENUMERATION_LIMIT` combinations with a choice nobody looks, and it is not named.
        """
        reasons = {}
        for axis in self.searched:
            others = [a for a in self.searched if a != axis]
            if math.prod(len(self.axes[a]) for a in others) > ENUMERATION_LIMIT:
                continue
            for name in self.axes[axis]:
                combined = ({axis: name, **dict(zip(others, values, strict=True))} for values in self._product(others))
                if not any(map(self.exists, combined)):
                    reasons[f"{axis}: {name}"] = self.first_reason({axis: name})
        return reasons

    def first_reason(self, fixed: Choice | None = None) -> str:
        """Why the first combination of all, or of those with the `fixed` choices, cannot exist; empty if it can."""
        try:
            self.spec({a: self.axes[a][0] for a in self.searched} | dict(fixed or {}))
        except BitfrontError as error:
            return str(error)
        return ""

    def _product(self, axes: Sequence[str]) -> Iterator[tuple[str, ...]]:
        return itertools.product(*(self.axes[a] for a in axes))

    def draw(self, rng: random.Random, taken: frozenset[tuple[str, ...]]) -> dict[str, str] | None:
        """A random existing choice that is not taken yet; None if there is none left."""
        for _ in range(200):
            choice = {a: rng.choice(self.axes[a]) for a in self.searched}
            if choice_key(choice) not in taken and self.exists(choice):
                return choice
        if self.combinations > ENUMERATION_LIMIT:
            return None
        rest = [c for c in self if choice_key(c) not in taken]
        return rng.choice(rest) if rest else None


def choice_key(choice: Choice) -> tuple[str, ...]:
    """The choice as a hashable value, in the order of :data:`AXES`."""
    return tuple(choice[a] for a in AXES if a in choice)


def make_space(config: SweepConfig) -> Space:
    """The space of a configuration.

    Raises:
        SpaceError: no combination of its axes can exist.
    """
    space = Space({a: tuple(getattr(config.space, a)) for a in AXES}, config.rules, config.hardware.multiplier)
    if next(iter(space), None) is None:
        raise SpaceError(
            "space: at least one combination of the axes must exist, but none does; the first one: "
            f"{space.first_reason() or 'no combination of the axes can exist'}"
        )
    return space


def hardware_choices(config: HardwareConfig) -> tuple[Hardware, ...]:
    """Every hardware choice, in a fixed order: the variants .0, .1, ... of each numerics point."""
    return tuple(
        Hardware(
            device=device,
            target_fps=fps,
            clock_mhz=config.clock_mhz,
            multiplier=multiplier,
            memory=memory,
            model=config.model,
            float_bits=config.float_bits,
        )
        for device, fps, multiplier, memory in itertools.product(
            config.device, config.target_fps, config.multiplier, config.memory
        )
    )


def variants(spec: NumericsSpec, hardware: tuple[Hardware, ...]) -> tuple[tuple[int, DesignPoint], ...]:
    """The design points of one numerics point with their variant numbers; DSP multipliers are for integers only."""
    return tuple(
        (number, DesignPoint(spec, h))
        for number, h in enumerate(hardware)
        if h.multiplier is Multiplier.LUT or not has_minifloat(spec)
    )


def has_minifloat(spec: NumericsSpec) -> bool:
    """Whether any layer of the network multiplies a minifloat (which DSP multipliers are not modelled for)."""
    return any(is_minifloat(fmt) for fmt in spec.formats)
