"""Model directories of Hugging Face: logits and perplexity against transformers' own, and what is refused."""

from __future__ import annotations

import json
import math
import shutil
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from small_networks import spec
from tokenizers import Tokenizer

from hwmodels.errors import BitfrontError
from workloads.base import Workload
from workloads.checkpoint import CheckpointError
from workloads.llm.config import ConfigError
from workloads.llm.decoder import DecoderShape
from workloads.llm.huggingface import load_decoder, load_encoder
from workloads.llm.language import EncoderWorkload, LanguageWorkload, TextError
from workloads.llm.tiny_llama import FOLDER
from workloads.lowering import lower
from workloads.plan import make_plan
from workloads.quantize import Engine
from workloads.registry import HuggingFace, get_workload

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, PreTrainedModel

SMALL = {
    "vocab_size": 1024,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
}
STRETCHED = {
    "rope_type": "llama3",
    "rope_theta": 5000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
VARIANTS: dict[str, dict[str, Any]] = {
    "llama": {"model_type": "llama"},
    "llama3 positions and biases": {
        "model_type": "llama",
        "rope_parameters": STRETCHED,
        "attention_bias": True,
        "mlp_bias": True,
    },
    "mistral": {"model_type": "mistral", "sliding_window": None},
    "qwen2": {"model_type": "qwen2"},
    "qwen3, tied": {"model_type": "qwen3", "head_dim": 24, "tie_word_embeddings": True},
}


def random_model(model_type: str, **changes: Any) -> PreTrainedModel:
    config = AutoConfig.for_model(model_type, **(SMALL | changes))
    kind = AutoModel if model_type == "bert" else AutoModelForCausalLM
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = kind.from_config(config).eval()
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
    return model


def save(model: PreTrainedModel, folder: Path, **options: Any) -> Path:
    model.save_pretrained(folder, **options)
    shutil.copy(FOLDER / "tokenizer.json", folder)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(random_model("llama"), tmp_path_factory.mktemp("model") / "small")


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text("The quick brown fox returns a new array, naïvely. " * 40, encoding="utf-8")
    return path


@pytest.mark.parametrize("name", VARIANTS)
def test_logits_are_those_of_transformers(name: str, tmp_path: Path) -> None:
    model = random_model(**VARIANTS[name])
    ours = load_decoder(save(model, tmp_path / "m"))
    tokens = torch.randint(0, SMALL["vocab_size"], (3, 40), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected, got = model(input_ids=tokens).logits, ours(tokens)
    assert expected.std() > 0.3
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)
    traced = make_plan(ours, tokens[:1, :1]).graph
    torch.testing.assert_close(traced(tokens), expected, rtol=1e-5, atol=1e-5)


def test_older_configurations_mean_the_same() -> None:
    new = SMALL | {"model_type": "llama", "rope_parameters": STRETCHED}
    scaling = {k: v for k, v in STRETCHED.items() if k != "rope_theta"}
    old = SMALL | {"model_type": "llama", "rope_theta": 5000.0, "rope_scaling": scaling}
    assert DecoderShape.from_config(old) == DecoderShape.from_config(new)
    assert DecoderShape.from_config(new | {"sliding_window": 32}).positions == 32


def test_weights_in_several_files_and_of_fewer_bits_are_read(folder: Path, tmp_path: Path) -> None:
    model = random_model("llama").to(torch.bfloat16)
    parts = save(model, tmp_path / "parts", max_shard_size="100KB")
    assert len(list(parts.glob("*.safetensors"))) > 1
    ours, whole = load_decoder(parts).state_dict(), load_decoder(folder).state_dict()
    assert {t.dtype for t in ours.values()} == {torch.float32}
    assert all(torch.equal(ours[name], whole[name].bfloat16().float()) for name in whole)


@pytest.mark.parametrize("stride", [None, 5])
def test_perplexity_is_that_of_transformers_on_the_same_windows(folder: Path, text: Path, stride: int | None) -> None:
    workload = get_workload(HuggingFace(str(folder), str(text), window=16, stride=stride))
    inputs, labels = workload.test()
    inputs, labels = inputs[:12], labels[:12]
    model = workload.load_model()
    found = workload.judge(model, inputs, labels)(model).columns()
    theirs = random_model("llama")
    ids = Tokenizer.from_file(str(FOLDER / "tokenizer.json")).encode(text.read_text()).ids
    ids = ids[len(ids) // 8 :]
    losses: list[float] = []
    for number in range(12):
        first = number * (stride or 16)
        window, following = ids[first : first + 16], ids[first + 1 : first + 17]
        with torch.no_grad():
            logits = theirs(input_ids=torch.tensor([window])).logits[0].double()
        scored = torch.nn.functional.cross_entropy(logits, torch.tensor(following), reduction="none")
        losses += scored[0 if number == 0 or stride is None else 16 - stride :].tolist()
    assert found["samples"] == len(losses)
    assert found["perplexity"] == pytest.approx(math.exp(sum(losses) / len(losses)), rel=1e-5)


def test_calibration_and_test_text_do_not_meet(folder: Path, text: Path, tmp_path: Path) -> None:
    one = get_workload(HuggingFace(str(folder), str(text), window=16))
    calibration, tested = one.calibration(), one.test()[0]
    tokens = Tokenizer.from_file(str(FOLDER / "tokenizer.json")).encode(text.read_text()).ids
    assert (
        torch.cat([calibration.flatten(), tested.flatten()[:5]]).tolist()[: calibration.numel()]
        == tokens[: calibration.numel()]
    )
    assert tested.flatten()[:16].tolist() == tokens[len(tokens) // 8 :][:16]
    other = tmp_path / "other.txt"
    other.write_text("Another text to calibrate on, of its own kind and length: long enough for a window.")
    two = get_workload(HuggingFace(str(folder), str(text), calibration_text=str(other), window=16))
    assert two.test()[0].flatten()[:16].tolist() == tokens[:16]
    assert two.data_id != one.data_id
    assert two.checkpoint_id == one.checkpoint_id


def test_an_encoder_and_its_embeddings_are_those_of_transformers(text: Path, tmp_path: Path) -> None:
    theirs = random_model("bert")
    asked = HuggingFace(str(save(theirs, tmp_path / "bert")), str(text), window=16, task="embed")
    workload = get_workload(asked)
    assert isinstance(workload, EncoderWorkload)
    ours, (inputs, labels) = workload.load_model(), workload.test()
    with torch.no_grad():
        expected = theirs(input_ids=inputs).last_hidden_state
        torch.testing.assert_close(ours(inputs), expected, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(make_plan(ours, inputs[:1, :1]).graph(inputs), expected, rtol=1e-5, atol=1e-5)
    judge = workload.judge(ours, inputs, labels)
    assert judge(ours).columns().items() >= {"flip_rate": 0.0, "samples": len(inputs)}.items()
    noisy = workload.load_model()
    for parameter in noisy.parameters():
        parameter.data += 0.02 * torch.randn(
            parameter.shape, generator=torch.Generator().manual_seed(parameter.numel())
        )
    found = judge(noisy).columns()
    with torch.no_grad():
        one, two = (model.double()(inputs).mean(1) for model in (ours, noisy))
    cosines = torch.nn.functional.cosine_similarity(one, two)
    assert found["cosine"] == pytest.approx(float(cosines.mean()), abs=1e-6)
    assert found["cosine_low"] < found["cosine"] < 1.0


def test_an_encoder_is_quantized(text: Path, tmp_path: Path) -> None:
    folder = save(random_model("bert"), tmp_path / "bert")
    workload = get_workload(HuggingFace(str(folder), str(text), window=16, task="embed"))
    model = workload.load_model()
    plan = make_plan(model, workload.example_input)
    assert len(plan.layers) == 2 * 6
    assert len(lower(plan, "bert").compute) == 2 * (6 + 2)  # and two products of activations a block
    judge, engine = workload.judge(model, *workload.test()), Engine(model, plan, workload.calibration())
    int8, int3 = (judge(engine.quantize(spec(bits, bits, edge=None)).network).columns() for bits in ("int8", "int3"))
    assert 1 - 1e-3 < int8["cosine"] < 1
    assert int3["cosine"] < int8["cosine"]


def test_an_encoder_inside_another_model_is_found(tmp_path: Path) -> None:
    save(random_model("bert"), tmp_path / "plain")
    tensors = load_file(tmp_path / "plain" / "model.safetensors")
    shutil.copytree(tmp_path / "plain", tmp_path / "inside")
    renamed = {f"bert.{name}": tensor for name, tensor in tensors.items()} | {"cls.predictions.bias": torch.zeros(3)}
    save_file(renamed, tmp_path / "inside" / "model.safetensors")
    plain, inside = (load_encoder(tmp_path / name).state_dict() for name in ("plain", "inside"))
    assert all(torch.equal(plain[name], inside[name]) for name in plain)
    with pytest.raises(ConfigError, match=r"model_type must be llama or .*, but config.json has 'bert'"):
        load_decoder(tmp_path / "plain")


def _edit(folder: Path, target: Path, **changes: Any) -> Path:
    shutil.copytree(folder, target)
    config = json.loads((target / "config.json").read_text()) | changes
    (target / "config.json").write_text(json.dumps({k: v for k, v in config.items() if v is not None}))
    return target


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"model_type": "mamba"},
            r"model_type must be llama or mistral or qwen2 or qwen3, but config.json has 'mamba'\.",
        ),
        ({"hidden_act": "gelu"}, "hidden_act must be silu, but config.json has 'gelu'"),
        ({"rope_parameters": {"rope_type": "yarn"}}, "rope_type must be default or llama3, but config.json has 'yarn'"),
        ({"rope_parameters": {"rope_type": "llama3"}}, "must have the key 'factor', but it has none"),
        ({"hidden_size": None}, "config.json must have the key 'hidden_size', but it has none"),
        (
            {"num_key_value_heads": 3},
            "num_key_value_heads must divide num_attention_heads, but config.json has 3 and 4",
        ),
        ({"num_attention_heads": 0}, "num_attention_heads must be a whole number of at least 1, but config.json has 0"),
        ({"vocab_size": "many"}, "vocab_size must be a whole number of at least 1, but config.json has 'many'"),
        ({"head_dim": 7}, "head_dim must be even for rotary positions, but config.json makes it 7"),
    ],
)
def test_configurations_that_cannot_be_built_are_refused(
    folder: Path, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        load_decoder(_edit(folder, tmp_path / "m", **changes))


def test_weights_that_do_not_fit_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"exactly the tensors of Decoder, but 15 differ \(.*gate_proj"):
        load_decoder(_edit(folder, tmp_path / "wide", intermediate_size=64, num_hidden_layers=3))
    tensors = load_file(folder / "model.safetensors")
    tensors["model.norm.weight"][3] = math.nan
    shutil.copytree(folder, tmp_path / "nan")
    save_file(tensors, tmp_path / "nan" / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"must be finite, but model\.norm\.weight holds inf or NaN"):
        load_decoder(tmp_path / "nan")


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("config.json", None, r"must have a config\.json, but .*No such file"),
        ("config.json", "{", r"config\.json must be JSON"),
        ("config.json", "[]", "must be a JSON object, but it is list"),
        ("model.safetensors", None, r"checkpoint must exist, but .*model\.safetensors is missing"),
        ("model.safetensors", "no tensors", "checkpoint must be readable"),
        ("tokenizer.json", None, r"must have a tokenizer\.json"),
        ("tokenizer.json", "{}", "tokenizer must be readable"),
    ],
)
def test_damaged_directories_are_refused_in_one_sentence(
    folder: Path, text: Path, tmp_path: Path, file: str, content: str | None, message: str
) -> None:
    shutil.copytree(folder, tmp_path / "m")
    (tmp_path / "m" / file).unlink()
    if content is not None:
        (tmp_path / "m" / file).write_text(content)
    workload = get_workload(HuggingFace(str(tmp_path / "m"), str(text), window=16))
    with pytest.raises(CheckpointError, match=message) as caught:
        _ = workload.load_model(), workload.calibration()
    assert "\n" not in str(caught.value)


