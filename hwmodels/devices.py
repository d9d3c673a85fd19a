"""The FPGA parts that designs are costed for: their capacity, primitive family and data sheet.

To add a part: one entry in :data:`DEVICES` and one golden row in ``tests/hwmodels/test_devices.py``.

How carry chains are counted: `carry8` is in units of eight carry bits. On 7 series two CARRY4 count as one CARRY8 (one
CARRY4 per slice of four LUT6), on UltraScale+ it is the CARRY8 (one per slice of eight LUT6), on Versal the LOOKAHEAD8
(one per eight LUT6). So every family has lut / 8 of them; derived from UG474, UG574 and AM005. A LUT6 is the same circuit
in all three families (two LUT5 outputs included); on Versal part of the carry logic sits in the LUTs themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from hwmodels.errors import BitfrontError
from hwmodels.primitives.dsp_packing import DspBlock
from hwmodels.resources import Resources


class DeviceError(BitfrontError):
    """A part that is not in the table, or a primitive that a part does not have."""


class Family(StrEnum):
    """Which carry, DSP and memory primitives a part has."""

    XC7 = "xc7"  # 7 series: CARRY4, DSP48E1, RAMB36
    XCUP = "xcup"  # UltraScale+: CARRY8, DSP48E2, RAMB36, URAM288
    VERSAL = "versal"  # LOOKAHEAD8, DSP58, RAMB36, URAM288


@dataclass(frozen=True)
class Device:
    """One part. `clock_mhz` is the clock a design is assumed to run at where nobody says otherwise (assumed).

    Attributes:
        name: short name as data sheets write it, XCZU3EG.
        part: a full orderable part name, as FPGA tools and FINN want it.
        resources: capacity; a RAMB36 counts as two RAMB18, `carry8` as the module describes.
        source: data sheet and table of the capacity.
        memory_gbs: peak bandwidth of the off-chip memory in GB/s where the card states one; a bare part has none, its board does.
    """

    name: str
    part: str
    family: Family
    dsp: DspBlock
    resources: Resources
    clock_mhz: float
    source: str
    memory_gbs: float | None = None


def _capacity(*, lut: int, ff: int, dsp: int, ramb36: int, uram: int) -> Resources:
    return Resources(lut=lut, carry8=lut // 8, ff=ff, dsp=dsp, bram18=2 * ramb36, uram=uram)


_TABLE = (
    Device(
        "XC7Z020",
        "xc7z020clg400-1",
        family=Family.XC7,
        dsp="DSP48E1",
        resources=_capacity(lut=53_200, ff=106_400, dsp=220, ramb36=140, uram=0),
        clock_mhz=100,
        source="DS190, Zynq-7000 SoC data sheet: overview, table 1 (Z-7020; Pynq-Z1, Pynq-Z2)",
    ),
    Device(
        "XCZU3EG",
        "xczu3eg-sbva484-1-e",
        family=Family.XCUP,
        dsp="DSP48E2",
        resources=_capacity(lut=70_560, ff=141_120, dsp=360, ramb36=216, uram=0),
        clock_mhz=200,
        source="DS891, Zynq UltraScale+ MPSoC data sheet: overview, EG device feature table (ZU3EG; Ultra96-V2)",
    ),
    Device(
        "XCZU7EV",
        "xczu7ev-ffvc1156-2-e",
        family=Family.XCUP,
        dsp="DSP48E2",
        resources=_capacity(lut=230_400, ff=460_800, dsp=1_728, ramb36=312, uram=96),
        clock_mhz=200,
        source="DS891, Zynq UltraScale+ MPSoC data sheet: overview, EV device feature table (ZU7EV; ZCU104)",
    ),
    Device(
        "XCU250",
        "xcu250-figd2104-2L-e",
        family=Family.XCUP,
        dsp="DSP48E2",
        resources=_capacity(lut=1_728_000, ff=3_456_000, dsp=12_288, ramb36=2_688, uram=1_280),
        clock_mhz=200,
        source="DS962, Alveo U200 and U250 data sheet, FPGA resource table (whole chip, no shell taken off); memory UG1393",
        memory_gbs=77,
    ),
    Device(
        "XCU55C",
        "xcu55c-fsvh2892-2L-e",
        family=Family.XCUP,
        dsp="DSP48E2",
        resources=_capacity(lut=1_303_680, ff=2_607_360, dsp=9_024, ramb36=2_016, uram=960),
        clock_mhz=200,
        source="DS978, Alveo U55C data sheet, FPGA resource table (whole chip, no shell taken off); memory UG1393",
        memory_gbs=460,
    ),
    Device(
        "XCVC1902",
        "xcvc1902-vsva2197-2MP-e-S",
        family=Family.VERSAL,
        dsp="DSP58",
        resources=_capacity(lut=899_840, ff=1_799_680, dsp=1_968, ramb36=967, uram=463),
        clock_mhz=250,
        source="DS950, Versal architecture data sheet: overview, AI Core table (VC1902); DSP58 also AM004, table 1",
    ),
)

DEVICES: Mapping[str, Device] = MappingProxyType({device.name: device for device in _TABLE})
"""Every part by its short name."""


def get_device(name: str) -> Device:
    """The part of a short name or of a full part name (``xczu3eg-sbva484-1-e``); case does not matter.

    A full part name gives the device of its first letters: package and speed grade change no cost.

    Raises:
        DeviceError: no known part has this name.
    """
    text = name.strip().upper()
    if text in DEVICES:
        return DEVICES[text]
    for device in DEVICES.values():
        rest = text.removeprefix(device.name)
        # a package (clg400-1) or a dash follows; a further digit or letter of the family name would be another part
        if rest != text and (rest.startswith("-") or (device.family is Family.XC7 and rest[0].isalpha())):
            return device
    raise DeviceError(f"a device must be one of {', '.join(DEVICES)} (or such a part's full name), but got {name!r}.")
