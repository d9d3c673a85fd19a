"""Transformer units: what they cost, with which band, and a whole decoder block from embedding to residual add."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from llama_block import block_numerics, decoder_block

from hwmodels.catalog import parse_element
from hwmodels.dataflow import inputs
from hwmodels.devices import get_device
from hwmodels.estimate import CostError, CostModel, CostOptions, estimate
from hwmodels.finn_network import finn_network_cost
from hwmodels.folding import fold_for_cycles
from hwmodels.folding_solver import fold_for_device
from hwmodels.ops import Folding, LayerNumerics, MatMul, Numerics, Rope, ShapeError, divisors
from hwmodels.options import OptionsError, UnitStyle
from hwmodels.primitives.cost import BandKind, Cost
from hwmodels.primitives.memory import MemoryStyle, MemoryStyleError, bram18
from hwmodels.primitives.transformer import dynamic_scale, multiply, normalize, rope, softmax, table
from hwmodels.primitives.transformer_units import unit_resources
from hwmodels.rtl.inverse import InverseUnit
from hwmodels.rtl.transformer_structure import inverse_structure
from hwmodels.vector import CostTables

BLOCK, DEVICE = decoder_block(), get_device("xczu7ev")
NUMERICS = block_numerics(BLOCK, "int4", "int8")
FOLDINGS = fold_for_cycles(BLOCK, 2_000, NUMERICS)
PARTS = {"dsp": None, "family": "xcup", "capacity": DEVICE.resources}
FORMATS = ["int4", "int8", "e2m1", "e3m2"]
COMPONENTS = ("embedding", "normalize", "rope", "KV cache", "softmax", "table", "multiply")


def report(weight: str = "int4", activation: str = "int8", options: CostOptions | None = None):
    return estimate(BLOCK, block_numerics(BLOCK, weight, activation), FOLDINGS, DEVICE, options)


@pytest.mark.parametrize("formats", [("int4", "int8"), ("e2m1", "e3m2"), ("int8", "int8")], ids="-".join)
def test_a_decoder_block_is_costed_end_to_end(formats: tuple[str, str]) -> None:
    made = report(*formats)
    assert set(made.per_layer()) == {op.name for op in BLOCK.operators}
    assert all(resources.lut > 0 and resources.ff > 0 for resources in made.per_layer().values())
    assert {line.component for line in made.lines} >= set(COMPONENTS)
    for line in made.lines:
        assert line.formula
        assert line.source
        if line.component in ("normalize", "rope", "softmax", "multiply"):
            assert line.band.kind is not BandKind.UNCALIBRATED
    assert made.max_cycles <= 2_000
    assert made.fill_cycles > 0


def test_its_products_are_those_of_the_model() -> None:
    """4 projections (keys and values of half the heads), 3 feed-forward matrices, and 2 products with 128 cached positions."""
    projections = 64 * 64 * 2 + 64 * 32 * 2
    assert BLOCK.macs == projections + 3 * 64 * 160 + 2 * 4 * 16 * 128


def test_streams_are_joined_as_in_the_model() -> None:
    feeds = inputs(BLOCK)
    assert feeds["scores"] == ("query.rope.requantize", "key.rope.requantize")
    assert feeds["mix"] == ("softmax.requantize", "value.requantize")
    assert feeds["gated"] == ("silu", "up.requantize")
    assert feeds["add2"] == ("down.requantize", "add2.shortcut")
    assert feeds["embedding"] == ()


def line_of(made, layer: str, component: str):
    (line,) = [line for line in made.lines if (line.layer, line.component) == (layer, component)]
    return line


def test_the_kv_cache_holds_every_position_of_every_kv_head() -> None:
    """2 heads x 16 values x 128 positions x 8 bits, read PE * SIMD values at a time."""
    made = report(options=CostOptions(memory=MemoryStyle.BRAM))
    for name in ("scores", "mix"):
        lanes = FOLDINGS[name].pe * FOLDINGS[name].simd
        blocks = bram18(8 * lanes, 2 * 16 * 128 // lanes)
        assert line_of(made, name, "KV cache").resources.bram18 == blocks
    assert not [line for line in made.lines if line.layer == "scores" and line.component == "weight memory"]


def test_an_off_chip_cache_counts_in_the_bandwidth() -> None:
    made = report(options=CostOptions(memory=MemoryStyle.EXTERNAL))
    assert made.weight_stream_bits["scores"] == FOLDINGS["scores"].pe * FOLDINGS["scores"].simd * 8
    assert made.weight_stream_bits["query"] == FOLDINGS["query"].pe * FOLDINGS["query"].simd * 4


def test_matrices_made_anew_are_kept_twice_and_on_chip() -> None:
    def replaced(cached: bool):
        operators = tuple(
            MatMul(op.name, op.rows, op.cols, op.vectors, op.site, op.stored, op.matrices, cached)
            if isinstance(op, MatMul)
            else op
            for op in BLOCK.operators
        )
        network = type(BLOCK)("block", operators)
        return estimate(network, NUMERICS, FOLDINGS, DEVICE, CostOptions(memory=MemoryStyle.EXTERNAL))

    buffered = replaced(cached=False)
    assert "scores" not in buffered.weight_stream_bits
    words = line_of(buffered, "scores", "operand buffer").formula
    assert words.startswith(f"{2 * 2 * 16 * 128 // (FOLDINGS['scores'].pe * FOLDINGS['scores'].simd)} words")
    assert "scores" in replaced(cached=True).weight_stream_bits


def test_tables_and_the_solver_know_the_block() -> None:
    choices = {op.name: [FOLDINGS[op.name], Folding()] for op in BLOCK.compute}
    tables = CostTables(BLOCK, [NUMERICS, block_numerics(BLOCK, "e2m1", "e3m2")], choices, DEVICE)
    costs = tables.at([0], {name: [0] for name in choices})
    made = report()
    assert costs.lut[0] == made.total.lut
    assert costs.max_cycles[0] == made.max_cycles
    solved = fold_for_device(BLOCK, NUMERICS, DEVICE, 2_000)
    assert estimate(BLOCK, NUMERICS, solved, DEVICE).max_cycles <= 2_000


UNITS = {
    "normalize": lambda fmt, n: normalize(fmt, 64, n, centred=False, **PARTS),
    "centred": lambda fmt, n: normalize(fmt, 64, n, centred=True, **PARTS),
    "softmax": lambda fmt, n: softmax(fmt, 64, n, **PARTS),
    "rope": lambda fmt, n: rope(fmt, 16, 128, n, **PARTS),
    "multiply": lambda fmt, n: multiply(fmt, fmt, n, dsp=None, family="xcup"),
    "table": lambda fmt, n: table(fmt, parse_element("int8"), n, DEVICE.resources),
}


@given(st.sampled_from(sorted(UNITS)), st.sampled_from(FORMATS), st.sampled_from(divisors(64)[:-1]))
def test_more_lanes_and_wider_values_cost_more(unit: str, fmt: str, lanes: int) -> None:
    few, many = (UNITS[unit](parse_element(fmt), n).resources for n in (lanes, 2 * lanes))
    assert few.lut < many.lut
    assert few.ff < many.ff
    narrow, wide = (UNITS[unit](parse_element(name), lanes).resources for name in ("int4", "int8"))
    assert narrow.lut <= wide.lut


def test_a_layer_norm_costs_more_than_an_rms_norm() -> None:
    fmt = parse_element("int8")
    assert UNITS["centred"](fmt, 4).resources.lut > UNITS["normalize"](fmt, 4).resources.lut


def test_slices_take_the_place_of_multipliers() -> None:
    made, sliced = report("int8", "int8"), report("int8", "int8", CostOptions(multiplier="dsp"))
    for layer, component in (("norm1", "normalize"), ("softmax", "softmax"), ("gated", "multiply")):
        luts, slices = (line_of(each, layer, component).resources for each in (made, sliced))
        assert slices.lut < luts.lut
        assert slices.dsp > luts.dsp == 0


@pytest.mark.parametrize(
    ("cost", "reason"),
    [
        (normalize(parse_element("int8"), 64, 16, centred=False, **PARTS), "words 4 outside"),
        (
            normalize(parse_element("int8"), 64, 1, centred=False, **PARTS | {"family": "versal"}),
            "family versal instead of",
        ),
        (softmax(parse_element("int32"), 64, 1, **PARTS), "bits 32 outside"),
        (multiply(parse_element("int8"), parse_element("int8"), 64, dsp=None, family="xcup"), "lanes 64 outside"),
    ],
    ids=["words", "family", "bits", "lanes"],
)
def test_outside_the_table_the_band_is_wider_and_says_why(cost: Cost, reason: str) -> None:
    assert cost.band.kind is BandKind.EXTRAPOLATED
    assert reason in cost.band.basis


def test_inside_the_table_the_band_is_measured() -> None:
    for fmt in map(parse_element, FORMATS):
        for unit in ("normalize", "centred", "softmax", "rope", "multiply"):
            assert UNITS[unit](fmt, 1).band.kind is BandKind.MEASURED, (unit, fmt)


def test_short_vectors_take_reciprocals_in_turns() -> None:
    """A reciprocal is held for 7 cycles, so a block of 4 words asks for two of them."""
    inverse = unit_resources(inverse_structure(InverseUnit(16)), None, "xcup")
    long, short = (dynamic_scale(16, n, 1, power_of_two=False, **PARTS).resources for n in (8, 4))
    assert short.ff > long.ff + inverse.ff - 10  # shorter counters
    assert short.dsp == long.dsp == 0


def test_blocks_side_by_side_are_units_side_by_side() -> None:
    one, two = (dynamic_scale(12, 32, n, power_of_two=True, **PARTS).resources for n in (32, 64))
    assert two.lut == pytest.approx(2 * one.lut)
    assert (two.ff, two.carry8, two.bram18) == (2 * one.ff, 2 * one.carry8, 2 * one.bram18)


def test_finn_refuses_the_block_by_name() -> None:
    for cost in (
        lambda: report("int4", "int8", CostOptions(model=CostModel.FINN)),
        lambda: finn_network_cost(BLOCK, NUMERICS, DEVICE, CostOptions(model=CostModel.FINN), 2_000),
    ):
        with pytest.raises(CostError, match="but embedding is a Lookup; use model=calibrated"):
            cost()


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(OptionsError, match="a product of two activations has none; use units=rtl"):
        report("int4", "int8", CostOptions(units=UnitStyle.HLS))
    with pytest.raises(MemoryStyleError, match="a table must read codes of at most 16 bits, but got int20"):
        table(parse_element("int20"), parse_element("int8"), 1, DEVICE.resources)
    with pytest.raises(ShapeError, match="`head` must be even and divide the channels, but r got head=6, channels=64"):
        Rope("r", 64, 1, 6, 128, "x")
    other = LayerNumerics(NUMERICS.layers["query"].weight, NUMERICS.layers["scores"].accumulator)
    wrong = Numerics(NUMERICS.sites, {**NUMERICS.layers, "scores": other})
    with pytest.raises(
        ShapeError, match="the matrices of 'scores' are the tensor of a site and must have its format int8"
    ):
        estimate(BLOCK, wrong, FOLDINGS, DEVICE)
