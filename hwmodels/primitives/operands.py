"""The integer widths inside a multiplier of two number formats: what every formula of a product starts from.

A minifloat product is the product of two integer significands, shifted left by the sum of two exponents, and negated if
the signs differ. All widths here are exact (integers from `bit_length`), derived from the formats' codes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from hwmodels.datapath import Overflow
from hwmodels.formats import ElementFormat, IntFormat, Minifloat
from hwmodels.primitives.cost import ceil_log2


@dataclass(frozen=True, slots=True)
class Operands:
    """Widths (bits) of the product of a weight and an activation.

    Attributes:
        wide, narrow: widths of the two multiplied integers, the larger first.
        core_bits: width of the significand product as it enters the shifter, magnitude only where both are minifloats.
        max_shift: largest left shift, in bits; 0 for integers.
        product_bits: F, width of the exact product with its sign.
        exponents: exponent field widths of the minifloats among the two.
        sign_magnitude: both are minifloats: the sign is applied to the product.
    """

    wide: int
    narrow: int
    core_bits: int
    max_shift: int
    product_bits: int
    exponents: tuple[int, ...]
    sign_magnitude: bool

    @property
    def is_integer(self) -> bool:
        """Whether no minifloat takes part."""
        return not self.exponents


def integer_grid(fmt: ElementFormat) -> ElementFormat:
    """`fmt`, or the integer format that it is in disguise (E1My)."""
    return fmt.integer_grid or fmt if isinstance(fmt, Minifloat) else fmt


def significand_max(fmt: ElementFormat) -> int:
    """The largest magnitude of the integer that is multiplied: a code, or a significand with its hidden bit."""
    match fmt:
        case IntFormat():
            return max(-fmt.min_code, fmt.max_code)
        case Minifloat():
            return (2 << fmt.mantissa_bits) - 1


def max_shift(fmt: ElementFormat) -> int:
    """The largest left shift that the exponent asks for, 0 for an integer; subnormals share the lowest normal exponent."""
    match fmt:
        case IntFormat():
            return 0
        case Minifloat():
            top = fmt.max_magnitude_code >> fmt.mantissa_bits
            return max(top - int(fmt.subnormals), 0)


def fixed_point_bits(fmt: ElementFormat) -> int:
    """Width of the two's complement integer that holds every value of `fmt` in units of its step."""
    grid = integer_grid(fmt)
    match grid:
        case IntFormat():
            return grid.bits
        case Minifloat():
            return grid.max_code.bit_length() + int(grid.signed)


@lru_cache(maxsize=1024)
def operands(weight: ElementFormat, activation: ElementFormat) -> Operands:
    """The widths of `weight` times `activation`; E1My counts as the integer grid that it is."""
    pair = (integer_grid(weight), integer_grid(activation))
    exponents = tuple(fmt.exponent_bits for fmt in pair if isinstance(fmt, Minifloat))
    mixed = len(exponents) == 1
    # against an integer the minifloat's significand is made two's complement first: one sign bit more
    widths = [fmt.bits if isinstance(fmt, IntFormat) else fmt.mantissa_bits + 1 + int(mixed) for fmt in pair]
    magnitude = (significand_max(pair[0]) * significand_max(pair[1])).bit_length()
    shift = max_shift(pair[0]) + max_shift(pair[1])
    return Operands(
        wide=max(widths),
        narrow=min(widths),
        core_bits=magnitude + int(mixed),
        max_shift=shift,
        product_bits=magnitude + shift + 1,
        exponents=exponents,
        sign_magnitude=len(exponents) == 2,
    )


def dropped_bits(op: Operands, lanes: int, accumulator_bits: int, overflow: Overflow) -> int:
    """Low bits of every product that are left out so that `lanes` of the largest ones fit P; at least one bit stays.

    None of integers, and none where the accumulator is proved to hold every sum (overflow impossible): sums modulo 2^P are
    exact then, whatever a single product of other weights would need.
    """
    if op.is_integer or overflow is Overflow.IMPOSSIBLE:
        return 0
    return op.product_bits - max(1, min(op.product_bits, accumulator_bits - ceil_log2(lanes)))


def kept_bits(op: Operands, lanes: int, accumulator_bits: int, overflow: Overflow) -> int:
    """PW, the bits of each product that enter the tree: what is not dropped, and no more than P of them."""
    return min(op.product_bits - dropped_bits(op, lanes, accumulator_bits, overflow), accumulator_bits)
