"""Floating-point dot products, simulated: the adder exhaustively, lanes against ml_dtypes, whole units against integers."""

import shutil
from dataclasses import replace
from fractions import Fraction

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwmodels.accumulator import float_exponent_bits
from hwmodels.catalog import parse_element
from hwmodels.datapath import Accumulator, Datapath, TensorQuant
from hwmodels.rtl.float_adder import float_adder_module
from hwmodels.rtl.float_reference import cut, expected_floats, float_add, word_values
from hwmodels.rtl.float_tree import FloatUnit, float_unit_verilog
from hwmodels.rtl.icarus import IcarusDesign
from hwmodels.rtl.reference import expected_sums, finite_codes
from hwmodels.rtl.simulate import code_bits, elaborate, run
from hwmodels.rtl.unit import DotUnit
from hwmodels.rtl.verilog import RtlError


def unit(weight, activation, lanes, mantissa_bits, dot_length=64, more=0):
    w, x = parse_element(weight), parse_element(activation)
    exponent_bits = float_exponent_bits(dot_length, w, x) + more
    accumulator = Accumulator(1 + exponent_bits + mantissa_bits, mantissa_bits=mantissa_bits)
    return FloatUnit(Datapath(TensorQuant(w), TensorQuant(x), accumulator), lanes)


def words(bits):
    """A port as unsigned integers."""
    return (1 << np.arange(len(bits), dtype=np.int64)) @ bits


def simulated(made, design, weights, activations, clear, enable):
    """The register's value after each cycle, shape (cycles, batch)."""
    batch = weights.shape[1]
    cycles = [
        {
            "weights": code_bits(w, made.weight.bits),
            "activations": code_bits(x, made.activation.bits),
            "clear": np.full((1, batch), c),
            "enable": np.full((1, batch), e),
        }
        for w, x, c, e in zip(weights, activations, clear, enable, strict=True)
    ]
    outputs = run(design, [*cycles, cycles[-1]])[1:]
    return word_values(made, np.stack([words(out["sum"]) for out in outputs]))


