"""Products per DSP slice, against the table of FINN's RTL library and by packing and unpacking numbers."""

import csv
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwmodels.primitives.dsp_packing import MULTIPLIER_PORT_BITS, DspPackingError, dsp_lanes, packed_dsps

TABLE = Path(__file__).parents[1] / "golden" / "finn" / "dsp_packing.csv"


def rows() -> list[dict[str, str]]:
    with TABLE.open(newline="") as file:
        return list(csv.DictReader(file))


def lanes_of(row: dict[str, str]) -> int:
    return dsp_lanes(int(row["W"]), int(row["A"]), row["narrow"] == "1", row["dsp"])  # type: ignore[arg-type]


def test_every_row_of_the_table() -> None:
    table = rows()
    assert len(table) == 336
    assert [row for row in table if lanes_of(row) != int(row["num_lanes_softvec"])] == []


@pytest.mark.parametrize(("pe", "simd"), [(1, 1), (7, 5), (64, 36)])
def test_slices_follow_the_core_that_finn_takes(pe: int, simd: int) -> None:
    for row in rows():
        lanes = int(row["num_lanes_softvec"])
        expected = -(-pe // lanes) * simd
        if row["dev_core"].startswith("INT8 dot"):
            assert row["dev_core"] == "INT8 dot: PE*ceil(SIMD/3)"
            expected = pe * -(-simd // 3)
        else:
            assert row["dev_core"] == f"ceil(PE/{lanes})*SIMD"
        slices = packed_dsps(
            pe,
            simd,
            weight_bits=int(row["W"]),
            activation_bits=int(row["A"]),
            narrow=row["narrow"] == "1",
            dsp=row["dsp"],  # type: ignore[arg-type]
        )
        assert slices == expected, row


@given(st.integers(2, 8), st.integers(1, 9), st.booleans(), st.sampled_from(["DSP48E1", "DSP48E2", "DSP58"]))
def test_the_packed_weights_fit_the_port(weight_bits: int, activation_bits: int, narrow: bool, dsp: str) -> None:
    """The largest and smallest packed word stay within the port, and one more lane would not fit it."""
    lanes = dsp_lanes(weight_bits, activation_bits, narrow, dsp)  # type: ignore[arg-type]
    spacing, port = weight_bits + activation_bits - 1, MULTIPLIER_PORT_BITS[dsp]
    least = -(2 ** (weight_bits - 1)) + int(narrow)

    def word(weight: int, number: int) -> int:
        return sum(weight << (spacing * lane) for lane in range(number))

    assert -(2 ** (port - 1)) <= word(least, lanes)
    assert word(2 ** (weight_bits - 1) - 1, lanes) < 2 ** (port - 1)
    assert (lanes + 1) * spacing + 1 - activation_bits + int(not narrow) > port - spacing


def test_bad_requests_are_refused() -> None:
    with pytest.raises(DspPackingError, match=r"^dsp must be one of DSP48E1, DSP48E2, DSP58, but got 'DSP49'\.$"):
        dsp_lanes(4, 4, True, "DSP49")  # type: ignore[arg-type]
    with pytest.raises(DspPackingError, match=r"^a DSP48E1 packs weights of 2 to 24 bits and activations of 1 to"):
        dsp_lanes(25, 4, False, "DSP48E1")
    with pytest.raises(
        DspPackingError, match=r"activations of 1 to 18 bits, but got weight_bits=20, activation_bits=20,"
    ):
        dsp_lanes(20, 20, False, "DSP48E2")
    assert dsp_lanes(20, 20, False, "DSP58") == 1  # 27 x 24 bits
    with pytest.raises(DspPackingError, match=r"^pe and simd must be at least 1, but got pe=0, simd=1\.$"):
        packed_dsps(0, 1, weight_bits=4, activation_bits=4, narrow=True, dsp="DSP48E2")
