"""Segmented units, simulated: against the formats' own arithmetic in ml_dtypes, the reference, and examples by hand."""

import re
import shutil

import ml_dtypes
import numpy as np
import pytest

from hwmodels.catalog import parse_element, parse_format
from hwmodels.datapath import Accumulator, Datapath, Multiplier, Overflow, parse_scaling, tensor_quant
from hwmodels.formats import E8M0, IntFormat, Minifloat, Specials
from hwmodels.rtl.check import Simulator
from hwmodels.rtl.icarus import run_icarus
from hwmodels.rtl.outer import OuterStage
from hwmodels.rtl.scale import ProductScale, ShiftScale, default_scale
from hwmodels.rtl.segment import SEGMENT_TOP, SegmentUnit, segment_verilog
from hwmodels.rtl.segment_check import (
    check_segments,
    segment_mismatches,
    segment_testbench,
    segment_vectors,
    simulate_segments,
)
from hwmodels.rtl.segment_reference import expected_segment_sums, scaled_sums
from hwmodels.rtl.simulate import elaborate, run
from hwmodels.rtl.verilog import RtlError

UE4M3 = Minifloat(4, 3, specials=Specials.NAN, signed=False)


def unit(weight, activation, lanes, bits, outer, *, tile=None, scales=("", ""), overflow=Overflow.WRAP, **kwargs):
    quants = [
        tensor_quant(parse_format(name), parse_scaling(scale) if scale else None)
        for name, scale in zip((weight, activation), scales, strict=True)
    ]
    return SegmentUnit(Datapath(*quants, Accumulator(bits, tile, overflow)), lanes, outer, **kwargs)


def sums_of(made, weights, activations, codes):
    """The register behind each cycle of one dot product; codes of weights and scales as the hardware reads them."""
    clear, enable = np.zeros(len(weights), bool), np.ones(len(weights), bool)
    clear[0] = True
    design = elaborate(segment_verilog(made), SEGMENT_TOP)
    return simulate_segments(made, design, weights, activations, codes, clear, enable)


def test_mxfp4_dot_products_are_those_of_ml_dtypes():
    """Blocks of 32 in OCP MXFP4, scales within the window: the exact sum of scaled values, element and scale by ml_dtypes."""
    made = unit("mxfp4_e2m1", "mxfp4_e2m1", 8, 15, 36)
    rng, batch, blocks = np.random.default_rng(3), 64, 8
    codes = rng.integers(0, 16, (2, 4 * blocks, batch, 8)).astype(np.uint8)
    scales = rng.integers(120, 128, (4 * blocks, batch, 1, 2)).astype(np.uint8)
    values = codes.view(ml_dtypes.float4_e2m1fn).astype(np.float64)
    factors = scales.view(ml_dtypes.float8_e8m0fnu).astype(np.float64).prod(axis=(2, 3))
    got = sums_of(made, *codes.astype(np.int64), scales.astype(np.int64))
    blocked = values.prod(axis=0).reshape(blocks, 4, batch, 8).sum(axis=(1, 3)) * factors[3::4]
    unit_of_sum = 0.5 * 0.5 * 2.0**-14  # both steps times the window's least scale
    assert got[3::4].tolist() == (blocked.cumsum(axis=0) / unit_of_sum).astype(np.int64).tolist()


def test_nvfp4_block_scales_are_those_of_ml_dtypes():
    """Blocks of 16 in E2M1 with E4M3 scales of the weights: every finite scale once."""
    made = unit("e2m1", "e2m1", 16, 14, 40, scales=("group16", ""), scale=ProductScale(UE4M3))
    rng = np.random.default_rng(4)
    codes = rng.integers(0, 16, (2, 1, 127, 16)).astype(np.uint8)
    scales = np.arange(127, dtype=np.uint8)
    values = codes.view(ml_dtypes.float4_e2m1fn).astype(np.float64).prod(axis=0).sum(axis=2)
    got = sums_of(made, *codes.astype(np.int64), scales.astype(np.int64).reshape(1, 127, 1, 1))
    wanted = values * scales.view(ml_dtypes.float8_e4m3fn).astype(np.float64) / (0.25 * 2.0**-9)
    assert got.tolist() == wanted.astype(np.int64).tolist()


