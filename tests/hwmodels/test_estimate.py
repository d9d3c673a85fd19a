"""Whole estimates: the sum is the sum, nothing is free, cycles and latency add up, FINN's mode says what FINN says."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import numerics_of, residual_network

from hwmodels.catalog import parse_format
from hwmodels.datapath import (
    Accumulator,
    Datapath,
    DatapathError,
    Multiplier,
    Overflow,
    TensorQuant,
    parse_scaling,
    tensor_quant,
)
from hwmodels.devices import DEVICES, get_device
from hwmodels.dot_product import dot_product_unit
from hwmodels.estimate import CostError, CostModel, CostOptions, CostReport, estimate, estimate_operator
from hwmodels.finn.datatypes import parse_finn_type
from hwmodels.finn.mvau import Mvau
from hwmodels.folding import fold_for_cycles
from hwmodels.formats import IntFormat, Minifloat
from hwmodels.ops import (
    Depthwise,
    Folding,
    MatVec,
    Network,
    Numerics,
    Pool,
    Requantize,
    ShapeError,
    Window,
    divisors,
)
from hwmodels.options import OptionsError
from hwmodels.primitives.cost import BandKind
from hwmodels.primitives.memory import MemoryStyle, MemoryStyleError
from hwmodels.primitives.operands import operands
from hwmodels.resources import Resources

NETWORK = residual_network()
DEVICE = get_device("xczu3eg")
FOLDINGS = fold_for_cycles(NETWORK, 10_000)
FINN = CostOptions(model=CostModel.FINN)
FORMATS = [
    ("int4", "uint4"),
    ("int8", "uint8"),
    ("e2m1", "e2m1"),
    ("e3m2", "int8"),
    ("ocp_e4m3", "ocp_e4m3"),
    ("mxfp4_e2m1", "e3m0"),
]


def report(weight: str = "int4", activation: str = "uint4", options: CostOptions | None = None, **kwargs) -> CostReport:
    numerics = numerics_of(NETWORK, weight, activation, **kwargs)
    return estimate(NETWORK, numerics, FOLDINGS, DEVICE, options)


def by_hand(lines) -> Resources:
    return Resources.sum(line.resources for line in lines)


@pytest.mark.parametrize("formats", FORMATS, ids="-".join)
@pytest.mark.parametrize("device", DEVICES.values(), ids=lambda device: device.name)
def test_the_total_is_the_sum_of_its_lines(formats: tuple[str, str], device) -> None:
    made = estimate(NETWORK, numerics_of(NETWORK, *formats), FOLDINGS, device)
    for name, count in by_hand(made.lines).as_dict().items():
        assert made.total.as_dict()[name] == pytest.approx(count)
        assert sum(r.as_dict()[name] for r in made.per_layer().values()) == pytest.approx(count)


@pytest.mark.parametrize("formats", FORMATS, ids="-".join)
def test_no_operator_is_free_in_luts_and_flip_flops(formats: tuple[str, str]) -> None:
    layers = report(*formats).per_layer()
    assert set(layers) == {op.name for op in NETWORK.operators}
    assert all(resources.lut > 0 and resources.ff > 0 for resources in layers.values())


def test_every_kind_of_component_is_there() -> None:
    components = {line.component for line in report("mxfp4_e2m1", "e2m1").lines}
    assert components == {
        "window",
        "padding",
        "dot products",
        "weight memory",
        "input buffer",
        "outer accumulator",
        "group scale",
        "scale memory",
        "control",
        "requantize",
        "requantizer parameters",
        "add",
        "pool",
        "duplicate",
        "FIFO",
        "residual FIFO",
        "width converter",
    }


@pytest.mark.parametrize("options", [CostOptions(), FINN], ids=["calibrated", "finn"])
def test_every_line_names_its_formula_source_and_band(options: CostOptions) -> None:
    for line in report(options=options).lines:
        assert line.formula
        assert line.source
        assert line.band.basis
        measured = line.band.kind is not BandKind.UNCALIBRATED
        assert (line.band.median is not None) == (line.band.p90 is not None) == measured


def test_a_report_is_json_and_says_everything() -> None:
    made = report()
    document = json.loads(json.dumps(made.as_dict()))
    assert document["total"] == made.total.as_dict()
    assert len(document["lines"]) == len(made.lines)
    assert document["bottleneck"] in document["cycles"]
    assert document["max_cycles"] == max(document["cycles"].values())


def test_frame_rate_and_latency() -> None:
    made = report()
    assert made.max_cycles <= 10_000
    assert made.fps(100) == 100e6 / made.max_cycles
    assert made.max_cycles < made.latency <= sum(made.cycles.values())
    assert made.latency_us(100) == made.latency / 100


def test_cycles_are_those_of_the_foldings() -> None:
    made = report()
    for op in NETWORK.compute:
        assert made.cycles[op.name] == FOLDINGS[op.name].cycles(op)


def test_operators_without_weights_keep_up_and_are_no_wider_than_needed() -> None:
    made = report()
    slowest = max(made.cycles[op.name] for op in NETWORK.compute)
    assert made.max_cycles == slowest
    # one channel at a time would do for the head's requantizer, so one channel it is
    assert made.cycles["pool.requantize"] == 32 * 16


def test_what_exceeds_the_part_is_named() -> None:
    foldings = {op.name: Folding(op.rows, op.cols) for op in NETWORK.compute}
    made = estimate(NETWORK, numerics_of(NETWORK, "int8", "uint8"), foldings, DEVICE)
    shortages = made.exceeded(DEVICE)
    assert "lut" in {s.name for s in shortages}
    assert all(s.needed > s.available for s in shortages)
    assert made.exceeded(get_device("xcu250")) == ()


def residual_fifo(network: Network) -> list[str]:
    made = estimate(network, numerics_of(network, "int4", "uint4"), FOLDINGS, DEVICE)
    return [line.formula for line in made.lines if line.component == "residual FIFO"]


def test_the_skipped_branch_waits_in_a_fifo_of_its_latency() -> None:
    """Two 3x3 windows on an 18-pixel row hold (2*18 + 3) of 324 pixels each: 0.24 of a frame of 4,096 4-bit words."""
    (formula,) = residual_fifo(NETWORK)
    depth = int(formula.split()[0])
    windows = 2 * (2 * 18 + 3) / 324 * 16 * 256
    assert windows < depth < 1.15 * windows


def test_without_a_fork_there_is_no_residual_fifo() -> None:
    kept = [op for op in NETWORK.operators if op.name in ("stem.window", "stem", "stem.requantize")]
    assert residual_fifo(Network("stem", tuple(kept))) == []


@pytest.mark.parametrize("part", sorted(DEVICES))
def test_one_operator_equals_its_lines_in_the_network(part: str) -> None:
    numerics, device = numerics_of(NETWORK, "e2m1", "int4", 24), get_device(part)
    whole = estimate(NETWORK, numerics, FOLDINGS, device)
    op = next(op for op in NETWORK.compute if op.name == "conv2")
    alone = estimate_operator(op, numerics.datapath(op), FOLDINGS["conv2"], device)
    assert set(alone.lines) <= {line for line in whole.lines if line.layer == "conv2"}
    assert alone.cycles == {"conv2": whole.cycles["conv2"]}


def one(
    weight: str,
    activation: str,
    bits: int,
    folding: Folding,
    *,
    tile: int | None = None,
    scaling: str = "channel",
    options: CostOptions | None = None,
    part: str = "xczu7ev",
) -> CostReport:
    weights = tensor_quant(parse_format(weight), parse_scaling(scaling))
    path = Datapath(weights, tensor_quant(parse_format(activation)), Accumulator(bits, tile))
    return estimate_operator(MatVec("layer", 64, 576, 100, "x"), path, folding, get_device(part), options)


def test_a_unit_on_the_measured_point_is_the_measured_unit() -> None:
    """8 lanes, P = 24: the dot-product line is PE times the fitted unit, and its band is the measured one."""
    made = one("int4", "int4", 24, Folding(4, 8), part="xczu3eg")
    line = next(line for line in made.lines if line.component == "dot products")
    unit, band = dot_product_unit(IntFormat(4), IntFormat(4), 8, 24, get_device("xczu3eg").family)
    assert line.resources.lut == pytest.approx(4 * unit.lut)
    assert abs(unit.lut / 164 - 1) < 0.05, "164 packed LUTs were synthesized"
    assert line.band == band
    assert line.band.kind is BandKind.MEASURED


@settings(deadline=None)
@given(st.sampled_from(divisors(64)), st.sampled_from(divisors(576)), st.sampled_from(FORMATS[:5]))
def test_multipliers_times_cycles_is_constant_and_units_scale_with_pe(
    pe: int, simd: int, formats: tuple[str, str]
) -> None:
    made = one(*formats, 32, Folding(pe, simd))
    assert pe * simd * made.max_cycles == 64 * 576 * 100
    single = one(*formats, 32, Folding(1, simd))
    products = [next(line for line in r.lines if line.component == "dot products") for r in (made, single)]
    assert products[0].resources.lut == pytest.approx(pe * products[1].resources.lut)


@settings(deadline=None)
@given(st.integers(12, 60), st.sampled_from(FORMATS[:5]), st.sampled_from([1, 8, 32]))
def test_a_wider_accumulator_costs_more(bits: int, formats: tuple[str, str], simd: int) -> None:
    narrow, wide = (one(*formats, p, Folding(4, simd)).total for p in (bits, bits + 1))
    assert narrow.lut < wide.lut


@pytest.mark.parametrize("simd", [8, 64, 192])
def test_a_tile_costs_an_outer_accumulator(simd: int) -> None:
    plain = one("int4", "uint4", 18, Folding(4, simd))
    tiled = one("int4", "uint4", 14, Folding(4, simd), tile=64)
    outer = next(line for line in tiled.lines if line.component == "outer accumulator")
    assert outer.resources.lut >= 4 * 18, "P_O = 14 + log2(9 tiles) bits in each of four rows"
    assert not [line for line in plain.lines if line.component == "outer accumulator"]
    assert f"{-(-simd // 64)} segment sums of 64 products into 18 bits" in outer.formula


def test_group_scales_cost_and_a_power_of_two_costs_less() -> None:
    plain, po2, real = (
        one("int4", "uint4", 16, Folding(4, 32), scaling=s).total for s in ("channel", "group32_po2", "group32")
    )
    assert plain.lut < po2.lut < real.lut
    finer = one("int4", "uint4", 16, Folding(4, 32), scaling="group16").total
    assert finer.lut > real.lut


def test_a_minifloat_accumulator_says_whether_it_is_exact() -> None:
    def text(bits: int, overflow: Overflow) -> str:
        fmt = TensorQuant(Minifloat(4, 3))
        path = Datapath(fmt, fmt, Accumulator(bits, overflow=overflow))
        return estimate_operator(MatVec("layer", 8, 64, 1, "x"), path, Folding(1, 8), DEVICE).lines[0].formula

    assert "(exact)" in text(40, Overflow.WRAP)
    assert "(16 low product bits dropped)" in text(24, Overflow.WRAP)
    assert "(exact)" in text(24, Overflow.IMPOSSIBLE), "proved from the weights: sums modulo 2^P are exact"


@pytest.mark.parametrize("style", ["bram", "lutram", "uram"])
def test_weight_memory_style_is_obeyed(style: str) -> None:
    made = one("int4", "uint4", 18, Folding(4, 8), options=CostOptions(memory=MemoryStyle(style)))
    weights = next(line for line in made.lines if line.component == "weight memory").resources
    used = {"bram": weights.bram18, "lutram": weights.lut, "uram": weights.uram}
    assert [name for name, count in used.items() if count] == [style]


@pytest.mark.parametrize(
    ("weight", "activation", "part", "dsps"),
    [
        ("int8", "uint8", "xczu7ev", 8 * 16 // 2),  # two 8x8 products per DSP48E2
        ("int4", "uint4", "xczu7ev", 8 * 16 // 4),  # four 4x4
        ("int8_narrow", "uint8", "xc7z020", 8 * 16 // 2),  # 25-bit port
        ("int8", "uint8", "xcvc1902", 8 * 6),  # DSP58 sums three
    ],
)
def test_dsp_packing(weight: str, activation: str, part: str, dsps: int) -> None:
    options = CostOptions(multiplier=Multiplier.DSP)
    made = one(weight, activation, 24, Folding(8, 16), options=options, part=part)
    assert made.total.dsp == dsps
    assert made.total.lut < one(weight, activation, 24, Folding(8, 16), part=part).total.lut


@pytest.mark.parametrize(("part", "dsps"), [("xczu7ev", 8 * 9), ("xcvc1902", 8 * 3)])
def test_depthwise_products_are_not_packed(part: str, dsps: int) -> None:
    """Its rows share no activation, so that no slice can multiply one by several weights."""
    op = Depthwise("d", 16, 9, 64, "x")
    path = numerics_of(Network("n", (op,)), "int4", "uint4").datapath(op, Multiplier.DSP)
    options = CostOptions(multiplier=Multiplier.DSP)
    assert estimate_operator(op, path, Folding(8, 9), get_device(part), options).total.dsp == dsps


@pytest.mark.parametrize("formats", [("e2m1", "uint5"), ("e3m2", "e3m2"), ("ocp_e4m3", "ocp_e4m3")], ids="-".join)
def test_a_proved_accumulator_drops_no_product_bit(formats: tuple[str, str]) -> None:
    """P may be proved from weights that never reach the format's largest sum; what was measured was exact all the same."""
    weight, activation = (tensor_quant(parse_format(name)) for name in formats)
    width = operands(weight.format, activation.format).product_bits
    op, folding = MatVec("a", 8, 128, 1, "x"), Folding(1, 64)

    def luts(bits: int, overflow: Overflow) -> tuple[float, str]:
        path = Datapath(weight, activation, Accumulator(bits, overflow=overflow))
        line = estimate_operator(op, path, folding, DEVICE).lines[0]
        return line.resources.lut, line.formula

    proved, text = luts(width + 2, Overflow.IMPOSSIBLE)
    dropping, dropped = luts(width + 2, Overflow.SATURATE)
    assert "(exact)" in text
    assert "(4 low product bits dropped)" in dropped
    assert dropping < proved < luts(width + 6, Overflow.SATURATE)[0]
    assert luts(width + 6, Overflow.IMPOSSIBLE)[0] < luts(width + 6, Overflow.SATURATE)[0], "saturation is charged"


