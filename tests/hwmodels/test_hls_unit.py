"""Units of FINN's HLS library, shell and off-chip weights: implemented accelerators, one of which nothing was fitted to."""

import csv
import json
import runpy
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from networks import numerics_of, residual_network

from hwmodels.batch import calibrated_row
from hwmodels.datapath import Accumulator, Datapath, Multiplier, TensorQuant, parse_scaling
from hwmodels.devices import get_device
from hwmodels.estimate import estimate, estimate_operator
from hwmodels.folding import fold_for_cycles
from hwmodels.formats import IntFormat, Minifloat
from hwmodels.ops import Folding, MatVec
from hwmodels.options import CostModel, CostOptions, OptionsError, UnitStyle
from hwmodels.primitives.cost import multiplexer_luts
from hwmodels.primitives.hls import CONTROL_FFS, CONTROL_LUTS, parallel_thresholds
from hwmodels.primitives.memory import MemoryStyle, vivado_style
from hwmodels.primitives.shell import shell
from hwmodels.resources import Resources
from hwmodels.vector import CostTables

ROOT = Path(__file__).parents[2]
GOLDEN = json.loads((ROOT / "tests/golden/finn/postsynth_cnv_w1a1_pynqz2.json").read_text())
BENCHMARK = runpy.run_path(str(ROOT / "benchmarks/network_error.py"))
HLS = CostOptions(units=UnitStyle.HLS)
NETWORK, DEVICE = residual_network(), get_device("xczu3eg")
FOLDINGS = fold_for_cycles(NETWORK, 10_000)


