"""Online block Hadamard rotations: the module, where they stand, what is quantized around them, and what they cost."""

from __future__ import annotations

from dataclasses import replace

import pytest
import scipy.linalg
import torch
from hypothesis import given
from hypothesis import strategies as st
from small_networks import images, spec, tiny_resnet
from test_prepare import MODEL, PLAN, TOKENS
from torch import Tensor, nn

from hwmodels.formats import FormatError, IntFormat
from hwmodels.ops import MatVec, Requantize, Rotate
from workloads.assign import assign
from workloads.hadamard import BlockHadamard
from workloads.llm.tiny_llama import OUTLIERS
from workloads.lowering import lower
from workloads.numerics import parse_rotation
from workloads.online import online_hadamard
from workloads.plan import Plan, make_plan
from workloads.prepare import prepare
from workloads.quantize import Engine
from workloads.recipes import RecipeError, parse_recipe
from workloads.replan import PreparationError
from workloads.rotate import rotate
from workloads.vision.transformer import VisionTransformer

RESNET = tiny_resnet()
RESNET_PLAN = make_plan(RESNET, images(1))


def _blocks(plan: Plan) -> dict[str, int]:
    """The online rotations of a plan with their block sizes."""
    modules = {str(node.target): plan.graph.get_submodule(str(node.target)) for node in plan.rotations}
    return {name: module.block for name, module in modules.items() if isinstance(module, BlockHadamard)}


