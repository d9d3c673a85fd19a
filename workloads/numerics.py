"""What accuracy depends on: formats, scales, recipe and accumulator of a network, as one frozen value with a key."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TypeAlias

from hwmodels.catalog import parse_element
from hwmodels.datapath import Accumulator, DatapathError, Granularity, Overflow, Scaling, TensorQuant
from hwmodels.formats import ElementFormat, FormatError, IntFormat, Minifloat
from workloads.recipes import Recipe
from workloads.scale_rule import ABSMAX, Fit, ScaleRule

MOST_INTEGER_BITS = 24
"""Widest integer whose codes float32, in which networks are quantized, holds exactly."""

LARGEST_EXPONENT = 80
"""Minifloats must lie between 2^-80 and 2^80, so that neither values nor scales leave float32 (all 16-bit e <= 7 do)."""

ROTATION = IntFormat(12)
"""What an online rotation reads by default (assumed). On tiny-llama-outliers, rotate+hadamard64, W and A of INT4 and INT6, the KL
divergence is .872 and .055 with 12 bits, .871 and .048 with 14, .859 with 20 at INT4, 1.034 and .158 with 10."""

LAYER_TYPES = ("conv", "depthwise", "linear")
"""The types of layers that an override can be for."""

Described: TypeAlias = dict[str, "str | int | list[dict[str, str]] | None"]


@dataclass(frozen=True)
class Override:
    """Formats of the layers that a pattern or type matches, in place of those of the whole network and of its edge.

    Args:
        match: pattern of layer names with the wildcards * and ? (``block4.*``), or one of :data:`LAYER_TYPES`.
        weight, weight_scaling: of their weights; None: as everywhere else.
        activation, activation_scaling: of the site that they read, for all its readers; None: as everywhere else.
    """

    match: str
    weight: ElementFormat | None = None
    weight_scaling: Scaling | None = None
    activation: ElementFormat | None = None
    activation_scaling: Scaling | None = None

    def __post_init__(self) -> None:
        if not self._formats:
            raise DatapathError(
                f"an override must change a format or a scaling, but the one for {self.match!r} changes none; give weight, "
                "weight_scaling, activation or activation_scaling."
            )

    @property
    def _formats(self) -> dict[str, ElementFormat | Scaling]:
        named = {
            "weight": self.weight,
            "weight_scaling": self.weight_scaling,
            "activation": self.activation,
            "activation_scaling": self.activation_scaling,
        }
        return {name: value for name, value in named.items() if value is not None}

    def matches(self, name: str, kind: str) -> bool:
        """Whether it is for the layer `name` of type `kind`."""
        return self.match == kind if self.match in LAYER_TYPES else fnmatchcase(name, self.match)

    def weight_quant(self, default: TensorQuant) -> TensorQuant:
        """Format and scaling of the weights where it matches."""
        return TensorQuant(self.weight or default.format, self.weight_scaling or default.scaling)

    def activation_quant(self, default: TensorQuant) -> TensorQuant:
        """Format and scaling of the inputs where it matches."""
        return TensorQuant(self.activation or default.format, self.activation_scaling or default.scaling)

    def as_dict(self) -> dict[str, str]:
        """What it says, by name."""
        return {"match": self.match, **{name: value.name for name, value in self._formats.items()}}


@dataclass(frozen=True)
class NumericsSpec:
    """How a network is quantized, by rule; :mod:`workloads.assign` turns the rule into one format per layer and site.

    Args:
        weight: format and scaling of the weights (per tensor, per channel, or per group along the input channels).
        activation: format and scaling of the activations: per tensor, with or without a zero point; dynamic per frame, per
            token or pixel, or per group of channels. INT formats are given signed and become unsigned of the same width
            where no value can be negative (after a ReLU), and with a zero point.
            An unsigned minifloat holds where no value can be negative, the signed one of its width everywhere else.
        recipe: the post-training quantization steps, in order.
        edge: format of the weights and input of the first and the last compute layer; None: as everywhere else.
        residual: format of both inputs of a residual add; None: the activation format.
        rotation: integers that an online rotation reads; it gives exact sums of them.
        accumulator_bits: P that every layer must hold; None: each layer gets the width proved from its weights.
        tile_size: T of the inner accumulator, or None.
        overflow: what the accumulators do with sums that P bits do not hold: impossible (proved), saturate or wrap.
        weight_rule: what the scales of weights are fitted to.
        activation_rule: the same for activations; None: the least squared error, and absmax for dynamic scales.
        overrides: of single layers; where several match, later ones have the last word.
        lanes: products per cycle (SIMD) of layers by name, where :attr:`depends_on_lanes`; one of a layer without. It is what a
            folding gives them, so the hardware part of a design point fills it in.
        kv_cache: what attention stores, keys (behind rotary positions) and values: a decoder's cache, an encoder's buffers. One
            dynamic scale per token and head, or a static one per tensor (fitted like those of activations). None: as exact as
            what is around it.
    """

    weight: TensorQuant
    activation: TensorQuant
    recipe: Recipe
    edge: ElementFormat | None = IntFormat(8)
    residual: ElementFormat | None = IntFormat(8)
    accumulator_bits: int | None = None
    tile_size: int | None = None
    weight_rule: ScaleRule = ABSMAX
    activation_rule: ScaleRule | None = None
    overrides: tuple[Override, ...] = ()
    overflow: Overflow = Overflow.IMPOSSIBLE
    lanes: tuple[tuple[str, int], ...] = ()
    kv_cache: TensorQuant | None = None
    rotation: IntFormat = ROTATION

    def __post_init__(self) -> None:
        check_weight(self.weight)
        check_activation(self.activation, self.activation_rule)
        for override in self.overrides:
            check_weight(override.weight_quant(self.weight))
            check_activation(override.activation_quant(self.activation), self.activation_rule)
        if self.kv_cache is not None:
            check_kv_cache(self.kv_cache)
        for role, fmt in {"edge": self.edge, "residual": self.residual, "rotation": self.rotation}.items():
            if fmt is not None:
                _check_format(role, fmt)
        if self.tile_size is not None and self.tile_size < 1:
            raise DatapathError(f"`tile_size` must be at least 1 product, but got tile_size={self.tile_size}.")
        self.recipe.check(self.weight.format, self.activation.format, self.accumulator_bits)
        if self.overflow is not Overflow.IMPOSSIBLE:
            self._check_overflow()

    def _check_overflow(self) -> None:
        if self.accumulator_bits is None:
            raise DatapathError(
                f"an accumulator that may overflow ({self.overflow}) must have a width P, but accumulator is auto, the width "
                "that is proved to be enough; give P in bits, or overflow impossible."
            )
        if self.recipe.uses_accumulator:
            raise DatapathError(
                f"the axe step makes overflow impossible, but got overflow {self.overflow}; use impossible, or gptq."
            )

    @property
    def uses_accumulator(self) -> bool:
        """Whether accuracy depends on P and T: the recipe chooses codes for them, or sums may overflow."""
        return self.recipe.uses_accumulator or self.overflow is not Overflow.IMPOSSIBLE

    @property
    def depends_on_lanes(self) -> bool:
        """Whether accuracy depends on how many products are summed per cycle.

        A saturating register clamps once per cycle; and the more products of minifloats enter it in one cycle, the fewer of
        their low bits fit (:func:`hwmodels.primitives.operands.dropped_bits`). A wrapping sum of integers is the same in any
        order.
        """
        minifloats = any(is_minifloat(fmt) for fmt in self.formats)
        return self.overflow is Overflow.SATURATE or (self.overflow is Overflow.WRAP and minifloats)

    def accumulator(self, proved: int, tile_size: int | None) -> Accumulator:
        """The accumulator of a layer whose weights are proved to need `proved` bits: it overflows only where they are more."""
        bits = max(self.accumulator_bits or proved, 2)
        return Accumulator(bits, tile_size, Overflow.IMPOSSIBLE if proved <= bits else self.overflow)

    @property
    def formats(self) -> tuple[ElementFormat, ...]:
        """Every format that a multiplier may see: of the rule, of the edge and of overrides."""
        overridden = [fmt for o in self.overrides for fmt in (o.weight, o.activation)]
        stored = None if self.kv_cache is None else self.kv_cache.format
        given = (self.weight.format, self.activation.format, self.edge, stored, *overridden)
        return tuple(fmt for fmt in given if fmt is not None)

    @property
    def key(self) -> str:
        """The numerics key: a hash of everything accuracy depends on. P and T count only where they are used."""
        described = self.as_dict()
        if not self.uses_accumulator:
            described = {k: v for k, v in described.items() if k not in ("accumulator_bits", "tile_size")}
        return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()[:16]

    def as_dict(self) -> Described:
        """A plain description for tables and manifests; what has its default since it exists is left out, for equal keys."""
        described: Described = {
            "weight": self.weight.name,
            "activation": self.activation.name,
            "recipe": self.recipe.name,
            "edge": None if self.edge is None else self.edge.name,
            "residual": None if self.residual is None else self.residual.name,
            "accumulator_bits": self.accumulator_bits,
            "tile_size": self.tile_size,
        }
        if self.weight_rule != ABSMAX:
            described["weight_rule"] = self.weight_rule.name
        if self.activation_rule is not None:
            described["activation_rule"] = self.activation_rule.name
        if self.overrides:
            described["overrides"] = [override.as_dict() for override in self.overrides]
        if self.overflow is not Overflow.IMPOSSIBLE:
            described["overflow"] = self.overflow.value
        if self.lanes:
            described["lanes"] = [{"layer": name, "lanes": str(lanes)} for name, lanes in self.lanes]
        if self.kv_cache is not None:
            described["kv_cache"] = self.kv_cache.name
        if self.recipe.rotates_online and self.rotation != ROTATION:
            described["rotation"] = self.rotation.name
        return described


def parse_rotation(name: str) -> IntFormat:
    """What an online rotation reads, by name.

    Raises:
        FormatError, DatapathError: it is no integer format, unsigned or too wide.
    """
    fmt = parse_element(name)
    if not isinstance(fmt, IntFormat):
        raise FormatError(f"an online rotation must read integers, which it sums exactly, but got {name!r}; use intN.")
    _check_format("rotation", fmt)
    return fmt


def check_weight(quant: TensorQuant) -> None:
    """Refuse weights that no hardware holds: they are constants, and zero is their code 0.

    Raises:
        DatapathError, FormatError: says what must hold.
    """
    scaling = quant.scaling
    if scaling.dynamic or scaling.zero_point:
        raise DatapathError(
            f"weights are constants with constant scales around zero, but got {quant}; use tensor, channel or groupN."
        )
    _check_format("weight", quant.format)


def check_activation(quant: TensorQuant, rule: ScaleRule | None = None) -> None:
    """Refuse an activation scale that hardware cannot sum with or compute, and a zero point that is no integer's.

    Raises:
        DatapathError, FormatError: says which.
    """
    scaling = quant.scaling
    if scaling.granularity is Granularity.CHANNEL:
        raise DatapathError(
            f"the products of one sum must share their activation scale, but got {quant} with one per channel; use "
            "tensor, token or groupN_dynamic."
        )
    if scaling.granularity is Granularity.GROUP and not scaling.dynamic:
        raise DatapathError(f"the scales of activation groups are dynamic, but got {quant}; write {scaling}_dynamic.")
    if scaling.zero_point and not isinstance(quant.format, IntFormat):
        raise DatapathError(
            f"a zero point is one of integer codes, but got {quant}; use an integer format or no _asym."
        )
    if rule is not None and rule.fit is not Fit.ABSMAX and scaling.dynamic:
        raise DatapathError(
            f"dynamic scales are those of the largest values, but got {scaling} with activation_rule={rule}; use absmax "
            "or a static scale."
        )
    _check_format("activation", quant.format)


def check_kv_cache(quant: TensorQuant) -> None:
    """Refuse keys and values of other scales than one per token and head, or one per tensor.

    Raises:
        DatapathError, FormatError: says what must hold.
    """
    scaling = quant.scaling
    stored = scaling.granularity is Granularity.TOKEN or (
        scaling.granularity is Granularity.TENSOR and not scaling.dynamic
    )
    if not stored or scaling.zero_point:
        raise DatapathError(
            f"keys and values must have one scale per token or a static one per tensor, but got {quant}; use token, token_po2, "
            "tensor or tensor_po2."
        )
    _check_format("kv_cache", quant.format)


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
