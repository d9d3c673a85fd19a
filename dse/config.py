"""The sweep's configuration: YAML in, one frozen value out, all mistakes at once and each with its path."""

from __future__ import annotations

import re
import reprlib
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import (
    BaseModel,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    field_validator,
    model_validator,
)

from dse.config_sections import (
    EvaluationConfig,
    HardwareConfig,
    HuggingFaceConfig,
    ImageNetworkConfig,
    RulesConfig,
    SearchConfig,
    SpaceConfig,
    Strict,
    parsed,
)
from dse.objectives import OBJECTIVES, get_objective
from hwmodels.errors import BitfrontError
from workloads.registry import (
    CLASSIFIER,
    HuggingFace,
    WorkloadRef,
    check_workload,
    metrics_of,
)

MAX_CONFIG_BYTES = 1 << 20
"""A configuration is a page of text: anything larger is not one, and is refused before it is parsed."""


class ConfigError(BitfrontError):
    """A configuration that cannot be read or does not hold; the message lists every mistake with its path."""


_SHORT = reprlib.Repr()
"""How messages show what was given: a page of YAML can alias itself into gigabytes."""
_SHORT.maxlevel, _SHORT.maxstring, _SHORT.maxother, _SHORT.maxlong = 2, 100, 100, 60


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


class SweepConfig(Strict):
    """Everything that is asked of a sweep."""

    name: str
    workload: Annotated[
        Annotated[str, parsed(check_workload), Tag(_TAGS[0])]
        | Annotated[HuggingFaceConfig, Tag(_TAGS[1])]
        | Annotated[ImageNetworkConfig, Tag(_TAGS[2])],
        Discriminator(_workload_kind),
    ]
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    objectives: Annotated[tuple[Annotated[str, parsed(get_objective)], ...], Field(min_length=2)] = ("top1", "lut")
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
