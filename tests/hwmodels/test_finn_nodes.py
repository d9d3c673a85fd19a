"""FINN's nodes of small networks: names by depth, foldings that divide, and what must run equally wide."""

import pytest

from hwmodels.datapath import Accumulator, Multiplier, TensorQuant
from hwmodels.devices import get_device
from hwmodels.finn_nodes import finn_nodes
from hwmodels.folding import fold_for_cycles
from hwmodels.formats import IntFormat, Minifloat
from hwmodels.ops import (
    Add,
    Depthwise,
    Duplicate,
    LayerNumerics,
    MatVec,
    Network,
    Numerics,
    Pool,
    Requantize,
    Window,
    with_zeros,
)
from hwmodels.options import CostOptions
from hwmodels.report import CostError

PART = get_device("xczu3eg")


def window(layer, channels, size, *, padded=True, kernel=3, stride=1, depthwise=False, site="input"):
    grown = size + 2 if padded else size
    made = (grown - kernel) // stride + 1
    return with_zeros(
        Window(
            f"{layer}.window",
            layer,
            channels,
            (grown, grown),
            (made, made),
            (kernel, kernel),
            (stride, stride),
            (1, 1),
            depthwise,
            site,
        ),
        channels,
        (grown, grown),
        (1,) * 4 if padded else (0,) * 4,
    )


NETWORK = Network(
    "branches",
    (
        Duplicate("fork", 8, 64, 2, "input"),
        *window("long", 8, 8),
        MatVec("long", 8, 72, 64, "input"),
        Requantize("long.requantize", "long", 8, 64, "add.in"),
        MatVec("short", 8, 8, 64, "input"),
        Requantize("short.requantize", "short", 8, 64, "add.in"),
        Add("add", 8, 64, "add.in"),
        Requantize("add.requantize", "add", 8, 64, "sum"),
        *window("pool", 8, 8, padded=False, kernel=2, stride=2, depthwise=True, site="sum"),
        Pool("pool", 8, 4, 16, "max", "sum"),
        *window("dw", 8, 4, depthwise=True, site="sum"),
        Depthwise("dw", 8, 9, 16, "sum"),
        Requantize("dw.requantize", "dw", 8, 16, "end"),
        MatVec("head", 10, 128, 1, "end"),
    ),
)
FOUR, EIGHT = TensorQuant(IntFormat(4)), TensorQuant(IntFormat(8))
NUMERICS = Numerics(
    {"input": EIGHT, "add.in": EIGHT, "sum": TensorQuant(IntFormat(4, signed=False)), "end": FOUR},
    {name: LayerNumerics(FOUR, Accumulator(20)) for name in ("long", "short", "dw", "head")},
)


def nodes(cycles, multiplier=Multiplier.LUT):
    options = CostOptions(multiplier=multiplier)
    foldings = fold_for_cycles(NETWORK, cycles, NUMERICS)
    return finn_nodes(NETWORK, NUMERICS, PART, options, foldings=foldings)


def test_short_branches_are_numbered_first():
    made = {node.operator: node.name for node in nodes(10_000)}
    assert (made["short"], made["long"], made["head"]) == ("MVAU_hls_0", "MVAU_hls_1", "MVAU_hls_2")
    assert made["long.window.padding"] == "FMPadding_rtl_0"
    assert made["dw.window.padding"] == "FMPadding_rtl_1"  # its input is the pool's, of 4x4 pixels
    assert "pool.window.padding" not in made
    assert "long.requantize" not in made  # thresholds inside the unit
    assert made["add.requantize"] == "Thresholding_rtl_0"


@pytest.mark.parametrize("cycles", [110, 300, 1000, 5000])
def test_windows_of_pools_and_depthwise_layers_take_as_many_channels_as_they(cycles):
    units = {node.operator: node.unit for node in nodes(cycles)}
    for name in ("pool", "dw"):
        assert units[f"{name}.window"].simd == units[name].pe
    assert not units["pool.window"].parallel_window


def test_names_before_specialization_count_both_backends():
    made = [node for node in nodes(10_000, Multiplier.DSP) if node.early_name.startswith("MVAU")]
    assert [node.early_name for node in made] == ["MVAU_0", "MVAU_1", "MVAU_2"]
    assert [node.name for node in made] == ["MVAU_hls_0", "MVAU_hls_1", "MVAU_rtl_0"]
    assert [node.backend for node in made] == ["hls", "hls", "rtl"]


def test_finns_own_folding_keeps_up_with_its_target():
    made = finn_nodes(NETWORK, NUMERICS, PART, CostOptions("finn"), foldings=1500)
    assert max(node.unit.cycles() for node in made) < 1500
    assert len(made) == len(nodes(1500))


def test_minifloats_are_refused_by_name():
    numerics = Numerics({**NUMERICS.sites, "end": TensorQuant(Minifloat(2, 1))}, NUMERICS.layers)
    with pytest.raises(CostError, match="costs integers with tensor or channel scales only, but end has"):
        finn_nodes(NETWORK, numerics, PART, CostOptions(), foldings=1000)
