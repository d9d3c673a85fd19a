"""Placed and routed units: the committed table against the prototype's figures and a repeated row, cache, time limit, errors.

Needs Yosys and nextpnr for ECP5: the extra `timing`. Without them these tests fail and say so.
"""

import csv
import re
from dataclasses import replace
from itertools import pairwise

import pytest

from hwmodels import timing
from hwmodels.calibration.measure_fmax import ACCUMULATOR_BITS, LANES, PAIRS, TABLE, row, units
from hwmodels.catalog import parse_element
from hwmodels.datapath import Accumulator, Datapath, Multiplier, parse_accumulator, tensor_quant
from hwmodels.fmax import relative_fmax
from hwmodels.nextpnr import TimingError, nextpnr_version, run_nextpnr
from hwmodels.rtl.registered import REGISTERED_TOP, registered_module
from hwmodels.rtl.simulate import elaborate
from hwmodels.rtl.unit import TOP, unit_verilog
from hwmodels.timing import SEEDS, time_all, time_unit
from hwmodels.yosys import yosys_version

SMALLEST = """module dot (
    input wire clk,
    input wire [1:0] a,
    output reg s
);
    always @(posedge clk) s <= a[0] ^ a[1];
endmodule
"""


def table():
    with TABLE.open(newline="") as file:
        return list(csv.DictReader(file))


def fmax(name, other=None, *, pipeline=False):
    (found,) = [
        float(r["fmax_mhz"])
        for r in table()
        if (r["weight"], r["activation"], r["pipeline"]) == (name, other or name, str(int(pipeline)))
    ]
    return found


@pytest.fixture(scope="module")
def smallest(tmp_path_factory):
    cache = tmp_path_factory.mktemp("timing")
    return cache, time_unit(SMALLEST, cache=cache)


def test_the_table_has_a_row_for_every_unit():
    rows = table()
    assert len(rows) == len(units()) == 2 * len(PAIRS) >= 40
    assert {(r["lanes"], r["accumulator"]) for r in rows} == {(str(LANES), str(ACCUMULATOR_BITS))}
    for r in rows:
        least, middle, most = (float(r[name]) for name in ("fmax_least", "fmax_mhz", "fmax_most"))
        assert least <= middle <= most <= 1.15 * least
        assert int(r["ff"]) >= ACCUMULATOR_BITS
        assert int(r["comb"]) >= int(r["lut4"]) + 2 * int(r["ccu2c"])


def test_a_row_measured_again_is_the_same():
    """To the last digit with the versions of the table; others place differently."""
    made = units()[0]
    again = row(made, time_unit(unit_verilog(made)))
    (committed,) = table()[:1]
    if again["tool"] == committed["tool"]:
        assert {name: str(value) for name, value in again.items()} == committed
    else:
        assert again["fmax_mhz"] == pytest.approx(float(committed["fmax_mhz"]), rel=0.15)


@pytest.mark.parametrize(("name", "prototype"), [("int4", 68), ("int6", 59), ("int8", 58)])
def test_combinational_units_are_as_fast_as_the_prototypes(name, prototype):
    """Other RTL of the same function, 8 lanes and P = 24, on the same kind of part; INT3 is another design (a table) by now."""
    assert fmax(name) == pytest.approx(prototype, rel=0.12)


def test_wider_integers_are_slower_and_a_register_helps():
    speeds = [fmax(f"int{bits}") for bits in range(2, 9)]
    assert all(b < 1.03 * a for a, b in pairwise(speeds))
    assert speeds[-1] < 0.6 * speeds[0]
    for weight, activation in PAIRS:
        assert fmax(weight, activation, pipeline=True) > fmax(weight, activation)


def test_the_surrounding_does_not_limit(smallest):
    _, fastest = smallest
    assert fastest.fmax_mhz > 1.3 * max(float(r["fmax_most"]) for r in table())
    assert (fastest.lut4, fastest.ccu2c, fastest.ff) == (1, 0, 1)
    assert 1 <= fastest.comb <= 2  # nextpnr drives constants from a LUT
    assert len(fastest.fmax_by_seed) == len(SEEDS)


