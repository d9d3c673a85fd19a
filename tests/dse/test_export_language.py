"""Networks that compute in floating point between their layers, as files: decoders, encoders, vision transformers."""

from functools import cache, partial

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from dse.export.execute import Executable, onnxruntime_session
from dse.export.gate import check_export
from dse.export.qcdq import export_qcdq
from dse.export.qonnx import export_qonnx
from dse.onnx_network import read_network
from dse.recost import layers_with_weights
from hwmodels.catalog import parse_element
from hwmodels.datapath import TensorQuant, parse_scaling
from workloads.attention import Attention, ClassToken, PatchTokens
from workloads.llm.decoder import Decoder, DecoderShape
from workloads.llm.encoder import Encoder, EncoderShape
from workloads.lowering import lower
from workloads.metrics import EmbeddingJudge, LanguageJudge, evaluate_top1
from workloads.numerics import NumericsSpec
from workloads.plan import make_plan
from workloads.quantize import quantize
from workloads.recipes import parse_recipe

VOCABULARY = 60
DECODER = {
    "model_type": "qwen3",  # norms of heads
    "attention_bias": True,
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 64,
    "rope_parameters": {
        "rope_type": "llama3",
        "rope_theta": 1e4,
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 16,
    },
}
ENCODER = {
    "model_type": "bert",
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "max_position_embeddings": 32,
}


class VisionTransformer(nn.Module):
    """Patches, one block and a head: 3x8x8 -> 5."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.tokens = nn.Conv2d(3, 16, 4, stride=4), PatchTokens(4, 16)
        self.norm, self.qkv = nn.LayerNorm(16), nn.ModuleList(nn.Linear(16, 16) for _ in range(3))
        self.mix, self.out, self.act = Attention(causal=False), nn.Linear(16, 16), nn.GELU()
        self.first, self.head = ClassToken(), nn.Linear(16, 5)

    def forward(self, x):
        x = self.tokens(self.patches(x))
        query, key, value = (layer(self.norm(x)).unflatten(-1, (2, 8)) for layer in self.qkv)
        x = x + self.act(self.out(self.mix(query, key, value)))
        return self.head(self.first(x))


@cache
def network(kind):
    """(model, samples, example input, judge) of a small random network."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        model = {
            "decoder": lambda: Decoder(DecoderShape.from_config(DECODER)),
            "encoder": lambda: Encoder(EncoderShape.from_config(ENCODER)),
            "vision": VisionTransformer,
        }[kind]().eval()
        for parameter in model.parameters():  # embeddings of deviation 1 beside layers of 0.1 would hide the layers
            parameter.data.mul_(1.5).add_(torch.randn_like(parameter) * 0.05)
        tokens, images = torch.randint(0, VOCABULARY, (6, 12)), torch.rand(20, 3, 8, 8)
        labels = torch.randint(0, VOCABULARY, (6, 12))
    if kind == "vision":
        return (
            model,
            images,
            images[:1],
            partial(evaluate_top1, images=images, labels=torch.zeros(20, dtype=torch.int64)),
        )
    judge = LanguageJudge(model, tokens, labels) if kind == "decoder" else EmbeddingJudge(model, tokens)
    return model, tokens, tokens[:1, :1] if kind == "decoder" else tokens[:1], judge


@cache
def quantized(kind, weight, activation, scaling="channel", activation_scaling="tensor", recipe="rtn", kv_cache=None):
    """(its plan, it quantized)."""
    model, samples, example, _ = network(kind)
    plan = make_plan(model, example)
    spec = NumericsSpec(
        TensorQuant(parse_element(weight), parse_scaling(scaling)),
        TensorQuant(parse_element(activation), parse_scaling(activation_scaling)),
        parse_recipe(recipe),
        kv_cache=None if kv_cache is None else TensorQuant(parse_element(kv_cache), parse_scaling("token")),
    )
    return plan, quantize(model, plan, spec, samples)


def gate(path, kind, model, exporter):
    _, samples, example, judge = network(kind)
    return check_export(path, model, example, samples, judge, exporter=exporter)


CASES = [
    ("decoder", "int8", "int8"),
    ("decoder", "int4", "int8", "group16_po2", "tensor_asym"),
    ("decoder", "e2m1", "e2m1", "group16_e4m3", "group16_e4m3_dynamic"),
    ("decoder", "ocp_e4m3", "ocp_e4m3", "channel", "token"),
    ("decoder", "int4", "int4", "channel", "tensor", "hadamard16"),
    ("decoder", "int8", "int8", "channel", "tensor", "rtn", "int4"),
    ("encoder", "int4", "e3m2", "channel", "token_po2"),
    ("vision", "int4", "int8", "group8_po2", "token_po2"),
]


