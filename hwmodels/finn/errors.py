"""The errors of the FINN compatibility mode and the checks that more than one operator needs."""

from __future__ import annotations

from hwmodels.errors import BitfrontError
from hwmodels.ops import known_divisors


class FinnModelError(BitfrontError):
    """An operator, column or attribute that the FINN compatibility mode cannot cost; the text says what would do."""


def require_positive(**values: int) -> None:
    """Raise unless every named value is at least 1."""
    for name, value in values.items():
        if value < 1:
            raise FinnModelError(f"{name} must be at least 1, but got {value}.")


def require_divides(name: str, value: int, total_name: str, total: int) -> None:
    """Raise unless `value` is a divisor of `total`; the text names the nearest divisors."""
    require_positive(**{total_name: total, name: value})
    if total % value:
        known = known_divisors(total)
        below = [d for d in known if d < value][-1:]
        above = [d for d in known if d > value][:1]
        near = ", ".join(str(d) for d in below + above)
        raise FinnModelError(
            f"{name} must divide {total_name}, but got {name}={value}, {total_name}={total}; "
            f"divisors near {value}: {near}."
        )
