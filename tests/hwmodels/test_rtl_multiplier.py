"""The multipliers: every cut into rows, every pair of widths up to 8 x 8 exhaustively, simulated against Python's integers."""

from collections import defaultdict

import numpy as np
import pytest

from hwmodels.rtl.multiplier import (
    Factor,
    Step,
    best_plan,
    multiplier_module,
    multiplier_type,
    partial_range,
    plans,
)
from hwmodels.rtl.simulate import code_bits, elaborate, integers, run
from hwmodels.rtl.verilog import vector

FACTORS = [Factor(bits, signed) for bits in range(1, 9) for signed in (False, True) if bits > 1 or not signed]


@pytest.mark.parametrize("factor", [*FACTORS, Factor(11, True), Factor(12, False)], ids=str)
def test_the_rows_of_every_plan_add_up_to_the_multiplier(factor):
    codes = range(1 << factor.bits)
    for rows in plans(factor):
        sums = [0] * len(codes)
        for row in rows:
            sums = [total + (row.value(code) << row.position) for total, code in zip(sums, codes, strict=True)]
            assert (min(sums), max(sums)) == partial_range(row, factor)
        assert sums == [factor.value(code) for code in codes]


def test_digits_are_chosen_where_they_save_rows():
    steps = {bits: {row.step for row in best_plan(Factor(bits, True), Factor(bits, True))[1]} for bits in (3, 8)}
    assert Step.DIGIT in steps[8]
    assert Step.DIGIT not in steps[3]
    assert len(best_plan(Factor(8, True), Factor(8, True))[1]) == 5  # two plain bits and three digits, not eight rows


def simulated(pairs, stimuli):
    """Each multiplier on the same two ports (of its widths' low bits), all in one design."""
    ports = defaultdict(int)
    text = ""
    body = []
    for k, (a, b) in enumerate(pairs):
        ports["a"], ports["b"] = max(ports["a"], a.bits), max(ports["b"], b.bits)
        text += multiplier_module(f"m{k}", a, b)
        body.append(f"m{k} u{k} (.a(a{vector(a.bits)}), .b(b{vector(b.bits)}), .p(p{k}));")
    outs = ", ".join(f"output wire {vector(multiplier_type(a, b)[0])} p{k}" for k, (a, b) in enumerate(pairs))
    ins = ", ".join(f"input wire {vector(bits)} {name}" for name, bits in ports.items())
    text += f"module top ({ins}, {outs});\n" + "\n".join(body) + "\nendmodule\n"
    given = {name: code_bits(stimuli[name][:, None], bits) for name, bits in ports.items()}
    return run(elaborate(text, "top"), [given])[0]


def value(codes, factor):
    low = codes & ((1 << factor.bits) - 1)
    return low - ((low >> (factor.bits - 1)) << factor.bits) if factor.signed else low


def as_integers(bits, factor_type):
    _, signed = factor_type
    return integers(bits if signed else np.concatenate([bits, np.zeros_like(bits[:1])]))


def test_all_products_of_all_widths_up_to_8_x_8():
    pairs = [(a, b) for a in FACTORS for b in FACTORS]
    a, b = (codes.ravel() for codes in np.meshgrid(np.arange(256), np.arange(256), indexing="ij"))
    found = simulated(pairs, {"a": a, "b": b})
    assert len(found) == 225
    for k, (x, y) in enumerate(pairs):
        # 65,536 vectors meet each pair of codes; the codes below the port's width repeat
        keep = (a < 1 << x.bits) & (b < 1 << y.bits)
        got = as_integers(found[f"p{k}"][:, keep], multiplier_type(x, y))
        assert (got == value(a[keep], x) * value(b[keep], y)).all(), (x, y)


def test_wide_multipliers_on_random_and_extreme_codes():
    pairs = [
        (Factor(16, True), Factor(16, True)),
        (Factor(24, False), Factor(13, True)),
        (Factor(11, False), Factor(24, False)),
    ]
    rng = np.random.default_rng(3)
    extremes = np.array([0, 1, 0x7FFF, 0x8000, 0xFFFF, 0x800000, 0xFFFFFF, 0x1000, 0xFFF])
    corner = [codes.ravel() for codes in np.meshgrid(extremes, extremes)]
    a, b = (np.concatenate([c, rng.integers(0, 1 << 24, 5000)]) for c in corner)
    found = simulated(pairs, {"a": a, "b": b})
    for k, (x, y) in enumerate(pairs):
        got = as_integers(found[f"p{k}"], multiplier_type(x, y))
        assert (got == value(a, x).astype(object) * value(b, y).astype(object)).all(), (x, y)