@pytest.mark.parametrize("clock", [0.0, -5.0, float("nan"), float("inf")])
def test_a_clock_must_be_positive(clock: float) -> None:
    for question in (report().fps, report().latency_us):
        with pytest.raises(CostError, match=r"^a clock must be a positive number of MHz, but got clock_mhz="):
            question(clock)


def test_what_cannot_be_built_is_refused() -> None:
    with pytest.raises(DatapathError, match="use multiplier=lut"):
        report("e2m1", "e2m1", CostOptions(multiplier=Multiplier.DSP))
    with pytest.raises(MemoryStyleError, match="can only be kept in URAM on a part that has it"):
        report(options=CostOptions(memory=MemoryStyle.URAM))
    with pytest.raises(CostError, match=r"site 'a' has int8/group32; give the group scale to the weights"):
        report("int8", "int8", activation_scaling="group32")
    for scaling in ("tensor_dynamic", "token", "group32_po2_dynamic"):
        with pytest.raises(
            CostError, match=rf"no unit that finds a maximum .* site '\w+' has int8/{scaling}; use tensor"
        ):
            report("int8", "int8", activation_scaling=scaling)
    with pytest.raises(
        CostError, match=r"no E4M3 multiplier is modelled, but the weights .*int4/group16_e4m3; use group16 or"
    ):
        report("nvint4", "int8")
    with pytest.raises(CostError, match=r"no E4M3 multiplier is modelled, but the weights have int4/group16_e4m3"):
        one("int4", "int4", 24, Folding(4, 8), scaling="group16_e4m3")
    with pytest.raises(ShapeError, match="every layer with weights must have a folding, but 'stem' has none"):
        estimate(NETWORK, numerics_of(NETWORK, "int4", "int4"), {}, DEVICE)
    numerics = numerics_of(NETWORK, "int4", "int4")
    sites = {name: quant for name, quant in numerics.sites.items() if name != "sum"}
    with pytest.raises(ShapeError, match="every site must have a format, but 'sum' has none"):
        estimate(NETWORK, Numerics(sites, numerics.layers), FOLDINGS, DEVICE)
    with pytest.raises(OptionsError, match="model must be one of calibrated, finn, but got 'vivado'"):
        CostOptions(model="vivado")  # type: ignore[arg-type]


