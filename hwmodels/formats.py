"""Number formats as frozen values: integers, minifloats and block formats, with everything that can be derived from them.

A format says which real numbers exist (on a scale of 1) and how their codes are stored. It says nothing about scales:
those belong to :class:`hwmodels.datapath.Scaling`, except for a block format, whose scale is part of the standard.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from typing import TypeAlias

from hwmodels.errors import BitfrontError


class FormatError(BitfrontError):
    """A number format that cannot exist, or a name that does not say which format is meant."""


class Specials(StrEnum):
    """What the top codes of a minifloat mean."""

    NONE = "none"  # all codes are finite (QONNX and Brevitas default, OCP MX FP6 and FP4)
    NAN = "nan"  # only the all-ones code is NaN, no infinity (OCP FP8 E4M3, E8M0)
    IEEE = "ieee"  # the top exponent is infinity (mantissa 0) and NaN (others), as in IEEE 754 (OCP FP8 E5M2)
    FNUZ = "fnuz"  # the code of negative zero is the only NaN; no infinity, no negative zero


@dataclass(frozen=True)
class IntFormat:
    """A two's complement (or unsigned) integer of `bits` bits, sign included.

    `narrow` leaves out the most negative code, so that the grid is symmetric: [-(2^(b-1)-1), 2^(b-1)-1]; for an unsigned
    format it leaves out the largest code, as in Brevitas and QONNX.
    """

    bits: int
    signed: bool = True
    narrow: bool = False

    def __post_init__(self) -> None:
        least = 2 if self.signed else 1
        if not least <= self.bits <= 32:
            kind = "a signed" if self.signed else "an unsigned"
            raise FormatError(f"`bits` of {kind} integer format must be {least} to 32, but got bits={self.bits}.")

    @property
    def min_code(self) -> int:
        """The smallest representable integer."""
        return -(1 << (self.bits - 1)) + int(self.narrow) if self.signed else 0

    @property
    def max_code(self) -> int:
        """The largest representable integer."""
        return (1 << (self.bits - 1)) - 1 if self.signed else (1 << self.bits) - 1 - int(self.narrow)

    @property
    def max_value(self) -> Fraction:
        """The largest representable value on a scale of 1."""
        return Fraction(self.max_code)

    @property
    def min_value(self) -> Fraction:
        """The smallest representable value on a scale of 1."""
        return Fraction(self.min_code)

    @property
    def name(self) -> str:
        """The name that :func:`hwmodels.catalog.parse_format` reads back: ``int4``, ``uint8``, ``int4_narrow``."""
        return f"{'' if self.signed else 'u'}int{self.bits}{'_narrow' if self.narrow else ''}"

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Minifloat:
    """A sign-magnitude floating-point format ExMy with `mantissa_bits` *stored* bits (the hidden bit is not counted).

    Args:
        exponent_bits: x of ExMy, >= 1.
        mantissa_bits: y of ExMy, >= 0.
        bias: exponent bias; None stands for :attr:`default_bias` and is resolved, so that equal formats compare equal.
        specials: what the top codes mean.
        subnormals: exponent field 0 means gradual underflow. False makes it an ordinary binade, and the format has no
            zero: that is E8M0.
        signed: whether there is a sign bit.

    Source of the value of a code: OCP 8-bit floating point specification 1.0, section 5; OCP Microscaling formats 1.0,
    section 5.3.
    """

    exponent_bits: int
    mantissa_bits: int
    bias: int | None = None
    specials: Specials = Specials.NONE
    subnormals: bool = True
    signed: bool = True

    def __post_init__(self) -> None:
        if self.exponent_bits < 1 or self.mantissa_bits < 0 or self.bits > 16:
            raise FormatError(
                "a minifloat must have exponent_bits >= 1, mantissa_bits >= 0 and at most 16 bits in all, but got "
                f"exponent_bits={self.exponent_bits}, mantissa_bits={self.mantissa_bits}; write integers as int4 or uint4."
            )
        if self.specials is Specials.FNUZ and not self.signed:
            raise FormatError("fnuz specials need a sign bit (NaN is the code of negative zero), but got signed=False.")
        if self.specials is Specials.IEEE and self.exponent_bits < 2:
            raise FormatError("ieee specials need exponent_bits >= 2, or no finite normal number is left, but got 1.")
        if self.bias is None:
            object.__setattr__(self, "bias", self.default_bias)

    @property
    def default_bias(self) -> int:
        """The bias the field takes where a standard does not say otherwise: 2^(x-1) - 1, one more for fnuz."""
        return (1 << (self.exponent_bits - 1)) - (0 if self.specials is Specials.FNUZ else 1)

    @property
    def exponent_bias(self) -> int:
        """The bias as an integer (the field `bias` with its default resolved)."""
        assert self.bias is not None  # resolved in __post_init__
        return self.bias

    @property
    def bits(self) -> int:
        """Stored bits of one code, sign included."""
        return int(self.signed) + self.exponent_bits + self.mantissa_bits

    @property
    def max_magnitude_code(self) -> int:
        """The code (without sign) of the largest finite number."""
        top = (1 << (self.exponent_bits + self.mantissa_bits)) - 1
        match self.specials:
            case Specials.NAN:
                return top - 1
            case Specials.IEEE:
                return top - (1 << self.mantissa_bits)
            case Specials.NONE | Specials.FNUZ:
                return top

    def magnitude(self, code: int) -> Fraction:
        """The exact value of a code without its sign; codes above `max_magnitude_code` are specials and refused."""
        if not 0 <= code <= self.max_magnitude_code:
            raise FormatError(
                f"a finite magnitude code of {self} must be 0 to {self.max_magnitude_code}, but got {code}."
            )
        exponent, mantissa = code >> self.mantissa_bits, code & ((1 << self.mantissa_bits) - 1)
        if exponent == 0 and self.subnormals:
            significand, power = mantissa, 1 - self.exponent_bias
        else:
            significand, power = mantissa + (1 << self.mantissa_bits), exponent - self.exponent_bias
        return significand * Fraction(2) ** (power - self.mantissa_bits)

    @property
    def step(self) -> Fraction:
        """The quantum: every finite value is an integer multiple of it (the smallest subnormal)."""
        first = 1 if self.subnormals else 0
        return Fraction(2) ** (first - self.exponent_bias - self.mantissa_bits)

    @property
    def max_value(self) -> Fraction:
        """The largest finite value."""
        return self.magnitude(self.max_magnitude_code)

    @property
    def min_value(self) -> Fraction:
        """The smallest (most negative) finite value."""
        return -self.max_value if self.signed else self.magnitude(0)

    @property
    def min_normal(self) -> Fraction:
        """The smallest normal number."""
        return Fraction(2) ** ((1 if self.subnormals else 0) - self.exponent_bias)

    @property
    def max_exponent(self) -> int:
        """floor(log2(max_value)): emax of the OCP MX scale rule."""
        return (self.max_magnitude_code >> self.mantissa_bits) - self.exponent_bias

    @property
    def max_code(self) -> int:
        """The largest magnitude in units of `step`: what an exact (Kulisch) fixed-point datapath must hold."""
        exponent, mantissa = divmod(self.max_magnitude_code, 1 << self.mantissa_bits)
        if self.subnormals:
            return (mantissa + (1 << self.mantissa_bits)) << (exponent - 1) if exponent else mantissa
        return (mantissa + (1 << self.mantissa_bits)) << exponent

    @property
    def integer_grid(self) -> IntFormat | None:
        """The integer format whose values (times `step`) are this format's values, or None.

        With one exponent bit the first normal binade continues the subnormals at the same spacing, so E1My *is* the
        narrow-range integer of the same width, value by value (facts: Shedding the Bits leaves this implicit).
        """
        if self.exponent_bits == 1 and self.subnormals and self.specials is Specials.NONE:
            return IntFormat(self.bits, signed=self.signed, narrow=self.signed)
        return None

    @property
    def name(self) -> str:
        """The name that :func:`hwmodels.catalog.parse_format` reads back.

        ``e3m2`` has only finite codes, other conventions are prefixes: ``ocp_e4m3``, ``ieee_e3m4``, ``fnuz_e4m3b11`` (a
        bias that is not the default stands behind b), ``ue3m2`` is unsigned. E4M3 and E5M2 never stand bare, because
        their maximum depends on who says it (448, 480 or 240): all codes finite is ``finite_e4m3``.
        """
        if self == E8M0:
            return "e8m0"
        shape = (self.exponent_bits, self.mantissa_bits)
        standard = OCP_SPECIALS.get(shape) is self.specials and self.exponent_bias == self.default_bias and self.signed
        match self.specials:
            case Specials.NONE:
                prefix = "finite_" if shape in (*OCP_SPECIALS, (8, 0)) else ""
            case _:
                prefix = "ocp_" if standard else f"{self.specials}_"
        bias = "" if self.exponent_bias == self.default_bias else f"b{self.exponent_bias}"
        sign = "" if self.signed else "u"
        return f"{prefix}{sign}e{shape[0]}m{shape[1]}{bias}{'' if self.subnormals else '_nosubnormals'}"

    def __str__(self) -> str:
        return self.name


OCP_SPECIALS = {(4, 3): Specials.NAN, (5, 2): Specials.IEEE}
"""Shapes whose OCP standard (8-bit floating point 1.0, table 1) does not make all codes finite: never named bare."""

E8M0 = Minifloat(8, 0, bias=127, specials=Specials.NAN, subnormals=False, signed=False)
"""The power-of-two block scale of OCP MX (Microscaling formats 1.0, section 5.4.1)."""

OCP_E4M3 = Minifloat(4, 3, specials=Specials.NAN)
"""The block scale of NVFP4, beside one float scale for the whole tensor."""

_BLOCK_FAMILIES = {
    E8M0: ("mx", 32),
    OCP_E4M3: ("nv", 16),
}  # how a name begins, and the block size that it does not state


@dataclass(frozen=True)
class BlockFormat:
    """`block_size` elements that share one scale stored in the format `scale` (OCP MX: 32 and E8M0; NVFP4: 16 and E4M3)."""

    element: IntFormat | Minifloat
    block_size: int = 32
    scale: Minifloat = E8M0

    def __post_init__(self) -> None:
        if self.block_size < 2:
            raise FormatError(f"`block_size` must be at least 2 values, but got block_size={self.block_size}.")

    @property
    def bits(self) -> int:
        """Stored bits of one element, without its share of the scale."""
        return self.element.bits

    @property
    def bits_per_value(self) -> Fraction:
        """Stored bits per value with the scale's share: MXFP4 has 4.25."""
        return self.element.bits + Fraction(self.scale.bits, self.block_size)

    @property
    def name(self) -> str:
        """``mxfp4_e2m1``, ``mxint8``, ``nvfp4_e2m1``; ``_k64`` behind it where the block size is not 32 (mx) or 16 (nv)."""
        if self.scale not in _BLOCK_FAMILIES:
            raise FormatError(
                f"only block formats with an e8m0 or ocp_e4m3 scale have a name, but got scale={self.scale}."
            )
        prefix, usual = _BLOCK_FAMILIES[self.scale]
        element = self.element
        if isinstance(element, IntFormat):
            stem = f"{prefix}{element.name}"
        else:
            stem = f"{prefix}fp{element.bits}_{element.name.removeprefix('ocp_')}"
        return stem if self.block_size == usual else f"{stem}_k{self.block_size}"

    def __str__(self) -> str:
        return self.name


ElementFormat: TypeAlias = IntFormat | Minifloat
NumberFormat: TypeAlias = IntFormat | Minifloat | BlockFormat
