"""What must hold of FINN's model for every operator, not only for the sampled ones."""

from dataclasses import replace
from math import ceil, log2, prod

from hypothesis import given
from hypothesis import strategies as st

from hwmodels.finn.datatypes import INT32, FinnType, parse_finn_type
from hwmodels.finn.dot_product import MEM_MODES, RAM_STYLES, RES_TYPES, accumulator_bits
from hwmodels.finn.memory import RAMB18_SHAPES, bram18_by_width, bram18_width_at_depth, threshold_memory, uram_blocks
from hwmodels.finn.mvau import Mvau
from hwmodels.finn.streams import Fifo, WidthConverter
from hwmodels.finn.vvau import Vvau
from hwmodels.finn.window_rtl import WindowRtl

TYPES = st.sampled_from(
    ["BIPOLAR", "BINARY", "TERNARY", *(f"{sign}INT{bits}" for sign in ("", "U") for bits in range(2, 9))]
)
FINN_TYPES = TYPES.map(parse_finn_type)
FOLDS = st.integers(1, 24)


@st.composite
def mvaus(draw: st.DrawFn) -> Mvau:
    pe, simd, neuron_fold, synapse_fold = (draw(FOLDS) for _ in range(4))
    return Mvau(
        backend=draw(st.sampled_from(["hls", "rtl"])),
        part=draw(st.sampled_from(["xc7z020clg400-1", "xczu7ev-ffvc1156-2-e", "xcvc1902-vsva2197-2MP-e-S"])),
        cols=simd * synapse_fold,
        rows=pe * neuron_fold,
        pe=pe,
        simd=simd,
        activation=draw(FINN_TYPES),
        weight=draw(FINN_TYPES),
        output=draw(FINN_TYPES),
        vectors=tuple(draw(st.lists(st.integers(1, 30), min_size=1, max_size=3))),
        no_activation=draw(st.booleans()),
        mem_mode=draw(st.sampled_from(MEM_MODES)),
        ram_style=draw(st.sampled_from(RAM_STYLES)),
        threshold_ram_style=draw(st.sampled_from(RAM_STYLES[:3])),
        res_type=draw(st.sampled_from(RES_TYPES)),
    )


@given(mvaus())
def test_a_matrix_unit_does_all_its_work(op: Mvau) -> None:
    assert op.cycles() * op.pe * op.simd == op.rows * op.cols * prod(op.vectors)


@given(mvaus())
def test_weights_lie_in_one_kind_of_memory(op: Mvau) -> None:
    cost = op.resources()
    assert cost.ff == cost.carry8 == 0
    if op.mem_mode == "internal_decoupled":
        assert (cost.bram18 > 0) == (op.ram_style in ("auto", "block"))
        assert (cost.uram > 0) == (op.ram_style == "ultra")
    if op.mem_mode == "external":
        assert cost.bram18 == cost.uram == 0


@given(mvaus())
def test_a_matrix_unit_has_room_for_its_weights(op: Mvau) -> None:
    cost, bits = op.resources(), op.rows * op.cols * op.weight.bits
    if cost.bram18:
        assert cost.bram18 * 36 * 512 >= bits
    if cost.uram:
        assert cost.uram * 72 * 4096 >= bits


@given(mvaus())
def test_multipliers_in_dsps_take_no_luts(op: Mvau) -> None:
    hls = replace(op, backend="hls")
    in_luts, in_dsps = replace(hls, res_type="lut").resources(), replace(hls, res_type="dsp").resources()
    assert in_luts.dsp == 0 < in_dsps.dsp
    assert in_dsps.lut < in_luts.lut


@given(FOLDS, FOLDS, st.sampled_from([(1, 1), (3, 3), (5, 5), (1, 7)]), FINN_TYPES, FINN_TYPES)
def test_a_vector_unit_does_all_its_work(
    pe: int, fold: int, kernel: tuple[int, int], weight: FinnType, activation: FinnType
) -> None:
    op = Vvau(
        backend="hls",
        channels=pe * fold,
        kernel=kernel,
        out_dim=(7, 5),
        pe=pe,
        simd=prod(kernel),
        activation=activation,
        weight=weight,
        output=activation,
    )
    assert op.cycles() * op.pe * op.simd == op.channels * prod(kernel) * 35
    assert op.resources().lut >= 300


