"""The units of transformers, simulated: every result against integers, and these against the functions that they are for."""

import random
from math import cos, sin, sqrt

import numpy as np
import pytest
import transformer_reference as reference
from joined import bits_of, code_of
from stream_bench import cycles_of, run_stream, values_of, words_of

from hwmodels.catalog import parse_element
from hwmodels.codec import decode_all
from hwmodels.formats import IntFormat
from hwmodels.rtl.dynamic import TOP as DYNAMIC
from hwmodels.rtl.dynamic import DynamicUnit, dynamic_verilog
from hwmodels.rtl.gate import TOP as GATE
from hwmodels.rtl.gate import GateUnit, gate_verilog
from hwmodels.rtl.icarus import IcarusDesign
from hwmodels.rtl.inverse import TOP as INVERSE
from hwmodels.rtl.inverse import InverseUnit, inverse_module
from hwmodels.rtl.normalize import TOP as NORMALIZE
from hwmodels.rtl.normalize import NormUnit, normalize_verilog
from hwmodels.rtl.rotary import TOP as ROTARY
from hwmodels.rtl.rotary import RotaryUnit, rotary_verilog
from hwmodels.rtl.simulate import run
from hwmodels.rtl.softmax import TOP as SOFTMAX
from hwmodels.rtl.softmax import SoftmaxUnit, softmax_verilog
from hwmodels.rtl.verilog import RtlError


def operands(bits):
    rng = random.Random(bits)
    few = [1, 2, 3, (1 << bits) - 1, 1 << bits - 1, (1 << bits - 1) - 1]
    return few + [rng.getrandbits(rng.randint(1, bits)) or 1 for _ in range(300)]


@pytest.mark.parametrize(("bits", "root"), [(9, False), (24, False), (40, False), (12, True), (40, True)])
def test_inverses_are_those_of_integers(bits, root):
    unit, given = InverseUnit(bits, root), operands(bits)
    idle = {"start": bits_of([0], 1), "n": bits_of([1], bits)}
    cycles = [idle] * unit.cycles
    for n in given:
        for cycle in range(unit.cycles + 2):
            cycles.append({"start": bits_of([cycle == 0], 1), "n": bits_of([n], bits)})
    found = run(IcarusDesign(inverse_module(INVERSE, unit), INVERSE), cycles)[2 * unit.cycles + 1 :: unit.cycles + 2]
    got = [(int(code_of(each["value"])[0]), int(code_of(each["places"])[0])) for each in found]
    assert got == [reference.inverse(n, bits, root) for n in given]