def test_finns_model_has_no_zero_points() -> None:
    with_zero_point = report("int8", "uint8", activation_scaling="tensor_asym")
    assert with_zero_point.total == report("int8", "uint8").total  # the bias of the requantizer absorbs it
    with pytest.raises(CostError, match=r"tensor or channel scales only, but \w+ has uint8/tensor_asym"):
        report("int8", "uint8", FINN, activation_scaling="tensor_asym")


@pytest.mark.parametrize(("weight", "refused"), [("e2m1", "e2m1/channel"), ("mxint8", "int8/group32_po2")])
def test_finns_model_refuses_what_finn_does_not_have(weight: str, refused: str) -> None:
    with pytest.raises(CostError) as error:
        report(weight, "uint8", FINN)
    assert f"integers with tensor or channel scales only, but stem has {refused}; use model=calibrated." in str(
        error.value
    )


def test_finns_model_takes_e1my_as_the_integer_it_is() -> None:
    assert report("e1m2", "uint4", FINN).total == report("int4_narrow", "uint4", FINN).total


def test_finns_model_equals_finns_units() -> None:
    """A layer with thresholds is one HLS unit with FINN's own number; what FINN leaves out is zero there and not here."""
    made = report("int8", "uint8", FINN, bits=24)
    op = next(op for op in NETWORK.compute if op.name == "conv1")
    unit = Mvau(
        backend="hls",
        part=DEVICE.part,
        cols=op.cols,
        rows=op.rows,
        vectors=(op.vectors,),
        pe=FOLDINGS["conv1"].pe,
        simd=FOLDINGS["conv1"].simd,
        activation=parse_finn_type("UINT8"),
        weight=parse_finn_type("INT8"),
        output=parse_finn_type("UINT8"),
        accumulator=parse_finn_type("INT24"),
        res_type="lut",
    )
    assert made.per_layer()["conv1"] == unit.resources()
    assert made.cycles["conv1"] == unit.cycles()
    assert "conv1.requantize" not in made.cycles
    assert made.per_layer()["add"] == Resources()
    assert next(line.component for line in made.lines if line.layer == "head") == "MVAU_rtl"
    assert by_hand(made.lines).as_dict() == pytest.approx(made.total.as_dict())