@given(st.integers(1, 5000), FINN_TYPES, FINN_TYPES)
def test_the_accumulator_bound_is_the_published_formula(
    dot_length: int, weight: FinnType, activation: FinnType
) -> None:
    # arXiv 2301.13376, eq. 3, as FINN writes it in floating point
    alpha = log2(dot_length) + weight.bits + activation.bits - 1 - int(activation.signed)
    bound = ceil(alpha + log2(1 + 2**-alpha) + 1)
    assert accumulator_bits(dot_length, weight, activation, INT32) == min(32, bound)


@given(st.integers(1, 2048), st.integers(1, 70_000))
def test_block_memories_hold_what_they_are_for(width: int, depth: int) -> None:
    with_parity, without = bram18_by_width(width, depth), bram18_by_width(width, depth, parity_bits=False)
    assert with_parity <= without
    assert with_parity * 36 * 512 >= width * depth
    assert bram18_by_width(width, depth + 1) >= with_parity or depth == 512
    assert uram_blocks(width, depth) * 72 * 4096 >= width * depth
    primitive, count = threshold_memory(width, depth, allowed=frozenset({"uram", "bram18", "lutram"}))
    assert count * {"uram": 72 * 4096, "bram18": 18 * 1024, "lutram": 64}[primitive] >= width * depth


@given(st.integers(1, 16384))
def test_the_shape_for_a_depth_is_the_widest_that_is_deep_enough(depth: int) -> None:
    assert bram18_width_at_depth(depth) == max(width for rows, width in RAMB18_SHAPES if rows >= depth)


@given(st.tuples(FOLDS, FOLDS), st.integers(1, 5), st.integers(1, 3), FINN_TYPES, st.booleans())
def test_a_window_reads_everything_and_writes_every_window(
    simd_and_fold: tuple[int, int], kernel: int, stride: int, activation: FinnType, depthwise: bool
) -> None:
    (simd, fold), size = simd_and_fold, 20
    out = (size - kernel) // stride + 1
    op = WindowRtl(
        channels=simd * fold,
        in_dim=(size, size),
        out_dim=(out, out),
        kernel=(kernel, kernel),
        stride=(stride, stride),
        simd=simd,
        activation=activation,
        depthwise=depthwise,
    )
    if op.impl_style == "default":
        assert op.cycles() >= out * out * kernel * kernel * fold
    else:
        assert op.cycles() == size * size * fold + 2
    assert op.buffer_depth >= ((kernel - 1) * size + kernel) * fold - fold + 1
    assert op.resources().lut >= 300
    for style in RAM_STYLES:
        cost = replace(op, ram_style=style).resources()
        assert (cost.lut > 300) == (style == "distributed")


@given(st.integers(2, 40_000), st.integers(1, 600), st.sampled_from(RAM_STYLES))
def test_a_fifo_is_at_least_as_deep_as_asked(depth: int, width: int, ram_style: str) -> None:
    own = Fifo(depth=depth, width=width, impl_style="rtl", ram_style=ram_style)  # type: ignore[arg-type]
    vivado = replace(own, impl_style="vivado")
    assert own.adjusted_depth == depth <= vivado.adjusted_depth < 2 * depth
    assert own.resources().bram18 == own.resources().uram == 0
    assert (vivado.resources().bram18 > 0) == (ram_style == "block")
    assert (vivado.resources().uram > 0) == (ram_style == "ultra")
    assert own.cycles() == 0


@given(st.integers(1, 512), st.integers(1, 512))
def test_a_width_converter_registers_both_sides_of_a_change(in_width: int, out_width: int) -> None:
    lut = WidthConverter(in_width=in_width, out_width=out_width).resources().lut
    assert lut >= out_width or in_width == out_width
    assert (lut == 0) == (in_width == out_width)
