import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwmodels.errors import BitfrontError
from hwmodels.resources import Resources, ResourceValueError, Shortage

COUNTS = st.integers(0, 10**6)
VECTORS = st.builds(Resources, lut=COUNTS, carry8=COUNTS, ff=COUNTS, dsp=COUNTS, bram18=COUNTS, uram=COUNTS)


def test_fields_add_up() -> None:
    one = Resources(lut=10, ff=4, dsp=1)
    assert one + Resources(lut=5, uram=2) == Resources(lut=15, ff=4, dsp=1, uram=2)
    assert one * 3 == 3 * one == Resources(lut=30, ff=12, dsp=3)
    assert one * 0.5 == Resources(lut=5, ff=2, dsp=0.5)
    assert Resources.sum([]) == Resources()
    assert list(one.as_dict()) == ["lut", "carry8", "ff", "dsp", "bram18", "uram"]


@given(VECTORS, VECTORS, VECTORS)
def test_addition_is_a_commutative_monoid(a: Resources, b: Resources, c: Resources) -> None:
    assert a + b == b + a
    assert (a + b) + c == a + (b + c) == Resources.sum([a, b, c])
    assert a + Resources() == a


@given(VECTORS, st.integers(0, 20))
def test_scaling_is_repeated_addition(a: Resources, n: int) -> None:
    assert a * n == Resources.sum([a] * n)


@given(VECTORS, VECTORS)
def test_fits_names_exactly_what_is_exceeded(need: Resources, have: Resources) -> None:
    short = need.fits(have)
    assert need.fits(need) == ()
    assert (need + have).fits(have) == tuple(
        Shortage(name, count + have.as_dict()[name], have.as_dict()[name])
        for name, count in need.as_dict().items()
        if count > 0
    )
    assert {entry.name for entry in short} == {n for n, count in need.as_dict().items() if count > have.as_dict()[n]}


def test_fits_reports_numbers() -> None:
    assert Resources(lut=101, dsp=3).fits(Resources(lut=100, dsp=3)) == (("lut", 101, 100),)


@pytest.mark.parametrize("count", [-1, math.nan, math.inf, True, "3"])
def test_impossible_counts_are_refused(count: object) -> None:
    with pytest.raises(ResourceValueError, match=r"^ff must be a finite count of at least 0, but got ") as error:
        Resources(ff=count)  # type: ignore[arg-type]
    assert isinstance(error.value, BitfrontError)


@pytest.mark.parametrize("factor", [-1, math.nan, math.inf])
def test_impossible_factors_are_refused(factor: float) -> None:
    with pytest.raises(ResourceValueError, match=r"^resources can only be scaled by a finite factor of at least 0"):
        Resources(lut=1) * factor


def test_other_operands_are_type_errors() -> None:
    with pytest.raises(TypeError):
        Resources() + 1  # type: ignore[operator]
    with pytest.raises(TypeError):
        Resources() * "2"  # type: ignore[operator]
