"""Scalings, tensor quantizations and datapaths: names, block formats, what cannot exist."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwmodels.catalog import parse_format
from hwmodels.datapath import (
    Accumulator,
    Datapath,
    DatapathError,
    Granularity,
    Multiplier,
    ScaleKind,
    Scaling,
    TensorQuant,
    parse_scaling,
    tensor_quant,
)
from hwmodels.formats import IntFormat, Minifloat

plain = st.sampled_from([ScaleKind.FLOAT, ScaleKind.POWER_OF_TWO])
scalings = st.one_of(
    st.builds(
        Scaling, st.sampled_from([Granularity.TENSOR, Granularity.CHANNEL]), plain, st.none(), dynamic=st.booleans()
    ),
    st.builds(Scaling, st.just(Granularity.TOKEN), plain, st.none(), dynamic=st.just(True)),
    st.builds(Scaling, st.just(Granularity.TENSOR), plain, st.none(), zero_point=st.booleans()),
    st.builds(
        Scaling,
        st.just(Granularity.GROUP),
        st.sampled_from(ScaleKind),
        st.integers(2, 512),
        dynamic=st.booleans(),
    ),
)


@given(scalings)
def test_scaling_names_come_back(scaling: Scaling) -> None:
    assert parse_scaling(scaling.name) == scaling


@pytest.mark.parametrize(
    ("name", "scaling"),
    [
        ("tensor", Scaling()),
        ("channel_po2", Scaling(Granularity.CHANNEL, ScaleKind.POWER_OF_TWO)),
        ("token", Scaling(Granularity.TOKEN, dynamic=True)),
        ("tensor_dynamic", Scaling(dynamic=True)),
        ("tensor_po2_asym", Scaling(kind=ScaleKind.POWER_OF_TWO, zero_point=True)),
        ("group16_e4m3_dynamic", Scaling(Granularity.GROUP, ScaleKind.E4M3, 16, dynamic=True)),
    ],
)
def test_what_names_mean(name: str, scaling: Scaling) -> None:
    assert parse_scaling(name) == scaling
    assert scaling.name == name


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tensor_e4m3", "e4m3 scales are those of groups, but got granularity=tensor; use groupN"),
        ("channel_asym", "a zero point must be a constant of a whole tensor, but got channel_asym; use tensor_asym"),
        ("tensor_dynamic_asym", "a zero point must be a constant"),
        ("group32_asym", "a zero point must be a constant"),
    ],
)
def test_scalings_that_cannot_exist_are_refused(name: str, message: str) -> None:
    with pytest.raises(DatapathError, match=message):
        parse_scaling(name)
    with pytest.raises(DatapathError, match="the scale of a token must be dynamic"):
        Scaling(Granularity.TOKEN)


@pytest.mark.parametrize("name", ["row", "group", "group0", "group1", "channel_po3", "group-8", "tensor_asym_po2"])
def test_unknown_scalings_are_refused(name: str) -> None:
    with pytest.raises(DatapathError, match="but got"):
        parse_scaling(name)


def test_group_size_goes_with_groups_only() -> None:
    with pytest.raises(DatapathError, match="if and only if granularity is group"):
        Scaling(Granularity.TENSOR, group_size=32)
    with pytest.raises(DatapathError, match="if and only if granularity is group"):
        Scaling(Granularity.GROUP)


def test_a_block_format_brings_its_scaling() -> None:
    quant = tensor_quant(parse_format("mxfp4_e2m1"))
    assert quant == TensorQuant(Minifloat(2, 1), Scaling(Granularity.GROUP, ScaleKind.POWER_OF_TWO, 32))
    assert parse_format(str(quant).partition("/")[0]) == quant.format
    assert str(quant).endswith("/group32_po2")
    with pytest.raises(DatapathError, match="brings the scaling group32_po2, but got channel"):
        tensor_quant(parse_format("mxfp4_e2m1"), parse_scaling("channel"))
    dynamic = parse_scaling("group16_e4m3_dynamic")
    assert tensor_quant(parse_format("nvfp4_e2m1"), dynamic) == TensorQuant(Minifloat(2, 1), dynamic)
    assert tensor_quant(parse_format("nvint4")).scaling == parse_scaling("group16_e4m3")


def test_dsp_multipliers_take_integer_grids_only() -> None:
    def path(weight: str, multiplier: Multiplier) -> Datapath:
        quant = tensor_quant(parse_format(weight))
        return Datapath(quant, TensorQuant(IntFormat(8)), Accumulator(24), multiplier)

    assert path("int4", Multiplier.DSP).is_integer
    assert path("e1m2", Multiplier.DSP).is_integer
    assert not path("e2m1", Multiplier.LUT).is_integer
    with pytest.raises(DatapathError, match="use multiplier=lut"):
        path("e2m1", Multiplier.DSP)


@pytest.mark.parametrize(("bits", "tile"), [(1, None), (1025, None), (16, 0)])
def test_impossible_accumulators_are_refused(bits: int, tile: int | None) -> None:
    with pytest.raises(DatapathError, match="but got"):
        Accumulator(bits, tile)
