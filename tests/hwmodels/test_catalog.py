"""Names: every one parses, prints and comes back; ambiguous ones are refused with the choices."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwmodels.catalog import CATALOG, integers, minifloats, parse_element, parse_format
from hwmodels.formats import E8M0, OCP_E4M3, BlockFormat, FormatError, IntFormat, Minifloat, NumberFormat, Specials

# golden: name, bits, largest finite value on a scale of 1 (of the element of a block format)
GOLDEN = {
    "ocp_e4m3": (8, 448),
    "ocp_e5m2": (8, 57344),
    "ocp_e3m2": (6, 28),
    "ocp_e2m3": (6, 7.5),
    "ocp_e2m1": (4, 6),
    "e8m0": (8, 2.0**127),
    "ieee_e3m4": (8, 15.5),
    "ieee_e4m3": (8, 240),
    "fnuz_e4m3": (8, 240),
    "fnuz_e5m2": (8, 57344),
    "fnuz_e4m3b11": (8, 30),
    "finite_e4m3": (8, 480),
    "finite_e5m2": (8, 114688),
    "mxfp8_e4m3": (8, 448),
    "mxfp8_e5m2": (8, 57344),
    "mxfp6_e3m2": (6, 28),
    "mxfp6_e2m3": (6, 7.5),
    "mxfp4_e2m1": (4, 6),
    "mxint8": (8, 127),
    "nvfp4_e2m1": (4, 6),
    "nvint4": (4, 7),
}


def test_every_catalogued_format_has_a_golden_row() -> None:
    assert set(GOLDEN) == {entry.name for entry in CATALOG}


@pytest.mark.parametrize("entry", CATALOG, ids=lambda entry: entry.name)
def test_catalogue(entry) -> None:
    bits, largest = GOLDEN[entry.name]
    fmt = parse_format(entry.name)
    element = fmt.element if isinstance(fmt, BlockFormat) else fmt
    assert fmt == entry.format
    assert (fmt.bits, float(element.max_value)) == (bits, largest)
    assert entry.source


formats: st.SearchStrategy[NumberFormat] = st.one_of(
    st.sampled_from(integers()),
    st.sampled_from(minifloats()),
    st.builds(
        Minifloat,
        st.integers(2, 8),
        st.integers(0, 5),
        bias=st.none() | st.integers(-3, 20),
        specials=st.sampled_from(Specials),
        subnormals=st.booleans(),
    ),
    st.builds(Minifloat, st.integers(1, 5), st.integers(0, 5), signed=st.just(False)),
    st.builds(
        BlockFormat,
        st.sampled_from([*integers(), *minifloats()]),
        st.sampled_from([8, 16, 32, 64]),
        st.sampled_from([E8M0, OCP_E4M3]),
    ),
)


@given(formats)
def test_names_come_back(fmt: NumberFormat) -> None:
    assert parse_format(fmt.name) == fmt
    assert parse_format(fmt.name.upper()) == fmt


def test_all_minifloats_of_3_to_8_bits_exist() -> None:
    assert len({f.name for f in minifloats()}) == len(minifloats()) == sum(b - 1 for b in range(3, 9))


@pytest.mark.parametrize(
    ("bare", "choices"),
    [
        ("e4m3", ["ocp_e4m3 (max 448)", "ieee_e4m3 (max 240)", "fnuz_e4m3 (max 240)", "finite_e4m3 (max 480)"]),
        ("ue4m3", ["finite_ue4m3 (max 480)", "nan_ue4m3 (max 448)"]),
        ("E5M2", ["ocp_e5m2 (max 57344)", "fnuz_e5m2 (max 57344)", "finite_e5m2 (max 114688)"]),
    ],
)
def test_bare_fp8_is_refused_with_the_choices(bare: str, choices: list[str]) -> None:
    with pytest.raises(FormatError, match="does not say what its top codes mean") as error:
        parse_format(bare)
    assert all(choice in str(error.value) for choice in choices)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("float8", "a format must be named like int4, uint8"),
        ("int1", "must be 2 to 32"),
        ("ocp_e3m3", "OCP defines e4m3, e5m2, e3m2, e2m3 and e2m1 only"),
        ("e4m3b11", "write one of ocp_e4m3 (max 448), ieee_e4m3 (max 240)"),
        ("int8u", "a format must be named like int4, uint8"),
        ("mxfp5_e2m1", "has 4 bits, but got mxfp5; write mxfp4_e2m1"),
        ("mxfloat", "a block format must be one of mxfp8_e4m3"),
        ("nvfp5_e2m1", "has 4 bits, but got nvfp5; write nvfp4_e2m1"),
    ],
)
def test_unknown_names_are_refused(name: str, text: str) -> None:
    with pytest.raises(FormatError) as error:
        parse_format(name)
    assert text in str(error.value)


def test_an_element_is_no_block_format() -> None:
    assert parse_element("int4") == IntFormat(4)
    with pytest.raises(FormatError, match="an element format is needed here, but got the block format 'mxfp4_e2m1'"):
        parse_element("mxfp4_e2m1")
