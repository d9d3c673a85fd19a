"""The additive FPGA resources of a circuit: one vector, `Resources`, and whether it fits a part.

Only things that add up over the parts of a circuit live here. The names are those of the primitives: LUT6, CARRY8,
flip-flop, DSP slice, RAMB18 (a RAMB36 is two of them) and URAM288. What reports are made of lies :meth:`on the grid
<Resources.on_grid>`, where sums are exact, so that a total does not depend on the order in which it was added up.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import NamedTuple

from hwmodels.errors import BitfrontError

GRID = 1 << 20
"""Steps of one primitive that reported counts are rounded to: fine enough never to show, and sums below 2^33 are exact."""

_NUMBERS = frozenset((int, float))


class ResourceValueError(BitfrontError):
    """A resource count or a factor that no circuit can have."""


class Shortage(NamedTuple):
    """One resource of which more is needed than there is."""

    name: str
    needed: float
    available: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Resources:
    """Counts of FPGA primitives; whole numbers from exact formulas, fractions from fitted ones.

    Attributes:
        lut: LUT6, including those used as memory (LUTRAM, SRL).
        carry8: CARRY8 blocks.
        ff: flip-flops.
        dsp: DSP slices (DSP48E1, DSP48E2 or DSP58, whichever the part has).
        bram18: RAMB18; a RAMB36 counts 2.
        uram: URAM288.

    Raises:
        ResourceValueError: a count is negative, infinite or not a number.
    """

    lut: float = 0
    carry8: float = 0
    ff: float = 0
    dsp: float = 0
    bram18: float = 0
    uram: float = 0

    def __post_init__(self) -> None:
        for count in self.counts():
            if type(count) not in _NUMBERS or not 0 <= count < math.inf:
                self._refuse()

    def counts(self) -> tuple[float, float, float, float, float, float]:
        """The counts in the order of the fields."""
        return self.lut, self.carry8, self.ff, self.dsp, self.bram18, self.uram

    def _refuse(self) -> None:
        """The error of a count that cannot be; numbers of other types (NumPy's, for one) count as what they equal."""
        for name, count in self.as_dict().items():
            if isinstance(count, bool) or not isinstance(count, (int, float)) or not 0 <= count < math.inf:
                raise ResourceValueError(f"{name} must be a finite count of at least 0, but got {count!r}.")

    def as_dict(self) -> dict[str, float]:
        """The counts by name, in the order of the fields."""
        return dict(zip(NAMES, self.counts(), strict=True))

    def __add__(self, other: Resources) -> Resources:
        if not isinstance(other, Resources):
            return NotImplemented
        return Resources(
            lut=self.lut + other.lut,
            carry8=self.carry8 + other.carry8,
            ff=self.ff + other.ff,
            dsp=self.dsp + other.dsp,
            bram18=self.bram18 + other.bram18,
            uram=self.uram + other.uram,
        )

    def __mul__(self, factor: float) -> Resources:
        """This many copies of the circuit; a factor below 0 or not finite raises ResourceValueError."""
        if isinstance(factor, bool) or not isinstance(factor, (int, float)):
            return NotImplemented
        if not math.isfinite(factor) or factor < 0:
            raise ResourceValueError(
                f"resources can only be scaled by a finite factor of at least 0, but got {factor!r}."
            )
        return Resources(**{name: count * factor for name, count in self.as_dict().items()})

    __rmul__ = __mul__

    def on_grid(self) -> Resources:
        """The same counts, each rounded to a multiple of 1 / :data:`GRID`."""
        if all(type(count) is int for count in self.counts()):
            return self
        return Resources(
            **{n: c if type(c) is int else round(c * GRID) / GRID for n, c in zip(NAMES, self.counts(), strict=True)}
        )

    @staticmethod
    def sum(parts: Iterable[Resources]) -> Resources:
        """The resources of all parts together; of no parts, all zero."""
        return Resources(
            **dict(zip(NAMES, map(sum, zip(*(part.counts() for part in parts), strict=True)), strict=False))
        )

    def fits(self, capacity: Resources) -> tuple[Shortage, ...]:
        """What is exceeded, as (name, needed, available) in the order of the fields; empty when all of it fits."""
        available = capacity.as_dict()
        return tuple(
            Shortage(name, needed, available[name])
            for name, needed in self.as_dict().items()
            if needed > available[name]
        )


NAMES = tuple(field.name for field in fields(Resources))
"""The names of the resources, in the order of the fields."""
