"""Keys and values as attention stores them: quantized where they should be, by what they should be, and costed as such."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from small_networks import images, spec, tiny_resnet
from torch import Tensor, nn

from hwmodels.catalog import parse_element
from hwmodels.codec import quantize as to_format
from hwmodels.datapath import DatapathError, Granularity, TensorQuant, parse_scaling
from hwmodels.devices import get_device
from hwmodels.estimate import CostOptions, CostReport, estimate
from hwmodels.float_parts import with_float_parts
from hwmodels.folding import fold_for_cycles
from hwmodels.formats import FormatError
from hwmodels.ops import MatMul, Network, Requantize
from hwmodels.primitives.memory import MemoryStyle, bram18
from workloads.assign import assign, provisional_numerics
from workloads.attention import Attention
from workloads.calibration import activation_scale, observe
from workloads.llm.decoder import Decoder, DecoderShape
from workloads.llm.encoder import Encoder, EncoderShape
from workloads.lowering import lower
from workloads.numerics import NumericsSpec
from workloads.plan import Plan, make_plan
from workloads.quantize import Engine
from workloads.scales import block_scales

DEVICE = get_device("XCZU7EV")
SHAPE = DecoderShape(
    vocabulary=100,
    width=32,
    hidden=48,
    layers=2,
    heads=4,
    key_heads=2,
    head_dim=8,
    positions=32,
    norm_epsilon=1e-6,
    rotary_base=1e4,
)
TOKENS = torch.randint(0, 100, (6, 32), generator=torch.Generator().manual_seed(0))


def kv(name: str) -> TensorQuant:
    fmt, scaling = name.split("/")
    return TensorQuant(parse_element(fmt), parse_scaling(scaling))


def stored(name: str | None) -> NumericsSpec:
    return replace(spec("int8", "int8", edge=None), kv_cache=None if name is None else kv(name))


@pytest.fixture(scope="module")
def engine() -> Engine:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = Decoder(SHAPE).eval()
        for parameter in model.parameters():
            nn.init.normal_(parameter, std=0.4)
    return Engine(model, make_plan(model, TOKENS[:1, :1]), TOKENS)


class Outside(nn.Module):
    """Attention on keys and values that are quantized by the codec, head by head and token by token, or by one scale."""

    def __init__(self, inner: nn.Module, quant: TensorQuant, scales: tuple[float, float] | None) -> None:
        super().__init__()
        self.inner, self.quant, self.scales = inner, quant, scales

    def _rounded(self, x: Tensor, scale: float | None) -> Tensor:
        values = x.double().numpy()
        low, high = values.min(-1, keepdims=True), values.max(-1, keepdims=True)
        scales = block_scales(self.quant, low, high) if scale is None else np.float32(scale)
        elements = to_format(self.quant.format, x.numpy() / scales)
        return torch.from_numpy(elements.astype(np.float32) * scales)

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        key_scale, value_scale = self.scales or (None, None)
        mixed: Tensor = self.inner(query, self._rounded(key, key_scale), self._rounded(value, value_scale))
        return mixed


@pytest.mark.parametrize("name", ["int8/token", "int4/token_po2", "e2m1/token", "ocp_e4m3/tensor", "int4/tensor_po2"])
def test_attention_sees_what_the_codec_makes_of_keys_and_values(engine: Engine, name: str) -> None:
    asked = stored(name)
    made, plain = engine.quantize(asked), engine.quantize(stored(None))
    for block in range(SHAPE.layers):
        path = f"model.layers.{block}.self_attn.mix"
        inner = plain.network.get_submodule(path)
        assert isinstance(inner, Attention)
        static = name.split("/")[1].startswith("tensor")
        scales = (made.site_scales[f"{path}.key"], made.site_scales[f"{path}.value"]) if static else None
        plain.network.set_submodule(path, Outside(inner, kv(name), scales))
    with torch.no_grad():
        expected, got, unlike = (
            plain.network(TOKENS),
            made.network(TOKENS),
            engine.quantize(stored(None)).network(TOKENS),
        )
    assert torch.equal(got, expected)
    assert not torch.equal(got, unlike)


def test_static_scales_fit_keys_and_values_of_the_float_network(engine: Engine) -> None:
    made = engine.quantize(stored("int4/tensor"))
    seen = observe(engine.plan, TOKENS, engine.plan.caches)
    assert set(seen) == {f"model.layers.{block}.self_attn.mix.{role}" for block in (0, 1) for role in ("key", "value")}
    for name, values in seen.items():
        assert made.site_scales[name] == float(activation_scale(values, kv("int4/tensor")).scale)


def test_nothing_else_depends_on_what_is_stored(engine: Engine) -> None:
    plain, made = engine.quantize(stored(None)), engine.quantize(stored("int4/tensor"))
    assert {name: made.site_scales[name] for name in plain.site_scales} == plain.site_scales
    for before, after in zip(plain.layers, made.layers, strict=True):
        assert np.array_equal(before.codes, after.codes)
    assert set(made.numerics.sites) - set(plain.numerics.sites) == {site.name for site in engine.plan.caches}


def test_fewer_bits_lose_more(engine: Engine) -> None:
    with torch.no_grad():
        exact = engine.quantize(stored(None)).network(TOKENS)
        lost = [
            float((engine.quantize(stored(name)).network(TOKENS) - exact).square().mean())
            for name in ("int8/token", "int6/token", "int4/token", "int3/token")
        ]
    assert 0 < lost[0] < lost[1] < lost[2] < lost[3]


def test_the_key_knows_what_is_stored_and_old_keys_stay() -> None:
    assert "kv_cache" not in stored(None).as_dict()
    assert stored(None).key == "c2b13f399755d4f4"  # as before there was the axis
    assert len({stored(name).key for name in (None, "int8/token", "int8/tensor", "int4/token")}) == 4
    assert stored("e2m1/token").formats[-1] == parse_element("e2m1")


def test_scales_that_no_cache_has_are_refused() -> None:
    for scaling in ("channel", "group16_dynamic", "tensor_dynamic", "tensor_asym"):
        with pytest.raises(
            DatapathError, match="keys and values must have one scale per token or a static one per tensor"
        ):
            stored(f"int8/{scaling}")
    with pytest.raises(FormatError, match="the kv_cache format must have at most 24 bits"):
        stored("int25/token")


def test_a_network_without_attention_stores_nothing() -> None:
    plan = make_plan(tiny_resnet(), images(1))
    assert plan.caches == ()
    with pytest.raises(DatapathError, match="kv_cache must be none for a network without attention") as caught:
        assign(plan, stored("int8/token"))
    assert "int8/token" in str(caught.value)


def test_an_encoder_stores_its_keys_and_values_too() -> None:
    sizes = EncoderShape(
        vocabulary=100, width=32, hidden=48, layers=1, heads=4, positions=32, segments=1, norm_epsilon=1e-12
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Encoder(sizes).eval()
    plan = make_plan(model, TOKENS[:1])
    assert [site.name.rpartition(".")[2] for site in plan.caches] == ["key", "value"]
    encoder = Engine(model, plan, TOKENS)
    with torch.no_grad():
        plain, made = (encoder.quantize(stored(name)).network(TOKENS) for name in (None, "int3/token"))
    assert not torch.equal(plain, made)
    report = costed(plan, lower(plan, "encoder"), stored("int4/token"))
    buffers = {line.layer: line.resources for line in report.lines if line.component == "operand buffer"}
    assert len(buffers) == 2


def costed(plan: Plan, network: Network, asked: NumericsSpec, memory: MemoryStyle = MemoryStyle.BRAM) -> CostReport:
    numerics = with_float_parts(network, provisional_numerics(network, plan, asked))
    foldings = fold_for_cycles(
        network, 4_000, with_float_parts(network, provisional_numerics(network, plan, stored(None)))
    )
    return estimate(network, numerics, foldings, DEVICE, CostOptions(memory=memory))


def lines(report: CostReport, component: str) -> dict[str, float]:
    return {line.layer: line.resources.bram18 for line in report.lines if line.component == component}


def test_the_cache_has_the_bits_that_are_asked_for(engine: Engine) -> None:
    network = lower(engine.plan, "decoder", 512)
    products = [op for op in network.compute if isinstance(op, MatMul)]
    assert all(op.cached and op.matrices == 2 for op in products)
    reports = {
        name: costed(engine.plan, network, stored(name)) for name in (None, "int8/token", "int4/tensor", "e2m1/token")
    }
    foldings = fold_for_cycles(
        network, 4_000, with_float_parts(network, provisional_numerics(network, engine.plan, stored(None)))
    )
    for name, report in reports.items():
        bits = 16 if name is None else kv(name).bits
        for op in products:
            values = foldings[op.name].pe * foldings[op.name].simd
            assert lines(report, "KV cache")[op.name] == bram18(bits * values, 2 * 8 * 512 // values)
    for name, report in reports.items():
        dynamic = [line.layer for line in report.lines if line.component == "dynamic scale"]
        scales = [line.layer for line in report.lines if line.component == "scale memory"]
        by_token = name is not None and name.endswith("token")
        assert len(dynamic) == (4 if by_token else 0)  # keys and values of two blocks
        assert scales == ([op.name for op in products] if by_token else [])


def test_scales_of_values_travel_with_the_probabilities(engine: Engine) -> None:
    """A value's scale belongs to its position: it is multiplied into the probability there, and none is left afterwards."""
    network = lower(engine.plan, "decoder", 64)
    numerics = with_float_parts(network, provisional_numerics(network, engine.plan, stored("int8/token")))
    path = "model.layers.0.self_attn.mix"
    assert numerics.sites[f"{path}.shares"].scaling.granularity is Granularity.CHANNEL
    assert numerics.layers[path].weight == kv("int8/token")
    report = costed(engine.plan, network, stored("int8/token"))
    formulas = {line.layer: line.formula for line in report.lines if line.component == "requantize"}
    assert "x 16 bits" in formulas[f"{path}.scores.requantize"]  # by the scale of each key
    assert "x 16 bits" in formulas[f"{path}.softmax.requantize"]  # by the scale of each value
    assert "x constant" in formulas[f"{path}.requantize"]
    assert any(isinstance(op, Requantize) and op.name == f"{path}.requantize" for op in network.operators)


def test_a_narrow_cache_asks_less_of_off_chip_memory(engine: Engine) -> None:
    network = lower(engine.plan, "decoder", 64)
    wide, narrow = (costed(engine.plan, network, stored(name), MemoryStyle.EXTERNAL) for name in (None, "int4/token"))
    for op in network.compute:
        ratio = 4 if isinstance(op, MatMul) else 1
        assert wide.weight_stream_bits[op.name] == ratio * narrow.weight_stream_bits[op.name]
