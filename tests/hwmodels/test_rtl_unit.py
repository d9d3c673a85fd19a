"""Generated units, simulated: all operand pairs of a lane, corner and random vectors of whole units, equal to the codec."""

import re

import ml_dtypes
import numpy as np
import pytest

from hwmodels.catalog import minifloats, parse_element
from hwmodels.datapath import Accumulator, Datapath, Multiplier, Overflow, tensor_quant
from hwmodels.formats import IntFormat
from hwmodels.rtl.check import all_pairs, check_unit, mismatches, vectors
from hwmodels.rtl.reference import expected_sums, finite_codes, products
from hwmodels.rtl.simulate import code_bits, elaborate, parse_aiger, run, simulate_unit
from hwmodels.rtl.testbench import testbench as bench_text
from hwmodels.rtl.unit import DotUnit, unit_verilog
from hwmodels.rtl.verilog import RtlError
from hwmodels.yosys import SynthError


def unit(weight, activation, lanes=8, bits=24, overflow=Overflow.WRAP, **kwargs):
    formats = (parse_element(f) if isinstance(f, str) else f for f in (weight, activation))
    path = Datapath(*map(tensor_quant, formats), Accumulator(bits, overflow=overflow))
    return DotUnit(path, lanes, **kwargs)


def test_ocp_floats_are_multiplied_as_ml_dtypes_reads_them():
    """All 64,516 + 61,504 products, through an independent decoder; units of the smallest subnormals, nothing dropped."""
    codes = np.arange(256, dtype=np.uint8)
    for name, dtype in (("ocp_e4m3", ml_dtypes.float8_e4m3fn), ("ocp_e5m2", ml_dtypes.float8_e5m2)):
        alone, weights, activations, *control = all_pairs(unit(name, name, bits=80, dropped_bits=0))
        sums = simulate_unit(alone, elaborate(unit_verilog(alone)), weights, activations, *control)[0]
        value = codes.view(dtype).astype(np.float64) / float(ml_dtypes.finfo(dtype).smallest_subnormal)
        wanted = [int(value[w]) * int(value[x]) for w, x in zip(weights.ravel(), activations.ravel(), strict=True)]
        assert len(wanted) == np.isfinite(value).sum() ** 2
        assert sums.tolist() == wanted


PAIRS = [
    ("int8", "int8"),
    ("int8", "uint8"),
    ("uint8", "uint5"),
    ("int5", "int7"),
    ("int2", "int8"),
    ("uint1", "uint1"),
    ("uint1", "int8"),
    ("int4_narrow", "int4"),
    ("finite_e4m3", "finite_e4m3"),
    ("fnuz_e4m3", "e2m1"),
    ("ieee_e3m4", "e2m5"),
    ("e3m2_nosubnormals", "e2m3"),
    ("e7m0", "e2m1"),
    ("ue3m2", "ue2m2"),
    ("ue2m3", "int5"),
    ("int3", "e2m1"),
    ("uint4", "e4m2"),
    ("e3m2", "int8"),
    ("e1m3", "e1m2"),
    ("e1m2", "e3m1"),
]


@pytest.mark.parametrize(("weight", "activation"), PAIRS)
@pytest.mark.parametrize("dropped", [0, None])
def test_all_operand_pairs_of_a_lane(weight, activation, dropped):
    """Exact with nothing dropped (P = 80: no sum is reduced), and with what P = 24 and 8 lanes leave room for."""
    arguments = all_pairs(unit(weight, activation, lanes=1, bits=24 if dropped is None else 80, dropped_bits=dropped))
    alone, codes = arguments[0], arguments[1]
    assert mismatches(alone, elaborate(unit_verilog(alone)), *arguments[1:]) == (0, codes.size)


@pytest.mark.parametrize("fmt", minifloats(range(3, 6)), ids=str)
def test_all_operand_pairs_of_every_small_minifloat(fmt):
    for other in (fmt, IntFormat(4)):
        alone, *arguments = all_pairs(unit(fmt, other, bits=100, dropped_bits=0))
        assert mismatches(alone, elaborate(unit_verilog(alone)), *arguments)[0] == 0


@pytest.mark.parametrize("overflow", [Overflow.WRAP, Overflow.SATURATE])
@pytest.mark.parametrize("pipeline", [False, True])
@pytest.mark.parametrize(
    ("weight", "activation", "lanes", "bits"),
    [
        ("int4", "int4", 8, 12),
        ("int8", "uint8", 5, 18),
        ("uint4", "uint4", 7, 11),
        ("int3", "int3", 1, 7),
        ("e2m1", "e2m1", 8, 13),
        ("finite_e4m3", "ocp_e5m2", 3, 20),
        ("e3m2", "int8", 6, 19),
    ],
)
def test_whole_units_on_corner_and_random_vectors(weight, activation, lanes, bits, overflow, pipeline):
    made = unit(weight, activation, lanes, bits, overflow, pipeline=pipeline)
    given = vectors(made, cycles=16, batch=96, seed=1)
    assert mismatches(made, elaborate(unit_verilog(made)), *given) == (0, 16 * 96)
    # the vectors drive the register beyond its ends, and the two kinds of overflow differ on them
    free = expected_sums(unit(weight, activation, lanes, 200, dropped_bits=made.dropped), *given)
    assert max(abs(free.min()), free.max()) >= 1 << (bits - 1)
    other = unit(weight, activation, lanes, bits, Overflow.SATURATE if overflow is Overflow.WRAP else Overflow.WRAP)
    assert (expected_sums(other, *given) != expected_sums(made, *given)).any()


