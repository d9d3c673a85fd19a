"""Synthesis in the loop: counts against the committed prototype table, pairing into LUT6_2, cache, time limit, errors.

Needs Yosys: the extra `synth`, or `yosys` on the PATH. Without it these tests fail and say so.
"""

import json
import re

import pytest
from prototype import rows, table_format

from hwmodels import synth, yosys
from hwmodels.datapath import Accumulator, Datapath, Overflow, tensor_quant
from hwmodels.devices import Family
from hwmodels.lut_packing import Lut, packed_sites
from hwmodels.netlist import count_cells
from hwmodels.rtl.unit import DotUnit, unit_verilog
from hwmodels.synth import Design, Synthesis, synthesize, synthesize_all, synthesize_design
from hwmodels.yosys import SynthError


def unit(weight, activation, lanes=8, bits=24):
    formats = (table_format(name) for name in (weight, activation))
    return DotUnit(Datapath(*map(tensor_quant, formats), Accumulator(bits, overflow=Overflow.WRAP)), lanes)


def prototype(weight, activation, lanes):
    (row,) = rows("dot", impl="shift", wfmt=weight, afmt=activation, lanes=str(lanes))
    return row


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("synth")


@pytest.mark.parametrize(
    ("weight", "activation", "lanes", "ratio"),
    [("INT4", "INT4", 8, 0.80), ("E2M1", "E2M1", 8, 0.66), ("E4M3", "E4M3", 4, 0.88)],
)
def test_units_are_smaller_than_the_prototypes(cache, weight, activation, lanes, ratio):
    """The same formats, lanes, accumulator and dropped bits; `ratio` of packed LUTs is what we measured, rounded up."""
    reference = prototype(weight, activation, lanes)
    made = unit(weight, activation, lanes)
    found = synthesize(made, Family.XCUP, cache)
    assert made.dropped == int(reference["drop"])
    assert found.lut_packed <= ratio * int(reference["lut_packed"])
    assert found.carry4 < int(reference["carry4"])
    assert found.ff == int(reference["ff"])
    assert (found.dsp, found.srl, found.lutram, found.bram18, found.uram) == (0, 0, 0, 0, 0)
    assert sum(found.lut_inputs) == found.lut >= found.lut_packed >= found.lut / 2
    assert found.carry4 / 2 <= found.carry8 <= found.carry4


def test_7_series_takes_as_many_luts(cache):
    """The LUT6 is the same; a CARRY4 is half a block of eight bits."""
    plus, seven = (synthesize(unit("INT3", "INT3", 4), family, cache) for family in (Family.XCUP, Family.XC7))
    assert seven.lut_packed == plus.lut_packed
    assert seven.carry8 == seven.carry4 / 2


def test_a_finished_synthesis_is_read_not_repeated(cache, monkeypatch):
    first = synthesize(unit("INT3", "INT3", 4), Family.XCUP, cache)

    def refuse(*_):
        raise AssertionError("ran again")

    monkeypatch.setattr(synth, "run_yosys", refuse)
    assert synthesize(unit("INT3", "INT3", 4), Family.XCUP, cache) == first
    for other in (unit("INT3", "INT3", 5), unit("INT3", "INT3", 4, bits=23)):
        with pytest.raises(AssertionError, match="ran again"):
            synthesize(other, Family.XCUP, cache)
    with pytest.raises(AssertionError, match="ran again"):
        synthesize(unit("INT3", "INT3", 4), Family.XCUP)
    json.dumps(first.as_dict())


EMPTY = json.dumps({"modules": {"dot": {"cells": {}}}})


def test_a_damaged_cache_is_named(tmp_path, monkeypatch):
    text = unit_verilog(unit("INT3", "INT3", 1))
    monkeypatch.setattr(synth, "run_yosys", lambda script, folder, limit: (folder / "netlist.json").write_text(EMPTY))
    assert synthesize_design(Design(text, Family.XCUP), tmp_path).lut == 0
    (entry,) = tmp_path.iterdir()
    assert entry.suffix == ".json"  # nothing half-written beside it
    entry.write_text("{")
    with pytest.raises(SynthError, match=f"{entry.name} must be a cached synthesis, but is not"):
        synthesize_design(Design(text, Family.XCUP), tmp_path)


def test_points_run_in_parallel_and_one_failure_does_not_stop_the_rest(cache):
    slow, quick = unit("E4M3", "E4M3", 64), unit("INT3", "INT3", 4)
    synthesize(quick, Family.XCUP, cache)
    designs = [Design(unit_verilog(u), Family.XCUP) for u in (slow, quick)]
    outcomes = dict(synthesize_all(designs, cache, workers=2, limit_s=0.5))
    assert isinstance(outcomes[1], Synthesis)
    assert str(outcomes[0]) == (
        "a run of Yosys must end within 0.5 s, but did not; give a longer time limit or fewer lanes."
    )


def test_a_family_that_yosys_does_not_know(cache):
    with pytest.raises(SynthError, match="synthesizes for xc7, xcup, but got family=versal"):
        synthesize(unit("INT3", "INT3", 1), Family.VERSAL, cache)


