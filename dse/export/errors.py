"""The error of every network or format that cannot be exported."""

from __future__ import annotations

from hwmodels.errors import BitfrontError


class ExportError(BitfrontError):
    """A network or a format that an exporter does not take; names what it does take, or what failed and where."""
