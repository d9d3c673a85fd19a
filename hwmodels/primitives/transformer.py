"""What a transformer has beside its matrices: norms, softmax, rotary positions, gates, tables, embeddings, dynamic scales.

The units are those of the generators (:mod:`hwmodels.rtl.normalize`, `softmax`, `dynamic`, `rotary`, `gate`), handshakes
included, and simulated against integers. LUTs are fitted to synthesis (:mod:`hwmodels.primitives.transformer_units`), everything
else is derived; memories beside them are those of :mod:`hwmodels.primitives.memory`. Values are brought to fixed point first.
Constant scales are left to the requantizer behind each unit, so that norms have no gain, and exp is a power of two (its base
is a scale). Roots, reciprocals, sines and probabilities have 16 bits.
"""

from __future__ import annotations

from functools import lru_cache

from hwmodels.formats import ElementFormat, IntFormat
from hwmodels.primitives.cost import Cost, ceil_div, ceil_log2
from hwmodels.primitives.dsp_packing import DspBlock
from hwmodels.primitives.memory import Access, MemoryStyle, MemoryStyleError, memory
from hwmodels.primitives.operands import fixed_point_bits, integer_grid, operands
from hwmodels.primitives.scale import SCALE_BITS
from hwmodels.primitives.transformer_units import SOURCE, unit_band, unit_resources
from hwmodels.resources import Resources
from hwmodels.rtl.dynamic import DynamicUnit
from hwmodels.rtl.gate import GateUnit
from hwmodels.rtl.inverse import InverseUnit
from hwmodels.rtl.normalize import NormUnit
from hwmodels.rtl.passes import Passes
from hwmodels.rtl.rotary import RotaryUnit
from hwmodels.rtl.softmax import SoftmaxUnit
from hwmodels.rtl.transformer_structure import TransformerUnit, inverse_structure, transformer_structure

FRACTION_BITS = SCALE_BITS
"""Bits of a root, a reciprocal, a sine or a probability (assumed: those of a requantizer's scale)."""

MOST_TABLE_BITS = 16
"""Bits of the codes that a table of a function reads at most: 65,536 entries per lane are more than anybody builds (chosen)."""

LEAST_WORDS = 2
"""Words of the shortest vector that a unit of two passes takes; one word is costed as two halves of as many lanes each."""

_HANDSHAKE = Resources(lut=1, ff=1)  # of a register that values pass (derived: as in hwmodels.rtl.gate)


def normalize_bits(channels: int) -> int:
    """Width of a normalized value: at most sqrt(channels) times the root mean square, 16 bits of which are a fraction."""
    return NormUnit(IntFormat(8), channels).output_bits


def rope_bits(fmt: ElementFormat) -> int:
    """Width of a value of a turned pair: a sum of two products."""
    return fixed_point_bits(fmt) + FRACTION_BITS + int(not fmt.signed)


def product_bits(first: ElementFormat, second: ElementFormat) -> int:
    """Width of the product of two values, in fixed point."""
    return operands(first, second).product_bits


def _stage(passes: Passes, bits: int, capacity: Resources, family: str, halves: int = 1) -> Resources:
    """The memory of a stage, words of `bits` bits, written while it is read; so many parts of it are read at once."""
    words = passes.depth_words // halves
    return memory("buffer", bits * halves, words, MemoryStyle.AUTO, capacity, Access.TWO_PORTS, family).resources


def _more_inverses(unit: InverseUnit, words: int, dsp: DspBlock | None, family: str) -> Resources:
    """Further reciprocals that take turns where a vector passes in less time than one is held. Derived."""
    more = ceil_div(unit.held_cycles, words) - 1
    return unit_resources(inverse_structure(unit), dsp, family) * more if more else Resources()