UNITS = [
    unit("int4", "int4", 8, 9, 14, tile=32),
    unit("int4", "uint4", 8, 9, 10, tile=2, overflow=Overflow.SATURATE, pipeline=True),
    unit("e2m1", "e2m1", 12, 10, 11, tile=4),
    unit("e3m2", "int4", 4, 14, 14, tile=12, overflow=Overflow.SATURATE, outer_overflow=Overflow.WRAP),
    unit("int3", "int3", 1, 7, 8, tile=3),
    unit("mxfp4_e2m1_k8", "mxfp4_e2m1_k16", 16, 12, 27, outer_overflow=Overflow.SATURATE),
    unit("mxfp4_e2m1", "int8", 8, 16, 20, pipeline=True, scale=ShiftScale(100, reach=4)),
    unit("int4", "mxint8", 8, 14, 36, scale=ShiftScale(96, reach=32, dropped=10)),
    unit("int4", "int4", 4, 9, 26, scales=("group4", "")),
    unit("int4", "int4", 4, 9, 27, scales=("group12", ""), pipeline=True),
    unit("int4", "int4", 2, 9, 26, scales=("group64", ""), overflow=Overflow.SATURATE),
    unit("int4", "int4", 8, 9, 28, scales=("", "group8"), scale=ProductScale(UE4M3, dropped=3)),
]


@pytest.mark.parametrize("made", UNITS, ids=lambda made: f"{made.datapath.weight}-{made.segment}of{made.lanes}")
def test_whole_units_on_corner_and_random_vectors(made):
    """Wrapping and saturating inner and outer sums, one or several segments a cycle, every kind of scale."""
    given = segment_vectors(made, max(16, 6 * made.cycles), batch=48, seed=1)
    wrong, compared = segment_mismatches(made, elaborate(segment_verilog(made), SEGMENT_TOP), *given)
    assert wrong == 0
    assert compared > 48 * given[0].shape[0] // 2
    # every bit of the register moves, so that nothing is equal because it is constant
    sums = expected_segment_sums(made, *given)
    assert sums.min() < 0 < sums.max()


def test_inner_overflow_is_the_inner_accumulators():
    """AXE's two accumulators: 32 products of 49 leave 9 bits although the outer one has room for them."""
    ones = np.full((4, 1, 8), 7)
    found = {
        overflow: sums_of(
            unit("int4", "int4", 8, 9, 14, tile=32, overflow=overflow), ones, ones, np.zeros((4, 1, 1, 0))
        )
        for overflow in (Overflow.WRAP, Overflow.SATURATE)
    }
    assert found[Overflow.WRAP][-1] == (32 * 49 + 256) % 512 - 256
    assert found[Overflow.SATURATE][-1] == 255


