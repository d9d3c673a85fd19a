"""Many points at once cost what each costs by itself, to the last bit."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import numerics_of, residual_network
from random_networks import folding_choices, networks, numerics

from hwmodels.datapath import Multiplier
from hwmodels.devices import get_device
from hwmodels.ends import with_label_select, with_pixels
from hwmodels.estimate import CostModel, CostOptions, estimate
from hwmodels.ops import Folding, ShapeError, divisors
from hwmodels.options import UnitStyle
from hwmodels.primitives.memory import MemoryStyle
from hwmodels.primitives.stream import SRL_WORDS, fifo
from hwmodels.report import CostError
from hwmodels.resources import NAMES
from hwmodels.vector import POINTS_AT_ONCE, CostTables

DEVICE = get_device("xczu3eg")
NETWORK = residual_network()
CHOICES = {
    op.name: [Folding(pe, simd) for pe in divisors(op.rows) for simd in divisors(op.cols)] for op in NETWORK.compute
}


def drawn(rng: np.random.Generator, tables_of: dict[str, list[Folding]], count: int) -> dict[str, np.ndarray]:
    return {name: rng.integers(len(each), size=count, dtype=np.uint8) for name, each in tables_of.items()}


def assert_equal_to_estimates(network, formats, foldings, device, options, count, seed) -> None:
    tables, rng = CostTables(network, formats, foldings, device, options), np.random.default_rng(seed)
    chosen, folded = rng.integers(len(formats), size=count), drawn(rng, foldings, count)
    costs = tables.at(chosen, folded)
    for i in range(count):
        point = {name: each[folded[name][i]] for name, each in foldings.items()}
        made = estimate(network, formats[chosen[i]], point, device, options)
        read = {name: getattr(costs, name)[i] for name in NAMES}
        assert read == made.total.as_dict()
        assert costs.max_cycles[i] == made.max_cycles


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_tables_equal_estimates_on_random_networks(data) -> None:
    network = data.draw(networks())
    options = data.draw(
        st.builds(CostOptions, multiplier=st.sampled_from(Multiplier), memory=st.sampled_from(list(MemoryStyle)[:3]))
    )
    integers = options.multiplier is Multiplier.DSP
    formats = data.draw(st.lists(numerics(network, integers=integers), min_size=1, max_size=3))
    foldings = data.draw(folding_choices(network))
    device = get_device(data.draw(st.sampled_from(("xc7z020", "xczu7ev", "xcvc1902"))))
    assert_equal_to_estimates(network, formats, foldings, device, options, 6, data.draw(st.integers(0, 2**32)))


def test_tables_equal_estimates_over_all_foldings() -> None:
    formats = [
        numerics_of(NETWORK, *pair, bits)
        for pair in (("int4", "uint4"), ("e2m1", "e3m2"), ("mxfp4_e2m1", "uint8"))
        for bits in (16, 23)
    ]
    assert_equal_to_estimates(NETWORK, formats, CHOICES, DEVICE, None, 150, 0)


def test_tables_equal_estimates_with_pixels_and_label() -> None:
    formats = [numerics_of(NETWORK, *pair, 16) for pair in (("int4", "int4"), ("e2m1", "e3m2"))]
    network, _ = with_label_select(with_pixels(NETWORK, formats[0]), formats[0])
    scored = [with_label_select(NETWORK, each)[1] for each in formats]
    assert_equal_to_estimates(network, scored, CHOICES, DEVICE, None, 40, 1)


@pytest.mark.parametrize(
    "options",
    [
        CostOptions(units=UnitStyle.HLS, shell=True),
        CostOptions(units=UnitStyle.HLS, multiplier=Multiplier.DSP, memory=MemoryStyle.BRAM),
        CostOptions(memory=MemoryStyle.EXTERNAL, shell=True),
    ],
    ids=["hls", "hls-dsp", "external"],
)
def test_tables_equal_estimates_whatever_is_built(options: CostOptions) -> None:
    formats = [numerics_of(NETWORK, *pair) for pair in (("int4", "uint4"), ("int8", "uint8"))]
    assert_equal_to_estimates(NETWORK, formats, CHOICES, DEVICE, options, 40, 0)


def test_points_fill_several_chunks_and_chunks_do_not_matter() -> None:
    tables, rng = (
        CostTables(NETWORK, [numerics_of(NETWORK, "int4", "uint4")], CHOICES, DEVICE),
        np.random.default_rng(1),
    )
    count = 2 * POINTS_AT_ONCE + 3
    folded = drawn(rng, CHOICES, count)
    whole = tables.at(np.zeros(count, int), folded)
    last = tables.at([0], {name: column[-1:] for name, column in folded.items()})
    for name in (*NAMES, "max_cycles"):
        assert getattr(whole, name).shape == (count,)
        assert getattr(whole, name)[-1] == getattr(last, name)[0]
    none = np.array([], int)
    assert tables.at(none, dict.fromkeys(CHOICES, none)).lut.shape == (0,)


@given(
    st.integers(1, 40),
    st.integers(1, 2000),
    st.integers(1, SRL_WORDS),
    st.sampled_from(("xc7z020", "xczu7ev", "xcvc1902")),
)
def test_a_fifo_is_as_large_as_its_last_shift_register(registers: int, width: int, words: int, part: str) -> None:
    """What the tables rest on: beyond two words the cost depends on ceil(depth / 32) alone."""
    capacity, full = get_device(part).resources, registers * SRL_WORDS
    depth = max(full - SRL_WORDS + words, 3)
    costs = [fifo("FIFO", each, width, MemoryStyle.AUTO, capacity).resources for each in (depth, full)]
    assert costs[0] == costs[1]


def test_what_cannot_be_chosen_is_refused() -> None:
    numerics = [numerics_of(NETWORK, "int4", "uint4")]
    tables = CostTables(NETWORK, numerics, CHOICES, DEVICE)
    good = {name: np.zeros(2, int) for name in CHOICES}
    cases: list[tuple[object, dict, str]] = [
        ([0, 1], good, "numerics must have one choice of 0 to 0 at each of 2 points, but has 2 of 0 to 1"),
        ([0, 0, 0], good, "stem must have one choice of 0 to 14 at each of 3 points, but has 2 of 0 to 0"),
        (
            [0, 0],
            {**good, "head": [0, -1]},
            "head must have one choice of 0 to 23 at each of 2 points, but has 2 of -1 to 0",
        ),
        (
            [0.0, 0.0],
            good,
            "numerics must be a one-dimensional array of whole numbers, but got 1 dimensions of float64",
        ),
        ([0, 0], {"stem": [0, 0]}, "every layer with weights must have a folding at every point, but 'conv1' has none"),
    ]
    for chosen, folded, message in cases:
        with pytest.raises(CostError) as error:
            tables.at(chosen, folded)
        assert message in str(error.value)
    with pytest.raises(CostError, match="tables are of the calibrated model, but got model=finn"):
        CostTables(NETWORK, numerics, CHOICES, DEVICE, CostOptions(model=CostModel.FINN))
    with pytest.raises(CostError, match="to choose from, but there are none"):
        CostTables(NETWORK, [], CHOICES, DEVICE)
    with pytest.raises(ShapeError, match="'head' has none"):
        CostTables(NETWORK, numerics, {n: f for n, f in CHOICES.items() if n != "head"}, DEVICE)
    with pytest.raises(ShapeError, match="`pe` must divide rows, but stem got pe=3"):
        CostTables(NETWORK, numerics, {**CHOICES, "stem": [Folding(1, 1), Folding(3, 1)]}, DEVICE)
