"""The embedded language workloads: data, stated perplexity, outliers, and what quantization does to them."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from small_networks import spec
from tokenizers import Tokenizer
from torch import Tensor, fx

from hwmodels.accumulator import AccumulatorError
from hwmodels.ops import MatMul, MatVec
from workloads.base import LanguageMetrics
from workloads.checkpoint import read_metadata
from workloads.llm.corpus import CORPUS, LICENSES, SHARES, documents, prose
from workloads.llm.language import LanguageWorkload
from workloads.llm.outliers import Outliers
from workloads.llm.tiny_llama import END_OF_TEXT, FOLDER, OUTLIERS, WORKLOAD, corpus_tokens
from workloads.llm.train import learning_rate, train, windows_of
from workloads.lowering import lower
from workloads.metrics import LanguageJudge
from workloads.plan import Plan, make_plan
from workloads.quantize import Engine
from workloads.registry import get_workload

WINDOWS = 16  # of the tests that quantize


def test_the_stated_perplexity_is_reproduced_and_far_below_that_of_word_counts() -> None:
    workload = get_workload("tiny-llama")
    inputs, labels = workload.test()
    model = workload.load_model()
    found = workload.judge(model, inputs, labels)(model)
    assert isinstance(found, LanguageMetrics)
    stated = read_metadata(FOLDER / "model.safetensors", remedy="train it")
    assert found.perplexity == pytest.approx(float(stated["perplexity"]), rel=1e-5)
    assert found.samples == int(stated["tokens"]) == labels.numel()
    counts = Counter(labels.flatten().tolist())
    unigram = -sum(
        n / labels.numel() * math.log(n / labels.numel()) for n in counts.values()
    )  # fitted to the test itself
    assert found.perplexity < 30 < math.exp(unigram) / 5


def test_transformers_own_model_gives_the_same_logits() -> None:
    from transformers import LlamaForCausalLM

    theirs = LlamaForCausalLM.from_pretrained(FOLDER, dtype=torch.float32, local_files_only=True)
    tokens = WORKLOAD.test()[0][:3]
    with torch.no_grad():
        torch.testing.assert_close(WORKLOAD.load_model()(tokens), theirs(input_ids=tokens).logits, rtol=1e-5, atol=1e-5)


def test_no_paragraph_stands_in_two_splits() -> None:
    seen: dict[str, str] = {}
    for split in SHARES:
        assert documents(split)
        for document in documents(split):
            assert document.split == split
            for paragraph in document.text.split("\n"):
                assert seen.setdefault(paragraph, split) == split
    characters = {split: sum(len(d.text) for d in documents(split)) for split in SHARES}
    assert characters["train"] > 4_500_000
    assert characters["test"] > 200_000
    with pytest.raises(ValueError, match="split must be one of train, validation, calibration, test, but got 'dev'"):
        documents("dev")


def test_every_source_of_the_text_has_its_license() -> None:
    text = LICENSES.read_text(encoding="utf-8").lower()
    names = {"sklearn": "scikit-learn"}
    for package in {d.source.split("/")[0] for split in SHARES for d in documents(split)}:
        assert f"\n{names.get(package, package)} " in text
    assert text.count("redistribution") >= 6
    assert CORPUS.stat().st_size < 2_000_000


def test_prose_is_running_text_without_examples_and_tables() -> None:
    docstring = """Title
    =====

    Return the largest eigenvalue of a symmetric matrix, which is found by
    the power method and is accurate to the precision of the input.

    >>> f(1)
    2

    Short one.

    a | b = 12345 and f(x)[0] = g(y)[1] + {3: 4}, h(z)[2] = {5: 6} :: (7, 8, 9, 10, 11, 12)
    """
    assert prose(docstring) == [
        "Return the largest eigenvalue of a symmetric matrix, which is found by the power method and is accurate to the "
        "precision of the input."
    ]


def test_the_tokenizer_loses_nothing_and_any_text_can_be_encoded() -> None:
    tokenizer = Tokenizer.from_file(str(FOLDER / "tokenizer.json"))
    assert tokenizer.get_vocab_size() == 1024
    for text in (documents("test")[0].text, "naïve ∑ 数 \n\t  two spaces", "\x00\x7f"):
        assert tokenizer.decode(tokenizer.encode(text).ids) == text
    stream = corpus_tokens("calibration")
    ends = (stream == tokenizer.token_to_id(END_OF_TEXT)).sum()
    assert ends == len(documents("calibration"))


def test_windows_of_test_and_calibration() -> None:
    tokens, labels = WORKLOAD.test()
    assert tokens.shape == labels.shape == (128, 256)
    assert torch.equal(tokens.flatten()[1:], labels.flatten()[:-1])
    overlapping = replace(WORKLOAD, stride=64)
    inputs, wanted = overlapping.test()
    scored = wanted[wanted >= 0]
    assert torch.equal(scored, labels.flatten()[: len(scored)])  # every token once, the same ones
    assert torch.equal(inputs[1], tokens.flatten()[64 : 64 + 256])
    assert WORKLOAD.calibration().shape[1] == 256
    assert WORKLOAD.data_id == replace(WORKLOAD).data_id != replace(WORKLOAD, window=128, stride=128).data_id


def test_outliers_are_there_and_change_no_logit() -> None:
    plain, with_outliers = WORKLOAD.load_model(), OUTLIERS.load_model()
    tokens = WORKLOAD.test()[0][:2]
    with torch.no_grad():
        assert torch.equal(plain(tokens), with_outliers(tokens))
    assert _crest(with_outliers, tokens) > 3 * _crest(plain, tokens)
    assert OUTLIERS.checkpoint_id != WORKLOAD.checkpoint_id
    exponents = torch.log2(Outliers(share=0.03, exponent=6).factors(128, 0))
    assert sorted(exponents[exponents > 0].tolist()) == [3.0, 4.0, 5.0, 6.0]


def _crest(model: torch.nn.Module, tokens: Tensor) -> float:
    """Largest over root mean square of what the layers read, the median over all sites."""
    plan = make_plan(model, tokens[:1, :1])
    producers = {edge[0] for site in plan.sites for edge in site.edges}
    found = []

    class Watch(fx.Interpreter):
        def run_node(self, n: fx.Node) -> object:
            out = super().run_node(n)
            if n.name in producers:
                assert isinstance(out, Tensor)
                found.append(float(out.abs().max() / out.square().mean().sqrt()))
            return out

    with torch.no_grad():
        Watch(plan.graph).run(tokens)
    return sorted(found)[len(found) // 2]


@pytest.fixture(scope="module")
def plan() -> Plan:
    return make_plan(WORKLOAD.load_model(), WORKLOAD.example_input)


def test_quantizers_stand_in_front_of_layers_and_nowhere_else(plan: Plan) -> None:
    block = [
        (layer.name.removeprefix("model.layers.1."), layer.site.removeprefix("model.layers.1."))
        for layer in plan.layers
    ]
    assert block[7:14] == [
        ("self_attn.q_proj", "input_layernorm"),
        ("self_attn.k_proj", "input_layernorm"),
        ("self_attn.v_proj", "input_layernorm"),
        ("self_attn.o_proj", "self_attn.mix"),
        ("mlp.gate_proj", "post_attention_layernorm"),
        ("mlp.up_proj", "post_attention_layernorm"),
        ("mlp.down_proj", "mlp"),
    ]
    assert [(plan.layers[-1].name, plan.layers[-1].site)] == [("lm_head", "model.norm")]
    assert len(plan.layers) == 4 * 7 + 1
    assert {site.name for site in plan.sites} == {layer.site for layer in plan.layers}
    assert not any(site.residual or site.nonnegative for site in plan.sites)
    assert plan.edges == {"lm_head"}


def test_lowering_has_one_matrix_vector_product_a_token(plan: Plan) -> None:
    network = lower(plan, "tiny-llama", WORKLOAD.window)
    layers = [op for op in network.compute if not isinstance(op, MatMul)]
    assert all(isinstance(op, MatVec) and op.vectors == 1 for op in layers)
    weights = {name: p for name, p in WORKLOAD.load_model().named_parameters() if p.ndim == 2 and "embed" not in name}
    assert (
        network.macs == sum(p.numel() for p in weights.values()) + 4 * 2 * 128 * 256
    )  # products with 256 cached tokens
    assert {(op.name, op.rows, op.cols) for op in layers} == {
        (name.removesuffix(".weight"), *p.shape) for name, p in weights.items()
    }


def _measure(workload: LanguageWorkload, *formats: tuple[str, ...]) -> list[LanguageMetrics]:
    model = workload.load_model()
    plan = make_plan(model, workload.example_input)
    judge = LanguageJudge(plan.graph, *(part[:WINDOWS] for part in workload.test()))
    engine = Engine(model, plan, workload.calibration()[:WINDOWS])
    return [judge(engine.quantize(spec(*each, edge=None)).network) for each in formats]


def test_fewer_bits_lose_more() -> None:
    int8, weights, both, e2m1 = _measure(
        WORKLOAD, ("int8", "int8"), ("int4", "int8"), ("int4", "int4"), ("e2m1", "e2m1")
    )
    assert 0 < int8.kl < 0.01
    assert int8.kl < weights.kl < e2m1.kl < both.kl < 1
    assert int8.flip_rate < weights.flip_rate < both.flip_rate


def test_outliers_spoil_integers_and_not_minifloats_of_many_exponents() -> None:
    int8, int6, e4m3 = _measure(OUTLIERS, ("int8", "int8"), ("int8", "int6"), ("int8", "ocp_e4m3"))
    assert e4m3.kl < int8.kl / 20
    assert int6.kl > 3 * int8.kl


def test_gptq_and_groups_help_weights_of_few_bits() -> None:
    rtn, gptq, groups = _measure(
        WORKLOAD, ("int3", "int8"), ("int3", "int8", "gptq"), ("int3", "int8", "rtn", "group16")
    )
    assert gptq.kl < 0.8 * rtn.kl
    assert groups.kl < 0.8 * rtn.kl


def test_accumulators_are_proved(plan: Plan) -> None:
    engine = Engine(WORKLOAD.load_model(), plan, WORKLOAD.calibration()[:4])
    widths = {r.name: r.bits for r in engine.quantize(spec("int4", "int8", edge=None)).layers}
    assert widths["model.layers.0.mlp.down_proj"] <= 8 + 4 + math.ceil(math.log2(512))
    with pytest.raises(AccumulatorError, match="must fit its accumulator of P=12 bits"):
        engine.quantize(spec("int4", "int8", bits=12))


class _Bigram(torch.nn.Module):
    """The smallest thing that can be trained like a decoder."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.norm, self.head = torch.nn.Embedding(8, 4), torch.nn.RMSNorm(4), torch.nn.Linear(4, 8)

    def forward(self, input_ids: Tensor) -> SimpleNamespace:
        return SimpleNamespace(logits=self.head(self.norm(self.embedding(input_ids))))


