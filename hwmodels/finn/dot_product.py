"""What MVAU and VVAU share in FINN v0.10.1: the dot-product unit of an HLS backend, in LUTs.

Source: FINN `hls/matrixvectoractivation_hls.py` and `hls/vectorvectoractivation_hls.py`, which cite FINN-R (Blott et
al., TRETS 2018, arXiv 1809.04570); the factors 300 and 1.1 were fitted there, the rest is assumed there. Known wrong:
on FINN's CNV w1a1 the LUTs of these units differ by 49 % on average from the implemented ones (ratio 0.25 to 1.83).
"""

from __future__ import annotations

from typing import Literal

from hwmodels.finn.datatypes import FinnType
from hwmodels.finn.memory import lutram

Backend = Literal["hls", "rtl"]
ResType = Literal["auto", "lut", "dsp"]
MemMode = Literal["internal_decoupled", "internal_embedded", "external"]
RamStyle = Literal["auto", "block", "distributed", "ultra"]

RES_TYPES: tuple[ResType, ...] = ("auto", "lut", "dsp")
MEM_MODES: tuple[MemMode, ...] = ("internal_decoupled", "internal_embedded", "external")
RAM_STYLES: tuple[RamStyle, ...] = ("auto", "block", "distributed", "ultra")
THRESHOLD_RAM_STYLES: tuple[RamStyle, ...] = ("auto", "block", "distributed")

EMBEDDED_LUT_DEPTH = 128
"""Words up to which FINN expects embedded weights to be built from LUTs (assumed by FINN)."""

_BASE_LUTS, _LUT_FACTOR = 300, 1.1


def accumulator_bits(dot_length: int, weight: FinnType, activation: FinnType, declared: FinnType) -> int:
    """Bits of the accumulator FINN costs: the declared width, or what the data types can reach at most if that is less.

    The bound is the data-type bound of A2Q (arXiv 2301.13376, eq. 3), X = K * 2^(N-s) * 2^(M-1) for K products of
    N-bit activations (s = 1 if signed) and M-bit weights, here in integers: bit_length(X) + 1.
    """
    reach = dot_length << (activation.bits - int(activation.signed) + weight.bits - 1)
    return min(declared.bits, reach.bit_length() + 1)


def multiplier_luts(weight: FinnType, activation: FinnType) -> int:
    """LUTs of one W x A multiplier."""
    both = weight.bits + activation.bits
    return (2 * -(-both // 6) - 1) * both


def adder_tree_luts(simd: int, weight: FinnType, activation: FinnType) -> int:
    """LUTs of the adder tree over `simd` products."""
    return (weight.bits + activation.bits) * (2 * simd - 1)


def weights_in_luts(mem_mode: MemMode, ram_style: RamStyle, depth: int) -> bool:
    """Whether FINN counts the weight memory of `depth` words as LUTs."""
    return (mem_mode == "internal_decoupled" and ram_style == "distributed") or (
        mem_mode == "internal_embedded" and depth <= EMBEDDED_LUT_DEPTH
    )


def unit_luts(
    *,
    pe: int,
    simd: int,
    weight: FinnType,
    activation: FinnType,
    acc_bits: int,
    res_type: ResType,
    threshold_luts: float,
    weight_depth: int,
    weight_luts: bool,
) -> int:
    """LUTs of a whole unit of `pe` processing elements; the order of the sum is FINN's, since it rounds down at the end.

    Args:
        threshold_luts: threshold memory and comparators of one processing element.
        weight_depth: words of the weight memory, each pe * simd weights wide.
        weight_luts: whether the weight memory is made of LUTs.
    """
    multipliers = 0 if res_type == "dsp" else simd * multiplier_luts(weight, activation)
    one_pe = multipliers + adder_tree_luts(simd, weight, activation) + acc_bits + threshold_luts
    memory = lutram(pe * simd * weight.bits, weight_depth) if weight_luts else 0
    return int(_BASE_LUTS + _LUT_FACTOR * (pe * one_pe) + memory)


def dsp_per_product(weight: FinnType, activation: FinnType) -> int:
    """DSP slices that FINN's HLS units count for one product: 1 up to 48 bits together, whatever could be packed."""
    return -(-(weight.bits + activation.bits) // 48)