def _words(channels: int, lanes: int) -> int:
    return max(ceil_div(channels, lanes), LEAST_WORDS)


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

    Two vectors are kept, one collected while the other leaves; centred: two more in front, whose mean is taken away.
    """
    words = _words(channels, lanes)
    unit = NormUnit(integer_grid(fmt), words * lanes, lanes, centred, dsp is not None)
    kept = Resources.sum(_stage(passes, bits * lanes, capacity, family) for _, bits, passes in unit.stages)
    more = _more_inverses(unit.inverse, words, dsp, family)
    formula = (
        f"{lanes} lanes x (square of {unit.factor.bits} bits, product with {FRACTION_BITS} bits{', mean' if centred else ''}) + "
        f"reciprocal root of {unit.sum_bits} bits + {len(unit.stages)} x 2 x {channels} values kept"
    )
    source = "LayerNorm (arXiv 1607.06450)" if centred else "RMSNorm (arXiv 1910.07467)"
    band = unit_band(family, bits=unit.input_bits, words=ceil_div(channels, lanes), lanes=lanes)
    total = _resources(unit, dsp, family) + kept + more
    return Cost("normalize", total, formula, f"{source}; {SOURCE}", band)


def _resources(unit: TransformerUnit, dsp: DspBlock | None, family: str) -> Resources:
    return unit_resources(transformer_structure(unit), dsp, family)


@lru_cache(maxsize=4096)
def softmax(
    fmt: ElementFormat, channels: int, lanes: int, *, dsp: DspBlock | None, family: str, capacity: Resources
) -> Cost:
    """`lanes` lanes of a safe softmax over rows of `channels` values: maximum, powers of two, their sum, its reciprocal.

    Two rows of values wait for their maximum and two of powers for their sum (three passes, as in arXiv 1805.02867,
    algorithm 2).
    """
    words = _words(channels, lanes)
    unit = SoftmaxUnit(integer_grid(fmt), words * lanes, lanes, dsp is not None)
    kept = Resources.sum(_stage(passes, bits * lanes, capacity, family) for _, bits, passes in unit.stages)
    more = _more_inverses(unit.inverse, words, dsp, family)
    formula = (
        f"{lanes} lanes x (maximum and difference of {unit.input_bits} bits, 2^x of {FRACTION_BITS} bits, product with "
        f"{FRACTION_BITS} bits) + reciprocal of {unit.sum_bits} bits + 2 x {channels} values and powers kept"
    )
    band = unit_band(family, bits=unit.input_bits, words=ceil_div(channels, lanes), lanes=lanes)
    total = _resources(unit, dsp, family) + kept + more
    return Cost("softmax", total, formula, f"safe softmax (arXiv 1805.02867); {SOURCE}", band)


@lru_cache(maxsize=4096)
def rope(
    fmt: ElementFormat, head: int, context: int, lanes: int, *, dsp: DspBlock | None, family: str, capacity: Resources
) -> Cost:
    """`lanes` lanes of rotary positions: two products with sine and cosine and an adder each (arXiv 2104.09864, equation 34).

    The sines and cosines of `context` positions x `head`/2 angles are kept, 16 bits each; a head waits for its second half, and
    is read again while the next one comes. Lanes beyond half a head work on heads side by side, with the same angles.
    """
    units = ceil_div(2 * lanes, head)
    each = ceil_div(lanes, units)
    words = 1 << ceil_log2(_words(head, each))
    unit = RotaryUnit(integer_grid(fmt), words * each, each, dsp is not None)
    kept = _stage(unit.passes, unit.input_bits * each, capacity, family, halves=2)
    angles = memory("angles", 2 * FRACTION_BITS * each, context * words // 2, MemoryStyle.AUTO, capacity).resources
    # which position it is, counted in front of the angles
    position = Resources(lut=ceil_log2(context), ff=ceil_log2(context))
    formula = (
        f"{lanes} lanes x (2 products of {unit.input_bits} x {FRACTION_BITS} bits, sum of {unit.output_bits}) + {context} x "
        f"{head // 2} sines and cosines + {units} x 4 x {words * each} values kept"
    )
    band = unit_band(family, bits=unit.input_bits, lanes=each)
    total = (_resources(unit, dsp, family) + kept) * units + angles + position
    return Cost("rope", total, formula, f"RoPE (arXiv 2104.09864); {SOURCE}", band)


@lru_cache(maxsize=4096)
def multiply(first: ElementFormat, second: ElementFormat, lanes: int, *, dsp: DspBlock | None, family: str) -> Cost:
    """`lanes` products of two streams, exact; minifloats by their significands, shifted to fixed point, never in DSP slices."""
    return _gate("multiply", integer_grid(first), integer_grid(second), lanes, dsp, family)


def scale_product(lanes: int, *, dsp: DspBlock | None, family: str) -> Cost:
    """`lanes` products of two 16-bit scales, of a channel and of a token."""
    scale = IntFormat(FRACTION_BITS, signed=False)
    return _gate("token scale", scale, scale, lanes, dsp, family)


def _gate(
    component: str, first: ElementFormat, second: ElementFormat, lanes: int, dsp: DspBlock | None, family: str
) -> Cost:
    integers = isinstance(first, IntFormat) and isinstance(second, IntFormat)
    unit = GateUnit(first, second, lanes, dsp is not None and integers)
    formula = f"{lanes} products of {first} and {second} in {unit.output_bits} bits of fixed point"
    resources = _resources(unit, dsp, family)
    return Cost(component, resources, formula, SOURCE, unit_band(family, gate=True, lanes=lanes))


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
    entries = memory("entries", wanted.bits, 1 << given.bits, MemoryStyle.AUTO, capacity)
    formula = f"{lanes} tables of 2^{given.bits} codes of {wanted.bits} bits"
    source = f"a read-only memory per lane ({entries.source}) and a handshake; derived"
    return Cost("table", entries.resources * lanes + _HANDSHAKE, formula, source, entries.band)


@lru_cache(maxsize=4096)
def dynamic_scale(
    bits: int, block: int, lanes: int, *, power_of_two: bool, dsp: DspBlock | None, family: str, capacity: Resources
) -> Cost:
    """`lanes` lanes that divide integers of `bits` bits by the largest magnitude of their block of `block` values.

    Per lane: a shift to the leading one of the largest magnitude and, unless scales are powers of two, a product with the
    mantissa of its reciprocal. Two blocks are kept, one collected while the other leaves. Lanes beyond a block work on blocks
    side by side.
    """
    at_once = ceil_div(lanes, block)
    each = ceil_div(lanes, at_once)
    words = _words(block, each)
    unit = DynamicUnit(max(bits, 3), words * each, each, power_of_two, dsp=dsp is not None and not power_of_two)
    kept = _stage(unit.passes, unit.bits * each, capacity, family)
    more = Resources() if power_of_two else _more_inverses(unit.inverse, words, dsp, family)
    how = "" if power_of_two else f", product with its reciprocal of {FRACTION_BITS} bits"
    formula = (
        f"{lanes} lanes x (maximum of {bits} bits, shift to its leading one{how}) + "
        f"{at_once} at a time + 2 x {block} values kept"
    )
    band = unit_band(family, bits=unit.bits, words=ceil_div(block, each), lanes=each)
    return Cost("dynamic scale", (_resources(unit, dsp, family) + kept + more) * at_once, formula, SOURCE, band)


def scaled_bits(bits: int, *, power_of_two: bool) -> int:
    """Width of what a dynamic scale leaves of integers of `bits` bits."""
    unit = DynamicUnit(max(bits, 3), LEAST_WORDS, power_of_two=power_of_two)
    return unit.output_bits
