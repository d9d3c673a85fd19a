"""Whether FINN v0.10.1 builds a matrix or vector unit from HLS or from RTL, if the user has no preference.

Source: FINN `transformation/fpgadataflow/specialize_layers.py`. Below 4 bits FINN prefers HLS although RTL would do.
"""

from __future__ import annotations

from hwmodels.finn.datatypes import FinnType
from hwmodels.finn.dot_product import Backend
from hwmodels.finn.parts import dsp_block

_LEAST_RTL_BITS, _MOST_RTL_BITS = 4, 8


def _operands_suit_rtl(activation: FinnType, weight: FinnType) -> bool:
    """Operands that the RTL core takes and that FINN thinks worth a DSP: signed weights, 4 to 8 bits (9 if signed)."""
    most_activation_bits = _MOST_RTL_BITS + int(activation.signed)
    return (
        weight.signed
        and _LEAST_RTL_BITS <= weight.bits <= _MOST_RTL_BITS
        and _LEAST_RTL_BITS <= activation.bits <= most_activation_bits
    )


def mvau_backend(
    *,
    activation: FinnType,
    weight: FinnType,
    no_activation: bool,
    part: str,
    narrow_weights: bool = True,
    binary_xnor: bool = False,
) -> Backend:
    """The backend FINN gives an MVAU: "rtl" without thresholds inside, for 4- to 8-bit operands with signed weights.

    Args:
        narrow_weights: whether the most negative weight code is absent; only a DSP48E1 needs that.
        binary_xnor: binaryXnorMode.
    """
    multiplier_takes_weights = narrow_weights or dsp_block(part) != "DSP48E1"
    suits = no_activation and not binary_xnor and multiplier_takes_weights and _operands_suit_rtl(activation, weight)
    return "rtl" if suits else "hls"


def vvau_backend(*, activation: FinnType, weight: FinnType, no_activation: bool, part: str) -> Backend:
    """The backend FINN gives a VVAU: as an MVAU, but "rtl" on parts with DSP58 (Versal) only."""
    suits = no_activation and dsp_block(part) == "DSP58" and _operands_suit_rtl(activation, weight)
    return "rtl" if suits else "hls"
