"""Operators, networks and foldings: cycles, divisors, and what does not fit together."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwmodels.datapath import Accumulator, TensorQuant
from hwmodels.finn.errors import FinnModelError, require_divides
from hwmodels.formats import IntFormat
from hwmodels.ops import (
    Add,
    Depthwise,
    Folding,
    LayerNumerics,
    MatVec,
    Network,
    Numerics,
    Requantize,
    ShapeError,
    divisors,
    known_divisors,
)


@given(st.integers(1, 5000))
def test_divisors_are_all_divisors(n: int) -> None:
    assert divisors(n) == tuple(d for d in range(1, n + 1) if n % d == 0)
    assert known_divisors(n) == divisors(n)


def test_a_refusal_of_a_number_without_end_is_worded_at_once():
    """A prime and twice a prime of 31 digits, whose divisors would take 10^15 steps to look for."""
    huge = 10**30 + 57
    assert known_divisors(huge) == (1, huge)
    with pytest.raises(ShapeError, match=f"cols={2 * huge}; divisors near 7: 1, 2"):
        Folding(1, 7).check(MatVec("a", 64, 2 * huge, 1, "input"))
    with pytest.raises(FinnModelError, match=f"MW={2 * huge}; divisors near 7: 2, {huge}"):
        require_divides("SIMD", 7, "MW", 2 * huge)


@given(st.integers(1, 48), st.integers(1, 48), st.integers(1, 30), st.data())
def test_multipliers_times_cycles_are_the_products(rows: int, cols: int, vectors: int, data: st.DataObject) -> None:
    op = MatVec("a", rows, cols, vectors, "x")
    folding = Folding(data.draw(st.sampled_from(divisors(rows))), data.draw(st.sampled_from(divisors(cols))))
    assert folding.pe * folding.simd * folding.cycles(op) == op.macs == rows * cols * vectors


def test_depthwise_counts_its_own_products() -> None:
    op = Depthwise("d", 32, 9, 100, "x")
    assert (op.rows, op.cols, op.dot_length, op.macs) == (32, 9, 9, 28800)
    assert Folding(4, 3).cycles(op) == 2400


@pytest.mark.parametrize(
    ("folding", "text"),
    [
        (Folding(3, 1), "`pe` must divide rows, but a got pe=3, rows=64; divisors near 3: 2, 4."),
        (Folding(1, 7), "`simd` must divide cols, but a got simd=7, cols=27; divisors near 7: 3, 9."),
        (Folding(0, 1), "`pe` must divide rows, but a got pe=0, rows=64; divisors near 0: 1, 2."),
    ],
)
def test_foldings_that_do_not_divide_name_what_would(folding: Folding, text: str) -> None:
    with pytest.raises(ShapeError) as error:
        folding.check(MatVec("a", 64, 27, 1, "x"))
    assert str(error.value) == text


def test_a_network_names_its_operators_once_and_refers_to_its_own() -> None:
    layer = MatVec("a", 4, 4, 1, "x")
    with pytest.raises(ShapeError, match=r"must be unique, but \['a'\] repeat"):
        Network("n", (layer, layer))
    with pytest.raises(ShapeError, match="must refer to an operator of the network, but got 'b'"):
        Network("n", (layer, Requantize("a.requantize", "b", 4, 1, "y")))


def test_a_network_lists_layers_sites_and_products() -> None:
    ops = (
        MatVec("a", 4, 8, 2, "x"),
        Requantize("a.requantize", "a", 4, 2, "y"),
        Add("add", 4, 2, "y"),
        Depthwise("d", 4, 3, 2, "y"),
    )
    network = Network("n", ops)
    assert [op.name for op in network.compute] == ["a", "d"]
    assert network.sites == ("x", "y")
    assert network.macs == 64 + 24


def test_numerics_give_a_layer_its_datapath() -> None:
    quant = TensorQuant(IntFormat(4))
    numerics = Numerics({"x": quant}, {"a": LayerNumerics(quant, Accumulator(16))})
    assert numerics.datapath(MatVec("a", 4, 4, 1, "x")).accumulator.bits == 16
    with pytest.raises(ShapeError, match="layer 'a' with input site 'z' must have formats"):
        numerics.datapath(MatVec("a", 4, 4, 1, "z"))
