"""FINN's integer data types by name: width and range.

Source of the names and ranges: qonnx `core/datatype.py` (BIPOLAR is stored in 1 bit, TERNARY in 2). Floating-point and
fixed-point names exist there too, but FINN maps no such operator to hardware, so they are refused here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from hwmodels.finn.errors import FinnModelError

_SUPPORTED = "BIPOLAR, BINARY, TERNARY, INT2 .. INT64 and UINT1 .. UINT64"
_INTEGER = re.compile(r"(U?)INT([1-9][0-9]?)")


@dataclass(frozen=True, slots=True)
class FinnType:
    """One FINN data type: its name, storage width in bits, smallest and largest value."""

    name: str
    bits: int
    minimum: int
    maximum: int

    @property
    def signed(self) -> bool:
        """Whether negative values exist; True for BIPOLAR and TERNARY."""
        return self.minimum < 0


_NAMED = {
    "BIPOLAR": FinnType("BIPOLAR", 1, -1, 1),
    "BINARY": FinnType("BINARY", 1, 0, 1),
    "TERNARY": FinnType("TERNARY", 2, -1, 1),
}


def parse_finn_type(name: str) -> FinnType:
    """The data type of a FINN name such as `BIPOLAR`, `INT4` or `UINT8`.

    Raises:
        FinnModelError: the name is none of BIPOLAR, BINARY, TERNARY, INT2 .. INT64, UINT1 .. UINT64.
    """
    if name in _NAMED:
        return _NAMED[name]
    match = _INTEGER.fullmatch(name)
    if match is not None:
        unsigned, bits = bool(match[1]), int(match[2])
        if unsigned and bits <= 64:
            return FinnType(name, bits, 0, 2**bits - 1)
        if not unsigned and 2 <= bits <= 64:
            return FinnType(name, bits, -(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    raise FinnModelError(f"a FINN data type must be one of {_SUPPORTED}, but got {name!r}.")


INT32 = parse_finn_type("INT32")
"""FINN's default accumulator type."""
