"""The sweep's configuration: YAML in, one frozen value out, all mistakes at once and each with its path."""

from __future__ import annotations

import re
import reprlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from dse.objectives import OBJECTIVES, get_objective
from hwmodels.catalog import parse_element
from hwmodels.datapath import Granularity, Multiplier, parse_scaling
from hwmodels.devices import get_device
from hwmodels.errors import BitfrontError
from workloads.recipes import parse_recipe
from workloads.registry import check_workload

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
    if scaling.granularity is Granularity.TENSOR:
        raise ValueError(f"weights are scaled per channel or per group, but got {name!r}; write channel or group32.")
    return scaling


def _activation_scaling(name: str) -> object:
    scaling = parse_scaling(name)
    if scaling.granularity is not Granularity.TENSOR:
        raise ValueError(f"activations are scaled per tensor, but got {name!r}; write tensor or tensor_po2.")
    return scaling


def _number_or(word: str) -> Callable[[str], object]:
    def parse(text: str) -> object:
        if text == word or (text.isdecimal() and int(text) >= 2):
            return text
        raise ValueError(f"must be {word} or a whole number of at least 2, but got {text!r}.")

    return parse


def _element_or_same(name: str) -> object:
    return name if name == "same" else parse_element(name)


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

    _each_once = field_validator("*")(_distinct)


class RulesConfig(_Strict):
    """Formats that do not follow the axes. `same` makes a rule follow the axis."""

    edge: Annotated[str, _parsed(_element_or_same)] = "int8"
    residual: Annotated[str, _parsed(_element_or_same)] = "int8"


class HardwareConfig(_Strict):
    """Hardware choices, enumerated exactly on top of every numerics point."""

    device: Annotated[tuple[Annotated[str, _parsed(get_device)], ...], Field(min_length=1)] = ("XCZU3EG",)
    target_fps: Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(min_length=1)] = (1000.0,)
    clock_mhz: Annotated[float, Field(gt=0, le=2000)] = 200.0
    multiplier: Annotated[tuple[Multiplier, ...], Field(min_length=1)] = (Multiplier.LUT,)
    memory: Annotated[tuple[Literal["auto", "bram", "lutram", "uram"], ...], Field(min_length=1)] = ("auto",)
    model: Literal["calibrated", "finn"] = "calibrated"
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
    """On how many images the accuracy is measured and the scales are calibrated. None: all that the workload has."""

    test_images: Annotated[int, Field(ge=1)] | None = None
    calibration_images: Annotated[int, Field(ge=1)] | None = None


class SweepConfig(_Strict):
    """Everything that is asked of a sweep."""

    name: str
    workload: Annotated[str, _parsed(check_workload)]
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
        if not any(o.is_cost for o in asked) or not any(o.is_quality for o in asked):
            raise ValueError(
                "objectives: a front needs a measured quality (top1, loss) and a cost "
                f"(lut, dsp, bram18, ...), but got {', '.join(self.objectives)}."
            )
        return self

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
        path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in item["loc"]).lstrip(".")
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
        annotation = model.model_fields[str(part)].annotation
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            break
        model = annotation
    return list(model.model_fields)
