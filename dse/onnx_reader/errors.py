"""The error of every ONNX file that cannot be read into a network."""

from __future__ import annotations

from hwmodels.errors import BitfrontError


class OnnxReadError(BitfrontError):
    """A file that is not ONNX, is damaged, or holds what no dataflow operator covers; names the node and what would do."""


def quoted(value: object) -> str:
    """A value from a file for a message: quoted, on one line, and no longer than a line."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
