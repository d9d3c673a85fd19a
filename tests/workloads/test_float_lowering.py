"""What computes in floating point between quantized layers becomes operators, and every one of them costs something."""

from __future__ import annotations

import importlib.util
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import torch
from small_networks import images, spec, tiny_resnet
from torch import Tensor, nn

from hwmodels.accumulator import bits_by_data_type
from hwmodels.catalog import parse_element
from hwmodels.datapath import TensorQuant, parse_scaling
from hwmodels.devices import get_device
from hwmodels.estimate import CostError, CostModel, CostOptions, estimate
from hwmodels.finn_network import finn_network_cost
from hwmodels.float_parts import with_float_parts
from hwmodels.folding import fold_for_cycles
from hwmodels.formats import IntFormat
from hwmodels.ops import (
    Add,
    Duplicate,
    Folding,
    Lookup,
    MatMul,
    MatVec,
    Multiply,
    Network,
    Norm,
    Normalize,
    Numerics,
    Operator,
    Requantize,
    Softmax,
    Table,
)
from hwmodels.primitives.cost import BandKind
from hwmodels.primitives.memory import MemoryStyle, bram18
from hwmodels.vector import CostTables
from workloads.assign import provisional_numerics
from workloads.attention import Attention
from workloads.llm.decoder import Decoder, DecoderShape
from workloads.llm.encoder import Encoder, EncoderShape
from workloads.lowering import lower
from workloads.plan import Plan, PlanError, make_plan

DEVICE = get_device("XCZU7EV")
SHAPE = DecoderShape(
    vocabulary=1000,
    width=64,
    hidden=160,
    layers=1,
    heads=4,
    key_heads=2,
    head_dim=16,
    positions=128,
    norm_epsilon=1e-6,
    rotary_base=1e4,
)


def block_module() -> ModuleType:
    """The decoder block that the tests of the cost model write by hand."""
    path = Path(__file__).parents[1] / "hwmodels" / "llama_block.py"
    found = importlib.util.spec_from_file_location("llama_block_by_hand", path)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def plan() -> Plan:
    return make_plan(Decoder(SHAPE), torch.zeros(1, 1, dtype=torch.int64))


@pytest.fixture(scope="module")
def network(plan: Plan) -> Network:
    return lower(plan, "decoder", 128)


def numerics(plan: Plan, network: Network, bits: int = 16, **options: object) -> Numerics:
    asked = spec("int4", "int8", edge=None, **options)  # type: ignore[arg-type]
    return with_float_parts(network, provisional_numerics(network, plan, asked), bits)


def shape_of(op: Operator) -> tuple[object, ...]:
    """What an operator is, without names of operators and sites."""
    sizes = (
        "rows",
        "cols",
        "channels",
        "vectors",
        "kind",
        "head",
        "context",
        "copies",
        "vocabulary",
        "matrices",
        "cached",
    )
    return type(op).__name__, *(getattr(op, name, None) for name in sizes)


def test_a_llama_block_is_the_one_written_by_hand(network: Network) -> None:
    by_hand = block_module().decoder_block()
    behind = [  # the block is the whole network here: its last norm and head come on top
        Normalize("", 64, 1, Norm.RMS, ""),
        Requantize("", "", 64, 1, ""),
        MatVec("", 1000, 64, 1, ""),
    ]
    assert Counter(map(shape_of, network.operators)) == Counter(map(shape_of, (*by_hand.operators, *behind)))


def test_it_costs_what_the_one_written_by_hand_does(network: Network) -> None:
    module = block_module()
    by_hand = module.decoder_block()
    formats = module.block_numerics(by_hand, "int4", "int8")
    foldings = fold_for_cycles(by_hand, 2_000, formats)
    theirs = estimate(by_hand, formats, foldings, DEVICE)
    same = module.block_numerics(network, "int4", "int8")
    folded = {**fold_for_cycles(network, 2_000, same), "lm_head": Folding(125, 64)}  # never the slowest
    ours = estimate(network, same, folded, DEVICE)
    components = ("normalize", "softmax", "rope", "multiply", "table", "embedding", "add", "dot products", "KV cache")
    for component in components:
        costs = Counter(line.resources for line in theirs.lines if line.component == component)
        found = Counter(line.resources for line in ours.lines if line.component == component)
        assert costs
        assert costs <= found
        assert sum((found - costs).values()) == {"normalize": 1, "dot products": 1}.get(component, 0)


def test_nothing_costs_nothing(plan: Plan, network: Network) -> None:
    formats = numerics(plan, network)
    report = estimate(network, formats, fold_for_cycles(network, 2_000, formats), DEVICE)
    assert set(report.per_layer()) == set(report.cycles) == {op.name for op in network.operators}
    assert all(resources.lut > 0 and resources.ff > 0 for resources in report.per_layer().values())
    total = sum(line.resources.lut for line in report.lines)
    assert report.total.lut == pytest.approx(total, rel=1e-12)
    assert report.max_cycles <= 2_000
    for line in report.lines:
        assert line.formula
        assert line.source
        if line.component in ("normalize", "softmax", "rope", "multiply", "table"):
            assert line.band.kind in (BandKind.MEASURED, BandKind.EXTRAPOLATED)