def vectors(made, cycles, batch, seed):
    """Random codes; in a third of the sequences every other lane is (often) its neighbour negated, so that sums cancel."""
    rng = np.random.default_rng(seed)
    shape = (cycles, batch, made.lanes)
    weights, activations = (rng.choice(finite_codes(fmt), shape) for fmt in (made.weight, made.activation))
    third = slice(batch // 3)
    for lane in range(1, made.lanes, 2):
        weights[:, third, lane] = weights[:, third, lane - 1] ^ (1 << (made.weight.bits - 1))
        alike = rng.random((cycles, batch // 3)) < 0.5
        activations[:, third, lane] = np.where(alike, activations[:, third, lane - 1], activations[:, third, lane])
    clear, enable = rng.random(cycles) < 0.25, rng.random(cycles) < 0.85
    clear[0] = enable[0] = True
    return weights, activations, clear, enable


@pytest.mark.parametrize(("exponent_bits", "mantissa_bits"), [(3, 1), (4, 2), (3, 4)])
def test_the_adder_on_all_pairs(exponent_bits, mantissa_bits):
    """All numbers whose sums fit, of either sign, both zeros among them."""
    top = (1 << exponent_bits) - 2
    size = mantissa_bits + 1
    numbers = [(s, 0, 0) for s in (0, 1)]
    for field in range(1, top + 1):
        for mantissa in range(1 << mantissa_bits):
            value = Fraction(((1 << mantissa_bits) + mantissa) << field, 2 << mantissa_bits)
            if value.denominator == 1:  # sums are integers in units of the smallest product
                numbers += [(s, field, (1 << mantissa_bits) + mantissa) for s in (0, 1)]
    codes = np.array(numbers)
    first, second = (index.ravel() for index in np.meshgrid(range(len(codes)), range(len(codes)), indexing="ij"))
    given = {}
    for key, index in (("a", first), ("b", second)):
        for part, column, bits in (("s", 0, 1), ("f", 1, exponent_bits), ("m", 2, size)):
            given[f"{part}{key}"] = code_bits(codes[index, column][:, None], bits)
    out = run(elaborate(float_adder_module("top", exponent_bits, mantissa_bits), "top"), [given])[0]

    def value(sign, field, significand):
        return int(Fraction(significand << field, 2 << mantissa_bits)) * (-1 if sign else 1)

    values = [value(*number) for number in codes.tolist()]
    wanted = [float_add(values[i], values[j], mantissa_bits) for i, j in zip(first, second, strict=True)]
    got = [value(*parts) for parts in zip(*(words(out[p]).tolist() for p in "sfm"), strict=True)]
    assert got == wanted
    assert len(wanted) > 500


@pytest.mark.parametrize(
    ("name", "dtype"), [("ocp_e4m3", ml_dtypes.float8_e4m3fn), ("ocp_e5m2", ml_dtypes.float8_e5m2)]
)
def test_ocp_floats_are_multiplied_as_ml_dtypes_reads_them(name, dtype):
    """Every product of finite codes, exact in eight mantissa bits."""
    made = unit(name, name, 1, 8, dot_length=1)
    value = np.arange(256, dtype=np.uint8).view(dtype).astype(np.float64) / float(
        ml_dtypes.finfo(dtype).smallest_subnormal
    )
    codes = np.flatnonzero(np.isfinite(value))
    weights, activations = (grid.reshape(1, -1, 1) for grid in np.meshgrid(codes, codes, indexing="ij"))
    once = np.ones(1, dtype=bool)
    got = simulated(made, elaborate(float_unit_verilog(made)), weights, activations, once, once)[0]
    assert got.tolist() == [
        int(value[w]) * int(value[x]) for w, x in zip(weights.ravel(), activations.ravel(), strict=True)
    ]


@pytest.mark.parametrize(
    ("weight", "activation"),
    [
        ("e2m1", "e2m1"),
        ("e3m0", "e2m3"),
        ("e1m2", "e2m4"),
        ("e3m2_nosubnormals", "fnuz_e4m3"),
        ("ue3m2", "ieee_e3m4"),
    ],
)
def test_all_operand_pairs_of_a_lane_cut_to_few_bits(weight, activation):
    made = unit(weight, activation, 1, 3, dot_length=1)
    grid = np.meshgrid(finite_codes(made.weight), finite_codes(made.activation), indexing="ij")
    weights, activations = (codes.reshape(1, -1, 1) for codes in grid)
    once = np.ones(1, dtype=bool)
    got = simulated(made, elaborate(float_unit_verilog(made)), weights, activations, once, once)
    assert (got == expected_floats(made, weights, activations, once, once)).all()


UNITS = [
    unit("e2m1", "e2m1", 5, 3),
    unit("finite_e4m3", "finite_e4m3", 4, 6, more=1),
    unit("ocp_e5m2", "e2m3", 3, 4),
    unit("e3m4", "e3m1", 2, 11),
]


@pytest.mark.parametrize("made", UNITS, ids=lambda made: f"{made.weight}x{made.activation}")
def test_whole_units(made):
    given = vectors(made, cycles=10, batch=240, seed=1)
    wanted = expected_floats(made, *given)
    assert (simulated(made, elaborate(float_unit_verilog(made)), *given) == wanted).all()
    assert (wanted != expected_floats(wide(made), *given)).any(), "the vectors need rounding"


def wide(made):
    """The same unit with so many mantissa bits that nothing is cut."""
    bits = made.datapath.accumulator.exponent_bits + 91
    return replace(made, datapath=replace(made.datapath, accumulator=Accumulator(bits, mantissa_bits=90)))


def test_without_cuts_the_sum_is_that_of_integers():
    made = wide(UNITS[1])
    weights, activations, clear, enable = vectors(made, cycles=6, batch=100, seed=2)
    fixed = DotUnit(replace(made.datapath, accumulator=Accumulator(80)), made.lanes, dropped_bits=0)
    wanted = expected_sums(fixed, weights, activations, clear, enable)
    assert (expected_floats(made, weights, activations, clear, enable) == wanted).all()


@given(st.integers(-(1 << 40), 1 << 40), st.integers(-(1 << 40), 1 << 40), st.integers(1, 30))
def test_a_sum_is_faithful_and_towards_zero_for_like_signs(first, second, mantissa_bits):
    a, b = (cut(value, mantissa_bits + 1) for value in (first, second))
    got = float_add(a, b, mantissa_bits)
    assert got == float_add(b, a, mantissa_bits)
    ulp = 1 << max(max(abs(got), abs(a + b)).bit_length() - mantissa_bits - 1, 0)
    assert abs(got - (a + b)) < ulp
    if (a < 0) == (b < 0):
        assert got == cut(a + b, mantissa_bits + 1)
    assert abs(got) <= abs(a) + abs(b)


@pytest.mark.skipif(shutil.which("iverilog") is None, reason="needs Icarus Verilog")
def test_icarus_says_the_same():
    made = UNITS[1]
    given = vectors(made, cycles=8, batch=60, seed=3)
    design = IcarusDesign(float_unit_verilog(made), "dot")
    assert (simulated(made, design, *given) == expected_floats(made, *given)).all()


@pytest.mark.parametrize(
    ("pattern", "wrong"),
    [
        ("swap ? sb : sa", "sa"),
        ("~clear", "clear"),
        ("f_big + change", "f_big"),
        ("{m_small, 1'b0}", "{1'b0, m_small}"),
    ],
)
def test_a_broken_unit_is_found_out(pattern, wrong):
    made = UNITS[0]
    text = float_unit_verilog(made)
    assert pattern in text
    given = vectors(made, cycles=6, batch=120, seed=4)
    assert (simulated(made, elaborate(text.replace(pattern, wrong)), *given) != expected_floats(made, *given)).any()


def test_impossible_units_are_refused():
    datapath = UNITS[1].datapath
    with pytest.raises(RtlError, match="must have a floating-point accumulator, but got 24; use DotUnit"):
        FloatUnit(replace(datapath, accumulator=Accumulator(24)), 4)
    with pytest.raises(RtlError, match="sum of 4 products of finite_e4m3 x finite_e4m3, 6 bits, but got float:e5m10"):
        FloatUnit(replace(datapath, accumulator=Accumulator(16, mantissa_bits=10)), 4)
    with pytest.raises(RtlError, match="`lanes` must be 1 to 1024, but got lanes=0"):
        FloatUnit(datapath, 0)
    with pytest.raises(RtlError, match="fixed-point accumulator, but got float:e7m6; use FloatUnit"):
        DotUnit(datapath, 4)
