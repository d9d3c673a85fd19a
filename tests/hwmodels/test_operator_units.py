"""Zero padding and label select: the committed table, the fit that follows from it, and their place in a network's cost."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import numerics_of, residual_network
from random_networks import folding_choices, networks, numerics

from hwmodels.calibration import fit_operators, operator_constants
from hwmodels.calibration.operator_points import units
from hwmodels.compare import compare
from hwmodels.devices import get_device
from hwmodels.ends import SCORE_BITS, with_label_select, with_pixels
from hwmodels.estimate import estimate
from hwmodels.folding import fold_for_cycles
from hwmodels.folding_solver import fastest_for_device
from hwmodels.ops import LabelSelect, MatVec, Network, Pad, Pool, ShapeError, with_zeros
from hwmodels.options import CostModel, CostOptions, UnitStyle
from hwmodels.primitives.carry import carry_blocks
from hwmodels.primitives.cost import BandKind
from hwmodels.primitives.label_select import label_luts, label_select
from hwmodels.primitives.padding import pad, padding_luts
from hwmodels.report import CostError
from hwmodels.rtl.operator_structure import label_chains, padding_chains
from hwmodels.rtl.padding import PadUnit

ROWS = fit_operators.read_operator_rows()
PART = get_device("xczu3eg")


def test_the_table_holds_every_planned_unit() -> None:
    planned = list(units())
    assert [(row.unit, row.use) for row in ROWS if row.family == "xcup"] == planned
    assert {row.unit for row in ROWS if row.family == "xc7"} < {unit for unit, _ in planned}
    fitted = {unit for unit, use in planned if use == "fit"}
    assert not fitted & {unit for unit, use in planned if use == "test"}


def test_the_committed_constants_are_those_of_the_table() -> None:
    text = fit_operators.render(fit_operators.fit_operators(ROWS), ROWS)
    assert fit_operators.CONSTANTS.read_text() == text


def test_flip_flops_and_carry_blocks_are_derived_exactly() -> None:
    for row in ROWS:
        chains = padding_chains(row.unit) if isinstance(row.unit, PadUnit) else label_chains(row.unit)
        assert row.unit.registers == row.ff, row
        assert carry_blocks(chains, row.family) == row.carry8, row


def test_luts_of_units_that_no_fit_saw() -> None:
    """A padding has a dozen LUTs, so that one more or less is 8 %: within three; label selections nearly meet 2 % and 5 %."""
    for row in ROWS:
        if isinstance(row.unit, PadUnit):
            assert abs(padding_luts(row.unit) - row.luts) <= 3.5
        else:
            assert abs(label_luts(row.unit) - row.luts) <= 2
    assert operator_constants.LABEL_TEST[0] <= 0.03
    assert operator_constants.LABEL_TEST[1] <= 0.08
    assert operator_constants.PADDING_TEST[1] <= 0.15


def test_seven_series_has_the_same_luts() -> None:
    plus = {row.unit: row.luts for row in ROWS if row.family == "xcup"}
    seven = [row for row in ROWS if row.family == "xc7"]
    assert len(seven) >= 5
    assert all(row.luts == plus[row.unit] for row in seven)


def test_bands_are_measured_and_widen_outside_the_table() -> None:
    inside = pad((16, 16), (1, 1, 1, 1), 4, 8, "xcup"), label_select(20, 10, 1, "xc7")
    assert all(cost.band.kind is BandKind.MEASURED for cost in inside)
    for outside, why in (
        (pad((2, 9000), (1, 1, 1, 1), 1, 8, "xcup"), "a counter of 14 bits outside"),
        (pad((16, 16), (1, 1, 1, 1), 4, 8, "versal"), "family versal instead of xc7 or xcup"),
        (label_select(48, 10, 1, "xcup"), "48 bits of sums outside"),
        (label_select(20, 5000, 50, "xcup"), "5000 labels outside"),
    ):
        assert outside.band.kind is BandKind.EXTRAPOLATED
        assert why in outside.band.basis


def report(network, numerics, cycles=2_000, **options):
    return estimate(network, numerics, fold_for_cycles(network, cycles, numerics), PART, CostOptions(**options))


def test_every_window_that_pads_has_zeros_in_front_of_it() -> None:
    """They cost a few LUTs and a register of their width, and take a cycle for each pixel and fold of the channels."""
    network = residual_network()
    numerics = numerics_of(network, "int4", "uint4")
    made = report(network, numerics)
    zeros = [line for line in made.lines if line.component == "padding"]
    assert [line.layer for line in zeros] == [
        f"{name}.window.padding" for name in ("stem", "conv1", "conv2", "depthwise")
    ]
    assert all(5 < line.resources.lut < 20 and line.resources.ff > 8 for line in zeros)
    assert made.cycles["stem.window.padding"] == 34 * 34
    bare = report(network.without(Pad), numerics)
    assert 0 < made.total.lut - bare.total.lut < 0.1 * bare.total.lut
    assert made.max_cycles == bare.max_cycles


@pytest.mark.parametrize("cycles", [1_200, 5_000, 40_000])
def test_zeros_are_never_slower_than_the_window_behind_them(cycles) -> None:
    network = residual_network()
    made = report(network, numerics_of(network, "int4", "uint4"), cycles)
    for op in network.operators:
        if isinstance(op, Pad):
            assert made.cycles[op.name] <= max(made.cycles[op.reader], cycles)
            assert made.cycles[op.name] <= made.max_cycles


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_zeros_slow_no_network_down(data) -> None:
    """With any foldings the slowest operator is as slow as without them, since a window takes a cycle per pixel too."""
    network = data.draw(networks())
    formats, choices = data.draw(numerics(network, integers=False)), data.draw(folding_choices(network))
    foldings = {name: data.draw(st.sampled_from(each)) for name, each in choices.items()}
    with_them, without = (estimate(each, formats, foldings, PART) for each in (network, network.without(Pad)))
    assert with_them.max_cycles == without.max_cycles
    assert with_them.total.lut >= without.total.lut


def test_the_fastest_accelerator_counts_the_cycles_of_its_zeros() -> None:
    network = residual_network()
    numerics = numerics_of(network, "int2", "uint2")
    found = fastest_for_device(network, numerics, get_device("xcu250"))
    assert found.cycles >= max(op.vectors for op in network.operators if isinstance(op, Pad))


def test_finns_model_has_no_zeros_and_the_comparison_names_its_padding() -> None:
    network = residual_network()
    numerics = numerics_of(network, "int4", "uint4")
    foldings = fold_for_cycles(network, 2_000, numerics)
    finn = CostOptions(model=CostModel.FINN)
    with_them, without = (estimate(each, numerics, foldings, PART, finn) for each in (network, network.without(Pad)))
    assert with_them == without
    unit = next(
        unit for unit in compare(network, numerics, foldings, PART).units if unit.name == "conv1.window.padding"
    )
    assert unit.finn_name == "FMPadding_rtl"
    assert unit.finn_cycles == unit.cycles
    assert {each.why for each in unit.differences() if "padding" in each.components and each.resource == "lut"} == {
        "FINN gives it cycles and no resources"
    }


@pytest.mark.parametrize("units_style", list(UnitStyle))
def test_label_select_is_counted_where_it_is_asked_for(units_style) -> None:
    network = residual_network()
    numerics = numerics_of(network, "int4", "uint4")
    bare = report(network, numerics, units=units_style)
    labelled = report(*with_label_select(network, numerics), units=units_style)
    (line,) = (line for line in labelled.lines if line.component == "label select")
    assert line.resources == label_select(SCORE_BITS, 10, 1, PART.family.value).resources
    behind = {line.component for line in labelled.lines if line.layer == "head.scores"}
    assert "requantize" in behind  # scale and bias, one lane
    assert labelled.cycles["head.label"] == 10
    assert 0 < labelled.total.lut - bare.total.lut < 1_000
    assert "sums of the last layer leave the chip" in bare.notes[1]
    assert "the index of the largest score leaves the chip" in labelled.notes[1]


@pytest.mark.parametrize(
    ("activation", "least", "most"), [("uint8", 0, 0), ("int4", 5, 60), ("e2m1", 5, 60), ("int8", 20, 150)]
)
def test_pixels_are_brought_to_the_format_of_the_input(activation, least, most) -> None:
    """By a table, thresholds or a constant scale, the same for all channels; uint8 needs nothing."""
    network = residual_network()
    numerics = numerics_of(network, "int4", activation)
    bare, pixels = report(network, numerics), report(with_pixels(network, numerics), numerics)
    lines = [line for line in pixels.lines if line.layer == "input.pixels"]
    assert least <= sum(line.resources.lut for line in lines if "requantize" in line.component) <= most
    assert bool(lines) == bool(least) == ("pixels arrive in 8 bits" in pixels.notes[1])
    assert pixels.max_cycles == bare.max_cycles
    assert pixels.cycles.get("input.pixels", 1024) == 32 * 32


def test_what_cannot_have_labels_or_zeros_is_refused() -> None:
    network = residual_network()
    numerics = numerics_of(network, "int4", "uint4")
    headless = Network("headless", network.operators[:-1])
    for wrong, found in ((headless, "a Requantize"), (Network("none", ()), "ends in nothing")):
        with pytest.raises(CostError, match=found):
            with_label_select(wrong, numerics)
    pooled = (Pool("pooled", 4, 4, 1, "average", "x"),)
    for operators, found in ((pooled, "begins with pooled, a Pool"), ((), "begins with nothing")):
        with pytest.raises(CostError, match=found):
            with_pixels(Network("tail", operators), numerics)
    labelled, scored = with_label_select(network, numerics)
    with pytest.raises(CostError, match=r"head\.label is a LabelSelect"):
        report(labelled, scored, model=CostModel.FINN)
    with pytest.raises(
        ShapeError, match=re.escape("must add rows or columns of zeros, but got (top, left, bottom, right) = (0")
    ):
        Pad("pad", "layer", 4, (8, 8), (0, 0, 0, 0), "x")
    with pytest.raises(ShapeError, match="must refer to an operator of the network, but got 'layer'"):
        Network("dangling", (Pad("pad", "layer", 4, (8, 8), (1, 1, 1, 1), "x"),))
    with pytest.raises(ShapeError, match="at least 2 scores"):
        LabelSelect("label", 1, 1, "x")


def test_zeros_stand_in_front_of_layers_without_window_too() -> None:
    """A convolution of one pixel that pads."""
    layer = MatVec("one", 4, 2, 36, "x")
    operators = with_zeros(layer, 2, (6, 6), (1, 1, 1, 1))
    network = Network("one", operators)
    made = report(network, numerics_of(network, "int4", "uint4"))
    assert made.cycles["one.padding"] in (36, 72)
    assert with_zeros(layer, 2, (6, 6), (0, 0, 0, 0)) == (layer,)


def test_requantizers_behind_adds_pools_and_forks_keep_nothing_per_channel() -> None:
    network = residual_network()
    made = report(network, numerics_of(network, "int4", "uint4"))
    for name in ("add.requantize", "pool.requantize", "a.duplicate.requantize"):
        formulas = [line.formula for line in made.lines if line.layer == name and line.component == "requantize"]
        assert formulas
        assert not any("bias" in text or "for each of" in text for text in formulas)
