"""What nodes alone do not say, kept in the file's metadata: accumulators that are not simply the proved ones, groups, and what
scales are called where the same nodes may be either (one scale per token or per tensor, where a tensor is one token).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from dse.onnx_reader.errors import OnnxReadError, quoted
from hwmodels.datapath import DatapathError, Scaling, parse_scaling

LAYERS_KEY = "bitfront.layers"
"""Metadata key; its value is JSON: layer name -> the fields of :class:`StatedLayer` that are not None."""

SITES_KEY = "bitfront.sites"
"""Metadata key; its value is JSON: site -> name of its scaling, of sites that have not simply one constant scale."""

FRAME_KEY = "bitfront.frame"
"""Metadata key; its value is how many tokens hardware takes in at a time, where the input is text: 1 if it is absent."""


@dataclass(frozen=True)
class StatedLayer:
    """What a file says of a layer with weights beyond its nodes. Widths are checked against the weights when read.

    Args:
        accumulator_bits: P, at least what the weights need; None: that.
        tile_size: products after which the accumulator starts anew; None: never, or after a group.
        group_size: consecutive weights (in hardware order) that share a scale.
    """

    accumulator_bits: int | None = None
    tile_size: int | None = None
    group_size: int | None = None

    def __post_init__(self) -> None:
        for value in (self.accumulator_bits, self.tile_size, self.group_size):
            if not (value is None or (isinstance(value, int) and not isinstance(value, bool) and 1 <= value < 1 << 31)):
                raise TypeError(value)


def write_layers(layers: Mapping[str, StatedLayer]) -> str:
    """The text that :func:`stated_layers` reads back."""
    plain = {name: {k: v for k, v in asdict(layer).items() if v is not None} for name, layer in layers.items()}
    return json.dumps(plain, sort_keys=True)


def stated_layers(metadata: Mapping[str, str]) -> dict[str, StatedLayer]:
    """What the metadata of a file says of its layers; nothing, if it has no such key.

    Raises:
        OnnxReadError: the text is not of that form.
    """
    try:
        entries = json.loads(metadata.get(LAYERS_KEY, "{}"))
        return {str(name): StatedLayer(**entry) for name, entry in entries.items()}
    except (ValueError, TypeError, AttributeError, RecursionError):
        raise OnnxReadError(
            f"the metadata {LAYERS_KEY} must be JSON of layer: accumulator_bits, tile_size, group_size, but it is not."
        ) from None


def write_sites(scalings: Mapping[str, Scaling]) -> str:
    """The text that :func:`stated_sites` reads back."""
    return json.dumps({name: scaling.name for name, scaling in scalings.items()}, sort_keys=True)


def stated_sites(metadata: Mapping[str, str]) -> dict[str, Scaling]:
    """What the metadata of a file says of the scales of its sites; nothing, if it has no such key.

    Raises:
        OnnxReadError: the text is not of that form.
    """
    try:
        entries = json.loads(metadata.get(SITES_KEY, "{}"))
        return {str(name): parse_scaling(scaling) for name, scaling in entries.items()}
    except (ValueError, TypeError, AttributeError, RecursionError, DatapathError):
        raise OnnxReadError(f"the metadata {SITES_KEY} must be JSON of site: scaling, but it is not.") from None


def stated_frame(metadata: Mapping[str, str]) -> int:
    """Tokens of a frame.

    Raises:
        OnnxReadError: it is no sane number.
    """
    text = metadata.get(FRAME_KEY, "1")
    if not (text.isascii() and text.isdigit() and 1 <= len(text) <= 7 and int(text) > 0):
        raise OnnxReadError(f"the metadata {FRAME_KEY} must be a number of tokens, but it is {quoted(text)}.")
    return int(text)
