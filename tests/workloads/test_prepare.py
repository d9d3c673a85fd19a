"""What recipes do to the float network first: names, order, engines of prepared networks, and the check of the function."""

from __future__ import annotations

import pytest
import torch
from small_networks import spec
from torch import Tensor

from workloads import prepare as prepare_module
from workloads.cache import Cache, size_of
from workloads.llm.decoder import Decoder, DecoderShape
from workloads.plan import Plan, make_plan
from workloads.prepare import PREPARATIONS, PreparationError, Way, prepare
from workloads.quantize import Engine, quantize
from workloads.recipes import Preparation, Recipe, RecipeError, Step, Transform, parse_recipe
from workloads.replan import copied, replanned, set_weight, weight_at

ROTATE = Preparation(Transform.ROTATE)
CONFIG = {
    "model_type": "qwen2",
    "vocab_size": 64,
    "hidden_size": 24,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 64,
}


def decoder() -> Decoder:
    """A decoder with biases and gains that are not trivial."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Decoder(DecoderShape.from_config(CONFIG)).eval()
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if "norm" in name or "bias" in name:
                    parameter.uniform_(0.5, 1.5)
    return model


MODEL = decoder()
TOKENS = torch.randint(0, 64, (12, 16), generator=torch.Generator().manual_seed(0))
PLAN = make_plan(MODEL, TOKENS[:1, :1])


def _scaled(plan: Plan, by: float) -> Plan:
    graph = copied(plan)
    head = next(node for node in graph.graph.nodes if node.target == "lm_head")
    set_weight(graph, head, weight_at(graph, head) * by)
    return replanned(plan, graph)


def test_names_of_preparations_are_read_back_and_stand_first() -> None:
    recipe = parse_recipe("rotate+gptq+bias_correction")
    assert recipe == Recipe((Step.GPTQ, Step.BIAS_CORRECTION), (ROTATE,))
    assert recipe.name == "rotate+gptq+bias_correction"
    assert parse_recipe("rotate").name == "rotate"
    for name, reason in (
        ("gptq+rotate", r"must come first, but got 'gptq\+rotate'; write rotate\+gptq"),
        ("rotate+rotate", r"each step may stand once in a recipe, but got rotate\+rotate"),
        ("rotate8", "rotate must stand without a number, but got rotate8; write rotate"),
        ("rotat", "must be rtn or steps of .*axe, .*, rotate.* joined by"),
        ("rtn+rotate", "must be rtn or steps of"),
        ("rotate+bias_correction+gptq", "or right behind the preparations"),
    ):
        with pytest.raises(RecipeError, match=reason):
            parse_recipe(name)


def test_every_transform_has_its_function() -> None:
    assert set(PREPARATIONS) == set(Transform)


def test_a_change_of_the_function_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    before = PLAN.graph(TOKENS)
    for by, allowed in ((1.0001, True), (1.01, False), (float("nan"), False)):
        monkeypatch.setattr(
            prepare_module, "PREPARATIONS", {Transform.ROTATE: Way(lambda plan, *_, by=by: _scaled(plan, by))}
        )
        if allowed:
            prepare(PLAN, ROTATE, TOKENS)
            continue
        with pytest.raises(PreparationError, match=r"within 0.001 of the largest, but they move by .*without rotate"):
            prepare(PLAN, ROTATE, TOKENS)
    assert torch.equal(PLAN.graph(TOKENS), before)


@pytest.mark.parametrize("limit", [0, 1 << 24])
def test_engines_of_prepared_networks_share_the_memory_and_not_the_keys(
    limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared: list[Preparation] = []

    def counted(plan: Plan, preparation: Preparation, samples: Tensor) -> Plan:
        prepared.append(preparation)
        return prepare(plan, preparation, samples)

    monkeypatch.setattr("workloads.quantize.prepare", counted)
    engine = Engine(MODEL, PLAN, TOKENS, Cache(limit))
    for _ in range(2):
        plain, rotated = (engine.quantize(spec("int4", "int4", name)) for name in ("rtn", "rotate"))
        alone = quantize(MODEL, PLAN, spec("int4", "int4", "rotate"), TOKENS)
        assert torch.equal(rotated.network(TOKENS), alone.network(TOKENS))
        assert not torch.equal(rotated.network(TOKENS), plain.network(TOKENS))
        assert engine.cache.bytes <= limit
    assert len(prepared) == (4 if limit == 0 else 3)  # two of them are those that stand alone
    gptq = engine.quantize(spec("int3", "int4", "rotate+gptq"))
    assert gptq.layers[0].qsnr_db < engine.quantize(spec("int3", "int4", "rotate")).layers[0].qsnr_db


def test_a_plan_is_as_large_as_its_weights() -> None:
    weights = sum(parameter.nbytes for parameter in PLAN.graph.parameters())
    assert weights <= size_of(PLAN) < weights + 40_000
