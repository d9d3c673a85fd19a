"""Which DSP slice a part has, from its name, as FINN v0.10.1 `util/basic.py` decides it."""

from __future__ import annotations

from hwmodels.finn.errors import FinnModelError
from hwmodels.primitives.dsp_packing import DspBlock

_VERSAL = ("xcvc", "xcve", "xcvp", "xcvm", "xqvc", "xqvm", "xqrvc")


def dsp_block(part: str) -> DspBlock:
    """The DSP slice of an AMD part name such as `xc7z020clg400-1`: DSP58 on Versal, DSP48E1 on 7 series, else DSP48E2.

    Raises:
        FinnModelError: the text is no AMD part name.
    """
    name = part.lower()
    if not name.startswith(("xc", "xq", "xa")) or len(name) < 5:
        raise FinnModelError(
            f"an FPGA part must be an AMD part name such as xc7z020clg400-1 or xczu3eg-sbva484-1-e, but got {part!r}."
        )
    if name.startswith(_VERSAL):
        return "DSP58"
    return "DSP48E1" if name[2] == "7" else "DSP48E2"