def test_a_shard_outside_the_directory_is_refused(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "m")
    (tmp_path / "m" / "model.safetensors").unlink()
    index = tmp_path / "m" / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"lm_head.weight": "../elsewhere.safetensors"}}))
    with pytest.raises(CheckpointError, match="must map tensors to files beside it"):
        load_decoder(tmp_path / "m")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"text": "missing.txt"}, r"text must be a readable file, but missing\.txt is not: No such file"),
        ({"text": "empty.txt"}, "text must not be empty, but .*is"),
        ({"text": "latin.txt"}, "text must be UTF-8"),
        (
            {"window": 4000},
            "the calibration text of small must have at least 4000 tokens for windows of 4000, but it has",
        ),
        ({"window": 65, "calibration_text": "long.txt"}, "window must be at most the 64 tokens of the model in"),
        ({"stride": 17}, "stride must be within 1 to window=16 tokens, but got 17"),
        ({"window": 1}, "window must be at least 2 tokens, but got 1"),
        ({"window": 1, "task": "embed"}, "window must be at least 2 tokens, but got 1"),
    ],
)
def test_texts_and_windows_that_do_not_fit_are_refused(
    folder: Path, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty.txt").write_text(" \n")
    Path("latin.txt").write_bytes(b"\xe9t\xe9 " * 100)
    Path("long.txt").write_text("some words " * 200)
    asked = {"huggingface": str(folder), "text": str(text), "window": 16} | changes
    with pytest.raises(TextError, match=message):
        _use(get_workload(HuggingFace(**asked)))


def _use(workload: Workload) -> None:
    _ = workload.calibration(), workload.test(), workload.load_model()


def test_a_directory_is_a_workload_like_any_other(folder: Path, text: Path) -> None:
    workload = get_workload(HuggingFace(str(folder), str(text), window=16))
    assert isinstance(workload, LanguageWorkload)
    assert workload.name == "small"
    assert workload.example_input.shape == (1, 1)
    assert issubclass(TextError, BitfrontError)
    assert issubclass(CheckpointError, BitfrontError)