@pytest.mark.parametrize("asked", CASES, ids=lambda asked: "-".join(map(str, asked)))
def test_every_node_computes_what_the_model_computes(tmp_path, asked):
    plan, model = quantized(*asked)
    path, example = tmp_path / "a.onnx", network(asked[0])[2]
    export_qonnx(model, example, path, name="a")
    report = gate(path, asked[0], model, "qonnx")
    assert report.equal, report
    assert report.mismatches_without_ties == 0
    assert report.outputs == (20 if asked[0] == "vision" else 72)
    for name, value in report.metrics_model.items():
        assert report.metrics_exported[name] == pytest.approx(value, rel=0.05, abs=0.05), name
    if "hadamard16" not in asked:
        found, numerics = read_network(path)
        assert layers_with_weights(found) == layers_with_weights(lower(plan, "a"))
        assert numerics == model.numerics


@pytest.mark.parametrize(("weight", "activation"), [("int4", "int8"), ("ocp_e4m3", "ocp_e5m2")])
def test_onnxruntime_runs_windows_of_any_length(tmp_path, weight, activation):
    _, model = quantized("decoder", weight, activation)
    path, example = tmp_path / "a.onnx", network("decoder")[2]
    export_qcdq(model, example, path, name="a")
    assert gate(path, "decoder", model, "qcdq").equal
    exported = onnx.load(path)
    onnx.checker.check_model(exported, full_check=True)
    (source,) = exported.graph.input
    assert [d.dim_param for d in source.type.tensor_type.shape.dim] == ["windows", "tokens"]
    session = onnxruntime_session(str(path))
    for windows, tokens in ((1, 1), (1, 7), (3, 12)):
        part = network("decoder")[1][:windows, :tokens]
        (made,) = session.run(None, {"tokens": part.numpy()})
        with torch.inference_mode():
            wanted = model.network(part).numpy()
        assert made.shape == wanted.shape == (windows, tokens, VOCABULARY)
        assert np.abs(made - wanted).max() <= 0.05 * np.abs(wanted).max()  # ties
    assert read_network(path)[1] == model.numerics


def test_a_token_sees_no_later_one(tmp_path):
    _, model = quantized("decoder", "int8", "int8")
    path = tmp_path / "a.onnx"
    export_qonnx(model, network("decoder")[2], path, name="a")
    file, tokens = Executable(path), network("decoder")[1][:1].numpy()
    changed = tokens.copy()
    changed[0, 8:] = (changed[0, 8:] + 1) % VOCABULARY
    before, after = file.run(tokens), file.run(changed)
    assert np.array_equal(before[:, :8], after[:, :8])
    assert not np.array_equal(before[:, 8:], after[:, 8:])


def damaged(tmp_path, kind, edit):
    _, model = quantized(kind, "int8", "int8")
    path = tmp_path / "a.onnx"
    export_qonnx(model, network(kind)[2], path, name="a")
    proto = onnx.load(path)
    edit(proto)
    path.write_bytes(proto.SerializeToString())
    return gate(path, kind, model, "qonnx").first_difference


def test_a_changed_epsilon_is_found_at_its_norm(tmp_path):
    def edit(proto):
        tensor = next(t for t in proto.graph.initializer if t.name == "model.layers.1.input_layernorm.epsilon")
        tensor.CopyFrom(onnx.numpy_helper.from_array(np.float32(1e-2), tensor.name))

    assert damaged(tmp_path, "decoder", edit).startswith("model.layers.1.input_layernorm (node ")


def test_a_missing_mask_is_found_at_its_attention(tmp_path):
    def edit(proto):
        mask = next(n for n in proto.graph.node if n.name == "model.layers.0.self_attn.mix.masked")
        mask.op_type, mask.input[:] = "Identity", [mask.input[1]]

    assert damaged(tmp_path, "decoder", edit).startswith("model.layers.0.self_attn.mix (node ")


def test_another_rotation_is_found(tmp_path):
    def edit(proto):
        tensor = next(t for t in proto.graph.initializer if t.name == "model.layers.0.self_attn.q_rotary.frequencies")
        array = onnx.numpy_helper.to_array(tensor) * np.float32(1.001)
        tensor.CopyFrom(onnx.numpy_helper.from_array(array, tensor.name))

    assert damaged(tmp_path, "decoder", edit).startswith("model.layers.0.self_attn.q_rotary (node ")