@pytest.mark.parametrize("root", [False, True])
def test_inverses_are_off_by_three_of_the_last_bit(root):
    """Every mantissa of 16 bits and both parities of the exponent."""
    for bits in (18, 20):
        for n in range(1 << 17, 1 << 18, 5):
            value, zeros = reference.inverse(n, bits, root)
            exact = 2.0 ** (bits // 2 + 15 - zeros // 2) / sqrt(n) if root else 2.0 ** (bits + 15 - zeros) / n
            assert -3 < value - exact < 1


def norm_inputs(unit, vectors=5):
    rng = random.Random(unit.channels)
    codes = [[rng.randrange(1 << unit.format.bits) for _ in range(unit.channels)] for _ in range(vectors - 2)]
    return [
        *codes,
        [0] * unit.channels,
        [(1 << unit.format.bits) - 1 if unit.format.bits != 8 else 0x80] * unit.channels,
    ]


def fixed(fmt, codes):
    """The integers that codes stand for, in units of the step."""
    values = decode_all(fmt) / (1.0 if isinstance(fmt, IntFormat) else float(fmt.step))
    return [[int(values[code]) if np.isfinite(values[code]) else 0 for code in each] for each in codes]


NORMS = [
    ("int8", 64, 1, False),
    ("int4", 12, 3, False),
    ("e2m1", 32, 4, False),
    ("uint6", 40, 2, False),
    ("int16", 32, 1, False),
]
NORMS += [("int8", 64, 2, True), ("int4", 24, 1, True), ("int16", 48, 1, True), ("uint8", 32, 1, True)]


@pytest.mark.parametrize(("fmt", "channels", "lanes", "centred"), NORMS)
def test_norms_are_those_of_integers_and_close_to_the_float_function(fmt, channels, lanes, centred):
    unit = NormUnit(parse_element(fmt), channels, lanes, centred)
    codes = norm_inputs(unit)
    words = words_of(codes, unit.format.bits, lanes)
    given = fixed(unit.format, codes)
    got = values_of(
        run_stream(normalize_verilog(unit), NORMALIZE, words, len(words)), unit.output_bits, lanes, signed=True
    )
    rows = [reference.centre(x, unit.mean_fraction) for x in given] if centred else given
    expected = [y for x in rows for y in reference.normalize(x, unit.sum_bits, unit.fraction_bits)]
    assert got == expected
    for x, y in zip(given, np.reshape(got, (-1, channels)), strict=True):
        values = np.array(x) - (np.mean(x) if centred else 0)
        if not centred or np.ptp(values):
            exact = values / np.sqrt(1 + (values**2).sum())
            np.testing.assert_allclose(y / 2.0**unit.fraction_bits, exact, atol=(5e-3 if centred else 5e-5))


SOFTMAXES = [("int8", 32, 1), ("int4", 20, 2), ("e2m1", 17, 1), ("uint8", 24, 3), ("int16", 64, 1), ("int12", 32, 4)]


@pytest.mark.parametrize(("fmt", "channels", "lanes"), SOFTMAXES)
def test_softmax_is_that_of_integers_and_close_to_the_float_function(fmt, channels, lanes):
    unit = SoftmaxUnit(parse_element(fmt), channels, lanes)
    codes = norm_inputs(unit)
    # a row whose values lie close together, as wide formats seldom have by chance
    codes.insert(1, [code & 0xFF for code in codes[0]])
    words, given = words_of(codes, unit.format.bits, lanes), fixed(unit.format, codes)
    got = values_of(run_stream(softmax_verilog(unit), SOFTMAX, words, len(words)), 16, lanes, signed=False)
    assert got == [y for x in given for y in reference.softmax(x, unit.fraction, unit.sum_bits)]
    for x, y in zip(given, np.reshape(got, (-1, channels)), strict=True):
        powers = 2.0 ** ((np.array(x) - max(x)) / 2**unit.fraction)
        np.testing.assert_allclose(y / 65536, powers / powers.sum(), atol=1e-4)


@pytest.mark.parametrize(
    ("bits", "block", "lanes", "digits"), [(16, 32, 1, 7), (8, 24, 2, 3), (12, 18, 3, 2), (5, 16, 4, 4)]
)
@pytest.mark.parametrize("power_of_two", [False, True])
def test_dynamic_scales_are_those_of_integers_and_close_to_a_division(bits, block, lanes, digits, power_of_two):
    unit = DynamicUnit(bits, block, lanes, power_of_two, digits)
    rng, low = random.Random(bits), -(1 << bits - 1)
    rows = [[rng.randint(low >> k, ~low >> k) for _ in range(block)] for k in (0, 1, bits // 2, bits - 2)]
    rows += [[0] * block, [low] * block, [-1] * block, [~low] * block, [3, -4, *[0] * (block - 2)]]
    words = words_of(rows, bits, lanes)
    got = values_of(run_stream(dynamic_verilog(unit), DYNAMIC, words, len(words)), unit.output_bits, lanes, signed=True)
    assert got == [y for x in rows for y in reference.dynamic_scale(x, bits, None if power_of_two else digits)[0]]
    if not power_of_two:
        for x, y in zip(rows, np.reshape(got, (-1, block)), strict=True):
            exact = np.array(x) / max(1, np.abs(x).max()) * (1 - 2.0**-digits)
            np.testing.assert_allclose(y / 2.0 ** (bits - 1), exact, atol=2.0 ** (1 - bits) + 2.0**-14)


@pytest.mark.parametrize(("fmt", "head", "lanes"), [("int8", 16, 1), ("int4", 16, 4), ("e2m1", 8, 2), ("uint6", 8, 1)])
def test_rotary_positions_turn_pairs(fmt, head, lanes):
    unit, rng = RotaryUnit(parse_element(fmt), head, lanes), random.Random(head)
    codes = [[rng.randrange(1 << unit.format.bits) for _ in range(head)] for _ in range(6)]
    angles = [rng.uniform(-4, 4) for _ in range(head // 2)]
    tables = {name: [round(f(a) * 32767) for a in angles] for name, f in (("sine", sin), ("cosine", cos))}
    words = words_of(codes, unit.format.bits, lanes)
    roms = {name: words_of([values], 16, lanes) for name, values in tables.items()}
    found = run_stream(rotary_verilog(unit), ROTARY, words, len(words), halves=True, roms=roms)
    got = values_of(found, unit.output_bits, lanes, signed=True)
    expected, half = [], head // 2
    for x in fixed(unit.format, codes):
        expected += [x[i] * tables["cosine"][i] - x[i + half] * tables["sine"][i] for i in range(half)]
        expected += [x[i + half] * tables["cosine"][i] + x[i] * tables["sine"][i] for i in range(half)]
    assert got == expected
    turned = np.reshape(got, (-1, 2, half)) / 32767
    x = np.reshape(fixed(unit.format, codes), (-1, 2, half))
    np.testing.assert_allclose(
        turned[:, 0] + 1j * turned[:, 1], (x[:, 0] + 1j * x[:, 1]) * np.exp(1j * np.array(angles)), atol=1e-2
    )


GATES = [
    ("int8", "int8", 2),
    ("int4", "uint6", 1),
    ("e2m1", "e3m2", 1),
    ("ocp_e4m3", "int5", 1),
    ("uint16", "uint16", 1),
]


@pytest.mark.parametrize(("first", "second", "lanes"), [*GATES, ("ue2m2", "uint4", 3), ("e3m2", "ue2m1", 2)])
def test_gates_multiply(first, second, lanes):
    unit, rng = GateUnit(parse_element(first), parse_element(second), lanes), random.Random(lanes)
    formats = (unit.first, unit.second)
    codes = [[rng.choice(np.flatnonzero(np.isfinite(decode_all(fmt)))) for _ in range(60)] for fmt in formats]
    a, b = (words_of([list(map(int, each))], fmt.bits, lanes) for each, fmt in zip(codes, formats, strict=True))
    words = [low | high << unit.first.bits * lanes for low, high in zip(a, b, strict=True)]
    got = values_of(
        run_stream(gate_verilog(unit), GATE, words, len(words)), unit.output_bits, lanes, signed=unit.signed
    )
    x, y = (fixed(fmt, [each])[0] for fmt, each in zip(formats, codes, strict=True))
    assert got == [p * q for p, q in zip(x, y, strict=True)]


PACED = {
    "norm": (NormUnit(parse_element("int8"), 18, 2), normalize_verilog, NORMALIZE),
    "centred": (NormUnit(parse_element("int4"), 9, 1, centred=True), normalize_verilog, NORMALIZE),
    "softmax": (SoftmaxUnit(parse_element("int4"), 7), softmax_verilog, SOFTMAX),
    "scale": (DynamicUnit(8, 7), dynamic_verilog, DYNAMIC),
    "shift": (DynamicUnit(8, 6, power_of_two=True), dynamic_verilog, DYNAMIC),
    "rotary": (RotaryUnit(parse_element("int4"), 8), rotary_verilog, ROTARY),
}


@pytest.mark.parametrize("name", PACED)
def test_a_word_leaves_in_every_cycle(name):
    """Vectors of as many words as a reciprocal is held for cycles, or more, follow on each other without a gap."""
    unit, verilog, top = PACED[name]
    words = unit.passes.words if name == "rotary" else unit.words
    assert words >= (unit.inverse.held_cycles if name in ("norm", "centred", "softmax", "scale") else 6)
    cycles = cycles_of(verilog(unit), top, [1] * (6 * words), 6 * words, halves=name == "rotary")
    steady = cycles[3 * words :]
    assert steady == list(range(steady[0], steady[0] + len(steady)))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: NormUnit(parse_element("int8"), 10, 3),
            "`lanes` must divide the channels, but got lanes=3, channels=10",
        ),
        (lambda: SoftmaxUnit(parse_element("int8"), 10, 4), "`lanes` must divide the channels, but got lanes=4"),
        (lambda: DynamicUnit(8, 10, 4), "`lanes` must divide the block, but got lanes=4, block=10"),
        (lambda: DynamicUnit(2, 8), "integers of at least 3 bits and 1 to 15 digits, but got bits=2"),
        (
            lambda: RotaryUnit(parse_element("int8"), 24),
            "head / lanes must be a power of two and at least 2, but got head=24",
        ),
        (lambda: InverseUnit(9, root=True), "at least 2, and even for a root, but got bits=9"),
        (
            lambda: normalize_verilog(NormUnit(parse_element("int8"), 4, 4)),
            "vectors of at least 2 words, but got words=1; take fewer lanes",
        ),
    ],
)
def test_units_that_cannot_be_are_refused(make, message):
    with pytest.raises(RtlError, match=message):
        make()
