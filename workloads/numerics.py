"""What accuracy depends on: formats, scales, recipe and accumulator of a network, as one frozen value with a key."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

from hwmodels.datapath import DatapathError, Granularity, TensorQuant
from hwmodels.formats import ElementFormat, FormatError, IntFormat, Minifloat
from workloads.recipes import Recipe

MOST_INTEGER_BITS = 24
"""Widest integer whose codes float32, in which networks are quantized, holds exactly."""

LARGEST_EXPONENT = 80
"""Minifloats must lie between 2^-80 and 2^80, so that neither values nor scales leave float32 (all 16-bit e <= 7 do)."""


@dataclass(frozen=True)
class NumericsSpec:
    """How a network is quantized, by rule; :mod:`workloads.plan` turns the rule into one format per layer and site.

    Args:
        weight: format and scaling of the weights (per channel or per group along the input channels).
        activation: format and scaling of the activations (per tensor). INT formats are given signed and become unsigned of
            the same width where no value can be negative (after a ReLU).
            An unsigned minifloat is taken as it is, for networks whose every activation site is non-negative.
        recipe: the post-training quantization steps, in order.
        edge: format of the weights and input of the first and the last compute layer; None: as everywhere else.
        residual: format of both inputs of a residual add; None: the activation format.
        accumulator_bits: P that every layer must hold; None: each layer gets the width proved from its weights.
        tile_size: T of the inner accumulator, or None.
    """

    weight: TensorQuant
    activation: TensorQuant
    recipe: Recipe
    edge: ElementFormat | None = IntFormat(8)
    residual: ElementFormat | None = IntFormat(8)
    accumulator_bits: int | None = None
    tile_size: int | None = None

    def __post_init__(self) -> None:
        if self.activation.scaling.granularity is not Granularity.TENSOR:
            raise DatapathError(
                f"activations are quantized per tensor, but got {self.activation.scaling}; give groups to the weights."
            )
        formats = {
            "weight": self.weight.format,
            "activation": self.activation.format,
            "edge": self.edge,
            "residual": self.residual,
        }
        for role, fmt in formats.items():
            if fmt is not None:
                _check_format(role, fmt)
        if self.tile_size is not None and self.tile_size < 1:
            raise DatapathError(f"`tile_size` must be at least 1 product, but got tile_size={self.tile_size}.")
        self.recipe.check(self.weight.format, self.activation.format, self.accumulator_bits)

    @property
    def key(self) -> str:
        """The numerics key: a hash of everything accuracy depends on. P and T count only if the recipe uses them."""
        described = self.as_dict()
        if not self.recipe.uses_accumulator:
            described = {k: v for k, v in described.items() if k not in ("accumulator_bits", "tile_size")}
        return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()[:16]

    def as_dict(self) -> dict[str, str | int | None]:
        """A plain description for tables and manifests."""
        return {
            "weight": self.weight.name,
            "activation": self.activation.name,
            "recipe": self.recipe.name,
            "edge": None if self.edge is None else self.edge.name,
            "residual": None if self.residual is None else self.residual.name,
            "accumulator_bits": self.accumulator_bits,
            "tile_size": self.tile_size,
        }


def _check_format(role: str, fmt: ElementFormat) -> None:
    """Refuse a format that would clip half of the numbers, has no zero, or cannot be computed with in float32."""
    if not fmt.signed and (role != "activation" or isinstance(fmt, IntFormat)):
        raise DatapathError(
            f"the {role} format must be signed, but got {fmt}; integer activations become unsigned by themselves where they can."
        )
    match fmt:
        case IntFormat() if fmt.bits > MOST_INTEGER_BITS:
            raise FormatError(
                f"the {role} format must have at most {MOST_INTEGER_BITS} bits to be exact in float32, but got {fmt}."
            )
        case Minifloat() if not fmt.subnormals:
            raise FormatError(f"the {role} format must have a zero, but got {fmt}.")
        case Minifloat() if fmt.max_value > 1 << LARGEST_EXPONENT or fmt.step * (1 << LARGEST_EXPONENT) < 1:
            raise FormatError(
                f"the {role} format must lie between 2^-{LARGEST_EXPONENT} and 2^{LARGEST_EXPONENT} to be computed in "
                f"float32, but got {fmt}; choose fewer exponent bits or another bias."
            )
        case _:
            pass


def is_minifloat(fmt: ElementFormat) -> bool:
    """Whether the format is a minifloat that is not an integer grid in disguise (E1My is one)."""
    return isinstance(fmt, Minifloat) and fmt.integer_grid is None
