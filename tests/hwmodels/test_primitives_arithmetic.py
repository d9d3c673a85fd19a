"""Multipliers, adder trees, aligners and units of them: the synthesis table, exact arithmetic, monotonicity."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prototype import rows

from hwmodels.accumulator import code_range
from hwmodels.catalog import integers, minifloats, parse_element
from hwmodels.codec import values
from hwmodels.datapath import Overflow
from hwmodels.devices import Family
from hwmodels.dot_product import dot_product_luts, dot_product_unit
from hwmodels.formats import ElementFormat, IntFormat, Minifloat
from hwmodels.primitives.adder_tree import adder_widths
from hwmodels.primitives.carry import carry_blocks
from hwmodels.primitives.multiplier import multiplier_chains, multiplier_luts
from hwmodels.primitives.operands import dropped_bits, fixed_point_bits, max_shift, operands, significand_max


def test_integer_multipliers_of_the_table() -> None:
    """36 signed integer multipliers: packed LUTs within 2, CARRY4 exact for 28 and within 1 for all."""
    found = [r for r in rows("mul", style="rows") if r["wfmt"].startswith("INT") and r["afmt"].startswith("INT")]
    assert len(found) == 36
    exact = 0
    for row in found:
        wide, narrow = sorted((int(row["wfmt"][3:]), int(row["afmt"][3:])), reverse=True)
        assert abs(multiplier_luts(wide, narrow) - int(row["lut_packed"])) <= 2
        off = 2 * carry_blocks(multiplier_chains(wide, narrow), "xc7") - int(row["carry4"])
        assert abs(off) <= 1
        exact += off == 0
    assert exact == 28


@given(st.integers(1, 16), st.integers(1, 16), st.booleans())
def test_wider_multipliers_cost_no_less(wide: int, narrow: int, plain: bool) -> None:
    wide, narrow = max(wide, narrow), min(wide, narrow)
    assert multiplier_luts(wide, narrow, plain=plain) <= multiplier_luts(wide + 1, narrow, plain=plain)
    if narrow < wide:
        assert multiplier_luts(wide, narrow, plain=plain) <= multiplier_luts(wide, narrow + 1, plain=plain)


@given(st.integers(1, 130), st.integers(1, 20), st.integers(2, 40))
def test_a_tree_has_one_adder_less_than_lanes(lanes: int, width: int, cap: int) -> None:
    widths = adder_widths(lanes, width, cap)
    assert len(widths) == lanes - 1
    assert max(widths, default=0) <= cap
    if lanes > 1 and cap >= width + 8:
        assert max(widths) == width + (lanes - 1).bit_length()


pairs = st.tuples(st.sampled_from([*integers(), *minifloats()]), st.sampled_from([*integers(), *minifloats()]))


@given(pairs)
def test_product_width_holds_every_product_and_is_least(pair: tuple[ElementFormat, ElementFormat]) -> None:
    op = operands(*pair)
    reach = [w * a for w, a in product(code_range(pair[0]), code_range(pair[1]))]
    largest = max(abs(value) for value in reach)
    # one sign bit beside the magnitude; -2^k needs one bit less than +2^k, which the width does not use
    assert op.product_bits == largest.bit_length() + 1


@pytest.mark.parametrize("fmt", [*integers(), *minifloats()], ids=str)
def test_fixed_point_width_holds_every_value(fmt: ElementFormat) -> None:
    step = 1.0 if isinstance(fmt, IntFormat) else float(fmt.step)
    codes = [int(value / step) for value in values(fmt).tolist()]
    bits, signed = fixed_point_bits(fmt), fmt.signed
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    assert low <= min(codes)
    assert max(codes) <= high
    assert max(-min(codes) - 1, *codes).bit_length() + signed == bits


@pytest.mark.parametrize("name", ["ocp_e4m3", "ocp_e5m2", "fnuz_e5m2", "ieee_e3m4", "e3m2", "e4m0"])
def test_significand_and_shift_make_the_largest_code(name: str) -> None:
    fmt = parse_element(name)
    assert isinstance(fmt, Minifloat)
    top = significand_max(fmt) << max_shift(fmt)
    assert top >= fmt.max_code > top >> 1
    if name != "ocp_e4m3":  # its all-ones significand at the top exponent is NaN
        assert top == fmt.max_code


@given(pairs, st.integers(1, 64), st.integers(4, 80), st.sampled_from(Overflow))
def test_every_unit_costs_something(
    pair: tuple[ElementFormat, ElementFormat], lanes: int, bits: int, overflow: Overflow
) -> None:
    resources, _ = dot_product_unit(*pair, lanes, bits, Family.XCUP, overflow)
    assert resources.lut >= bits / 2
    assert resources.carry8 > 0
    assert resources.ff == bits


@given(pairs, st.integers(1, 63))
def test_cost_grows_with_the_lanes_of_an_exact_sum(pair: tuple[ElementFormat, ElementFormat], lanes: int) -> None:
    bits = operands(*pair).product_bits + 7
    assert dot_product_luts(*pair, lanes, bits) < dot_product_luts(*pair, lanes + 1, bits)


@given(pairs, st.integers(1, 32), st.integers(24, 60))
def test_saturation_and_wider_sums_cost_more(pair: tuple[ElementFormat, ElementFormat], lanes: int, bits: int) -> None:
    wrapping = dot_product_luts(*pair, lanes, bits, Overflow.WRAP, 0)
    assert dot_product_luts(*pair, lanes, bits, Overflow.SATURATE, 0) > wrapping
    assert dot_product_luts(*pair, lanes, bits + 1, Overflow.WRAP, 0) > wrapping


@given(pairs, st.integers(1, 32), st.integers(8, 40))
def test_a_proved_accumulator_drops_nothing(pair: tuple[ElementFormat, ElementFormat], lanes: int, bits: int) -> None:
    op = operands(*pair)
    assert dropped_bits(op, lanes, bits, Overflow.IMPOSSIBLE) == 0
    dropped = dropped_bits(op, lanes, bits, Overflow.WRAP)
    assert (
        dropped == 0
        if op.is_integer
        else op.product_bits - dropped + (lanes - 1).bit_length() <= max(bits, 1 + (lanes - 1).bit_length())
    )


@given(pairs, st.integers(1, 32), st.integers(8, 40))
def test_seven_series_wastes_less_of_short_chains(
    pair: tuple[ElementFormat, ElementFormat], lanes: int, bits: int
) -> None:
    """A CARRY4 counts one half."""
    seven, plus = (dot_product_unit(*pair, lanes, bits, family)[0].carry8 for family in (Family.XC7, Family.XCUP))
    assert seven <= plus