def test_float_parts_compute_in_the_width_that_is_stated(plan: Plan, network: Network) -> None:
    formats = numerics(plan, network)
    measured = {site.name for site in plan.sites}
    tables = {op.site for op in network.operators if isinstance(op, Table)}
    assert {formats.sites[site].format for site in network.sites if site not in measured | tables} == {IntFormat(16)}
    assert {formats.sites[site].format for site in tables} == {IntFormat(10)}  # 1024 entries
    scores = formats.layers["model.layers.0.self_attn.mix.scores"]
    assert scores.weight == TensorQuant(IntFormat(16))
    assert scores.accumulator.bits == bits_by_data_type(16, IntFormat(16), IntFormat(16)) == 36
    foldings = fold_for_cycles(network, 2_000, formats)
    narrow = estimate(network, numerics(plan, network, 12), foldings, DEVICE)
    wide = estimate(network, formats, foldings, DEVICE)
    assert narrow.total.lut < wide.total.lut


def test_networks_that_are_quantized_throughout_have_no_such_parts() -> None:
    """They are lowered (see test_lowering.py) and costed as if there were none."""
    plan = make_plan(tiny_resnet(), images(1))
    network = lower(plan, "images")
    formats = provisional_numerics(network, plan, spec("int4", "e2m1"))
    assert with_float_parts(network, formats) == formats


def test_the_cache_holds_the_context(plan: Plan, network: Network) -> None:
    """2 key heads x 16 values x 128 tokens x 16 bits for keys and as much for values; 1000 tokens take more."""
    for context, net in ((128, network), (1000, lower(plan, "decoder", 1000))):
        formats = numerics(plan, net)
        foldings = fold_for_cycles(net, 20_000, formats)
        report = estimate(net, formats, foldings, DEVICE, CostOptions(memory=MemoryStyle.BRAM))
        lines = [line for line in report.lines if line.component == "KV cache"]
        products = [op for op in net.compute if isinstance(op, MatMul)]
        assert [line.layer for line in lines] == [op.name for op in products]
        for line, op in zip(lines, products, strict=True):
            values = foldings[op.name].pe * foldings[op.name].simd
            assert line.resources.bram18 == bram18(16 * values, 2 * 16 * context // values)


@pytest.mark.parametrize("scaling", ["token", "token_po2", "tensor_dynamic", "group16_dynamic", "group16_po2_dynamic"])
def test_dynamic_scales_are_units_of_their_own(plan: Plan, network: Network, scaling: str) -> None:
    static, dynamic = (numerics(plan, network, activation_scaling=name) for name in ("tensor", scaling))
    foldings = fold_for_cycles(network, 20_000, static)
    before, after = (estimate(network, each, foldings, DEVICE) for each in (static, dynamic))
    found = [line.layer for line in after.lines if line.component == "dynamic scale"]
    sites = {site.name for site in plan.sites}
    assert found == [op.name for op in network.operators if isinstance(op, Requantize) and op.site in sites]
    assert len(found) == 5  # in front of attention, its output, the two halves of the feed-forward part, the head
    assert after.total.lut > before.total.lut
    behind = [
        line for line in after.lines if line.component == "requantize" and line.layer.endswith("q_proj.requantize")
    ]
    assert behind
    assert not any("thresholds" in line.formula for line in behind)  # they would have to move with the scale


def test_tables_of_many_points_know_dynamic_scales_and_caches(plan: Plan, network: Network) -> None:
    """Static, per token, and with keys and values of 8 bits: each point costs what an estimate of it says, to the last bit."""
    stored = replace(spec("int4", "int8", edge=None), kv_cache=TensorQuant(IntFormat(8), parse_scaling("token")))
    choices = [
        numerics(plan, network),
        numerics(plan, network, activation_scaling="token"),
        with_float_parts(network, provisional_numerics(network, plan, stored)),
    ]
    foldings = fold_for_cycles(network, 2_000, choices[0])
    costs = CostTables(network, choices, {name: [folding] for name, folding in foldings.items()}, DEVICE).at(
        [0, 1, 2], {name: [0, 0, 0] for name in foldings}
    )
    for point, formats in enumerate(choices):
        report = estimate(network, formats, foldings, DEVICE)
        assert costs.lut[point] == report.total.lut
        assert costs.ff[point] == report.total.ff
        assert costs.bram18[point] == report.total.bram18
        assert costs.max_cycles[point] == report.max_cycles


def test_an_encoder_makes_its_matrices_anew_for_every_text() -> None:
    sizes = EncoderShape(
        vocabulary=100, width=32, hidden=64, layers=2, heads=4, positions=64, segments=2, norm_epsilon=1e-12
    )
    plan = make_plan(Encoder(sizes), torch.zeros(1, 24, dtype=torch.int64))
    network = lower(plan, "encoder")
    products = [op for op in network.operators if isinstance(op, MatMul)]
    assert [(op.rows, op.cols, op.vectors, op.matrices, op.cached) for op in products] == [
        (24, 8, 4 * 24, 4, False),
        (8, 24, 4 * 24, 4, False),
    ] * 2
    assert network.macs == 24 * 2 * (4 * 32 * 32 + 2 * 32 * 64) + 2 * 2 * 24 * 24 * 32
    kinds = Counter(type(op) for op in network.operators)
    assert kinds[Lookup] == 2  # words and positions
    assert kinds[Normalize] == 1 + 2 * 2
    assert kinds[Softmax] == kinds[Table] == 2
    assert kinds[Add] == 1 + 2 * 2
    formats = numerics(plan, network)
    report = estimate(network, formats, fold_for_cycles(network, 50_000, formats), DEVICE)
    assert {op.name for op in network.operators} == set(report.per_layer())
    assert [line.layer for line in report.lines if line.component == "operand buffer"] == [op.name for op in products]


def test_heads_with_norms_are_normed_head_by_head() -> None:
    plan = make_plan(Decoder(replace(SHAPE, normed_heads=True)), torch.zeros(1, 1, dtype=torch.int64))
    network = lower(plan, "qwen3", 32)
    norms = {op.name: (op.channels, op.vectors) for op in network.operators if isinstance(op, Normalize)}
    assert norms["model.layers.0.self_attn.q_norm"] == (16, 4)
    assert norms["model.layers.0.self_attn.k_norm"] == (16, 2)


class Gated(nn.Module):
    """A tensor that a layer, a product, a ReLU and an add read; quantized in front of layers, floating-point elsewhere."""

    def __init__(self, act: nn.Module | None = None) -> None:
        super().__init__()
        self.first, self.second, self.third = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 4)
        self.norm, self.relu, self.act = nn.LayerNorm(8), nn.ReLU(), act or nn.GELU()

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        gated = self.second(x) * self.act(x)
        return self.third(self.relu(self.norm(gated + x)))