@pytest.mark.parametrize("overflow", [Overflow.WRAP, Overflow.SATURATE])
@pytest.mark.parametrize("pipeline", [False, True])
@pytest.mark.parametrize(("weight", "activation", "bits"), [("int4", "uint4", 11), ("e2m1", "e2m1", 12)])
def test_a_register_in_front_of_the_accumulator_takes_a_cycle_and_changes_nothing(
    weight, activation, bits, pipeline, overflow
):
    made = unit(weight, activation, 5, bits, overflow, pipeline=pipeline, registered=True)
    assert made.latency == 2 + pipeline
    assert mismatches(made, elaborate(unit_verilog(made)), *vectors(made, cycles=16, batch=40, seed=1)) == (0, 16 * 40)


def test_dropped_bits_leave_room_for_all_lanes():
    made = unit("finite_e4m3", "finite_e4m3")
    assert made.dropped == 16  # as the cost model and the measured table have it
    codes = finite_codes(made.weight)[[-1]]
    assert abs(8 * products(made, codes, codes)[0]) < 1 << 23


def test_a_sum_modulo_2_to_the_p_is_exact_without_drops():
    made = unit("e3m2", "e3m2", bits=16, dropped_bits=0)
    assert made.lane.type[0] == 16
    assert check_unit(made) == 16 * 128


def test_the_synthesized_netlist_computes_the_same():
    """LUTs, carry chains and registers after mapping, by the vendor models of these cells."""
    made = unit("e3m2", "int8", 4, 15, Overflow.SATURATE, pipeline=True)
    given = vectors(made, cycles=16, batch=96, seed=2)
    assert mismatches(made, elaborate(unit_verilog(made), family="xcup"), *given) == (0, 16 * 96)


@pytest.mark.parametrize(
    ("pattern", "wrong"),
    [(r"\^ \{1'b0, y0\}", "& {1'b0, y0}"), (r"assign c = n\[\d\]", "assign c = 1'b0"), (r"~clear", "clear")],
)
def test_a_broken_unit_is_found_out(pattern, wrong):
    made = unit("e2m1", "e2m1", 4)
    text = re.sub(r"\{1\{1'b0\}\}", "1'b0", unit_verilog(made))
    broken, changes = re.subn(pattern, wrong, text)
    assert changes
    given = vectors(made, cycles=8, batch=64, seed=0)
    assert mismatches(made, elaborate(text), *given)[0] == 0
    assert mismatches(made, elaborate(broken), *given)[0] > 0


@pytest.mark.parametrize("pipeline", [False, True])
def test_the_testbench_counts_wrong_sums(pipeline):
    made = unit("e2m1", "int4", 3, 12, pipeline=pipeline)
    weights, activations, clear, enable = vectors(made, cycles=20, batch=17, seed=4)
    bench = bench_text(made, weights[:, -1], activations[:, -1], clear, enable)

    def errors(design):
        states = run(elaborate(design + bench, "dot_test"), [{}] * 30)
        assert not states[0]["done"].any()
        assert states[-1]["done"].all()
        return int(np.packbits(states[-1]["errors"][:, 0], bitorder="little")[0])

    text = unit_verilog(made)
    assert errors(text) == 0
    assert errors(text.replace("sum <= next", "sum <= ~next")) > 10


def test_the_same_unit_gives_the_same_text():
    assert unit_verilog(unit("e3m2", "int4")) == unit_verilog(unit("e3m2", "int4"))
    assert unit_verilog(unit("e3m2", "int4")) != unit_verilog(unit("e3m2", "int5"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"lanes": 0}, "`lanes` must be 1 to 1024, but got lanes=0"),
        ({"bits": 7}, "must hold at least one product, 8 bits for int4 x int4, but got bits=7"),
        ({"dropped_bits": 2}, "`dropped_bits` must be 0 for integer formats, but got dropped_bits=2"),
    ],
)
def test_impossible_units_are_refused(arguments, message):
    with pytest.raises(RtlError, match=re.escape(message)):
        unit("int4", "int4", **arguments)


def test_other_refusals():
    with pytest.raises(
        RtlError, match="at least 2 of the 37 bits of a product must be kept, but got 4 accumulator bits"
    ):
        unit("finite_e4m3", "finite_e4m3", bits=4)
    path = Datapath(*[tensor_quant(IntFormat(8))] * 2, Accumulator(24), Multiplier.DSP)
    with pytest.raises(RtlError, match="use multiplier=lut"):
        DotUnit(path, 4)
    with pytest.raises(RtlError, match="must begin with 'aag M I L O A'"):
        parse_aiger("aig 0 0 0 0 0")
    with pytest.raises(SynthError, match=r"Yosys must accept the design, but ended with: .*syntax error"):
        elaborate("module dot (;")
    graph = elaborate("module dot (input wire [1:0] a, output wire b); assign b = ^a; endmodule")
    with pytest.raises(RtlError, match=re.escape("input a must have the shape (2, 1), but got nothing")):
        run(graph, [{}])
    assert run(graph, [{"a": code_bits(np.arange(4)[:, None], 2)}])[0]["b"].tolist() == [[False, True, True, False]]
