"""The parts: capacities of the data sheets, names, and what is refused."""

import pytest

from hwmodels.devices import DEVICES, DeviceError, Family, get_device
from hwmodels.finn.parts import dsp_block
from hwmodels.resources import Resources

# data sheets: LUT, FF, RAMB36, URAM, DSP (DS190, DS891, DS962, DS978, DS950)
DATA_SHEETS = {
    "XC7Z020": (53_200, 106_400, 140, 0, 220),
    "XCZU3EG": (70_560, 141_120, 216, 0, 360),
    "XCZU7EV": (230_400, 460_800, 312, 96, 1_728),
    "XCU250": (1_728_000, 3_456_000, 2_688, 1_280, 12_288),
    "XCU55C": (1_303_680, 2_607_360, 2_016, 960, 9_024),
    "XCVC1902": (899_840, 1_799_680, 967, 463, 1_968),
}


def test_every_part_has_a_golden_row() -> None:
    assert set(DATA_SHEETS) == set(DEVICES)


@pytest.mark.parametrize("name", DATA_SHEETS)
def test_capacity(name: str) -> None:
    lut, ff, ramb36, uram, dsp = DATA_SHEETS[name]
    device = get_device(name)
    expected = Resources(lut=lut, carry8=lut // 8, ff=ff, dsp=dsp, bram18=2 * ramb36, uram=uram)
    assert device.resources == expected
    assert device.source.startswith("DS")
    assert device.clock_mhz > 0


@pytest.mark.parametrize("name", DATA_SHEETS)
def test_names_and_part_names_in_any_case(name: str) -> None:
    device = get_device(name)
    assert get_device(name.upper()) is get_device(f" {device.part} ") is get_device(device.part.upper()) is device


@pytest.mark.parametrize("device", DEVICES.values(), ids=lambda device: device.name)
def test_the_dsp_slice_is_the_one_finn_takes(device) -> None:
    assert device.dsp == dsp_block(device.part)


def test_families_follow_the_dsp_slice() -> None:
    families = {"DSP48E1": Family.XC7, "DSP48E2": Family.XCUP, "DSP58": Family.VERSAL}
    assert all(families[device.dsp] is device.family for device in DEVICES.values())


@pytest.mark.parametrize(
    "name", ["", "xczu3", "xczu3cg-sbva484-1-e", "xczu3egx", "xcu2500", "xcu55n", "stratix10", "7z020"]
)
def test_unknown_parts_are_refused_with_the_choices(name: str) -> None:
    with pytest.raises(DeviceError) as error:
        get_device(name)
    assert str(error.value) == (
        "a device must be one of XC7Z020, XCZU3EG, XCZU7EV, XCU250, XCU55C, XCVC1902 (or such a part's full name), but "
        f"got {name!r}."
    )
