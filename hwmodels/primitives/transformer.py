"""What a transformer has beside its matrices: norms, softmax, rotary positions, gates, tables, embeddings, dynamic scales.

First-order models: every count follows from widths by the forms of the other primitives, none was fitted, and every band says
so. Some datapaths are synthesized in the tests: a lane of a norm, of a softmax, of a dynamic scale with 18 %, 6 % and 8 % fewer
LUTs than here, a reciprocal with 1 % more. Values are brought to fixed point first. Scales are left to the requantizer behind
each unit, so that norms have no gain, and exp is a power of two (its base is a scale). Roots, reciprocals, sines and
probabilities have 16 bits.
"""

from __future__ import annotations

from functools import lru_cache

from hwmodels.formats import ElementFormat, IntFormat, Minifloat
from hwmodels.primitives.carry import carry_blocks
from hwmodels.primitives.cost import Cost, ceil_div, ceil_log2, uncalibrated
from hwmodels.primitives.dsp_packing import ACTIVATION_PORT_BITS, MULTIPLIER_PORT_BITS, DspBlock
from hwmodels.primitives.memory import MemoryStyle, MemoryStyleError, memory
from hwmodels.primitives.multiplier import multiplier_chains, multiplier_luts
from hwmodels.primitives.operands import fixed_point_bits, integer_grid, max_shift, operands
from hwmodels.primitives.scale import SCALE_BITS
from hwmodels.resources import Resources

FRACTION_BITS = SCALE_BITS
"""Bits of a root, a reciprocal, a sine or a probability (assumed: those of a requantizer's scale)."""

_TABLE_INPUT_BITS = 8
"""Bits that a table of a root, a reciprocal or an exponential reads (assumed); a Newton step doubles them."""

MOST_TABLE_BITS = 16
"""Bits of the codes that a table of a function reads at most: 65,536 entries per lane are more than anybody builds (chosen)."""

_BAND = uncalibrated(
    "derived from widths; a synthesized INT8 lane of a norm, of a softmax, and a reciprocal have 169, 344 and 444 LUT, the "
    "forms 206, 366 and 440"
)
_DYNAMIC = uncalibrated(
    "derived from widths; a synthesized lane of 16 bits has 250 LUT with a product and 46 with a shifter, the forms 272 and 48"
)
_OTHER = uncalibrated("derived from widths; no such unit has been synthesized")
_CONTROL = Resources(lut=40, ff=40)  # handshakes and counters (assumed, as in a matrix-vector unit)


def normalize_bits(fmt: ElementFormat) -> int:
    """Width of a normalized value."""
    return fixed_point_bits(fmt) + FRACTION_BITS


def rope_bits(fmt: ElementFormat) -> int:
    """Width of a value of a turned pair: a sum of two products."""
    return fixed_point_bits(fmt) + FRACTION_BITS + 1


def product_bits(first: ElementFormat, second: ElementFormat) -> int:
    """Width of the product of two values, in fixed point."""
    return operands(first, second).product_bits


def _to_fixed_point(fmt: ElementFormat) -> int:
    """LUTs that make one minifloat a two's complement integer: a shifter (a LUT6 does two stages), and the sign. Derived."""
    grid = integer_grid(fmt)
    match grid:
        case IntFormat():
            return 0
        case Minifloat():
            levels = ceil_div(ceil_log2(max_shift(grid) + 1), 2)
            return levels * fixed_point_bits(grid) + grid.mantissa_bits + 2


def _adder(width: int, family: str) -> Resources:
    """An adder or comparator and a register of its result: one LUT6 and one carry bit per bit."""
    return Resources(lut=width, carry8=carry_blocks((width,), family), ff=width)


def _product(first: int, second: int, dsp: DspBlock | None, family: str) -> Resources:
    """A multiplier of two integers with a register of the product, in LUTs or in as many slices as its ports need."""
    wide, narrow = max(first, second), min(first, second)
    if dsp is not None:
        slices = ceil_div(wide, MULTIPLIER_PORT_BITS[dsp]) * ceil_div(narrow, ACTIVATION_PORT_BITS[dsp])
        return Resources(dsp=slices)
    carry = carry_blocks(multiplier_chains(wide, narrow), family)
    return Resources(lut=multiplier_luts(wide, narrow), carry8=carry, ff=wide + narrow)


def _inverse(width: int, dsp: DspBlock | None, family: str, capacity: Resources) -> Resources:
    """1/x or 1/sqrt(x) of an integer, once per vector.

    Leading one (a LUT per bit), shifter to it (a LUT6 does two stages), a table of 2^8 first guesses of 16 bits, one Newton
    step y(3 - xy^2)/2 or y(2 - xy) through one 16 x 16 multiplier and an adder in several cycles. Derived.
    """
    stages = ceil_div(ceil_log2(width), 2)
    guess = memory("guess", FRACTION_BITS, 1 << _TABLE_INPUT_BITS, MemoryStyle.AUTO, capacity).resources
    newton = _product(FRACTION_BITS, FRACTION_BITS, dsp, family) + _adder(2 * FRACTION_BITS, family)
    return Resources(lut=width * (1 + stages), ff=width) + guess + newton