def test_a_stopped_training_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    stream = torch.arange(10_000) * 3 % 8
    models = {}
    for name in ("through", "stopped"):
        torch.manual_seed(0)
        models[name] = _Bigram()
    losses: list[float] = []
    train(
        models["through"], stream, steps=250, seed=0, state=tmp_path / "a", report=lambda _, loss: losses.append(loss)
    )
    assert losses[-1] < 0.5 * losses[0]

    def stop(step: int, _: float) -> None:
        if step == 150:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(models["stopped"], stream, steps=250, seed=0, state=tmp_path / "b", report=stop)
    fresh, steps = _Bigram(), []
    train(fresh, stream, steps=250, seed=0, state=tmp_path / "b", report=lambda step, _: steps.append(step))
    assert steps == list(range(100, 250))
    for ours, theirs in zip(fresh.parameters(), models["through"].parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_the_learning_rate_rises_and_falls() -> None:
    rates = [learning_rate(step, 4000) for step in range(4000)]
    assert max(rates) == rates[179] == rates[180] == pytest.approx(3e-3)  # 3 % of 6,000 steps
    assert all(a < b for a, b in pairwise(rates[:180]))
    assert all(a > b for a, b in pairwise(rates[180:]))
    assert 4 < rates[3499] / rates[3500] < 6  # where the cosine of 6,000 steps is left for that of 4,000
    assert rates[-1] == pytest.approx(3e-3 * 0.05, rel=0.01)


def test_training_windows_cover_the_stream_in_another_order_every_epoch() -> None:
    stream = torch.arange(5000)
    first, again, second = windows_of(stream, 0, 0), windows_of(stream, 0, 0), windows_of(stream, 1, 0)
    assert torch.equal(first, again)
    assert not torch.equal(first[: len(second)], second[: len(first)])
    starts = sorted(first[:, 0].tolist())
    assert all(b - a == 256 for a, b in pairwise(starts))
