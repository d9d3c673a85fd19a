"""What a formula returns: resources together with the formula's text, its source and how far it can be trusted."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from hwmodels.resources import Resources


class BandKind(StrEnum):
    """What an error band rests on."""

    MEASURED = "measured"  # compared with synthesis or implementation, inside the range of that table
    EXTRAPOLATED = "extrapolated"  # a measured formula outside its table; the numbers are widened, not measured
    UNCALIBRATED = "not yet calibrated"  # derived or assumed, never compared with a synthesis


WIDENING = 3.0
"""How much an extrapolated band is wider than the measured one (assumed; a fit of the dot-product form that has not seen a
whole family of formats is off by twice as much, see `calibration/dot_product_constants.py`)."""


@dataclass(frozen=True, slots=True)
class ErrorBand:
    """How far a formula is off: relative errors at the median and at the 90th percentile, and what they rest on.

    `median` and `p90` are None exactly when the formula is not yet calibrated: no number is better than an invented one.
    """

    kind: BandKind
    basis: str
    median: float | None = None
    p90: float | None = None

    def extrapolated(self, why: str) -> ErrorBand:
        """This band outside its table: widened by :data:`WIDENING`, with the reason; uncalibrated stays as it is."""
        if self.kind is BandKind.UNCALIBRATED or self.median is None or self.p90 is None:
            return self
        return replace(
            self,
            kind=BandKind.EXTRAPOLATED,
            basis=f"{self.basis}; extrapolated: {why}",
            median=self.median * WIDENING,
            p90=self.p90 * WIDENING,
        )

    def of_words(self, width: int, depth: int, most: tuple[int, int]) -> ErrorBand:
        """This band for `depth` words of `width` bits: extrapolated beyond the `most` bits and words of its table."""
        sizes = zip((f"words of {width} bits", f"{depth} words"), (width, depth), most, strict=True)
        reasons = [f"{what}, more than {limit}" for what, size, limit in sizes if size > limit]
        return self.extrapolated(", ".join(reasons)) if reasons else self

    def as_dict(self) -> dict[str, str | float | None]:
        """A plain description for JSON."""
        return {"kind": self.kind.value, "median": self.median, "p90": self.p90, "basis": self.basis}

    def __str__(self) -> str:
        if self.median is None or self.p90 is None:
            return self.kind.value
        return f"{self.kind.value}, median {self.median:.1%}, p90 {self.p90:.1%}"


def uncalibrated(basis: str) -> ErrorBand:
    """The band of a derived or assumed formula."""
    return ErrorBand(BandKind.UNCALIBRATED, basis)


@dataclass(frozen=True, slots=True)
class Cost:
    """The resources of one component, :meth:`on the grid <hwmodels.resources.Resources.on_grid>`, and where they come from."""

    component: str
    resources: Resources
    formula: str
    source: str
    band: ErrorBand

    def __post_init__(self) -> None:
        object.__setattr__(self, "resources", self.resources.on_grid())


def ceil_div(numerator: int, denominator: int) -> int:
    """The quotient of two integers, rounded up."""
    return -(-numerator // denominator)


def ceil_log2(number: int) -> int:
    """The least n with 2^n >= number, for number >= 1."""
    return (number - 1).bit_length()


def multiplexer_luts(inputs: int) -> int:
    """LUT6 that select one of `inputs` bits: four per LUT6, joined to 16 by the slice's F7 and F8, then again by LUTs.

    Derived (UG474, chapter 2).
    """
    if inputs <= 1:
        return 0
    return ceil_div(inputs, 4) + multiplexer_luts(ceil_div(inputs, 16))