def _buffer(width: int, words: int, capacity: Resources) -> Resources:
    return memory("buffer", width, max(words, 1), MemoryStyle.AUTO, capacity).resources


@lru_cache(maxsize=4096)
def normalize(
    fmt: ElementFormat,
    channels: int,
    lanes: int,
    *,
    centred: bool,
    dsp: DspBlock | None,
    family: str,
    capacity: Resources,
) -> Cost:
    """`lanes` lanes of an RMSNorm (arXiv 1910.07467, equation 4) or, `centred`, of a LayerNorm (arXiv 1607.06450, equation 4).

    Per lane: a square added to the sum of squares, and a product with the 16-bit reciprocal root; centred: the sum of the
    values too, and the mean subtracted. Once: the reciprocal root; two vectors are kept, one collected while the other
    leaves. Derived.
    """
    width = fixed_point_bits(fmt) + int(centred)
    squares = 2 * width + ceil_log2(channels)
    lane = (
        Resources(lut=_to_fixed_point(fmt))
        + _product(width, width, dsp, family)
        + _adder(squares, family)
        + _product(width, FRACTION_BITS, dsp, family)
    )
    once = _inverse(squares, dsp, family, capacity) + _CONTROL
    if centred:
        total = width + ceil_log2(channels)
        lane += _adder(total, family) + _adder(width, family)
        once += _product(total, FRACTION_BITS, dsp, family)  # the sum times 1/channels
    kept = _buffer(lanes * fixed_point_bits(fmt), 2 * channels // lanes, capacity)
    formula = (
        f"{lanes} lanes x (square of {width} bits, sum of {squares}, product with {FRACTION_BITS} bits"
        f"{', mean' if centred else ''}) + reciprocal root of {squares} bits + 2 x {channels} values kept"
    )
    source = "LayerNorm (arXiv 1607.06450)" if centred else "RMSNorm (arXiv 1910.07467)"
    return Cost("normalize", lane * lanes + once + kept, formula, f"{source}; derived", _BAND)


@lru_cache(maxsize=4096)
def softmax(
    fmt: ElementFormat, channels: int, lanes: int, *, dsp: DspBlock | None, family: str, capacity: Resources
) -> Cost:
    """`lanes` lanes of a safe softmax over rows of `channels` values: maximum, powers of two, their sum, its reciprocal.

    Per lane: a comparator and selection for the maximum, the difference to it, 2^x as a table of the code's (at most 8 low)
    bits and a shifter for the bits above, an adder into the sum, a product with the reciprocal. Once: the reciprocal. Two rows
    of values wait for their maximum and two of powers for their sum (three passes, as in arXiv 1805.02867, algorithm 2).
    Derived.
    """
    width, power = fixed_point_bits(fmt), FRACTION_BITS
    total = power + ceil_log2(channels)
    above = max(width - _TABLE_INPUT_BITS, 0)
    shifter = Resources(lut=ceil_div(ceil_log2(power), 2) * power, ff=power) if above else Resources()
    table = memory("2^x", power, 1 << min(width, _TABLE_INPUT_BITS), MemoryStyle.AUTO, capacity).resources
    lane = (
        Resources(lut=_to_fixed_point(fmt) + width)
        + _adder(width, family) * 2
        + table
        + shifter
        + _adder(total, family)
        + _product(power, FRACTION_BITS, dsp, family)
    )
    once = _inverse(total, dsp, family, capacity) + _CONTROL
    kept = _buffer(lanes * width, 2 * channels // lanes, capacity) + _buffer(
        lanes * power, 2 * channels // lanes, capacity
    )
    formula = (
        f"{lanes} lanes x (maximum and difference of {width} bits, 2^x of {power} bits by table, sum of {total}, product with "
        f"{FRACTION_BITS} bits) + reciprocal of {total} bits + 2 x {channels} values and powers kept"
    )
    return Cost("softmax", lane * lanes + once + kept, formula, "safe softmax (arXiv 1805.02867); derived", _BAND)


@lru_cache(maxsize=4096)
def rope(
    fmt: ElementFormat, head: int, context: int, lanes: int, *, dsp: DspBlock | None, family: str, capacity: Resources
) -> Cost:
    """`lanes` lanes of rotary positions: two products with sine and cosine and an adder each (arXiv 2104.09864, equation 34).

    The sines and cosines of `context` positions x `head`/2 angles are kept, 16 bits each; half a head waits for its partners,
    which stand `head`/2 values further on. Derived.
    """
    width, pairs = fixed_point_bits(fmt), max(lanes // 2, 1)
    lane = (
        Resources(lut=_to_fixed_point(fmt))
        + _product(width, FRACTION_BITS, dsp, family) * 2
        + _adder(width + FRACTION_BITS + 1, family)
    )
    angles = _buffer(2 * FRACTION_BITS * pairs, ceil_div(context * head // 2, pairs), capacity)
    kept = _buffer(lanes * width, ceil_div(head, lanes), capacity)
    formula = (
        f"{lanes} lanes x (2 products of {width} x {FRACTION_BITS} bits, sum of {width + FRACTION_BITS + 1}) + {context} x "
        f"{head // 2} sines and cosines + {head} values kept"
    )
    return Cost("rope", lane * lanes + angles + kept + _CONTROL, formula, "RoPE (arXiv 2104.09864); derived", _OTHER)


@lru_cache(maxsize=4096)
def multiply(first: ElementFormat, second: ElementFormat, lanes: int, *, dsp: DspBlock | None, family: str) -> Cost:
    """`lanes` products of two streams; minifloats by their significands, shifted to fixed point (a LUT6 does two stages)."""
    pair = operands(first, second)
    lane = _product(pair.wide, pair.narrow, dsp, family)
    if pair.max_shift:
        levels = ceil_div(ceil_log2(pair.max_shift + 1), 2)
        lane += Resources(lut=levels * pair.product_bits + sum(pair.exponents) + pair.core_bits, ff=pair.product_bits)
    formula = f"{lanes} products of {pair.wide} x {pair.narrow} bits in {pair.product_bits} bits of fixed point"
    return Cost("multiply", lane * lanes + _CONTROL, formula, "hwmodels.primitives.multiplier; derived", _OTHER)


@lru_cache(maxsize=4096)
def table(given: ElementFormat, wanted: ElementFormat, lanes: int, capacity: Resources) -> Cost:
    """`lanes` tables from codes to codes: any function of one value, exactly; 2^bits entries each.

    Raises:
        MemoryStyleError: codes of more than 16 bits.
    """
    if given.bits > MOST_TABLE_BITS:
        raise MemoryStyleError(
            f"a table must read codes of at most {MOST_TABLE_BITS} bits, but got {given}; quantize its input first."
        )
    entries = memory("entries", wanted.bits, 1 << given.bits, MemoryStyle.AUTO, capacity).resources
    formula = f"{lanes} tables of 2^{given.bits} codes of {wanted.bits} bits"
    return Cost("table", entries * lanes + _CONTROL, formula, "derived: a read-only memory per lane", _OTHER)


@lru_cache(maxsize=4096)
def dynamic_scale(
    bits: int, block: int, lanes: int, *, power_of_two: bool, dsp: DspBlock | None, family: str, capacity: Resources
) -> Cost:
    """`lanes` lanes that divide integers of `bits` bits by the largest magnitude of their block of `block` values.

    Per lane: a comparator for the maximum (the sign is taken off inside it, and the register is kept by its clock enable), and
    a product with the maximum's 16-bit reciprocal or, for scales that are powers of two, a shifter (a LUT6 does two stages).
    Once for each block that passes at a time: the reciprocal, or the leading one. Two blocks are kept, one collected while the
    other leaves. Derived.
    """
    at_once = ceil_div(lanes, block)
    lane = _adder(bits, family)
    if power_of_two:
        lane += Resources(lut=ceil_div(ceil_log2(bits), 2) * bits, ff=bits)
        once, how = Resources(lut=bits, ff=bits), "shifted by its leading one"
    else:
        lane += _product(bits, FRACTION_BITS, dsp, family)
        once, how = _inverse(bits, dsp, family, capacity), f"product with its reciprocal of {FRACTION_BITS} bits"
    kept = _buffer(lanes * bits, 2 * ceil_div(block, lanes), capacity)
    formula = f"{lanes} lanes x (maximum of {bits} bits, {how}) + {at_once} at a time + 2 x {block} values kept"
    return Cost("dynamic scale", lane * lanes + once * at_once + kept + _CONTROL, formula, "derived", _DYNAMIC)


def scaled_bits(bits: int, *, power_of_two: bool) -> int:
    """Width of what a dynamic scale leaves of integers of `bits` bits."""
    return bits if power_of_two else bits + FRACTION_BITS


def scale_product(lanes: int, *, dsp: DspBlock | None, family: str) -> Cost:
    """`lanes` products of two 16-bit scales, of a channel and of a token."""
    formula = f"{lanes} products of {FRACTION_BITS} x {FRACTION_BITS} bits"
    return Cost("token scale", _product(FRACTION_BITS, FRACTION_BITS, dsp, family) * lanes, formula, "derived", _OTHER)
