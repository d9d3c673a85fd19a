"""The named formats, each with the standard that defines it, and the reader of format names.

To add a named format: one row in :data:`CATALOG` and one golden row in ``tests/hwmodels/test_catalog.py``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from hwmodels.formats import (
    E8M0,
    OCP_E4M3,
    OCP_SPECIALS,
    BlockFormat,
    ElementFormat,
    FormatError,
    IntFormat,
    Minifloat,
    NumberFormat,
    Specials,
)


@dataclass(frozen=True)
class CatalogEntry:
    """A format under the name people know it by, and the document that defines it."""

    name: str
    format: NumberFormat
    source: str


_FP8 = "OCP 8-bit floating point specification 1.0, table 1"
_MX = "OCP Microscaling formats (MX) specification 1.0, table 1"
_NV = "arXiv 2509.25149 (NVFP4: blocks of 16, E4M3 block scales, one float32 scale per tensor)"
_NVINT = "arXiv 2510.25602 (NVINT4: NVFP4 with integer elements)"

CATALOG: tuple[CatalogEntry, ...] = (
    CatalogEntry("ocp_e4m3", Minifloat(4, 3, specials=Specials.NAN), _FP8),
    CatalogEntry("ocp_e5m2", Minifloat(5, 2, specials=Specials.IEEE), _FP8),
    CatalogEntry("ocp_e3m2", Minifloat(3, 2), _MX),
    CatalogEntry("ocp_e2m3", Minifloat(2, 3), _MX),
    CatalogEntry("ocp_e2m1", Minifloat(2, 1), _MX),
    CatalogEntry("e8m0", E8M0, "OCP Microscaling formats (MX) specification 1.0, section 5.4.1"),
    CatalogEntry("ieee_e3m4", Minifloat(3, 4, specials=Specials.IEEE), "ml_dtypes float8_e3m4"),
    CatalogEntry("ieee_e4m3", Minifloat(4, 3, specials=Specials.IEEE), "ml_dtypes float8_e4m3"),
    CatalogEntry(
        "fnuz_e4m3", Minifloat(4, 3, specials=Specials.FNUZ), "arXiv 2206.02915, section 2; ml_dtypes float8_e4m3fnuz"
    ),
    CatalogEntry(
        "fnuz_e5m2", Minifloat(5, 2, specials=Specials.FNUZ), "arXiv 2206.02915, section 2; ml_dtypes float8_e5m2fnuz"
    ),
    CatalogEntry("fnuz_e4m3b11", Minifloat(4, 3, bias=11, specials=Specials.FNUZ), "ml_dtypes float8_e4m3b11fnuz"),
    CatalogEntry("finite_e4m3", Minifloat(4, 3), "QONNX FloatQuant and Brevitas' plain minifloat: all codes finite"),
    CatalogEntry("finite_e5m2", Minifloat(5, 2), "QONNX FloatQuant and Brevitas' plain minifloat: all codes finite"),
    CatalogEntry("mxfp8_e4m3", BlockFormat(Minifloat(4, 3, specials=Specials.NAN)), _MX),
    CatalogEntry("mxfp8_e5m2", BlockFormat(Minifloat(5, 2, specials=Specials.IEEE)), _MX),
    CatalogEntry("mxfp6_e3m2", BlockFormat(Minifloat(3, 2)), _MX),
    CatalogEntry("mxfp6_e2m3", BlockFormat(Minifloat(2, 3)), _MX),
    CatalogEntry("mxfp4_e2m1", BlockFormat(Minifloat(2, 1)), _MX),
    CatalogEntry("mxint8", BlockFormat(IntFormat(8)), _MX),
    CatalogEntry("nvfp4_e2m1", BlockFormat(Minifloat(2, 1), 16, OCP_E4M3), _NV),
    CatalogEntry("nvint4", BlockFormat(IntFormat(4), 16, OCP_E4M3), _NVINT),
)
"""Formats with a name of their own. INT 2-8 and every other ExMy are read by rule: see :func:`parse_format`."""

_BY_NAME = {entry.name: entry.format for entry in CATALOG}

GRAMMAR = (
    "int4, uint8, int4_narrow, e3m2, ue3m2, ocp_e4m3, ieee_e3m4, fnuz_e5m2, finite_e4m3, mxfp4_e2m1, mxint8_k16, nvint4"
)

_INT = re.compile(r"(u?)int(\d+)(_narrow)?")
_FLOAT = re.compile(r"(?:(ocp|ieee|fnuz|finite|nan)_)?(u?)e(\d+)m(\d+)(?:b(-?\d+))?(_nosubnormals)?")
_BLOCK = re.compile(r"((?:mx|nv)(?:u?int\d+(?:_narrow)?|fp\d+_[a-z_]*e\d+m\d+(?:b-?\d+)?))(?:_k(\d+))?")
_PREFIX_SPECIALS = {
    "finite": Specials.NONE,
    "nan": Specials.NAN,
    "ieee": Specials.IEEE,
    "fnuz": Specials.FNUZ,
    None: Specials.NONE,
}


def parse_format(name: str) -> NumberFormat:
    """The format of a name (case does not matter); ``parse_format(f.name) == f`` for every format with a name.

    Raises:
        FormatError: the name is unknown, impossible, or a bare ``e4m3`` / ``e5m2`` that does not say which maximum.
    """
    text = name.strip().lower()
    if text in _BY_NAME:
        return _BY_NAME[text]
    if match := _INT.fullmatch(text):
        return IntFormat(int(match[2]), signed=not match[1], narrow=bool(match[3]))
    if match := _FLOAT.fullmatch(text):
        return _parse_minifloat(text, match)
    if text.startswith(("mx", "nv")):
        stem, size = match.groups() if (match := _BLOCK.fullmatch(text)) else (text, None)
        scale, usual = (E8M0, 32) if text.startswith("mx") else (OCP_E4M3, 16)
        return BlockFormat(_parse_block_stem(stem), usual if size is None else int(size), scale)
    raise FormatError(f"a format must be named like {GRAMMAR}, but got {name!r}.")


def parse_element(name: str) -> ElementFormat:
    """As :func:`parse_format`, for places where a block format cannot stand.

    Raises:
        FormatError: as there, and for a block format.
    """
    parsed = parse_format(name)
    if isinstance(parsed, BlockFormat):
        raise FormatError(
            f"an element format is needed here, but got the block format {name!r}; use {parsed.element} with a group scale."
        )
    return parsed


def _parse_minifloat(text: str, match: re.Match[str]) -> Minifloat:
    prefix, unsigned, exponent, mantissa, bias, nosubnormals = match.groups()
    shape = int(exponent), int(mantissa)
    if prefix is None and shape in OCP_SPECIALS:
        if unsigned:
            listed = " or ".join(
                f"{f.name} (max {float(f.max_value):g})"
                for f in (Minifloat(*shape, signed=False, specials=s) for s in (Specials.NONE, OCP_SPECIALS[shape]))
            )
            raise FormatError(f"a bare {text} does not say what its top codes mean; write {listed}.")
        choices = [
            e for e in CATALOG if isinstance(e.format, Minifloat) and e.name.endswith(f"_e{shape[0]}m{shape[1]}")
        ]
        listed = ", ".join(
            f"{e.name} (max {float(e.format.max_value):g})" for e in choices if isinstance(e.format, Minifloat)
        )
        raise FormatError(f"a bare {text} does not say what its top codes mean; write one of {listed}.")
    if prefix == "ocp":
        raise FormatError(
            f"OCP defines e4m3, e5m2, e3m2, e2m3 and e2m1 only, but got {text!r}; write {text.removeprefix('ocp_')} for a "
            "format whose codes are all finite."
        )
    return Minifloat(
        *shape,
        bias=None if bias is None else int(bias),
        specials=_PREFIX_SPECIALS[prefix],
        subnormals=not nosubnormals,
        signed=not unsigned,
    )


def _parse_block_stem(stem: str) -> ElementFormat:
    """The element of a block format's name without its block size."""
    if stem in _BY_NAME:
        block = _BY_NAME[stem]
        assert isinstance(block, BlockFormat)
        return block.element
    prefix, rest = stem[:2], stem[2:]
    if rest.startswith("fp"):
        width, _, element_name = rest.removeprefix("fp").partition("_")
        if element_name:
            element = parse_element(element_name)
            if str(element.bits) != width:
                raise FormatError(
                    f"{element} has {element.bits} bits, but got {prefix}fp{width}; write "
                    f"{prefix}fp{element.bits}_{element_name}."
                )
            return element
    elif rest.startswith(("int", "uint")):
        return parse_element(rest)
    known = ", ".join(e.name for e in CATALOG if isinstance(e.format, BlockFormat))
    raise FormatError(f"a block format must be one of {known} (or mxintN, mxfpN_eXmY, nvintN), but got {stem!r}.")


def integers(widths: range = range(2, 9)) -> tuple[IntFormat, ...]:
    """Every signed and unsigned integer format of the given widths (bits), narrow and not."""
    signed = [IntFormat(b, narrow=n) for b in widths for n in (False, True)]
    return (*signed, *(IntFormat(b, signed=False) for b in widths))


def minifloats(widths: range = range(3, 9)) -> tuple[Minifloat, ...]:
    """Every signed all-codes-finite ExMy with e >= 1 and m >= 0 of the given widths (bits)."""
    return tuple(Minifloat(e, b - 1 - e) for b in widths for e in range(1, b))
