"""DSP units, simulated: packed weights exhaustively, whole units, the vendor's primitive, Icarus, and Yosys' slice count."""

import shutil
from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from hwmodels.datapath import Accumulator, Datapath, Multiplier, Overflow, TensorQuant
from hwmodels.devices import Family
from hwmodels.formats import IntFormat, Minifloat
from hwmodels.primitives.dsp_packing import DspPackingError
from hwmodels.rtl.dsp_unit import DspUnit, dsp_unit_verilog
from hwmodels.rtl.icarus import IcarusDesign
from hwmodels.rtl.reference import expected_sums, finite_codes
from hwmodels.rtl.simulate import code_bits, elaborate, run
from hwmodels.rtl.unit import DotUnit
from hwmodels.rtl.verilog import RtlError
from hwmodels.synth import Design, synthesize_design


def unit(weight, activation, dsp, pe, simd, bits=24, overflow=Overflow.WRAP, **kwargs):
    path = Datapath(TensorQuant(weight), TensorQuant(activation), Accumulator(bits, overflow=overflow), Multiplier.DSP)
    return DspUnit(path, dsp, pe, simd, **kwargs)


def simulated(made, design, weights, activations, clear, enable):
    """Sums after each cycle, shape (cycles, batch, pe); weights of shape (cycles, batch, pe, simd)."""
    batch = weights.shape[1]
    cycles = [
        {
            "weights": code_bits(w.reshape(batch, -1), made.weight.bits),
            "activations": code_bits(x, made.activation.bits),
            "clear": np.full((1, batch), c),
            "enable": np.full((1, batch), e),
        }
        for w, x, c, e in zip(weights, activations, clear, enable, strict=True)
    ]
    idle = {**cycles[-1], "clear": np.zeros((1, batch), bool), "enable": np.zeros((1, batch), bool)}
    places = 1 << np.arange(made.bits, dtype=np.int64)
    places[-1] *= -1
    outputs = run(design, [*cycles, idle, idle])[2:]
    return np.stack([places @ out["sum"].reshape(made.pe, made.bits, batch) for out in outputs]).transpose(0, 2, 1)


def expected(made, weights, activations, clear, enable):
    lut = DotUnit(replace(made.datapath, multiplier=Multiplier.LUT), made.simd)
    rows = [expected_sums(lut, weights[:, :, row], activations, clear, enable) for row in range(made.pe)]
    return np.stack(rows, axis=-1).astype(np.int64)


