"""FINN's folding and choice of backend, against the sampled networks and against its own promises."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwmodels.finn.attrs import read_attrs
from hwmodels.finn.datatypes import parse_finn_type
from hwmodels.finn.errors import FinnModelError
from hwmodels.finn.folding import (
    FINN_EXAMPLES_WEIGHT_STREAM_BITS,
    FINN_WEIGHT_STREAM_BITS,
    fold,
    target_cycles,
)
from hwmodels.finn.mvau import Mvau
from hwmodels.finn.operators import FinnOperator
from hwmodels.finn.specialize import mvau_backend, vvau_backend
from hwmodels.finn.uncosted import ChannelStream, Pool
from hwmodels.finn.vvau import Vvau
from hwmodels.finn.window_rtl import WindowRtl
from hwmodels.ops import divisors

GOLDEN = Path(__file__).parents[1] / "golden" / "finn"
NETWORKS = json.loads((GOLDEN / "networks_finn_v0.10.1.json").read_text())
ZYNQ, ULTRASCALE, VERSAL = "xc7z020clg400-1", "xczu3eg-sbva484-1-e", "xcvc1902-vsva2197-2MP-e-S"
INT4, INT8, UINT8 = (parse_finn_type(name) for name in ("INT4", "INT8", "UINT8"))


def layers(name: str, unfolded: bool) -> tuple[FinnOperator, ...]:
    network = NETWORKS[name]
    reset = {"PE": 1, "SIMD": 1} if unfolded else {}
    return tuple(
        read_attrs(layer["op"], layer["attrs"] | reset, part=network["fpgapart"]) for layer in network["layers"]
    )


def frames_per_second(name: str) -> int:
    return int(name.rsplit("_", 1)[1].removesuffix("fps"))


@pytest.mark.parametrize("limit", [72, FINN_EXAMPLES_WEIGHT_STREAM_BITS, 95])
@pytest.mark.parametrize("name", NETWORKS)
def test_folding_repeats_every_pe_and_simd(name: str, limit: int) -> None:
    target = target_cycles(frames_per_second(name))
    assert fold(layers(name, unfolded=True), target, max_weight_stream_bits=limit) == layers(name, unfolded=False)


@pytest.mark.parametrize("limit", [FINN_WEIGHT_STREAM_BITS, 71, 96])
def test_no_other_stream_limit_explains_the_networks(limit: int) -> None:
    equal = [
        fold(layers(name, unfolded=True), target_cycles(frames_per_second(name)), max_weight_stream_bits=limit)
        == layers(name, unfolded=False)
        for name in NETWORKS
    ]
    assert not all(equal)


def test_the_backend_of_every_matrix_unit_is_finns() -> None:
    units = 0
    for network in NETWORKS.values():
        for layer in network["layers"]:
            if layer["op"].startswith("MVAU"):
                attrs = layer["attrs"]
                backend = mvau_backend(
                    activation=parse_finn_type(attrs["inputDataType"]),
                    weight=parse_finn_type(attrs["weightDataType"]),
                    no_activation=bool(attrs["noActivation"]),
                    part=network["fpgapart"],
                )
                assert layer["op"] == f"MVAU_{backend}", layer["name"]
                units += 1
    assert units == 48


@pytest.mark.parametrize(
    ("activation", "weight", "backend"),
    [
        ("UINT8", "INT8", "rtl"),
        ("UINT4", "INT4", "rtl"),
        ("UINT8", "INT2", "hls"),
        ("UINT2", "INT8", "hls"),
        ("UINT8", "UINT8", "hls"),
        ("UINT8", "INT9", "hls"),
        ("UINT9", "INT8", "hls"),
        ("INT9", "INT8", "rtl"),
        ("INT10", "INT8", "hls"),
    ],
)
def test_operands_decide_the_backend(activation: str, weight: str, backend: str) -> None:
    types = parse_finn_type(activation), parse_finn_type(weight)
    assert mvau_backend(activation=types[0], weight=types[1], no_activation=True, part=ULTRASCALE) == backend
    assert mvau_backend(activation=types[0], weight=types[1], no_activation=False, part=ULTRASCALE) == "hls"
    assert vvau_backend(activation=types[0], weight=types[1], no_activation=True, part=VERSAL) == backend
    assert vvau_backend(activation=types[0], weight=types[1], no_activation=False, part=VERSAL) == "hls"
    assert vvau_backend(activation=types[0], weight=types[1], no_activation=True, part=ULTRASCALE) == "hls"


@pytest.mark.parametrize(
    ("part", "narrow", "backend"),
    [(ULTRASCALE, False, "rtl"), (VERSAL, False, "rtl"), (ZYNQ, False, "hls"), (ZYNQ, True, "rtl")],
)
def test_a_dsp48e1_needs_narrow_weights(part: str, narrow: bool, backend: str) -> None:
    chosen = mvau_backend(activation=UINT8, weight=INT8, no_activation=True, part=part, narrow_weights=narrow)
    assert chosen == backend


def test_xnor_units_are_hls() -> None:
    chosen = mvau_backend(activation=UINT8, weight=INT8, no_activation=True, part=ULTRASCALE, binary_xnor=True)
    assert chosen == "hls"


def depthwise_pair(kernel: tuple[int, int] = (3, 3)) -> tuple[WindowRtl, Vvau]:
    window = WindowRtl(
        channels=32, in_dim=(18, 18), out_dim=(16, 16), kernel=kernel, simd=1, activation=INT4, depthwise=True
    )
    unit = Vvau(
        backend="hls",
        channels=32,
        kernel=kernel,
        out_dim=(16, 16),
        pe=1,
        simd=1,
        activation=INT4,
        weight=INT4,
        output=INT4,
    )
    return window, unit


@pytest.mark.parametrize(
    ("target", "pe", "simd", "parallel"),
    # 9 * 256 cycles remain at full PE; FINN meets a target with fewer cycles, never with as many
    [
        (100_000, 1, 1, False),
        (73_728, 2, 1, False),
        (2_305, 32, 1, False),
        (2_304, 32, 1, False),
        (2_303, 32, 3, True),
        (2_000, 32, 3, True),
        (300, 32, 9, True),
    ],
)
def test_a_depthwise_window_follows_its_unit(target: int, pe: int, simd: int, parallel: bool) -> None:
    window, unit = fold(depthwise_pair(), target, two_pass=False)
    assert isinstance(window, WindowRtl)
    assert isinstance(unit, Vvau)
    assert (unit.pe, unit.simd) == (pe, simd)
    assert (window.simd, window.parallel_window) == (pe, parallel)


def test_a_pool_takes_its_window_along() -> None:
    window, _ = depthwise_pair()
    pool = Pool(channels=32, kernel=(3, 3), out_dim=(16, 16))
    folded_window, folded_pool = fold((window, pool), 20_000)
    assert isinstance(folded_pool, Pool)
    assert isinstance(folded_window, WindowRtl)
    assert folded_pool.pe == folded_window.simd == 4


def test_a_depthwise_layer_without_a_window_is_refused() -> None:
    _, unit = depthwise_pair()
    with pytest.raises(FinnModelError, match=r"^a depthwise layer with a 3x3 kernel needs a window generator right"):
        fold((unit,), 1000)
    pointwise = replace(unit, kernel=(1, 1))
    assert fold((pointwise,), 10**9) == (pointwise,)


def test_a_dense_window_is_parallel_only_where_simd_is_not_enough() -> None:
    window = replace(depthwise_pair()[0], depthwise=False)
    slow, fast = fold((window,), 3000, two_pass=False)[0], fold((window,), 1000, two_pass=False)[0]
    assert isinstance(slow, WindowRtl)
    assert isinstance(fast, WindowRtl)
    assert (slow.simd, slow.parallel_window) == (32, False)
    assert (fast.simd, fast.parallel_window) == (32, True)


def test_second_pass_relaxes_the_fast_layers() -> None:
    # the stream limit stops the matrix unit at SIMD=1 only as long as SIMD=7 misses the target as well: for the relaxed
    # target the unit is folded wider than before, which is what FINN does
    stuck = Mvau(
        backend="hls",
        part=ZYNQ,
        cols=7,
        rows=1,
        pe=1,
        simd=1,
        activation=INT8,
        weight=INT8,
        output=INT8,
        vectors=(999,),
    )
    easy = ChannelStream(op="AddStreams_hls", parallel_name="PE", parallel=1, channels=64, pixels=20)
    one_pass, two_passes = fold((stuck, easy), 50, two_pass=False), fold((stuck, easy), 50)
    assert [layer.cycles() for layer in one_pass] == [6993, 40]
    assert [layer.cycles() for layer in two_passes] == [999, 1280]


@given(
    cols=st.integers(1, 300),
    rows=st.integers(1, 300),
    target=st.integers(1, 10**5),
    limit=st.integers(8, 100),
)
def test_a_folded_matrix_unit_meets_the_target_or_is_as_wide_as_allowed(
    cols: int, rows: int, target: int, limit: int
) -> None:
    unit = Mvau(backend="hls", part=ZYNQ, cols=cols, rows=rows, pe=1, simd=1, activation=INT8, weight=INT8, output=INT8)
    (folded,) = fold((unit,), target, max_weight_stream_bits=limit, two_pass=False)
    assert isinstance(folded, Mvau)
    assert folded.cycles() * folded.pe * folded.simd == rows * cols
    wider = next((divisor for divisor in divisors(cols) if divisor > folded.simd), None)
    if folded.cycles() >= target:
        assert folded.pe == rows
        assert wider is None or wider * INT8.bits > limit
    else:
        narrower = [divisor for divisor in divisors(rows) if divisor < folded.pe]
        assert all(replace(folded, pe=pe).cycles() >= target for pe in narrower)


def test_target_cycles() -> None:
    assert target_cycles(10_000) == 10_000
    assert target_cycles(1_000, clock_period_ns=5.0) == 200_000
    with pytest.raises(FinnModelError, match="at least one cycle"):
        target_cycles(10**9)
    with pytest.raises(FinnModelError, match="must be positive"):
        target_cycles(0)
    with pytest.raises(FinnModelError, match="target must be at least 1 cycle, but got 0"):
        fold((), 0)