def test_a_tensor_comes_to_every_site_where_it_is_read() -> None:
    network = lower(make_plan(Gated(), torch.randn(1, 3, 8)), "gated")
    duplicate = next(op for op in network.operators if isinstance(op, Duplicate))
    assert (duplicate.site, duplicate.copies) == ("first.float", 3)
    read = [
        (op.site, op.vectors) for op in network.operators if isinstance(op, Requantize) and op.source == duplicate.name
    ]
    assert read == [("first", 3), ("act.in", 3), ("add.in", 3)]
    gate = next(op for op in network.operators if isinstance(op, Multiply))
    assert (gate.site, gate.second) == ("second.float", "act.float")
    assert [op.site for op in network.operators if isinstance(op, Requantize)][-1] == "relu"


def refused(make: Callable[[], nn.Module], x: Tensor, message: str) -> None:
    with pytest.raises(PlanError, match=message):
        lower(make_plan(make(), x), "refused")


class Unknown(nn.Softplus):
    """A function that the graph may know, but no operator is for."""


def test_what_has_no_operator_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    from workloads.graph import MODULES, Kind

    monkeypatch.setitem(MODULES, Unknown, Kind.FLOAT)
    x = torch.randn(1, 3, 8)
    refused(
        lambda: Gated(Unknown()),
        x,
        "every operation must have an operator in hardware to be costed, but 'act' is Unknown",
    )

    class Straight(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.head = nn.LayerNorm(8), nn.Linear(8, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.norm(x))

    refused(Straight, x, "input must be read by a layer with weights or an embedding before 'norm'")

    class Alone(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.head, self.mix = nn.Linear(8, 8), nn.Linear(8, 4), Attention(causal=False)

        def forward(self, x: Tensor) -> Tensor:
            y = self.first(x).unflatten(-1, (2, 4))
            return self.head(self.mix(y, y, y))

    refused(Alone, x, "keys and values of attention 'mix' must be three tensors, but some are one")


def test_the_finn_model_refuses_them_by_name(plan: Plan, network: Network) -> None:
    options = CostOptions(model=CostModel.FINN)
    with pytest.raises(CostError, match=r"but model\.embed_tokens is a Lookup; use model=calibrated"):
        finn_network_cost(network, numerics(plan, network), DEVICE, options, 20_000)


def test_a_scale_over_several_vectors_is_refused(plan: Plan, network: Network) -> None:
    encoder = make_plan(Gated(), torch.randn(1, 3, 8))
    net = lower(encoder, "gated")
    formats = numerics(encoder, net)
    whole = TensorQuant(parse_element("int8"), parse_scaling("tensor_dynamic"))
    with pytest.raises(
        CostError, match=r"all others static ones or one per vector, .* but site 'first' has int8/tensor_dyn"
    ):
        estimate(
            net,
            Numerics({**formats.sites, "first": whole}, formats.layers),
            {op.name: Folding() for op in net.compute},
            DEVICE,
        )