def vectors(made, cycles, batch, seed):
    """Half of the sequences hold extreme codes only, half of these in every cycle the same, so that sums reach their ends."""
    rng = np.random.default_rng(seed)
    drawn = []
    for fmt, shape in (
        (made.weight, (cycles, batch, made.pe, made.simd)),
        (made.activation, (cycles, batch, made.simd)),
    ):
        usable = finite_codes(fmt)
        codes = rng.choice(usable, shape)
        ends = [fmt.min_code % (1 << fmt.bits), fmt.max_code, 0, 1 % (1 << fmt.bits), (1 << fmt.bits) - 1]
        ends = [code for code in ends if code in usable]
        codes[:, : batch // 2] = rng.choice(ends, codes[:, : batch // 2].shape)
        steady = rng.choice(ends, (1, batch // 4, *shape[2:-1], 1))
        codes[:, : batch // 4] = steady
        drawn.append(codes)
    clear, enable = rng.random(cycles) < 0.15, rng.random(cycles) < 0.85
    clear[0] = enable[0] = True
    return *drawn, clear, enable


@pytest.mark.parametrize(
    ("weight", "activation", "dsp", "lanes"),
    [
        (IntFormat(2), IntFormat(2), "DSP48E1", 8),
        (IntFormat(2, narrow=True), IntFormat(2, signed=False), "DSP48E2", 9),
        (IntFormat(3), IntFormat(3, signed=False), "DSP48E1", 5),
        (IntFormat(4), IntFormat(4), "DSP48E2", 4),
        (IntFormat(4, narrow=True), IntFormat(4, signed=False), "DSP48E1", 4),
        (IntFormat(8), IntFormat(1, signed=False), "DSP48E2", 3),
    ],
    ids=str,
)
def test_all_codes_of_every_lane_of_a_slice(weight, activation, dsp, lanes):
    """Every weight in every lane with every activation, all other lanes at their ends: each lane against all borrows; and all
    combinations of all lanes at once where these are at most 2^18."""
    made = unit(weight, activation, dsp, lanes, 1)
    assert made.packing.lanes == lanes
    assert made.slices == 1
    every = finite_codes(weight)
    if len(every) ** lanes * len(finite_codes(activation)) <= 1 << 18:
        packed = np.array(list(product(every, repeat=lanes)))
    else:
        ends = [weight.min_code % (1 << weight.bits), weight.max_code]
        others = np.array(list(product(ends, repeat=lanes)))
        packed = np.concatenate(
            [np.insert(others[:, 1:], lane, code, axis=1) for lane in range(lanes) for code in every]
        )
        packed = np.unique(packed, axis=0)
    codes = finite_codes(activation)
    weights = np.repeat(packed, len(codes), axis=0)[None, :, :, None]
    activations = np.tile(codes, len(packed))[None, :, None]
    once = np.ones(1, dtype=bool)
    got = simulated(made, elaborate(dsp_unit_verilog(made)), weights, activations, once, once)

    def value(given, fmt):
        return given - ((given >> (fmt.bits - 1)) << fmt.bits) if fmt.signed else given

    assert (got == value(weights[..., 0], weight) * value(activations, activation)).all()


UNITS = [
    unit(IntFormat(4), IntFormat(4, signed=False), "DSP48E2", 4, 3),
    unit(IntFormat(8, narrow=True), IntFormat(8, signed=False), "DSP48E1", 2, 2),
    unit(IntFormat(8), IntFormat(8), "DSP48E2", 2, 3, 17, Overflow.SATURATE),
    unit(IntFormat(8), IntFormat(5), "DSP48E1", 2, 3, 14, lanes=1),
    unit(IntFormat(4), IntFormat(4), "DSP48E1", 1, 2, 9),
    unit(IntFormat(3), IntFormat(4, signed=False), "DSP48E2", 5, 2, 52, lanes=4),
    unit(IntFormat(2, narrow=True), IntFormat(6), "DSP48E2", 4, 3, 9, chain=1),
    unit(IntFormat(5), IntFormat(5), "DSP48E1", 2, 4, 11, Overflow.SATURATE, lanes=1, chain=2),
]


@pytest.mark.parametrize("made", UNITS, ids=lambda made: f"{made.weight}x{made.activation}x{made.simd}")
def test_whole_units_on_corner_and_random_vectors(made):
    given = vectors(made, cycles=12, batch=192, seed=3)
    assert (simulated(made, elaborate(dsp_unit_verilog(made)), *given) == expected(made, *given)).all()
    wide = unit(made.weight, made.activation, made.dsp, made.pe, made.simd, 60)
    reached = np.abs(expected(wide, *given)).max()
    assert reached >= 1 << (made.bits - 1) or made.bits > 20, "the vectors drive a narrow accumulator beyond its ends"


def test_every_kind_of_circuit_is_among_the_units():
    assert {made.in_slices for made in UNITS} == {True, False}
    assert {made.packing.overlaps for made in UNITS if made.packing.lanes > 1} == {True, False}
    assert {made.packing.chain > 1 for made in UNITS if made.packing.overlaps} == {True, False}
    assert {made.pe % made.packing.lanes > 0 for made in UNITS} == {True, False}


@pytest.mark.parametrize("made", [UNITS[1], UNITS[4]], ids=["packed", "cascade"])
def test_the_primitive_computes_the_same(made):
    """The instance of DSP48E1 as configured, by the model of the cell that Yosys brings."""
    given = vectors(made, cycles=8, batch=96, seed=4)
    text = dsp_unit_verilog(made, primitive=True)
    assert "DSP48E1 #(" in text
    assert (simulated(made, elaborate(text, family="xc7"), *given) == expected(made, *given)).all()


def test_both_primitives_are_configured_alike():
    """DSP48E2 has no free model: it differs from the instance that is simulated by names and widths alone (UG479, UG579)."""
    made = UNITS[1]
    first = dsp_unit_verilog(made, primitive=True)
    second = dsp_unit_verilog(replace(made, dsp="DSP48E2"), primitive=True)
    cells = [text[text.index(" #(\n        .AREG") - 7 : text.index("endmodule")] for text in (first, second)]
    same = (
        cells[0]
        .replace("DSP48E1", "DSP48E2")
        .replace('.USE_DPORT("TRUE")', '.AMULTSEL("AD")')
        .replace(".OPMODE({", ".OPMODE({2'b00, ")
    )
    assert ".INMODE(5'b01100)" in same

    def without_data(cell):
        return [line for line in cell.splitlines() if not line.strip().startswith((".A(", ".B(", ".D("))]

    assert without_data(same) == without_data(cells[1])


@pytest.mark.skipif(shutil.which("iverilog") is None, reason="needs Icarus Verilog")
@pytest.mark.parametrize("made", [UNITS[0], UNITS[2], UNITS[4]], ids=["packed", "saturating", "cascade"])
def test_icarus_says_the_same(made):
    given = vectors(made, cycles=10, batch=40, seed=5)
    assert (simulated(made, IcarusDesign(dsp_unit_verilog(made), "dot"), *given) == expected(made, *given)).all()


@pytest.mark.parametrize(
    ("index", "pattern", "wrong"),
    [(0, " ^ t1_0, ", ", "), (0, "n[0]}", "1'b0}"), (1, "d - a", "d + a"), (4, "clear ? 48'd0 : c", "c")],
)
def test_a_broken_unit_is_found_out(index, pattern, wrong):
    made = UNITS[index]
    text = dsp_unit_verilog(made)
    assert pattern in text
    given = vectors(made, cycles=6, batch=64, seed=6)
    assert (simulated(made, elaborate(text.replace(pattern, wrong)), *given) != expected(made, *given)).any()


def test_yosys_finds_the_predicted_slices_and_nothing_that_multiplies():
    made = UNITS[0]
    result = synthesize_design(Design(dsp_unit_verilog(made, primitive=True), Family.XCUP, dsp=True))
    assert result.dsp == made.slices
    assert result.lut_packed <= made.pe * (made.bits + (made.cascades - 1) * (made.packing.field_bits + 2)) + 20


def test_impossible_units_are_refused():
    path = replace(UNITS[0].datapath, multiplier=Multiplier.LUT)
    with pytest.raises(RtlError, match="must have multiplier=dsp, but got multiplier=lut; use DotUnit"):
        DspUnit(path, "DSP48E2", 1, 1)
    with pytest.raises(RtlError, match="must hold at least one product, 8 bits for int4 x uint4, but got bits=7"):
        unit(IntFormat(4), IntFormat(4, signed=False), "DSP48E2", 1, 1, 7)
    with pytest.raises(RtlError, match="pe and simd must be 1 to 1024, but got pe=0, simd=1"):
        unit(IntFormat(4), IntFormat(4), "DSP48E2", 0, 1)
    with pytest.raises(DspPackingError, match="takes signed weights, but got uint4; use a signed format one bit wider"):
        unit(IntFormat(4, signed=False), IntFormat(4), "DSP48E2", 1, 1)
    with pytest.raises(DspPackingError, match="a DSP48E2 has 1 to 2 lanes for int8 x uint8, but got lanes=3"):
        unit(IntFormat(8), IntFormat(8, signed=False), "DSP48E2", 3, 1, lanes=3)
    with pytest.raises(DspPackingError, match="sums 1 to 8 products of int8 x uint8 in 2 lanes, but got chain=9"):
        unit(IntFormat(8), IntFormat(8, signed=False), "DSP48E2", 2, 16, chain=9)
    narrow = unit(Minifloat(1, 2), IntFormat(4), "DSP48E2", 1, 1)
    assert narrow.weight == IntFormat(4, narrow=True), "E1My is the integer grid that it is"
