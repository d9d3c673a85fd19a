"""Generated units in Icarus Verilog, a simulator that shares no code with the project or with Yosys: equal to the codec."""

import re
import shutil

import numpy as np
import pytest

from hwmodels.catalog import parse_element
from hwmodels.datapath import Accumulator, Datapath, Overflow, tensor_quant
from hwmodels.rtl import icarus
from hwmodels.rtl.check import Simulator, check_unit, mismatches, vectors
from hwmodels.rtl.icarus import IcarusDesign, SimulatorError, icarus_version, run_icarus
from hwmodels.rtl.simulate import code_bits, elaborate, run
from hwmodels.rtl.testbench import testbench as bench_text
from hwmodels.rtl.unit import TOP, DotUnit, unit_verilog
from hwmodels.rtl.verilog import RtlError, ports_of

needs_icarus = pytest.mark.skipif(
    shutil.which("iverilog") is None, reason="Icarus Verilog is not on the PATH (Debian, Ubuntu: apt install iverilog)"
)


def unit(weight, activation, lanes=8, bits=24, overflow=Overflow.WRAP, **kwargs):
    path = Datapath(
        *(tensor_quant(parse_element(f)) for f in (weight, activation)), Accumulator(bits, overflow=overflow)
    )
    return DotUnit(path, lanes, **kwargs)


PAIRS = [
    *(("int" + str(bits), "int" + str(bits), 8, 24) for bits in range(2, 9)),
    *(("int" + str(bits), "uint" + str(9 - bits), bits, 2 * bits + 5) for bits in range(2, 9)),
    ("uint1", "int4", 5, 9),
    ("uint4", "uint8", 3, 14),
    ("int4_narrow", "int8", 16, 13),
    ("e1m2", "e1m2", 4, 12),
    ("e2m1", "e2m1", 8, 13),
    ("e3m0", "e3m0", 7, 18),
    ("e2m2", "e3m1", 6, 16),
    ("e3m2", "e2m3", 8, 24),
    ("e2m4", "e2m4", 2, 17),
    ("finite_e4m3", "finite_e4m3", 8, 24),
    ("ocp_e4m3", "ocp_e5m2", 3, 20),
    ("fnuz_e5m2", "e2m1", 2, 40),
    ("ieee_e3m4", "e4m2", 5, 22),
    ("e3m2_nosubnormals", "e2m1", 4, 20),
    ("ue3m2", "e2m1", 4, 15),
    ("e2m1", "int4", 8, 20),
    ("e2m1", "uint8", 8, 24),
    ("int8", "e3m2", 6, 19),
    ("int3", "finite_e4m3", 12, 16),
    ("finite_e5m2", "int2", 1, 48),
]
UNITS = [
    unit(*pair, overflow=overflow, pipeline=pipeline)
    for index, pair in enumerate(PAIRS)
    for overflow, pipeline in (
        (Overflow.WRAP, bool(index % 2)),
        (Overflow.SATURATE, not index % 2),
    )
]


def test_every_kind_of_datapath_is_among_the_units():
    assert len({u.datapath for u in UNITS}) == len(UNITS) >= 40
    assert {(u.overflow, u.pipeline) for u in UNITS} == {(o, p) for o in ("wrap", "saturate") for p in (False, True)}
    assert {u.dropped > 0 for u in UNITS} == {False, True}


@needs_icarus
@pytest.mark.parametrize("made", UNITS, ids=lambda u: f"{u.weight}-{u.activation}-{u.overflow}")
def test_a_datapath_computes_the_same_in_icarus(made):
    assert check_unit(made, cycles=12, batch=18, seed=3, simulator=Simulator.ICARUS) == 12 * 18


@needs_icarus
def test_both_simulators_see_the_same_outputs_where_the_codec_says_nothing():
    """Codes of infinities and NaNs, too: the text has one meaning."""
    made = unit("ocp_e5m2", "ocp_e4m3", 2, 20, pipeline=True)
    rng = np.random.default_rng(0)
    cycles = [
        {
            "weights": code_bits(rng.integers(0, 256, (5, 2)), 8),
            "activations": code_bits(rng.integers(0, 256, (5, 2)), 8),
            "clear": np.full((1, 5), index == 0),
            "enable": np.full((1, 5), index < 10),
        }
        for index in range(12)
    ]
    text = unit_verilog(made)
    seen = [run(simulator.design(text), cycles)[2:] for simulator in Simulator]
    assert all((a["sum"] == b["sum"]).all() for a, b in zip(*seen, strict=True))


