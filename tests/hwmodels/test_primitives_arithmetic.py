"""Multipliers, adder trees, aligners and units of them: the synthesis table, exact arithmetic, monotonicity."""

import csv
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwmodels.accumulator import code_range
from hwmodels.calibration.fit import TABLE
from hwmodels.catalog import integers, minifloats, parse_element
from hwmodels.codec import values
from hwmodels.devices import Family
from hwmodels.dot_product import dot_product_chains, dot_product_luts, dot_product_unit
from hwmodels.formats import ElementFormat, IntFormat, Minifloat
from hwmodels.primitives.adder_tree import adder_widths
from hwmodels.primitives.aligner import aligner_bits
from hwmodels.primitives.carry import carry_blocks
from hwmodels.primitives.multiplier import multiplier_chains, multiplier_luts
from hwmodels.primitives.operands import fixed_point_bits, max_shift, operands, significand_max


def test_integer_multipliers_of_the_table() -> None:
    """36 signed integer multipliers: packed LUTs within 2, CARRY4 exact for 28 and within 1 for all."""
    with TABLE.open(newline="") as file:
        rows = [r for r in csv.DictReader(file) if r["kind"] == "mul" and r["style"] == "rows"]
    rows = [r for r in rows if r["wfmt"].startswith("INT") and r["afmt"].startswith("INT")]
    assert len(rows) == 36
    exact = 0
    for row in rows:
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


@given(pairs, st.integers(2, 40))
def test_only_minifloats_pay_for_alignment(pair: tuple[ElementFormat, ElementFormat], kept: int) -> None:
    op = operands(*pair)
    within, beyond = aligner_bits(op, min(kept, op.product_bits))
    assert (within > 0) == bool(op.exponents)
    assert beyond >= 0
    assert op.is_integer or max(op.exponents) > 1


@pytest.mark.parametrize("bits", range(3, 9))
def test_e1my_costs_what_its_integer_grid_costs(bits: int) -> None:
    grid, fmt = IntFormat(bits, narrow=True), Minifloat(1, bits - 2)
    assert dot_product_unit(fmt, fmt, 8, 24, Family.XCUP) == dot_product_unit(grid, grid, 8, 24, Family.XCUP)


@given(pairs, st.integers(1, 64), st.integers(4, 80))
def test_cost_is_positive_and_grows_with_the_accumulator(
    pair: tuple[ElementFormat, ElementFormat], lanes: int, bits: int
) -> None:
    op = operands(*pair)
    narrow, wide = (dot_product_luts(op, lanes, p) for p in (bits, bits + 1))
    assert 0 < narrow < wide
    assert dot_product_unit(*pair, lanes, bits, Family.XCUP)[0].carry8 > 0


@given(pairs, st.integers(1, 63))
def test_cost_grows_with_the_lanes_of_an_exact_sum(pair: tuple[ElementFormat, ElementFormat], lanes: int) -> None:
    op = operands(*pair)
    bits = op.product_bits + 7
    assert dot_product_luts(op, lanes, bits) < dot_product_luts(op, lanes + 1, bits)


@given(st.sampled_from([*integers(range(2, 8)), *minifloats(range(3, 8))]), st.integers(1, 64))
def test_cost_grows_with_the_bits_of_an_exact_sum(fmt: ElementFormat, lanes: int) -> None:
    match fmt:
        case IntFormat():
            wider: list[ElementFormat] = [IntFormat(fmt.bits + 1, signed=fmt.signed, narrow=fmt.narrow)]
        case Minifloat():
            e, m = fmt.exponent_bits, fmt.mantissa_bits
            # one exponent bit is an integer grid: another circuit, compared in the table's tests
            wider = [Minifloat(e, m + 1)] + ([Minifloat(e + 1, m)] if e > 1 else [])

    def exact(of: ElementFormat) -> float:
        op = operands(of, of)
        return dot_product_luts(op, lanes, op.product_bits + 7)

    assert all(exact(fmt) < exact(other) for other in wider)


@given(pairs, st.integers(1, 32), st.integers(8, 40))
def test_seven_series_needs_at_least_as_many_carry_bits(
    pair: tuple[ElementFormat, ElementFormat], lanes: int, bits: int
) -> None:
    """A CARRY4 counts one half, and short chains waste less of it."""
    chains = dot_product_chains(operands(*pair), lanes, bits)
    assert (
        sum(chains) / 8 <= carry_blocks(chains, "xc7") <= carry_blocks(chains, "xcup") == carry_blocks(chains, "versal")
    )
