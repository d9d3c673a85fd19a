"""Derived properties of formats, against the table of the standards and known traps."""

from fractions import Fraction

import pytest

from hwmodels.catalog import minifloats, parse_format
from hwmodels.codec import values
from hwmodels.formats import E8M0, BlockFormat, FormatError, IntFormat, Minifloat, Specials

# OCP 8-bit floating point 1.0, table 1, and OCP MX 1.0, tables 3 to 7: bias, max, min normal, min subnormal
OCP_TABLE = {
    "ocp_e5m2": (15, 57344, Fraction(1, 2**14), Fraction(1, 2**16)),
    "ocp_e4m3": (7, 448, Fraction(1, 2**6), Fraction(1, 2**9)),
    "ocp_e3m2": (3, 28, Fraction(1, 4), Fraction(1, 16)),
    "ocp_e2m3": (1, Fraction(15, 2), 1, Fraction(1, 8)),
    "ocp_e2m1": (1, 6, 1, Fraction(1, 2)),
}


@pytest.mark.parametrize("name", OCP_TABLE)
def test_standard_values(name: str) -> None:
    fmt = parse_format(name)
    assert isinstance(fmt, Minifloat)
    assert (fmt.exponent_bias, fmt.max_value, fmt.min_normal, fmt.step) == OCP_TABLE[name]


def test_e8m0_is_a_scale_without_zero() -> None:
    assert (E8M0.exponent_bias, E8M0.max_value, E8M0.min_normal) == (127, Fraction(2) ** 127, Fraction(1, 2**127))
    assert E8M0.min_value > 0


@pytest.mark.parametrize(
    ("name", "maximum"),
    [("ocp_e4m3", 448), ("finite_e4m3", 480), ("ieee_e4m3", 240), ("fnuz_e4m3", 240), ("fnuz_e4m3b11", 30)],
)
def test_e4m3_has_five_maxima(name: str, maximum: int) -> None:
    fmt = parse_format(name)
    assert isinstance(fmt, Minifloat)
    assert fmt.max_value == maximum


@pytest.mark.parametrize("bits", range(2, 9))
@pytest.mark.parametrize("narrow", [False, True])
def test_integer_ranges(bits: int, narrow: bool) -> None:
    signed = IntFormat(bits, narrow=narrow)
    assert (signed.min_code, signed.max_code) == (-(2 ** (bits - 1)) + narrow, 2 ** (bits - 1) - 1)
    unsigned = IntFormat(bits, signed=False, narrow=narrow)
    assert (unsigned.min_code, unsigned.max_code) == (0, 2**bits - 1 - narrow)


@pytest.mark.parametrize("fmt", [f for f in minifloats() if f.exponent_bits == 1], ids=str)
def test_e1my_is_the_narrow_integer_grid(fmt: Minifloat) -> None:
    grid = fmt.integer_grid
    assert grid == IntFormat(fmt.bits, narrow=True)
    assert (values(fmt) == values(grid) * float(fmt.step)).all()


@pytest.mark.parametrize("fmt", [f for f in minifloats() if f.exponent_bits > 1], ids=str)
def test_other_minifloats_are_no_integer_grids(fmt: Minifloat) -> None:
    assert fmt.integer_grid is None
    spacing = {b - a for a, b in zip(values(fmt)[:-1], values(fmt)[1:], strict=True)}
    assert len(spacing) > 1


@pytest.mark.parametrize("fmt", minifloats(), ids=str)
def test_max_code_is_the_largest_multiple_of_the_step(fmt: Minifloat) -> None:
    e, m = fmt.exponent_bits, fmt.mantissa_bits
    assert fmt.max_code == (2 ** (m + 1) - 1) * 2 ** (2**e - 2)
    assert fmt.max_code * fmt.step == fmt.max_value


def test_block_formats_know_their_share_of_the_scale() -> None:
    assert BlockFormat(Minifloat(2, 1)).bits_per_value == Fraction(17, 4)
    assert BlockFormat(IntFormat(8), 16).bits_per_value == Fraction(17, 2)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: IntFormat(1), "`bits` of a signed integer format must be 2 to 32, but got bits=1."),
        (lambda: IntFormat(0, signed=False), "`bits` of an unsigned integer format must be 1 to 32, but got bits=0."),
        (lambda: Minifloat(0, 3), "must have exponent_bits >= 1"),
        (lambda: Minifloat(1, 2, specials=Specials.IEEE), "ieee specials need exponent_bits >= 2"),
        (lambda: Minifloat(4, 3, specials=Specials.FNUZ, signed=False), "fnuz specials need a sign bit"),
        (lambda: BlockFormat(IntFormat(8), 1), "`block_size` must be at least 2 values, but got block_size=1."),
    ],
)
def test_impossible_formats_are_refused(make: object, text: str) -> None:
    with pytest.raises(FormatError) as error:
        make()  # type: ignore[operator]
    assert text in str(error.value)
