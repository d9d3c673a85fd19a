"""The sweep's configuration: YAML in, one frozen value out, all mistakes at once and each with its path."""

from __future__ import annotations

import re
import reprlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    field_validator,
    model_validator,
)

from dse.objectives import OBJECTIVES, get_objective
from hwmodels.catalog import parse_element
from hwmodels.datapath import Multiplier, Overflow, TensorQuant, parse_scaling
from hwmodels.devices import get_device
from hwmodels.errors import BitfrontError
from hwmodels.float_parts import FLOAT_BITS
from hwmodels.formats import IntFormat
from workloads.numerics import Override, check_activation, check_kv_cache, check_weight, parse_rotation
from workloads.recipes import parse_recipe
from workloads.registry import (
    CLASSIFIER,
    HuggingFace,
    ImageNetwork,
    Preprocessing,
    WorkloadRef,
    check_workload,
    metrics_of,
)
from workloads.scale_rule import parse_scale_rule
from workloads.vision.degrade import parse_degradation

MAX_CONFIG_BYTES = 1 << 20
"""A configuration is a page of text: anything larger is not one, and is refused before it is parsed."""


class ConfigError(BitfrontError):
    """A configuration that cannot be read or does not hold; the message lists every mistake with its path."""


_SHORT = reprlib.Repr()
"""How messages show what was given: a page of YAML can alias itself into gigabytes."""
_SHORT.maxlevel, _SHORT.maxstring, _SHORT.maxother, _SHORT.maxlong = 2, 100, 100, 60


def _parsed(parse: Callable[[str], object]) -> AfterValidator:
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
        if text == word or (text.isdecimal() and int(text) >= 2):
            return text
        raise ValueError(f"must be {word} or a whole number of at least 2, but got {text!r}.")

    return parse


def _element_or(word: str) -> Callable[[str], object]:
    return lambda name: name if name == word else parse_element(name)


def _kv_scaling(name: str) -> object:
    scaling = parse_scaling(name)
    check_kv_cache(TensorQuant(IntFormat(8), scaling))
    return scaling


Element = Annotated[str, _parsed(parse_element)]


def _distinct(values: tuple[object, ...]) -> tuple[object, ...]:
    repeated = sorted(str(v) for v, times in Counter(values).items() if times > 1)
    if repeated:
        raise ValueError(f"each choice may stand once, but {', '.join(repeated)} repeats.")
    return values


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True, allow_inf_nan=False)


class SpaceConfig(_Strict):
    """The axes of the numerics; the space is their product, less the combinations that cannot exist."""

    weight: Annotated[tuple[Element, ...], Field(min_length=1)]
    activation: Annotated[tuple[Element, ...], Field(min_length=1)]
    weight_scaling: Annotated[tuple[Annotated[str, _parsed(_weight_scaling)], ...], Field(min_length=1)] = ("channel",)
    activation_scaling: Annotated[tuple[Annotated[str, _parsed(_activation_scaling)], ...], Field(min_length=1)] = (
        "tensor",
    )
    recipe: Annotated[tuple[Annotated[str, _parsed(parse_recipe)], ...], Field(min_length=1)] = ("rtn",)
    accumulator: Annotated[tuple[Annotated[str, _parsed(_number_or("auto"))], ...], Field(min_length=1)] = ("auto",)
    tile: Annotated[tuple[Annotated[str, _parsed(_number_or("none"))], ...], Field(min_length=1)] = ("none",)
    weight_rule: Annotated[tuple[Annotated[str, _parsed(parse_scale_rule)], ...], Field(min_length=1)] = ("absmax",)
    activation_rule: Annotated[tuple[Annotated[str, _parsed(_rule_or_auto)], ...], Field(min_length=1)] = ("auto",)
    overflow: Annotated[tuple[Annotated[str, _parsed(_overflow)], ...], Field(min_length=1)] = ("impossible",)
    kv_cache: Annotated[tuple[Annotated[str, _parsed(_element_or("none"))], ...], Field(min_length=1)] = ("none",)
    kv_scaling: Annotated[tuple[Annotated[str, _parsed(_kv_scaling)], ...], Field(min_length=1)] = ("token",)

    _each_once = field_validator("*")(_distinct)


class OverrideConfig(_Strict):
    """Formats of single layers, see :class:`workloads.numerics.Override`."""

    match: str
    weight: Element | None = None
    weight_scaling: Annotated[str, _parsed(_weight_scaling)] | None = None
    activation: Element | None = None
    activation_scaling: Annotated[str, _parsed(_activation_scaling)] | None = None

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


