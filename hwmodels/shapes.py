"""What is refused of an operator's shape, whichever operator it is."""

from __future__ import annotations

from hwmodels.errors import BitfrontError


class ShapeError(BitfrontError):
    """A shape, folding or assignment of formats that does not fit its operator."""


def require_positive(name: str, **sizes: int) -> None:
    """Refuse a size below 1."""
    for size, value in sizes.items():
        if value < 1:
            raise ShapeError(f"`{size}` of an operator must be at least 1, but {name} got {size}={value}.")
