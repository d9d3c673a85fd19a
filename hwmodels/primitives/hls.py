"""What surrounds the dot products in a unit of FINN's HLS library: registers instead of memories, comparators, control.

Forms are derived from the source (finn-hlslib `mvau.hpp`: an input buffer partitioned into registers, a comparator for every
threshold) and from the LUT6; where a count was read off the nine matrix-vector units of FINN's CNV w1a1 (Vivado 2022.1), it says
so. Two numbers are fitted there: the LUTs and the flip-flops of the control, one constant each.
"""

from __future__ import annotations

from hwmodels.primitives.cost import BandKind, Cost, ErrorBand, ceil_div, multiplexer_luts
from hwmodels.primitives.memory import bram18
from hwmodels.resources import Resources

CONTROL_LUTS, CONTROL_FFS = 176, 185
"""Loop control, handshakes and stalls of an HLS pipeline: fitted to the nine units (whole unit less everything else)."""

_SOURCE = "finn-hlslib mvau.hpp; vivado_cnv_w1a1.csv"
_BAND = ErrorBand(BandKind.MEASURED, "vivado_cnv_w1a1.csv: nine whole units, LUT; one constant fitted", 0.04, 0.11)
_MEASURED_WEIGHT_BITS = 2
_ROM_DEPTH = 128


def hls_band(weight_bits: int, *, dense: bool) -> ErrorBand:
    """The band of a whole unit: nine of 1-bit weights, and one of 2 bits that no constant was fitted to (8 % off)."""
    if weight_bits <= _MEASURED_WEIGHT_BITS and dense:
        return _BAND
    return _BAND.extrapolated(f"weights of {weight_bits} bits" if dense else "depthwise")


def register_buffer(width: int, depth: int, band: ErrorBand) -> Cost:
    """The input vector of a unit that uses it for several rows, `depth` words of `width` bits in registers.

    A register per bit; a multiplexer per bit of a word (derived); two LUT6 that enable each word (read off: the unit with 512
    words has 1,545 LUT, of which no other part can be more than a third).
    """
    luts = width * multiplexer_luts(depth) + 2 * depth
    formula = f"{depth} words x {width} bits in registers, {depth}:1 multiplexers, 2 LUT to enable each word"
    return Cost("input buffer", Resources(lut=luts, ff=width * depth), formula, _SOURCE, band)


def weight_stream(width: int, band: ErrorBand) -> Cost:
    """The stream of `width` bits of weights into a unit: the register behind its memory and a slice of two registers.

    3 flip-flops per bit; a LUT6 that selects between the slice's registers and one that holds its output serve two bits each
    (derived).
    """
    formula = f"{width} bits: a register behind the memory, a register slice"
    return Cost("weight stream", Resources(lut=width, ff=3 * width), formula, _SOURCE, band)


def hls_control(band: ErrorBand) -> Cost:
    """State machine and handshakes of an HLS unit."""
    formula = f"fitted: {CONTROL_LUTS} LUT, {CONTROL_FFS} FF"
    return Cost("control", Resources(lut=CONTROL_LUTS, ff=CONTROL_FFS), formula, _SOURCE, band)


def parallel_thresholds(sum_bits: int, output_bits: int, folds: int, lanes: int) -> Cost:
    """All 2^B - 1 thresholds of a value compared at once, by each of `lanes` lanes, for `folds` rows in turn.

    A comparator takes half a LUT per bit (two bits of both operands in a LUT6). A threshold is read from a LUT as memory, half
    a LUT per bit up to 32 rows, else one for every 64; beyond 128 rows from block memory (derived; three units of 256 and
    512 rows have just the RAMB18 that this gives). The results are counted, 2^B - 1 - B LUTs. The registers are the unit's.
    """
    thresholds = (1 << output_bits) - 1
    blocks, rom = 0, 0
    if folds > _ROM_DEPTH:
        blocks = bram18(sum_bits, folds)
    elif folds > 1:
        rom = ceil_div(sum_bits, 2) if folds <= 32 else sum_bits * ceil_div(folds, 64)
    luts = lanes * (thresholds * (sum_bits / 2 + rom) + thresholds - output_bits)
    formula = f"{lanes} lanes x {thresholds} comparators of {sum_bits} bits, thresholds of {folds} rows each"
    band = _BAND if output_bits <= _MEASURED_WEIGHT_BITS else _BAND.extrapolated(f"outputs of {output_bits} bits")
    return Cost("thresholds", Resources(lut=luts, bram18=lanes * thresholds * blocks), formula, _SOURCE, band)
