"""From an integer sum to the codes of the next format: by thresholds, or by scale, bias, rounding and clamping.

Both give the same codes, since scale, bias, activation function and rounding are one monotone step function per channel;
so the cheaper one is built. Thresholds cost an adder per output bit and a memory that doubles with each bit; the scale
costs a multiplier, whatever the output. A minifloat output needs a normalizer and a rounding incrementer besides: the
conversion back that "Shedding the Bits" (arXiv 2311.12359) leaves out.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from hwmodels.formats import ElementFormat, IntFormat, Minifloat
from hwmodels.primitives.carry import carry_blocks
from hwmodels.primitives.cost import Cost, ceil_div, ceil_log2, uncalibrated
from hwmodels.primitives.dsp_packing import DspBlock
from hwmodels.primitives.memory import MemoryStyle, memory, price
from hwmodels.primitives.operands import integer_grid, max_shift
from hwmodels.primitives.scale import SCALE_BITS, SHIFT_RANGE, scale_multiplier, scale_shifter
from hwmodels.resources import Resources

_MULTIPLY_BAND = uncalibrated("derived from widths; no requantizer has been synthesized")
_THRESHOLD_BAND = uncalibrated(
    "derived from widths; one 8-bit unit of FINN's CNV w1a1 has 71 LUT and 243 FF, the form 72 and 240"
)
_MOST_SEARCHED_BITS = 8  # beyond 255 thresholds a channel, memory outgrows any multiplier


@dataclass(frozen=True, slots=True)
class Rescale:
    """How the scale of a sum becomes the scale of the output.

    Attributes:
        power_of_two: every scale involved is a power of two: a shift instead of a multiplication.
        per_channel: the ratio differs from channel to channel.
        dsp: slice that multiplies, or None for LUTs.
    """

    power_of_two: bool
    per_channel: bool
    dsp: DspBlock | None = None


@lru_cache(maxsize=8192)
def requantize(
    sum_bits: int,
    output: ElementFormat,
    channels: int,
    lanes: int,
    rescale: Rescale,
    *,
    passes: int = 1,
    family: str,
    capacity: Resources,
) -> Cost:
    """`lanes` requantizers of `sum_bits`-bit sums for `channels` channels in turn: the cheaper form on the part.

    Args:
        passes: cycles that a lane may take for one value; with more than one, adders are used several times.
        capacity: of the part, for what is cheaper.

    With DSP multipliers asked for, the multiplier form stands without comparison.
    """
    build = _Requantizer(sum_bits, output, channels, lanes, rescale, passes, family, capacity)
    if output.bits > _MOST_SEARCHED_BITS or (rescale.dsp and not rescale.power_of_two):
        return build.multiply_shift()
    return min(build.multiply_shift(), build.thresholds(), key=lambda cost: price(cost.resources, capacity))


@dataclass(frozen=True, slots=True)
class _Requantizer:
    """The arguments of :func:`requantize`."""

    sum_bits: int
    output: ElementFormat
    channels: int
    lanes: int
    rescale: Rescale
    passes: int
    family: str
    capacity: Resources

    @property
    def fold(self) -> int:
        """Channels that one lane takes in turn."""
        return self.channels // self.lanes

    def _memory(self, width: int, depth: int) -> Resources:
        return memory("parameters", width, depth, MemoryStyle.AUTO, self.capacity).resources

    def thresholds(self) -> Cost:
        """Binary search over 2^B - 1 thresholds a channel: a comparison and a memory per output bit.

        Per lane and stage `sum_bits` LUTs and 2 * sum_bits + B + 4 flip-flops; stage s reads 2^s thresholds per channel
        (FINN's RTL thresholding, whose own estimate counts the memory only). With several passes a stage does the work of
        several, reading one memory.
        """
        bits, width = self.output.bits, self.sum_bits
        stages = ceil_div(bits, self.passes)
        depths = [self.fold << stage for stage in range(bits)] if stages == bits else [self.fold << bits] * stages
        tables = Resources.sum(self._memory(self.lanes * width, depth) for depth in depths)
        compare = Resources(
            lut=stages * width,
            carry8=carry_blocks((width,) * stages, self.family),
            ff=stages * (2 * width + bits + 4),
        )
        formula = (
            f"thresholds: {self.lanes} lanes x {stages} comparisons of {width} bits, {2**bits - 1} thresholds for each of "
            f"{self.channels} channels"
        )
        source = "binary search as in FINN's thresholding_rtl; derived"
        return Cost("requantize", compare * self.lanes + tables, formula, source, _THRESHOLD_BAND)

    def multiply_shift(self) -> Cost:
        """Bias adder, multiplier (or shifter, or wires), rounding, clamp or float conversion, and the parameters' memory."""
        width = self.sum_bits
        if not self.rescale.power_of_two:
            scale, text = scale_multiplier(width, passes=self.passes, dsp=self.rescale.dsp, family=self.family)
            scale_bits, wide = SCALE_BITS, width + SCALE_BITS
        elif self.rescale.per_channel:
            scale, text = scale_shifter(width)
            scale_bits, wide = ceil_log2(SHIFT_RANGE), width + SHIFT_RANGE - 1
        else:
            scale, text, scale_bits, wide = Resources(), "shift by wires", 0, width
        convert_luts, convert_text, rounding = _convert(self.output, wide)
        lane = scale + Resources(
            lut=width + convert_luts,
            carry8=carry_blocks((width, rounding), self.family),
            ff=width + self.output.bits,
        )
        tables = self._memory(self.lanes * (width + scale_bits), self.fold)
        formula = (
            f"scale: {self.lanes} lanes x (bias {width} + {text} + {convert_text}), parameters of "
            f"{width + scale_bits} bits for each of {self.channels} channels"
        )
        return Cost("requantize", lane * self.lanes + tables, formula, "derived (module text)", _MULTIPLY_BAND)


def _convert(output: ElementFormat, wide: int) -> tuple[int, str, int]:
    """(LUT, text, bits of the rounding adder) of rounding a `wide`-bit fixed-point number to the output's codes.

    Integer: a rounding increment and a clamp, one LUT per output bit each. Minifloat ExMy: absolute value (`wide`), leading
    one detection over the exponent range (a LUT per position), m + 2 multiplexers over it (a 4:1 multiplexer per LUT6, so a
    third of a LUT per position), sticky bit (`wide` / 6), increment of e + m bits. Derived; n log2 n of the gate model in
    arXiv 2510.25602, appendix C, is the same count in gates.
    """
    grid = integer_grid(output)
    match grid:
        case IntFormat():
            return 2 * output.bits, f"round and clamp {2 * output.bits}", output.bits
        case Minifloat():
            positions = max_shift(grid) + 1
            normalizer = positions + (grid.mantissa_bits + 2) * ceil_div(positions, 3)
            rounding = grid.exponent_bits + grid.mantissa_bits
            luts = wide + normalizer + ceil_div(wide, 6) + rounding + output.bits
            return luts, f"normalize over {positions} binades and round {luts}", rounding