class RulesConfig(_Strict):
    """Formats that do not follow the axes. `same` makes a rule follow the axis."""

    edge: Annotated[str, _parsed(_element_or("same"))] = "int8"
    residual: Annotated[str, _parsed(_element_or("same"))] = "int8"
    rotation: Annotated[str, _parsed(parse_rotation)] = "int12"
    layers: tuple[OverrideConfig, ...] = ()


class HardwareConfig(_Strict):
    """Hardware choices, enumerated exactly on top of every numerics point."""

    device: Annotated[tuple[Annotated[str, _parsed(get_device)], ...], Field(min_length=1)] = ("XCZU3EG",)
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


class SearchConfig(_Strict):
    """How the space is searched."""

    sampler: Literal["nsga2", "tpe", "gp", "random"] = "nsga2"
    trials: Annotated[int, Field(ge=1)] = 64
    batch: Annotated[int, Field(ge=1, le=256)] = 4
    population: Annotated[int, Field(ge=2)] = 16


class EvaluationConfig(_Strict):
    """On how many images (or windows of text) quality is measured and scales are calibrated (None: all there are), and where.

    See :mod:`workloads.device`.
    """

    test_images: Annotated[int, Field(ge=1)] | None = None
    calibration_images: Annotated[int, Field(ge=1)] | None = None
    degrade: Annotated[str, _parsed(parse_degradation)] = "none"
    device: Literal["cpu", "cuda"] = "cpu"


class HuggingFaceConfig(_Strict):
    """A language model and text by their local paths, see :class:`workloads.registry.HuggingFace`."""

    huggingface: str
    text: str
    calibration_text: str | None = None
    window: Annotated[int, Field(ge=2)] = 256
    stride: Annotated[int, Field(ge=1)] | None = None
    task: Literal["predict", "embed"] = "predict"


class PreprocessingConfig(_Strict):
    """What is done to every image, see :class:`workloads.registry.Preprocessing`."""

    resize: int = Preprocessing.resize
    crop: int = Preprocessing.crop
    mean: tuple[float, ...] = Preprocessing.mean
    std: tuple[float, ...] = Preprocessing.std

    @model_validator(mode="after")
    def _holds(self) -> PreprocessingConfig:
        Preprocessing(**self.model_dump())
        return self


class ImageNetworkConfig(_Strict):
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


_TAGS = (
    "by name",
    "by text",
    "by images",
)  # how a workload may be given; pydantic puts them into the paths of mistakes


def _workload_kind(value: object) -> str:
    if isinstance(value, str):
        return _TAGS[0]
    images = isinstance(value, ImageNetworkConfig) or (isinstance(value, dict) and {"model", "images"} & value.keys())
    return _TAGS[2] if images else _TAGS[1]


class SweepConfig(_Strict):
    """Everything that is asked of a sweep."""

    name: str
    workload: Annotated[
        Annotated[str, _parsed(check_workload), Tag(_TAGS[0])]
        | Annotated[HuggingFaceConfig, Tag(_TAGS[1])]
        | Annotated[ImageNetworkConfig, Tag(_TAGS[2])],
        Discriminator(_workload_kind),
    ]
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    objectives: Annotated[tuple[Annotated[str, _parsed(get_objective)], ...], Field(min_length=2)] = ("top1", "lut")
    space: SpaceConfig
    rules: RulesConfig = RulesConfig()
    hardware: HardwareConfig = HardwareConfig()
    search: SearchConfig = SearchConfig()
    evaluation: EvaluationConfig = EvaluationConfig()

    @field_validator("name")
    @classmethod
    def _plain_name(cls, value: str) -> str:
        return check_name(value)

    @model_validator(mode="after")
    def _objectives_make_a_front(self) -> SweepConfig:
        if len(set(self.objectives)) != len(self.objectives):
            raise ValueError(f"objectives: each may stand once, but got {', '.join(self.objectives)}.")
        asked = [OBJECTIVES[o] for o in self.objectives]
        measured = metrics_of(self.workload_ref)
        if missing := [o.name for o in asked if o.is_quality and o.name not in measured]:
            raise ValueError(
                f"objectives: the workload must measure them, but it gives {', '.join(measured)} and not {', '.join(missing)}."
            )
        if self.evaluation.degrade != "none" and measured != CLASSIFIER:
            raise ValueError(
                f"evaluation: only images can be degraded, but {self.workload_label} reads text; leave degrade out."
            )
        if not any(o.is_cost for o in asked) or not any(o.is_quality for o in asked):
            raise ValueError(
                f"objectives: a front needs a measured quality ({', '.join(measured)}) and a cost "
                f"(lut, dsp, bram18, ...), but got {', '.join(self.objectives)}."
            )
        return self

    @property
    def workload_ref(self) -> WorkloadRef:
        """The workload as :func:`workloads.registry.get_workload` takes it."""
        if isinstance(self.workload, ImageNetworkConfig):
            return self.workload.reference()
        return self.workload if isinstance(self.workload, str) else HuggingFace(**self.workload.model_dump())

    @property
    def workload_label(self) -> str:
        """What the workload is called: its name, its model directory or its constructor."""
        match self.workload:
            case HuggingFaceConfig(huggingface=label) | ImageNetworkConfig(model=label):
                return label
            case label:
                return label

    def as_yaml(self) -> str:
        """The configuration with every default written out; :func:`load_config` reads it back to an equal value."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, default_flow_style=None, width=110)


def check_name(name: str) -> str:
    """The name of a sweep, which becomes a folder below the results folder: nothing in it may leave that folder.

    Raises:
        ConfigError: it holds other characters, or is too long.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", name):
        raise ConfigError(
            "must be 1 to 64 letters, digits, '_', '-' or '.', starting with one of the first two, "
            f"but got {_SHORT.repr(name)}."
        )
    return name