@pytest.mark.parametrize("block", [2, 8, 32])
def test_the_module_is_a_block_of_sylvesters_matrix_and_its_own_inverse(block: int) -> None:
    x = torch.randn(3, 5, 64, generator=torch.Generator().manual_seed(0))
    matrix = torch.from_numpy(scipy.linalg.hadamard(block)).float() / block**0.5
    expected = x @ torch.block_diag(*[matrix] * (64 // block))  # type: ignore[no-untyped-call]
    module = BlockHadamard(block)
    assert torch.allclose(module(x), expected, atol=1e-5)
    assert torch.allclose(module(module(x)), x, atol=1e-5)
    pixels = x.permute(0, 2, 1).reshape(3, 64, 1, 5)
    assert torch.allclose(module(pixels), expected.permute(0, 2, 1).reshape(3, 64, 1, 5), atol=1e-5)


@pytest.mark.filterwarnings("ignore:brevitas.fx is deprecated:DeprecationWarning", "ignore:fast_hadamard_transform")
def test_whole_vectors_are_those_of_brevitas() -> None:
    from brevitas.graph.hadamard import matmul_hadU

    x = torch.randn(7, 128, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(BlockHadamard(128)(x), matmul_hadU(x), atol=1e-5)


@given(st.integers(1, 5), st.integers(1, 4), st.integers(0, 1000))
def test_the_largest_value_is_bounded_by_the_mass_of_a_block(log: int, blocks: int, seed: int) -> None:
    """MixQuant's bound (arXiv 2601.22347): |X R|_inf <= max_j |X_j|_1 / sqrt(b)."""
    block = 1 << log
    x = torch.randn(16, blocks * block, generator=torch.Generator().manual_seed(seed)).pow(3)
    mass = x.reshape(16, blocks, block).abs().sum(-1).amax(-1)
    largest = BlockHadamard(block)(x).abs().amax(-1)
    assert bool((largest <= mass / block**0.5 * (1 + 1e-5)).all())


@pytest.mark.parametrize(
    ("number", "online"),
    [
        (8, {"model_layers_{}_input_layernorm", "model_layers_{}_post_attention_layernorm", "model_layers_{}_mlp"}),
        (16, {"model_layers_{}_self_attn_mix", "model_layers_{}_mlp"}),  # no multiple of 16 among 24 channels
        (32, {"model_layers_{}_self_attn_mix", "model_layers_{}_mlp"}),
        (None, {"model_layers_{}_self_attn_mix", "model_layers_{}_mlp"}),
    ],
)
def test_rotations_stand_where_they_fit_and_are_not_free(number: int | None, online: set[str]) -> None:
    """Widths: stream 24, values 32 in heads of 8, hidden 64. Blocks of 8 lie within heads, and are merged."""
    made = online_hadamard(PLAN, TOKENS, number)
    expected = {f"hadamard.{name.format(layer)}" for name in online for layer in (0, 1)}
    assert set(_blocks(made)) == expected | ({"hadamard.model_norm"} if number == 8 else set())
    assert set(_blocks(made).values()) == ({32, 64} if number is None else {number})
    assert torch.allclose(made.graph(TOKENS), PLAN.graph(TOKENS), atol=1e-5)
    assert torch.equal(PLAN.graph(TOKENS), make_plan(MODEL, TOKENS[:1, :1]).graph(TOKENS))


def test_what_the_merged_rotation_covers_is_left_to_it() -> None:
    rotated = rotate(PLAN, TOKENS, None)
    small, whole = online_hadamard(rotated, TOKENS, 8), online_hadamard(rotated, TOKENS, None)
    assert set(_blocks(small)) == {f"hadamard.model_layers_{layer}_mlp" for layer in (0, 1)}
    assert len(_blocks(whole)) == 4
    for made in (small, whole):
        assert torch.allclose(made.graph(TOKENS), PLAN.graph(TOKENS), atol=1e-5)
    # the merged rotation within heads gives way to an online one across them: together they would undo each other
    name = "model.layers.1.self_attn.v_proj.weight"
    assert torch.allclose(whole.graph.get_parameter(name), _folded(rotated, name), atol=1e-5)


def _folded(rotated: Plan, name: str) -> Tensor:
    """v_proj as :func:`rotate` leaves it, without the rotation of its rows."""
    from workloads.rotate import find_heads, head_rotation

    heads = next(h for node in rotated.graph.graph.nodes if (h := find_heads(rotated, node)) is not None)
    turn = head_rotation(heads)
    return torch.block_diag(*[turn] * heads.count).float() @ rotated.graph.get_parameter(name)  # type: ignore[no-untyped-call]


def test_layers_that_no_block_fits_are_a_refusal() -> None:
    with pytest.raises(
        PreparationError, match=r"hadamard128 must find .* multiple of 128 .* layers of 24, 32, 64 chan"
    ):
        online_hadamard(PLAN, TOKENS, 128)
    done = online_hadamard(PLAN, TOKENS, 32)
    with pytest.raises(PreparationError, match="not rotated as far yet"):
        online_hadamard(done, TOKENS, 32)


def test_the_number_is_a_power_of_two() -> None:
    assert parse_recipe("rotate+hadamard32+gptq").name == "rotate+hadamard32+gptq"
    assert parse_recipe("hadamard").name == "hadamard"
    for name in ("hadamard0", "hadamard1", "hadamard24"):
        with pytest.raises(RecipeError, match=f"must be a block size, a power of two from 2, but got {name}"):
            parse_recipe(name)
    with pytest.raises(RecipeError, match=r"each step may stand once .* hadamard8\+hadamard16"):
        parse_recipe("hadamard8+hadamard16")


def test_the_quantizer_of_the_layers_stands_behind_the_rotation() -> None:
    """Images: the rotation reads wide integers without sign behind a ReLU; layers read signed ones behind it."""
    made = online_hadamard(RESNET_PLAN, images(8), 8)
    blocks = _blocks(made)
    assert set(blocks) == {"hadamard.relu1", "hadamard.relu3", "hadamard.flatten"}  # relu2 is read by a depthwise layer
    assert torch.allclose(made.graph(images(8)), RESNET_PLAN.graph(images(8)), atol=1e-5)
    sites = assign(made, spec("int4", "int4", edge=None)).sites
    assert sites["relu1"].format.name == "uint12"
    assert sites["hadamard.relu1"].format.name == "int4"
    assert sites["relu2"].format.name == "uint4"
    assert next(layer for layer in made.layers if layer.name == "conv").site == "hadamard.relu1"
    operators = {op.name: op for op in lower(made, "net").operators}
    rotation, requantizer = operators["hadamard.relu1"], operators["hadamard.relu1.requantize"]
    assert rotation == Rotate("hadamard.relu1", 16, 8, 64, "relu1")
    assert requantizer == Requantize("hadamard.relu1.requantize", "hadamard.relu1", 16, 64, "hadamard.relu1")
    conv = operators["conv"]
    assert isinstance(conv, MatVec)
    assert conv.site == "hadamard.relu1"


def test_what_a_rotation_reads_is_a_rule_of_its_own() -> None:
    default, wide = (
        spec("int8", "int8", "hadamard8"),
        replace(spec("int8", "int8", "hadamard8"), rotation=IntFormat(16)),
    )
    made = online_hadamard(RESNET_PLAN, images(8), 8)
    assert assign(made, wide).sites["relu1"].format.name == "uint16"
    assert assign(made, wide).sites["hadamard.relu1"] == assign(made, default).sites["hadamard.relu1"]
    assert wide.key != default.key
    assert "rotation" not in default.as_dict()
    assert replace(wide, recipe=parse_recipe("rtn")).key == spec("int8", "int8").key  # nothing reads it
    for name, reason in (("e2m1", "must read integers, .* but got 'e2m1'; use intN"), ("int30", "at most 24 bits")):
        with pytest.raises(FormatError, match=reason):
            parse_rotation(name)


def vision_transformer() -> VisionTransformer:
    """Small and random, with gains and biases of its norms that are not trivial."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        sizes = {"size": 8, "patch": 4, "channels": 2, "width": 32, "heads": 4, "layers": 1, "hidden": 64, "classes": 5}
        model = VisionTransformer(**sizes).eval()
        with torch.no_grad():
            for module in model.modules():
                if isinstance(module, nn.LayerNorm):
                    module.weight.uniform_(0.5, 1.5)
                    module.bias.uniform_(-1, 1)
    return model


@pytest.mark.parametrize("recipe", ["hadamard8", "massdiff4+hadamard4", "zigzag16+hadamard16", "hadamard"])
def test_transformers_of_images_are_rotated_too(recipe: str) -> None:
    plan = made = make_plan(vision_transformer(), images(1))
    for preparation in parse_recipe(recipe).preparations:
        made = prepare(made, preparation, images(16))
    assert torch.allclose(made.graph(images(16)), plan.graph(images(16)), atol=1e-5)
    norm = made.graph.get_submodule("encoder.layers.encoder_layer_0.ln_1")
    assert isinstance(norm, nn.LayerNorm)
    assert torch.equal(norm.weight, torch.ones(32))
    assert torch.equal(norm.bias, torch.zeros(32))
    found = _blocks(made)
    assert {"hadamard.encoder_layers_encoder_layer_0_ln_1", "hadamard.encoder_layers_encoder_layer_0_mlp_1"} < set(
        found
    )
    online = "hadamard.encoder_layers_encoder_layer_0_self_attention_mix" in found
    assert online == (recipe in ("hadamard", "zigzag16+hadamard16"))  # heads of 8 channels hold smaller blocks
    assert any(isinstance(op, Rotate) for op in lower(made, "net").operators)


def test_a_rotated_network_is_quantized_like_any_other() -> None:
    engine = Engine(RESNET, RESNET_PLAN, images())
    x = images(40, seed=5)
    exact = RESNET(x).detach()
    for recipe in ("hadamard8", "hadamard8+gptq+bias_correction", "hadamard8+axe"):
        quantized = engine.quantize(spec("int6", "int6", recipe, bits=20 if "axe" in recipe else None))
        error = float((quantized.network(x).detach() - exact).square().mean() / exact.square().mean())
        assert error < 0.02
    sums = {layer.name: layer for layer in quantized.layers}
    assert sums["conv"].activation.format.name == "int6"


def test_larger_blocks_and_the_merged_rotation_recover_outliers() -> None:
    """The direction of MixQuant's table, on a few windows."""
    plan = make_plan(OUTLIERS.load_model(), OUTLIERS.example_input)
    engine = Engine(OUTLIERS.load_model(), plan, OUTLIERS.calibration()[:4])
    tokens, labels = OUTLIERS.test()
    judge = OUTLIERS.judge(plan.graph, tokens[:2], labels[:2])
    kl = [
        judge(engine.quantize(spec("int4", "int4", recipe, activation_scaling="token", edge=None)).network).kl  # type: ignore[attr-defined]
        for recipe in ("rtn", "hadamard16", "rotate+hadamard")
    ]
    rtn, small, both = kl
    assert rtn > 2 * small > 2 * both
