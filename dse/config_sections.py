"""The sections of a sweep's configuration, each a frozen value; their fields are read by the vocabulary's own readers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from hwmodels.catalog import parse_element
from hwmodels.datapath import Multiplier, Overflow, TensorQuant, parse_scaling
from hwmodels.devices import get_device
from hwmodels.float_parts import FLOAT_BITS
from hwmodels.formats import IntFormat
from workloads.numerics import Override, check_activation, check_kv_cache, check_weight, parse_rotation
from workloads.recipes import parse_recipe
from workloads.registry import ImageNetwork, Preprocessing
from workloads.scale_rule import parse_scale_rule
from workloads.vision.degrade import parse_degradation


def parsed(parse: Callable[[str], object]) -> AfterValidator:
    """A validator that runs one of the vocabulary's readers, so that its error text reaches the user with the path."""

    def check(value: str) -> str:
        parse(value)
        return value

    return AfterValidator(check)


def _weight_scaling(name: str) -> object:
    scaling = parse_scaling(name)
    check_weight(TensorQuant(IntFormat(8), scaling))
    return scaling


def _activation_scaling(name: str) -> object:
    scaling = parse_scaling(name)
    check_activation(TensorQuant(IntFormat(8), scaling))
    return scaling


def _rule_or_auto(name: str) -> object:
    return name if name == "auto" else parse_scale_rule(name)


def _overflow(name: str) -> object:
    if name not in tuple(Overflow):
        raise ValueError(f"must be one of {', '.join(Overflow)}, but got {name!r}.")
    return name


def _number_or(word: str) -> Callable[[str], object]:
    def parse(text: str) -> object:
        if text == word:
            return text
        if text.isdecimal() and int(text) >= 2:
            return int(text)
        raise ValueError(f"must be {word} or a whole number of at least 2, but got {text!r}.")

    return parse


def _element_or(word: str) -> Callable[[str], object]:
    return lambda name: name if name == word else parse_element(name)


def _kv_scaling(name: str) -> object:
    scaling = parse_scaling(name)
    check_kv_cache(TensorQuant(IntFormat(8), scaling))
    return scaling


Element = Annotated[str, parsed(parse_element)]

_READERS: dict[str, Callable[[str], object]] = {
    "weight": parse_element,
    "activation": parse_element,
    "weight_scaling": _weight_scaling,
    "activation_scaling": _activation_scaling,
    "recipe": parse_recipe,
    "accumulator": _number_or("auto"),
    "tile": _number_or("none"),
    "weight_rule": parse_scale_rule,
    "activation_rule": _rule_or_auto,
    "kv_cache": _element_or("none"),
    "kv_scaling": _kv_scaling,
    "device": get_device,
}
"""What a choice of a field stands for, where it may be written in several ways."""


def _distinct(values: tuple[object, ...], info: ValidationInfo) -> tuple[object, ...]:
    """Refuse a choice that stands twice, however it is written: `xczu3eg` is XCZU3EG."""
    read = _READERS.get(str(info.field_name))
    meant = [value if read is None else read(str(value)) for value in values]
    repeated = sorted({str(value) for value, same in zip(values, meant, strict=True) if meant.count(same) > 1})
    if repeated:
        raise ValueError(f"each choice may stand once, but {' = '.join(repeated)} repeats.")
    return values


class Strict(BaseModel):
    """A frozen value; unknown keys, NaN and infinity are mistakes, and numbers may stand where names do."""

    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True, allow_inf_nan=False)


class SpaceConfig(Strict):
    """The axes of the numerics; the space is their product, less the combinations that cannot exist."""

    weight: Annotated[tuple[Element, ...], Field(min_length=1)]
    activation: Annotated[tuple[Element, ...], Field(min_length=1)]
    weight_scaling: Annotated[tuple[Annotated[str, parsed(_weight_scaling)], ...], Field(min_length=1)] = ("channel",)
    activation_scaling: Annotated[tuple[Annotated[str, parsed(_activation_scaling)], ...], Field(min_length=1)] = (
        "tensor",
    )
    recipe: Annotated[tuple[Annotated[str, parsed(parse_recipe)], ...], Field(min_length=1)] = ("rtn",)
    accumulator: Annotated[tuple[Annotated[str, parsed(_number_or("auto"))], ...], Field(min_length=1)] = ("auto",)
    tile: Annotated[tuple[Annotated[str, parsed(_number_or("none"))], ...], Field(min_length=1)] = ("none",)
    weight_rule: Annotated[tuple[Annotated[str, parsed(parse_scale_rule)], ...], Field(min_length=1)] = ("absmax",)
    activation_rule: Annotated[tuple[Annotated[str, parsed(_rule_or_auto)], ...], Field(min_length=1)] = ("auto",)
    overflow: Annotated[tuple[Annotated[str, parsed(_overflow)], ...], Field(min_length=1)] = ("impossible",)
    kv_cache: Annotated[tuple[Annotated[str, parsed(_element_or("none"))], ...], Field(min_length=1)] = ("none",)
    kv_scaling: Annotated[tuple[Annotated[str, parsed(_kv_scaling)], ...], Field(min_length=1)] = ("token",)

    _each_once = field_validator("*")(_distinct)


