"""Codes and rounding: equal to ml_dtypes and gfloat on every code they have, and to the exact oracle on every format."""

from fractions import Fraction

import gfloat
import gfloat.formats
import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwmodels.catalog import CATALOG, integers, minifloats, parse_element
from hwmodels.codec import decode, decode_all, quantize, round_value, values
from hwmodels.formats import E8M0, BlockFormat, ElementFormat, FormatError, IntFormat, Minifloat

ML_DTYPES = {
    "ocp_e4m3": ml_dtypes.float8_e4m3fn,
    "ocp_e5m2": ml_dtypes.float8_e5m2,
    "ieee_e3m4": ml_dtypes.float8_e3m4,
    "ieee_e4m3": ml_dtypes.float8_e4m3,
    "fnuz_e4m3": ml_dtypes.float8_e4m3fnuz,
    "fnuz_e5m2": ml_dtypes.float8_e5m2fnuz,
    "fnuz_e4m3b11": ml_dtypes.float8_e4m3b11fnuz,
    "e8m0": ml_dtypes.float8_e8m0fnu,
    "ocp_e3m2": ml_dtypes.float6_e3m2fn,
    "ocp_e2m3": ml_dtypes.float6_e2m3fn,
    "ocp_e2m1": ml_dtypes.float4_e2m1fn,
    "int2": ml_dtypes.int2,
    "int4": ml_dtypes.int4,
    "uint2": ml_dtypes.uint2,
    "uint4": ml_dtypes.uint4,
}
GFLOAT = {
    "ocp_e4m3": gfloat.formats.format_info_ocp_e4m3,
    "ocp_e5m2": gfloat.formats.format_info_ocp_e5m2,
    "ocp_e3m2": gfloat.formats.format_info_ocp_e3m2,
    "ocp_e2m3": gfloat.formats.format_info_ocp_e2m3,
    "ocp_e2m1": gfloat.formats.format_info_ocp_e2m1,
    "e8m0": gfloat.formats.format_info_ocp_e8m0,
}
ELEMENTS: list[ElementFormat] = list(
    dict.fromkeys(
        [
            *integers(),
            *minifloats(),
            *(e.format for e in CATALOG if not isinstance(e.format, BlockFormat) and e.format != E8M0),
            *(Minifloat(e, m, signed=False) for e in (2, 3, 4) for m in (0, 1, 3)),
        ]
    )
)


@pytest.mark.parametrize("name", ML_DTYPES)
def test_every_code_equals_ml_dtypes(name: str) -> None:
    fmt = parse_element(name)
    codes = np.arange(1 << fmt.bits, dtype=np.uint8)
    theirs = codes.view(ML_DTYPES[name]).astype(np.float64)
    if isinstance(fmt, IntFormat):  # narrow integers ignore the upper bits of their byte
        assert theirs.tolist() == decode_all(fmt).tolist()
        return
    np.testing.assert_array_equal(decode_all(fmt), theirs)
    assert (np.signbit(decode_all(fmt)) == np.signbit(theirs))[~np.isnan(theirs)].all()


@pytest.mark.parametrize("name", GFLOAT)
def test_every_code_equals_gfloat(name: str) -> None:
    fmt = parse_element(name)
    theirs = [gfloat.decode_float(GFLOAT[name], code).fval for code in range(1 << fmt.bits)]
    np.testing.assert_array_equal(decode_all(fmt), theirs)


def test_mx_int8_equals_gfloat_up_to_its_implied_scale() -> None:
    theirs = [gfloat.decode_float(gfloat.formats.format_info_ocp_int8, code).fval for code in range(256)]
    np.testing.assert_array_equal(decode_all(IntFormat(8)) / 64, theirs)


