"""Memories: Vivado's block RAM on FINN's CNV, and properties of all styles."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwmodels.devices import DEVICES, get_device
from hwmodels.finn.memory import bram18_by_width
from hwmodels.primitives.memory import MemoryStyle, MemoryStyleError, bram18, lutram, memory, price, uram
from hwmodels.resources import Resources

POST_SYNTH = json.loads((Path(__file__).parents[1] / "golden/finn/postsynth_cnv_w1a1_pynqz2.json").read_text())
MATRIX_UNITS = [layer for layer in POST_SYNTH["layers"] if "MW" in layer]


@pytest.mark.parametrize("layer", MATRIX_UNITS, ids=lambda layer: layer["name"])
def test_weight_memory_after_implementation(layer) -> None:
    """Exact, but for the three units whose 256 or 512 thresholds per lane take one RAMB18 more."""
    lanes = layer["PE"] * layer["SIMD"]
    blocks = 2 * layer["post_synth"]["BRAM_36K"] + layer["post_synth"]["BRAM_18K"]
    thresholds = layer["MH"] // layer["PE"] >= 256
    assert bram18(lanes, layer["MW"] * layer["MH"] // lanes) == blocks - thresholds


def test_finns_own_rule_is_too_low_there() -> None:
    sizes = [(u["PE"] * u["SIMD"], u["MW"] * u["MH"] // (u["PE"] * u["SIMD"])) for u in MATRIX_UNITS]
    assert (sum(bram18_by_width(*s) for s in sizes), sum(bram18(*s) for s in sizes)) == (146, 179)


@pytest.mark.parametrize(
    ("width", "depth", "blocks"),
    [
        (72, 512, 2),
        (36, 512, 1),
        (37, 512, 2),
        (36, 1024, 2),
        (18, 1024, 1),
        (1, 32768, 2),
        (2, 16384, 2),
        (1, 16384, 1),
    ],
)
def test_shapes_of_the_data_sheet(width: int, depth: int, blocks: int) -> None:
    assert bram18(width, depth) == blocks


sizes = st.tuples(st.integers(1, 2000), st.integers(1, 100_000))


@given(sizes)
def test_every_memory_holds_its_bits_and_grows_with_its_width(size: tuple[int, int]) -> None:
    width, depth = size
    assert bram18(width, depth) * 18432 >= width * depth
    assert uram(width, depth) * 72 * 4096 >= width * depth
    assert lutram(width, depth) * 64 >= width * depth
    for count in (bram18, uram, lutram):
        assert 0 < count(width, depth) <= count(width + 1, depth)


@given(sizes)
def test_lutram_and_uram_grow_with_depth(size: tuple[int, int]) -> None:
    width, depth = size
    assert lutram(width, depth) <= lutram(width, depth + 1)
    assert uram(width, depth) <= uram(width, depth + 1)


@given(sizes, st.sampled_from(sorted(DEVICES)))
def test_auto_takes_what_is_cheapest_on_the_part(size: tuple[int, int], name: str) -> None:
    capacity = get_device(name).resources
    styles = [MemoryStyle.LUTRAM, MemoryStyle.BRAM] + ([MemoryStyle.URAM] if capacity.uram else [])
    prices = []
    for style in styles:
        r = memory("weights", *size, style, capacity).resources
        prices.append(price(Resources(lut=r.lut, bram18=r.bram18, uram=r.uram), capacity))
    chosen = memory("weights", *size, MemoryStyle.AUTO, capacity).resources
    assert price(Resources(lut=chosen.lut, bram18=chosen.bram18, uram=chosen.uram), capacity) == min(prices)


def test_uram_on_a_part_without_is_refused() -> None:
    capacity = get_device("xczu3eg").resources
    with pytest.raises(MemoryStyleError) as error:
        memory("weight memory", 72, 4096, MemoryStyle.URAM, capacity)
    assert str(error.value) == "weight memory can only be kept in URAM on a part that has it; use bram, lutram or auto."
    blocks = memory("weight memory", 72, 4096, MemoryStyle.URAM, get_device("xcu250").resources)
    assert blocks.resources == Resources(uram=1)