@pytest.mark.parametrize(
    ("total", "dropped", "scaled"),
    [
        (240, 0, -5),
        (243, 0, -40),
        (255, 0, -5 << 15),
        (256, 0, -5 << 15),  # above the window: its largest scale
        (508, 0, -5 << 15),
        (239, 0, 0),  # below: zero
        (0, 0, 0),
        (240, 2, -2),  # towards minus infinity
        (241, 2, -3),
        (242, 2, -5),
    ],
)
def test_the_window_of_power_of_two_scales(total, dropped, scaled):
    codes = np.array([[[[total - total // 2, total // 2]]]])
    assert scaled_sums(ShiftScale(240, dropped=dropped), np.array([[-5]], dtype=object), codes[0]) == [[scaled]]
    made = unit("mxint8_k2", "mxint8_k2", 2, 18, 36, scale=ShiftScale(240, dropped=dropped))
    weights, activations = np.array([[[0xFF, 0x00]]]), np.array([[[5, 99]]])
    assert sums_of(made, weights, activations, codes) == [[scaled]]


def test_a_scale_takes_the_cycles_of_its_segment():
    """Fewer bits of a mantissa per cycle, and the same products."""
    passes = [unit("int4", "int4", n, 10, 40, scales=("group16", "")).scale.passes for n in (32, 16, 8, 4, 2, 1)]
    assert passes == [1, 1, 2, 4, 8, 16]
    assert default_scale(parse_scaling("group24").kind, 1, 3).passes == 3
    codes = np.array([0, 1, 40000, 65535]).reshape(4, 1, 1)
    sums = np.array([[-512], [511], [-1], [77]], dtype=object)
    each = [scaled_sums(ProductScale(passes=n), sums, codes).tolist() for n in (1, 3, 16)]
    assert each == [[[0], [511], [-40000], [77 * 65535]]] * 3


def test_the_synthesized_netlist_computes_the_same():
    made = unit("mxfp4_e2m1_k4", "mxfp4_e2m1_k4", 2, 11, 27, overflow=Overflow.SATURATE, pipeline=True)
    given = segment_vectors(made, cycles=16, batch=64, seed=2)
    design = elaborate(segment_verilog(made), SEGMENT_TOP, family="xcup")
    assert segment_mismatches(made, design, *given)[0] == 0


@pytest.mark.parametrize(
    ("pattern", "wrong"),
    [
        (r"fresh <= begins & ~last", "fresh <= begins"),
        (r"start = ~\|position", "start = 1'b0"),
        (r"if \(below\)", "if (1'b0)"),
        (r"\| \{4\{above\}\}", ""),
        (r"waiting <= \{waiting, done\}", "waiting <= {waiting, 1'b1}"),
        (r"codes\[15:8\]", "codes[7:0]"),
    ],
)
def test_a_broken_unit_is_found_out(pattern, wrong):
    made = unit("mxint4_k8", "mxint4_k8", 4, 10, 26)
    broken, changes = re.subn(pattern, wrong, segment_verilog(made))
    assert changes
    given = segment_vectors(made, cycles=24, batch=64, seed=0)
    assert segment_mismatches(made, elaborate(broken, SEGMENT_TOP), *given)[0] > 0


@pytest.mark.parametrize("made", [UNITS[0], UNITS[6]], ids=["tile", "shift"])
def test_the_testbench_counts_wrong_sums(made):
    weights, activations, codes, clear, enable = segment_vectors(made, 8 * made.cycles, batch=17, seed=4)
    bench = segment_testbench(made, weights[:, -1], activations[:, -1], codes[:, -1], clear, enable)
    text = segment_verilog(made)
    broken = text.replace("sum <= next", "sum <= ~next")

    def errors(design):
        states = run(elaborate(design + bench, f"{SEGMENT_TOP}_test"), [{}] * (len(weights) + 9))
        assert states[-1]["done"].all()
        return int(np.packbits(states[-1]["errors"][:, 0], bitorder="little")[0])

    assert errors(text) == 0
    assert errors(broken) > 10
    if shutil.which("iverilog") is not None:
        printed = run_icarus(text + bench, f"{SEGMENT_TOP}_test")
        assert printed.strip() == f"0 of {len(weights)} vectors wrong"


@pytest.mark.skipif(shutil.which("iverilog") is None, reason="Icarus Verilog is not on the PATH (apt install iverilog)")
@pytest.mark.parametrize("made", [UNITS[1], UNITS[5], UNITS[10]], ids=["tile", "shift", "product"])
def test_icarus_agrees(made):
    assert check_segments(made, batch=17, simulator=Simulator.ICARUS) >= 17 * 16


def test_the_same_unit_gives_the_same_text():
    first, second = (segment_verilog(unit("int4", "int4", 8, 10, 14, tile=t)) for t in (32, 16))
    assert first == segment_verilog(unit("int4", "int4", 8, 10, 14, tile=32))
    assert first != second


INT4 = tensor_quant(IntFormat(4))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: unit("int4", "int4", 8, 10, 14, tile=12),
            "must divide a segment or be a multiple of it, but got lanes=8 and segments of 12 products; 6 or 12 lanes",
        ),
        (
            lambda: unit("int4", "int4", 8, 7, 14, tile=32),
            "must hold at least one product, 8 bits for int4 x int4, but got bits=7",
        ),
        (
            lambda: unit("int4", "int4", 8, 12, 11, tile=32),
            "the outer accumulator must hold at least one segment, 12 bits, but got 11; give a wider one.",
        ),
        (
            lambda: unit("mxint8", "mxint8", 8, 22, 36),
            "at least one scaled segment, 37 bits, but got 36; give a wider one or drop low bits of the scaled sums.",
        ),
        (
            lambda: unit("int4", "int4", 8, 10, 14),
            "a segmented unit must have a tile or group scales, but got neither; use a plain unit.",
        ),
        (
            lambda: unit("int4", "int4", 8, 10, 40, scales=("group8", "group8_po2")),
            "a segment is multiplied by one float scale, but got group scales of both weight=int4/group8",
        ),
        (
            lambda: unit("int4", "int4", 8, 10, 40, scales=("group8_po2", ""), scale=ProductScale()),
            "group scales of kind power_of_two must be a shift, but got ProductScale",
        ),
        (lambda: unit("int4", "int4", 8, 10, 40, tile=8, scale=ShiftScale(112)), "a scale must come with group scales"),
        (
            lambda: unit("int4", "int4", 8, 10, 40, scales=("group16", ""), scale=ProductScale(passes=4)),
            "a scale must be applied before the next segment ends, in 2 cycles, but got 4 passes.",
        ),
        (
            lambda: unit("int8", "int8", 8, 40, 80, scales=("group16", ""), scale=ProductScale(UE4M3)),
            "a sum that is multiplied by nan_ue4m3 must have at most 32 bits, but got 40; use a fixed-point scale.",
        ),
        (lambda: ShiftScale(241), "`start` must be a multiple of reach = 16 from 0 to 496, but got start=241."),
        (lambda: ShiftScale(240, reach=12), "`reach` must be a power of two from 2 to 128, but got reach=12."),
        (lambda: ShiftScale(240, dropped=16), "`dropped` must be 0 to reach - 1 = 15, but got dropped=16."),
        (lambda: ProductScale(parse_element("e4m2")), "a scale must be unsigned, but got e4m2."),
        (lambda: ProductScale(UE4M3, passes=2), "`passes` must be 1 to 1 for a scale in nan_ue4m3, but got passes=2."),
        (lambda: ProductScale(dropped=16), "`dropped` must be 0 to 15 for uint16, but got dropped=16."),
        (
            lambda: unit("int4", "int4", 8, 10, 40, scales=("group8_po2", ""), scale=ShiftScale(256)),
            "a window must start at a total that codes can have, at most 254, but got start=256.",
        ),
        (
            lambda: SegmentUnit(Datapath(INT4, INT4, Accumulator(10, 8), Multiplier.DSP), 8, 20),
            "a generated unit multiplies in LUTs, but got multiplier=dsp; use multiplier=lut.",
        ),
    ],
)
def test_impossible_units_are_refused(make, message):
    with pytest.raises(RtlError, match=re.escape(message)) as caught:
        make()
    assert str(caught.value).count(". ") == 0


def test_stages_count_their_delay_and_codes():
    stage = OuterStage(14, 2, 40, Overflow.WRAP, ShiftScale.around_one(2), 2)
    assert (stage.delay, stage.code_bits, stage.summand_bits, stage.tree_bits) == (2, 16, 29, 30)
    assert ShiftScale.around_one(1).start == 112
    assert 2 * E8M0.exponent_bias - 14 == ShiftScale.around_one(2).start