def rows(network: str) -> list[dict[str, str]]:
    with (ROOT / f"hwmodels/calibration/vivado_{network}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def units(network: str) -> list[dict[str, str]]:
    return [row for row in rows(network) if row["op"] == "MVAU_hls"]


def test_the_rows_are_what_was_published() -> None:
    published = {layer["name"]: layer["post_synth"] for layer in GOLDEN["layers"]}
    published |= {
        name.removeprefix("StreamingDataflowPartition_1_"): c for name, c in GOLDEN["other_post_synth"].items()
    }
    for row in rows("cnv_w1a1"):
        counts = published[row["layer"]]
        blocks = 2 * counts["BRAM_36K"] + counts["BRAM_18K"]
        given = [int(row[f"measured_{name}"]) for name in ("lut", "ff", "bram18", "dsp")]
        assert given == [counts["LUT"], counts["FF"], blocks, counts["DSP48"]]
    assert len(rows("cnv_w1a1")) == 32


def test_the_controls_constants_are_what_the_nine_units_leave() -> None:
    """Least squares of the relative error, one constant each; other parts of the model may move it a little."""
    for resource, constant in (("lut", CONTROL_LUTS), ("ff", CONTROL_FFS)):
        found = np.array([float(row[f"measured_{resource}"]) for row in units("cnv_w1a1")])
        rest = np.array([calibrated_row(row)[0].as_dict()[resource] - constant for row in units("cnv_w1a1")])
        refitted = ((found - rest) / found**2).sum() / (1 / found**2).sum()
        assert abs(refitted - constant) < 15


def test_units_after_implementation_are_within_the_stated_band() -> None:
    """Where FINN's own estimate is 49 % off on average."""
    errors = [abs(calibrated_row(row)[0].lut / float(row["measured_lut"]) - 1) for row in units("cnv_w1a1")]
    assert np.median(errors) < 0.06
    assert np.mean(errors) < 0.08
    assert max(errors) < 0.2
    assert sum(int(row["measured_bram18"]) for row in units("cnv_w1a1")) == 182
    for row in (*units("cnv_w1a1"), *units("unsw_mlp_w2a2")):
        resources, _ = calibrated_row(row)
        assert (resources.bram18, resources.dsp) == (int(row["measured_bram18"]), int(row["measured_dsp"]))


@pytest.mark.parametrize("network", ["cnv_w1a1", "unsw_mlp_w2a2"])
def test_whole_accelerators_meet_the_aims(network: str) -> None:
    """LUT within 20 %, RAMB18 of weights within 5 %; the second network was seen by no fit of its units."""
    table = BENCHMARK["lines"](network)
    for kept in (table, [line for line in table if line.kind != "shell"]):
        total = BENCHMARK["Line"].total("all", kept)
        for name, most in (("lut", 0.2), ("ff", 0.2), ("bram18", 0.1)):
            assert abs(total.predicted[name] / total.measured[name] - 1) < most
        assert total.predicted["dsp"] == total.measured["dsp"]
    weights = BENCHMARK["Line"].total("units", [line for line in table if line.kind == "MVAU_hls"])
    assert weights.predicted["bram18"] == weights.measured["bram18"]


def test_a_whole_estimate_meets_the_aim() -> None:
    top = GOLDEN["other_post_synth"]["(top)"]
    assert abs(BENCHMARK["cnv"]().total.lut / top["LUT"] - 1) < 0.2


def test_an_accelerator_that_finn_builds_has_finns_windows_and_streams() -> None:
    lines = BENCHMARK["cnv"]().lines
    for component, source in (("window", "FINN's CNV w1a1"), ("FIFO", "vivado_"), ("width converter", "vivado_")):
        some = [line for line in lines if line.component == component]
        assert some
        assert all(source in line.source for line in some)


@pytest.mark.parametrize(("inputs", "luts"), [(1, 0), (2, 1), (4, 1), (16, 4), (17, 6), (64, 17), (512, 137)])
def test_multiplexers_of_lut6_and_f7_f8(inputs: int, luts: int) -> None:
    assert multiplexer_luts(inputs) == luts


def test_thresholds_double_with_every_bit_and_deep_ones_go_to_block_memory() -> None:
    luts = [parallel_thresholds(12, bits, 8, 4).resources.lut for bits in (1, 2, 3, 4)]
    assert all(2 * a < b for a, b in pairwise(luts))
    assert parallel_thresholds(12, 2, 256, 4).resources.bram18 == 3 * 4


def test_vivado_keeps_small_memories_in_luts() -> None:
    assert vivado_style(2, 64) is MemoryStyle.LUTRAM
    assert vivado_style(48, 36) is MemoryStyle.BRAM


def unit(options: CostOptions, weight: object = IntFormat(4), **path: object):
    datapath = Datapath(TensorQuant(weight), TensorQuant(IntFormat(4)), Accumulator(16), **path)  # type: ignore[arg-type]
    return estimate_operator(MatVec("layer", 64, 576, 100, "x"), datapath, Folding(4, 16), DEVICE, options)


def test_hls_units_keep_their_input_in_registers_and_say_so() -> None:
    hls, rtl = unit(HLS), unit(CostOptions())
    assert {line.component for line in hls.lines} >= {"input buffer", "weight stream", "control"}
    buffer = next(line for line in hls.lines if line.component == "input buffer")
    assert buffer.resources.ff == 576 * 4
    assert hls.total.lut > rtl.total.lut
    assert hls.cycles == rtl.cycles
    dsp = unit(CostOptions(units=UnitStyle.HLS, multiplier=Multiplier.DSP), multiplier=Multiplier.DSP)
    assert dsp.total.dsp == 4 * 16


def test_what_finn_does_not_have_is_refused() -> None:
    for weight in (TensorQuant(Minifloat(2, 1)), TensorQuant(IntFormat(4), parse_scaling("group32"))):
        path = Datapath(weight, TensorQuant(IntFormat(4)), Accumulator(16))
        with pytest.raises(OptionsError, match=r"take integers in one accumulator, but got .* use units=rtl"):
            estimate_operator(MatVec("layer", 64, 576, 1, "x"), path, Folding(4, 16), DEVICE, HLS)
    with pytest.raises(OptionsError, match="FINN's model has no shell"):
        CostOptions(model=CostModel.FINN, shell=True)


def test_the_shell_is_counted_or_named() -> None:
    numerics = numerics_of(NETWORK, "int4", "uint4")
    bare, whole = (estimate(NETWORK, numerics, FOLDINGS, DEVICE, CostOptions(shell=s)) for s in (False, True))
    alone = Resources.sum(cost.resources for cost in shell())
    assert whole.total == bare.total + alone
    assert "without the shell" in bare.notes[0]
    assert "with the shell" in whole.notes[0]
    assert f"{alone.lut:,.0f} LUT" in bare.notes[0]


def test_the_interconnect_is_the_same_in_accelerators_that_nothing_was_fitted_to() -> None:
    """github akhilvasan/finn_cybsec@d470f847 and Ba1tu3han/Finn_Thesis@89b4c46b, whole less its operators and DMA engines."""
    interconnect = next(cost.resources for cost in shell() if cost.component == "interconnect")
    for lut, ff in ((4334, 5293), (4338, 5379)):
        assert abs(interconnect.lut / lut - 1) < 0.005
        assert abs(interconnect.ff / ff - 1) < 0.02


@pytest.mark.parametrize("style", list(UnitStyle))
def test_tables_equal_estimates_in_every_style(style: UnitStyle) -> None:
    options = CostOptions(units=style, shell=True, memory=MemoryStyle.EXTERNAL)
    choices = [numerics_of(NETWORK, "int4", "uint4"), numerics_of(NETWORK, "int2", "uint2")]
    other = fold_for_cycles(NETWORK, 100_000)
    tables = CostTables(NETWORK, choices, {n: [FOLDINGS[n], other[n]] for n in FOLDINGS}, DEVICE, options)
    found = tables.at([0, 1, 1], {name: [0, 0, 1] for name in FOLDINGS})
    for i, (numerics, foldings) in enumerate(((0, FOLDINGS), (1, FOLDINGS), (1, other))):
        single = estimate(NETWORK, choices[numerics], foldings, DEVICE, options)
        assert [getattr(found, name)[i] for name in single.total.as_dict()] == list(single.total.as_dict().values())
        assert found.max_cycles[i] == single.max_cycles


def test_off_chip_weights_cost_dma_engines_and_bandwidth() -> None:
    """PE * SIMD * bits * clock, beside what the card gives."""
    external = unit(CostOptions(memory=MemoryStyle.EXTERNAL))
    assert external.weight_stream_bits == {"layer": 4 * 16 * 4}
    assert external.bandwidth_gbs(200) == 4 * 16 * 4 * 200e6 / 8 / 1e9
    line = next(line for line in external.lines if line.component == "weight memory")
    assert line.resources.lut > 900
    assert "256 bits per cycle" in line.formula
    card = get_device("xcu250")
    assert external.exceeded(card, 200) == ()
    (short,) = external.exceeded(card, 20_000)
    assert short == ("GB/s of off-chip memory", 640, 77)
    assert unit(CostOptions()).bandwidth_gbs(200) == 0
    finn = CostOptions(model=CostModel.FINN, memory=MemoryStyle.EXTERNAL)
    assert unit(finn).total.bram18 == 0 < unit(CostOptions(model=CostModel.FINN)).total.bram18