def test_an_absent_yosys_names_the_extra(monkeypatch):
    monkeypatch.setattr(yosys, "native", lambda: None)
    monkeypatch.setattr(yosys, "find_spec", lambda name: None)
    yosys.yosys_version.cache_clear()
    with pytest.raises(SynthError, match=re.escape("pip install 'bitfront[synth]'")):
        synthesize(unit("INT3", "INT3", 1), Family.XCUP)
    yosys.yosys_version.cache_clear()


def test_an_unsynthesizable_text_is_one_sentence():
    with pytest.raises(SynthError, match=r"Yosys must accept the design, but ended with: .*ERROR"):
        synthesize_design(Design("module dot (input wire a, output wire b); assign b = c(a); endmodule", Family.XCUP))


def cell(kind, **pins):
    return {"type": kind, "connections": pins}


def test_cells_and_chains_are_counted():
    cells = [
        cell("LUT2", I0=[1], I1=[2], O=[3]),
        cell("LUT6", I0=[1], I1=[2], I2=[4], I3=[5], I4=[6], I5=[7], O=[8]),
        cell("INV", I=[1], O=[9]),
        cell("CARRY4", CI=["0"], CYINIT=["0"], S=[3, "0", "0", "0"], DI=[1, "0", "0", "0"], CO=[10, 11, 12, 13]),
        cell("CARRY4", CI=[13], CYINIT=["0"], S=[8, "0", "0", "0"], DI=[9, "0", "0", "0"], CO=[20, 21, 22, 23]),
        cell("CARRY4", CI=["0"], CYINIT=[9], S=["1", "0", "0", "0"], DI=["0"] * 4, CO=[30, 31, 32, 33]),
        cell("FDRE", C=[40], D=[3], Q=[41]),
        cell("RAMB36E2"),
        cell("VCC", P=[50]),
    ]
    netlist = {"modules": {"dot": {"cells": {str(k): c for k, c in enumerate(cells)}}}}
    counts, chains = count_cells(netlist, "dot")
    wanted = {"lut1": 1, "lut2": 1, "lut6": 1, "carry4": 3, "ff": 1, "bram18": 2, "lut_packed": 3}
    assert {name: count for name, count in counts.items() if count} == wanted
    assert sorted(chains) == [1, 2]
    netlist["modules"]["dot"]["cells"]["x"] = cell("BUFG")
    with pytest.raises(SynthError, match="but holds a cell BUFG"):
        count_cells(netlist, "dot")


def test_what_stores_words_in_luts_is_counted_in_sites():
    """A memory of several ports counts the LUTs that hold data and the one of the write address, not the whole primitive."""
    data = {f"DI{port}": [60 + i] for i, port in enumerate("ABCDEFG")}
    cells = [
        cell("RAM64M8", **data),  # 7 + 1
        cell("RAM64M8", **{**data, "DIC": ["x"], "DID": ["x"], "DIE": ["x"], "DIF": ["x"], "DIG": ["x"]}),  # 2 + 1
        cell("RAM32M", DIA=[1, 2], DIB=[3, 4], DIC=[5, 6], DID=[7, 8]),  # written where it is read: all four hold data
        cell("RAM64X1S", D=[1]),
        cell("RAM128X1D", D=[1]),  # 4
        *(cell("SRL16E", D=[1]) for _ in range(3)),  # two share a site
        cell("SRLC32E", D=[1]),
        # a register's bit on a chain passes a LUT, a constant or a LUT's output does not
        cell("LUT2", I0=[1], I1=[2], O=[3]),
        cell("CARRY4", CI=["0"], CYINIT=["0"], S=[3, 4, 5, "0"], DI=["0"] * 4, CO=[10, 11, 12, 13]),
    ]
    netlist = {"modules": {"dot": {"cells": {str(k): c for k, c in enumerate(cells)}}}}
    counts, _ = count_cells(netlist, "dot")
    assert counts["memory_luts"] == 8 + 3 + 4 + 1 + 4 + 2 + 1
    assert counts["route_through"] == 2
    assert counts["srl"] == 4
    assert counts["lut_packed"] == 1


def lut(inputs, output):
    return Lut(frozenset(inputs), output)


@pytest.mark.parametrize(
    ("luts", "carries", "sites"),
    [
        ([lut({1, 2, 3}, 10), lut({1, 2, 4}, 11)], [], 1),  # four inputs together
        ([lut({1, 2, 3}, 10), lut({4, 5, 6}, 11)], [], 2),  # six
        ([lut({1, 2}, 10), lut({4, 5, 6}, 11)], [], 1),  # five, none shared
        ([lut({1, 2, 3, 4, 5, 6}, 10), lut({1, 2}, 11)], [], 2),  # a LUT6 shares with none
        ([lut({1, 2}, 10), lut({1, 2}, 11)], [(10, None), (11, None)], 2),  # two selects of a chain never share
        ([lut({1, 2}, 10), lut({1, 2}, 11)], [(10, 11)], 1),  # a select and its own data
        ([lut({1, 2}, 10), lut({1, 2}, 11)], [(10, None), (9, 11)], 2),  # a select and another bit's data
        ([lut({1, 2, 3, 4}, 10), lut({5, 6}, 11)], [(10, 11)], 2),  # too many inputs
        ([lut({1, 2, 3}, 10), lut({1, 2, 4}, 11), lut({5}, 12)], [], 2),
        ([], [], 0),
    ],
)
def test_two_small_luts_share_a_site_where_the_hardware_allows_it(luts, carries, sites):
    assert packed_sites(luts, carries) == sites