class OverrideConfig(Strict):
    """Formats of single layers, see :class:`workloads.numerics.Override`."""

    match: str
    weight: Element | None = None
    weight_scaling: Annotated[str, parsed(_weight_scaling)] | None = None
    activation: Element | None = None
    activation_scaling: Annotated[str, parsed(_activation_scaling)] | None = None

    @model_validator(mode="after")
    def _changes_something(self) -> OverrideConfig:
        self.override()
        return self

    def override(self) -> Override:
        """The value it stands for."""
        return Override(
            self.match,
            weight=None if self.weight is None else parse_element(self.weight),
            weight_scaling=None if self.weight_scaling is None else parse_scaling(self.weight_scaling),
            activation=None if self.activation is None else parse_element(self.activation),
            activation_scaling=None if self.activation_scaling is None else parse_scaling(self.activation_scaling),
        )


class RulesConfig(Strict):
    """Formats that do not follow the axes. `same` makes a rule follow the axis."""

    edge: Annotated[str, parsed(_element_or("same"))] = "int8"
    residual: Annotated[str, parsed(_element_or("same"))] = "int8"
    rotation: Annotated[str, parsed(parse_rotation)] = "int12"
    layers: tuple[OverrideConfig, ...] = ()


class HardwareConfig(Strict):
    """Hardware choices, enumerated exactly on top of every numerics point."""

    device: Annotated[tuple[Annotated[str, parsed(get_device)], ...], Field(min_length=1)] = ("XCZU3EG",)
    target_fps: Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(min_length=1)] = (1000.0,)
    clock_mhz: Annotated[float, Field(gt=0, le=2000)] = 200.0
    multiplier: Annotated[tuple[Multiplier, ...], Field(min_length=1)] = (Multiplier.LUT,)
    memory: Annotated[tuple[Literal["auto", "bram", "lutram", "uram", "external"], ...], Field(min_length=1)] = (
        "auto",
    )
    model: Literal["calibrated", "finn"] = "calibrated"
    float_bits: Annotated[int, Field(ge=8, le=24)] = FLOAT_BITS
    utilization: Annotated[float, Field(gt=0, le=1)] = 1.0

    @field_validator("device", "target_fps", "multiplier", "memory", mode="before")
    @classmethod
    def _one_is_a_list(cls, value: object) -> object:
        return value if isinstance(value, list | tuple) else [value]

    _each_once = field_validator("device", "target_fps", "multiplier", "memory")(_distinct)


class SearchConfig(Strict):
    """How the space is searched."""

    sampler: Literal["nsga2", "tpe", "gp", "random"] = "nsga2"
    trials: Annotated[int, Field(ge=1)] = 64
    batch: Annotated[int, Field(ge=1, le=256)] = 4
    population: Annotated[int, Field(ge=2)] = 16


class EvaluationConfig(Strict):
    """On how many images (or windows of text) quality is measured and scales are calibrated (None: all there are), and where.

    See :mod:`workloads.device`.
    """

    test_images: Annotated[int, Field(ge=1)] | None = None
    calibration_images: Annotated[int, Field(ge=1)] | None = None
    degrade: Annotated[str, parsed(parse_degradation)] = "none"
    device: Literal["cpu", "cuda"] = "cpu"


class HuggingFaceConfig(Strict):
    """A language model and text by their local paths, see :class:`workloads.registry.HuggingFace`."""

    huggingface: str
    text: str
    calibration_text: str | None = None
    window: Annotated[int, Field(ge=2)] = 256
    stride: Annotated[int, Field(ge=1)] | None = None
    task: Literal["predict", "embed"] = "predict"


class PreprocessingConfig(Strict):
    """What is done to every image, see :class:`workloads.registry.Preprocessing`."""

    resize: int = Preprocessing.resize
    crop: int = Preprocessing.crop
    mean: tuple[float, ...] = Preprocessing.mean
    std: tuple[float, ...] = Preprocessing.std

    @model_validator(mode="after")
    def _holds(self) -> PreprocessingConfig:
        Preprocessing(**self.model_dump())
        return self


class ImageNetworkConfig(Strict):
    """A classifier and images by their local paths, see :class:`workloads.registry.ImageNetwork`."""

    model: str
    checkpoint: str | None = None
    images: str
    calibration_images: str | None = None
    preprocessing: PreprocessingConfig = PreprocessingConfig()

    def reference(self) -> ImageNetwork:
        """The value it stands for."""
        prepared = Preprocessing(**self.preprocessing.model_dump())
        return ImageNetwork(self.model, self.checkpoint, self.images, self.calibration_images, prepared)