def probes(fmt: ElementFormat) -> np.ndarray:
    """All values, all midpoints between neighbours, points just off both, and beyond both ends."""
    grid = values(fmt)
    middle = (grid[:-1] + grid[1:]) / 2
    beyond = [grid[0] * 1.1 - 1, grid[-1] * 1.1 + 1, grid[-1] * 2, -grid[-1] * 2]
    # neighbours in float32: ml_dtypes rounds a float64 to float32 first, which would turn closer ones into ties
    near = [np.nextafter(middle.astype(np.float32), np.float32(end)) for end in (np.inf, -np.inf)]
    points = [grid, middle, *near, beyond]
    return np.concatenate([np.asarray(p, dtype=np.float64) for p in points])


@pytest.mark.parametrize("name", [name for name in GFLOAT if name != "e8m0"])
def test_rounding_equals_gfloat_with_saturation(name: str) -> None:
    fmt = parse_element(name)
    points = probes(fmt)
    theirs = [gfloat.round_float(GFLOAT[name], x, gfloat.RoundMode.TiesToEven, sat=True) for x in points.tolist()]
    np.testing.assert_array_equal(quantize(fmt, points), theirs)


@pytest.mark.parametrize(
    "name", ["ocp_e3m2", "ocp_e2m3", "ocp_e2m1", "fnuz_e4m3", "fnuz_e5m2", "fnuz_e4m3b11", "ieee_e3m4"]
)
def test_rounding_within_range_equals_ml_dtypes(name: str) -> None:
    fmt = parse_element(name)
    points = probes(fmt)
    points = points[np.abs(points) <= float(fmt.max_value)]
    np.testing.assert_array_equal(quantize(fmt, points), points.astype(ML_DTYPES[name]).astype(np.float64))


@pytest.mark.parametrize("fmt", ELEMENTS, ids=str)
def test_array_rounding_equals_the_exact_oracle(fmt: ElementFormat) -> None:
    points = probes(fmt)
    oracle = [float(round_value(fmt, Fraction(x))) for x in points.tolist()]
    np.testing.assert_array_equal(quantize(fmt, points), oracle)


@settings(deadline=None)
@given(st.sampled_from(ELEMENTS), st.floats(-1e6, 1e6, allow_nan=False), st.integers(-20, 5))
def test_array_rounding_equals_the_exact_oracle_anywhere(fmt: ElementFormat, mantissa: float, power: int) -> None:
    x = float(np.ldexp(mantissa, power))
    assert quantize(fmt, np.array(x)).item() == float(round_value(fmt, Fraction(x)))


@pytest.mark.parametrize("fmt", ELEMENTS, ids=str)
def test_the_oracle_returns_a_nearest_value(fmt: ElementFormat) -> None:
    grid = [Fraction(v) for v in values(fmt).tolist()]
    for x in probes(fmt)[::3].tolist():
        rounded = round_value(fmt, Fraction(x))
        assert rounded in grid
        assert abs(rounded - Fraction(x)) == min(abs(g - Fraction(x)) for g in grid)


@pytest.mark.parametrize("fmt", ELEMENTS, ids=str)
def test_rounding_is_idempotent_and_monotone(fmt: ElementFormat) -> None:
    grid = values(fmt)
    np.testing.assert_array_equal(quantize(fmt, grid), grid)
    assert (np.diff(quantize(fmt, np.sort(probes(fmt)))) >= 0).all()


def test_shape_and_float32_input_are_kept_and_widened() -> None:
    out = quantize(IntFormat(4), np.full((2, 3), 2.5, dtype=np.float32))
    assert (out.shape, out.dtype, out[0, 0]) == ((2, 3), np.float64, 2.0)


def test_what_cannot_be_coded_is_refused() -> None:
    with pytest.raises(FormatError, match="must not be NaN, but 1 of 2 are"):
        quantize(IntFormat(4), np.array([0.0, np.nan]))
    with pytest.raises(FormatError, match="must be quantized to a format with a zero, but got e8m0"):
        quantize(E8M0, np.array([1.0]))
    with pytest.raises(FormatError, match="a code of int4 must be 0 to 15, but got 16"):
        decode(IntFormat(4), 16)