class _Loader(yaml.SafeLoader):
    """YAML's safe loader, but a key that stands twice is a mistake: the first of the two would be lost without a word."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen:
                raise yaml.composer.ComposerError(None, None, f"the key {key.value!r} stands twice", key.start_mark)
            seen.add(key.value)
        return node


def parse_config(text: str, source: str = "the configuration") -> SweepConfig:
    """The configuration of a YAML text.

    Raises:
        ConfigError: not YAML, not a mapping, or mistakes; every mistake stands in the message with its path.
    """
    try:
        data: Any = yaml.load(text, _Loader)
    except (yaml.YAMLError, RecursionError, ValueError, LookupError, AttributeError) as error:
        # the last three: what PyYAML's constructors let through for !!int "", 2020-13-45 or a number of 5000 digits
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark is not None else ""
        problem = str(getattr(error, "problem", None) or error).splitlines()[0].rstrip(".")
        raise ConfigError(f"{source} must be YAML, but it cannot be parsed{where}: {problem}.") from None
    if not isinstance(data, dict):
        raise ConfigError(
            f"{source} must be a YAML mapping with the keys {', '.join(SweepConfig.model_fields)}; see `dse init`."
        )
    try:
        return SweepConfig.model_validate(data)
    except ValidationError as error:
        raise ConfigError(f"{source} has {_mistakes(error)}") from None


def load_config(path: Path) -> SweepConfig:
    """The configuration in a file.

    Raises:
        ConfigError: the file cannot be read, or as in :func:`parse_config`.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_CONFIG_BYTES + 1)
        if len(raw) > MAX_CONFIG_BYTES:
            raise ConfigError(
                f"{path} must be at most {MAX_CONFIG_BYTES} bytes to be a configuration, but it is larger."
            )
        return parse_config(raw.decode("utf-8"), str(path))
    except OSError as error:
        raise ConfigError(
            f"{path} must be a readable file: {error.strerror}; `dse init` writes a configuration."
        ) from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path} must be UTF-8 text, but it is not.") from None


def _mistakes(error: ValidationError) -> str:
    """Every mistake on a line of its own: path, what must hold, what was given."""
    lines = []
    for item in error.errors():
        if item["type"] == "too_short" and item["input"]:
            continue  # a list whose every choice was refused: said already, choice by choice
        location = tuple(part for part in item["loc"] if part not in _TAGS)
        path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).lstrip(".")
        text = item["msg"].removeprefix("Value error, ")
        if item["type"] == "extra_forbidden":
            text = f"unknown key; known here: {', '.join(_known_keys(item['loc'][:-1]))}"
        elif item["type"] == "missing":
            text = "this key is required"
        elif item["type"] != "value_error":
            text = f"{text}, but got {_SHORT.repr(item['input'])}"
        lines.append(f"  {path or '(top level)'}: {text}")
    count = f"{len(lines)} mistake{'s' if len(lines) > 1 else ''}"
    return "\n".join([f"{count}:", *lines])


def _known_keys(location: tuple[int | str, ...]) -> list[str]:
    model: type[BaseModel] = SweepConfig
    for part in location:
        if part == "workload" or part in _TAGS:
            model = ImageNetworkConfig if part == _TAGS[2] else HuggingFaceConfig
            continue
        annotation = model.model_fields[str(part)].annotation
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            break
        model = annotation
    return list(model.model_fields)