def test_a_narrower_format_is_cheaper_throughout() -> None:
    luts = [report(f"int{b}", f"uint{b}", bits=2 * b + 8).total.lut for b in range(2, 9)]
    assert luts == sorted(luts)


def test_a_pool_with_a_window_of_its_own_is_connected() -> None:
    """Windows that overlap, then a depthwise layer (one tap) without a window generator."""
    operators = (
        MatVec("a", 8, 4, 64, "x"),
        Requantize("a.requantize", "a", 8, 64, "y"),
        Window("pool.window", "pool", 8, (8, 8), (3, 3), (3, 3), (2, 2), (1, 1), True, "y"),
        Pool("pool", 8, 9, 9, "max", "y"),
        Requantize("pool.requantize", "pool", 8, 9, "z"),
        Depthwise("d", 8, 1, 9, "z"),
    )
    network = Network("n", operators)
    made = estimate(network, numerics_of(network, "int4", "uint4"), {"a": Folding(), "d": Folding()}, DEVICE)
    assert {"pool.window", "pool"} <= set(made.per_layer())
    assert made.fill_cycles > 0


def test_quantizers_without_scaling_are_per_tensor() -> None:
    path = Datapath(TensorQuant(IntFormat(4)), TensorQuant(IntFormat(4)), Accumulator(16))
    made = estimate_operator(Depthwise("d", 8, 9, 4, "x"), path, Folding(2, 3), DEVICE)
    assert {line.component for line in made.lines} == {"dot products", "weight memory", "control"}
    assert made.max_cycles == 8 * 9 * 4 // 6
