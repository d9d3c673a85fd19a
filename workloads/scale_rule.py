"""How a scale is fitted to the values it scales."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from hwmodels.errors import BitfrontError


class ScaleRuleError(BitfrontError):
    """A rule that does not exist."""


class Fit(StrEnum):
    """What a scale is fitted to."""

    ABSMAX = "absmax"  # the largest value: nothing is clipped
    MSE = "mse"  # the least squared error, among scales from that one down
    PERCENTILE = "percentile"  # the value below which a share of all magnitudes lies; larger ones are clipped


@dataclass(frozen=True)
class ScaleRule:
    """A fit; `percent` is the share of a percentile, in percent, and given for that only."""

    fit: Fit
    percent: float | None = None

    def __post_init__(self) -> None:
        if (self.fit is Fit.PERCENTILE) != (self.percent is not None):
            raise ScaleRuleError(
                f"`percent` must be given if and only if the fit is percentile, but got fit={self.fit}, percent={self.percent}."
            )
        if self.percent is not None and not 50 < self.percent < 100:
            raise ScaleRuleError(f"`percent` must be above 50 and below 100, but got percent={self.percent:g}.")

    @property
    def name(self) -> str:
        """``absmax``, ``mse`` or ``percentile99.9``; read back by :func:`parse_scale_rule`."""
        return self.fit.value if self.percent is None else f"{self.fit}{self.percent!r}".removesuffix(".0")

    def __str__(self) -> str:
        return self.name


ABSMAX: Final = ScaleRule(Fit.ABSMAX)
MSE: Final = ScaleRule(Fit.MSE)


def parse_scale_rule(name: str) -> ScaleRule:
    """The rule of a name such as ``absmax``, ``mse`` or ``percentile99.9``.

    Raises:
        ScaleRuleError: the name is none of these.
    """
    found = re.fullmatch(r"(absmax|mse)|percentile([0-9]{1,3}(?:\.[0-9]{1,9})?)", name.strip().lower())
    if found is None:
        raise ScaleRuleError(f"a scale rule must be absmax, mse or like percentile99.9, but got {name!r}.")
    return ScaleRule(Fit(found[1])) if found[1] else ScaleRule(Fit.PERCENTILE, float(found[2]))