@needs_icarus
@pytest.mark.parametrize("pipeline", [False, True])
def test_the_testbench_that_users_get_counts_wrong_sums(pipeline):
    made = unit("e2m1", "int4", 3, 12, pipeline=pipeline)
    weights, activations, clear, enable = vectors(made, cycles=64, batch=17, seed=4)
    bench = bench_text(made, weights[:, -1], activations[:, -1], clear, enable)
    text = unit_verilog(made)
    assert run_icarus(text + bench, "dot_test").strip() == "0 of 64 vectors wrong"
    broken = run_icarus(text.replace("sum <= next", "sum <= ~next") + bench, "dot_test")
    assert int(re.fullmatch(r"(\d+) of 64 vectors wrong", broken.strip())[1]) > 10


@needs_icarus
def test_a_broken_unit_is_found_out():
    made = unit("e2m1", "e2m1", 4)
    given = vectors(made, cycles=8, batch=18, seed=0)
    text = unit_verilog(made)
    for broken in (text.replace("~clear", "clear"), re.sub(r"assign c = .*;", "assign c = 1'bx;", text)):
        assert broken != text
        assert mismatches(made, IcarusDesign(broken, TOP), *given)[0] > 0


@needs_icarus
def test_a_wrong_unit_is_named_with_its_simulator(monkeypatch):
    monkeypatch.setattr("hwmodels.rtl.check.unit_verilog", lambda u: unit_verilog(u).replace("~clear", "clear"))
    with pytest.raises(
        RtlError, match=r"must compute what the codec says, but \d+ of 80 sums differ in Icarus Verilog"
    ):
        check_unit(unit("int2", "int2", 2), cycles=4, batch=20, simulator=Simulator.ICARUS)


@needs_icarus
def test_errors_of_icarus_are_one_sentence():
    with pytest.raises(SimulatorError, match=r"^iverilog must accept the design, but ended with: .*syntax error\.$"):
        run_icarus("module dot (;", "dot")
    with pytest.raises(SimulatorError, match=r"a run of vvp must end within 0\.5 s, but did not; give fewer vectors"):
        run_icarus("module dot; initial forever #1; endmodule", "dot", limit_s=0.5)
    loud = unit_verilog(unit("int2", "int2", 1)).replace("endmodule", 'initial $display("x y");\nendmodule', 1)
    one = np.ones((1, 1), dtype=np.bool_)
    ports = {"weights": one.repeat(2, 0), "activations": one.repeat(2, 0), "clear": one, "enable": one}
    with pytest.raises(SimulatorError, match="must print 1 words of 24 bits, but printed 3"):
        run(IcarusDesign(loud, TOP), [ports])
    with pytest.raises(RtlError, match=re.escape("input weights must have the shape (2, 1), but got (1, 1)")):
        run(IcarusDesign(loud, TOP), [ports | {"weights": one}])


def test_an_absent_icarus_names_its_package(monkeypatch):
    monkeypatch.setattr(icarus.shutil, "which", lambda name: None)
    icarus_version.cache_clear()
    with pytest.raises(SimulatorError, match=r"needs `iverilog` and `vvp` on the PATH.*apt install iverilog"):
        check_unit(unit("int2", "int2", 1), simulator=Simulator.ICARUS)
    icarus_version.cache_clear()


def test_ports_are_read_from_the_text():
    text = unit_verilog(unit("int3", "e2m1", 2, 12))
    widths = {"clk": 1, "clear": 1, "enable": 1, "weights": 6, "activations": 8}
    assert ports_of(text, TOP) == {**{k: ("input", v) for k, v in widths.items()}, "sum": ("output", 12)}
    assert elaborate(text).input_bits == {k: v for k, v in widths.items() if k in elaborate(text).input_bits}
    with pytest.raises(RtlError, match="a text must hold the module other, but does not"):
        ports_of(text, "other")