def test_the_surrounding_feeds_and_sees_every_bit():
    made = units()[0]
    text, luts = registered_module(unit_verilog(made), TOP)
    assert luts == ACCUMULATOR_BITS
    graph = elaborate(unit_verilog(made) + text, REGISTERED_TOP)
    inputs = 2 + LANES * (made.weight.bits + made.activation.bits)
    assert len(graph.latches) == inputs + 2 * ACCUMULATOR_BITS
    assert {name: len(bits) for name, bits in graph.outputs.items()} == {"out": 1}


def test_a_finished_timing_is_read_not_repeated(smallest, monkeypatch):
    cache, first = smallest

    def refuse(*_):
        raise AssertionError("ran again")

    monkeypatch.setattr(timing, "run_nextpnr", refuse)
    assert time_unit(SMALLEST, cache=cache) == first
    assert dict(time_all([SMALLEST], cache, workers=1)) == {0: first}
    with pytest.raises(AssertionError, match="ran again"):
        time_unit(SMALLEST)
    (entry,) = cache.iterdir()
    whole = entry.read_text()
    entry.write_text("{}")
    with pytest.raises(TimingError, match=f"{entry.name} must be a cached timing, but is not"):
        time_unit(SMALLEST, cache=cache)
    entry.write_text(whole)


def test_failures_are_one_sentence(tmp_path):
    assert re.fullmatch(r"\d+\.[\d.]+", nextpnr_version())
    with pytest.raises(TimingError, match=r"must end within 0\.01 s, but did not; give a longer time limit"):
        run_nextpnr(["--version"], tmp_path, 0.01)
    with pytest.raises(TimingError, match=r"must place and route the design, but ended with: ERROR: .*absent\.json"):
        run_nextpnr(["--25k", "--json", "absent.json"], tmp_path, 60)
    with pytest.raises(TimingError, match="must have one clock, but nextpnr reports none"):
        timing._fmax({"fmax": {}})
    outcomes = dict(time_all([SMALLEST.replace("a[1];", "b c;")], None, workers=1))
    assert isinstance(outcomes[0], TimingError)
    assert "Yosys must accept the design" in str(outcomes[0])
    assert yosys_version()


def path(weight, activation, multiplier=Multiplier.LUT):
    quants = [tensor_quant(parse_element(name)) for name in (weight, activation)]
    return Datapath(quants[0], quants[1], Accumulator(20), multiplier)


def test_relative_fmax_is_a_ratio_to_int8():
    same = relative_fmax(path("int8", "int8"))
    assert same.ratio == 1
    assert same.least < 1 < same.most
    quick = relative_fmax(path("int4", "uint4"))
    assert quick.ratio == round(fmax("int4", "uint4", pipeline=True) / fmax("int8", pipeline=True), 4) > 1
    assert "int4 x uint4, 8 lanes, P = 24, a register behind the multipliers, on LFE5U-25F-6" in str(quick)
    assert relative_fmax(path("int4", "uint4"), pipeline=False).ratio == round(fmax("int4", "uint4") / fmax("int8"), 4)


def test_relative_fmax_knows_only_what_was_measured():
    assert relative_fmax(path("ocp_e4m3", "fnuz_e4m3")) == relative_fmax(path("finite_e4m3", "finite_e4m3"))
    assert relative_fmax(path("e2m1", "finite_e4m3")) == relative_fmax(path("finite_e4m3", "e2m1"))
    assert relative_fmax(path("int4_narrow", "int4")) == relative_fmax(path("int4", "int4"))
    assert relative_fmax(path("int7", "e2m1")) is None
    assert relative_fmax(path("int8", "int8", Multiplier.DSP)) is None
    of_floats = replace(path("e2m1", "e2m1"), accumulator=parse_accumulator("float:e5m10"))
    assert relative_fmax(of_floats) is None
