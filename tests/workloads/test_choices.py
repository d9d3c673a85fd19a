"""What a specification can say: scale rules of weights, groups that fit or do not, exceptions of layers, keys, refusals."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small_networks import images, spec, tiny_resnet

from hwmodels.accumulator import AccumulatorError
from hwmodels.catalog import parse_element
from hwmodels.codec import quantize as codec
from hwmodels.datapath import DatapathError, TensorQuant, parse_scaling
from hwmodels.errors import BitfrontError
from hwmodels.formats import IntFormat
from workloads.assign import assign
from workloads.numerics import Override
from workloads.plan import make_plan
from workloads.quantize import Engine
from workloads.scale_rule import Fit, ScaleRule, ScaleRuleError, parse_scale_rule
from workloads.scales import expand, weight_codes, weight_scales

MODEL = tiny_resnet()
PLAN = make_plan(MODEL, images(1))
ENGINE = Engine(MODEL, PLAN, images())

rules = st.one_of(
    st.sampled_from([ScaleRule(Fit.ABSMAX), ScaleRule(Fit.MSE)]),
    st.builds(ScaleRule, st.just(Fit.PERCENTILE), st.integers(501, 999).map(lambda n: n / 10)),
)


@given(rules)
def test_names_of_scale_rules_come_back(rule: ScaleRule) -> None:
    assert parse_scale_rule(rule.name) == rule


@pytest.mark.parametrize("name", ["max", "percentile", "percentile100", "percentile50", "percentile1e1", "mse2"])
def test_unknown_scale_rules_are_refused(name: str) -> None:
    with pytest.raises(ScaleRuleError, match="but got"):
        parse_scale_rule(name)
    with pytest.raises(ScaleRuleError, match="if and only if the fit is percentile"):
        ScaleRule(Fit.MSE, 99.0)


SCALINGS = ("tensor", "channel", "channel_po2", "group16", "group16_po2", "group16_e4m3")


@pytest.mark.parametrize("scaling", SCALINGS)
@pytest.mark.parametrize("name", ["int3", "int4_narrow", "e2m1", "e3m0"])
def test_rules_of_weight_scales(name: str, scaling: str) -> None:
    quant = TensorQuant(parse_element(name), parse_scaling(scaling))
    matrix = np.random.default_rng(0).standard_t(3, (12, 64)).astype(np.float32)
    matrix[5] = 0.0

    def lost(rule: str) -> np.ndarray:
        scale = weight_scales(matrix, quant, parse_scale_rule(rule))
        assert scale.dtype == np.float32
        assert scale.shape == {"t": (1, 1), "c": (12, 1), "g": (12, 4)}[scaling[0]]
        expanded = expand(scale, matrix.shape)
        step = float(getattr(quant.format, "step", 1))
        made = weight_codes(matrix, scale, quant.format).astype(np.float64) * step * expanded
        assert np.array_equal(made, codec(quant.format, matrix / expanded) * expanded)  # every format is the codec
        if scaling.endswith("po2"):
            assert (np.frexp(scale)[0] == 0.5).all()
        if scaling != "tensor":
            assert (scale[5] == 1).all()
        error = np.square(made - matrix)
        return error.reshape(scale.size, -1).sum(axis=1)

    absmax, mse = lost("absmax"), lost("mse")
    assert (mse <= absmax * (1 + 1e-9)).all()
    if name != "e3m0" and not scaling.endswith("po2"):  # among powers of two there is little to choose
        assert mse.sum() < 0.97 * absmax.sum()
    lost("percentile99")


def test_a_percentile_is_that_of_magnitudes() -> None:
    matrix = np.arange(-100, 101, dtype=np.float32)[None]
    quant = TensorQuant(IntFormat(8, narrow=True), parse_scaling("channel"))
    np.testing.assert_allclose(weight_scales(matrix, quant, parse_scale_rule("percentile90")), 90 / 127, rtol=0.01)
    sparse = np.zeros((1, 64), np.float32)
    sparse[0, 0] = 3.0  # so few are not zero that no percentile sees them: nothing is clipped
    np.testing.assert_allclose(weight_scales(sparse, quant, parse_scale_rule("percentile90")), 3 / 127, rtol=1e-6)


def test_block_scales_of_nvfp4_are_e4m3_times_one_float() -> None:
    matrix = np.random.default_rng(0).standard_normal((16, 64)).astype(np.float32)
    scale = weight_scales(matrix, TensorQuant(parse_element("e2m1"), parse_scaling("group16_e4m3")))
    tensor = np.abs(matrix).max() / np.float32(6 * 448)
    blocks = scale / tensor
    np.testing.assert_allclose(codec(parse_element("ocp_e4m3"), blocks), blocks, rtol=1e-6)
    assert blocks.max() == pytest.approx(448)


def test_default_keys_are_those_of_before() -> None:
    assert spec("int4", "int4").key == "c34655121b8d17ed"
    assert spec("e2m1", "e2m1", scaling="group32_po2").key == "f8c79c01d6139e48"
    assert spec("int4", "int4", "axe", bits=18).key == "918f8429669bd561"
    changed = [
        spec("int4", "int4"),
        spec("int4", "int4", weight_rule="mse"),
        spec("int4", "int4", activation_rule="mse"),
        spec("int4", "int4", activation_rule="absmax"),
        spec("int4", "int4", activation_scaling="tensor_asym"),
        spec("int4", "int4", overrides=(Override("conv", weight=IntFormat(8)),)),
        spec("int4", "int4", overrides=(Override("conv", activation=IntFormat(8)),)),
    ]
    assert len({each.key for each in changed}) == len(changed)


def test_groups_of_activations_go_where_they_fit() -> None:
    made = assign(PLAN, spec("int8", "e2m1", activation_scaling="group8_po2_dynamic"))
    names = {name: quant.name for name, quant in made.sites.items()}
    assert names == {
        "input": "uint8/token_po2",  # the edge
        "relu1": "e2m1/group8_po2_dynamic",
        "add.in": "int8/tensor_po2",  # both inputs on one grid
        "relu2": "e2m1/tensor_po2_dynamic",  # a depthwise layer sums over pixels
        "relu3": "e2m1/group8_po2_dynamic",
        "relu4": "e2m1/tensor_po2_dynamic",  # pooling does, too
        "pool": "uint8/token_po2",
    }
    tiles = {name: formats.tile_size for name, formats in made.layers.items()}
    assert tiles == {"stem": 2, "conv": 8, "depthwise": None, "pointwise": 8, "head": None}  # of 2 channels, 9 pixels


def test_pixels_with_scales_of_their_own_are_tiles() -> None:
    made = assign(PLAN, spec("int8", "int8", activation_scaling="token", edge=None))
    assert made.sites["relu1"].name == "uint8/token"
    assert made.layers["conv"].tile_size == 16  # channels of one of nine pixels
    assert made.layers["pointwise"].tile_size is None  # one pixel is the whole row
    frames = assign(PLAN, spec("int8", "int8", activation_scaling="tensor_dynamic", edge=None))
    assert {quant.scaling.name for quant in frames.sites.values()} == {"tensor_dynamic", "tensor"}
    assert frames.sites["add.in"].scaling.name == "tensor"
    assert all(layer.tile_size is None for layer in frames.layers.values())


def test_groups_of_weights_and_activations_nest() -> None:
    nested = assign(PLAN, spec("int4", "int4", scaling="group16", activation_scaling="group8_po2_dynamic"))
    assert nested.layers["conv"].tile_size == 8
    with pytest.raises(DatapathError, match="must nest, but layer head has groups of 8 weights and 12 activations"):
        assign(PLAN, spec("int4", "int4", scaling="group8", activation_scaling="group12_dynamic", edge=None))
    with pytest.raises(AccumulatorError, match="its group of 8 products, but conv got tile_size=16"):
        assign(PLAN, spec("int4", "int4", "axe", activation_scaling="group8_dynamic", bits=16, tile=16))
    pixels = assign(PLAN, spec("int4", "int4", "axe", activation_scaling="token", bits=16, tile=8, edge=None))
    assert {name: layer.tile_size for name, layer in pixels.layers.items()} == {
        "stem": 2,  # a pixel has no more
        "conv": 8,
        "depthwise": 8,
        "pointwise": 8,
        "head": 8,
    }
    with pytest.raises(AccumulatorError, match="its group of 16 products, but conv got tile_size=6"):
        assign(PLAN, spec("int4", "int4", "axe", activation_scaling="token", bits=16, tile=6))


def test_zero_points_are_of_unsigned_codes() -> None:
    made = assign(PLAN, spec("int4", "int4", activation_scaling="tensor_asym", edge="e3m2"))
    assert made.sites["relu1"].name == "uint4/tensor_asym"
    assert made.sites["input"].name == "e3m2/tensor"  # a minifloat edge has none
    assert made.sites["add.in"].name == "int8/tensor"


def test_weights_per_tensor_are_so_at_the_edge() -> None:
    quantized = ENGINE.quantize(spec("int4", "int8", scaling="tensor"))
    assert {layer.scale.shape for layer in quantized.layers} == {(1, 1)}


def test_overrides_by_name_and_type_the_last_one_wins() -> None:
    e3m2, int6 = parse_element("e3m2"), IntFormat(6)
    overrides = (
        Override("*wise", weight=e3m2),
        Override("depthwise", weight=IntFormat(8), activation=int6),
        Override("linear", weight_scaling=parse_scaling("tensor")),
        Override("stem", activation=int6),
    )
    made = assign(PLAN, spec("int4", "int4", overrides=overrides))
    assert {name: (f.weight.name, f.rule) for name, f in made.layers.items()} == {
        "stem": ("int8/channel", "edge"),
        "conv": ("int4/channel", "as given"),
        "depthwise": ("int8/channel", "override depthwise"),
        "pointwise": ("e3m2/channel", "override *wise"),
        "head": ("int8/tensor", "override linear"),
    }
    assert {name: made.sites[name].name for name in ("input", "relu1", "relu2", "relu3")} == {
        "input": "uint6/tensor",
        "relu1": "uint4/tensor",
        "relu2": "uint6/tensor",
        "relu3": "uint4/tensor",
    }
    quantized = ENGINE.quantize(spec("int4", "int4", overrides=overrides))
    assert {layer.name: layer.weight for layer in quantized.layers} == {
        name: formats.weight for name, formats in made.layers.items()
    }


def test_one_override_changes_its_layer_only() -> None:
    plain = ENGINE.quantize(spec("int4", "int4"))
    other = ENGINE.quantize(spec("int4", "int4", overrides=(Override("pointwise", weight=parse_element("e2m1")),)))
    assert plain.site_scales == other.site_scales
    for a, b in zip(plain.layers, other.layers, strict=True):
        assert (a.name == "pointwise") == (not np.array_equal(a.codes, b.codes))


class _Fork(torch.nn.Module):
    """Two convolutions that read one tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = torch.nn.Conv2d(2, 8, 1)
        self.left, self.right = torch.nn.Conv2d(8, 4, 1), torch.nn.Conv2d(8, 4, 1)
        self.head = torch.nn.Conv2d(4, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x).relu()
        return self.head(self.left(x) + self.right(x))


def test_readers_of_one_site_share_its_format() -> None:
    plan = make_plan(_Fork().eval(), images(1))
    site = next(layer.site for layer in plan.layers if layer.name == "left")
    one = assign(plan, spec("int4", "int4", overrides=(Override("left", activation=IntFormat(8)),)))
    assert one.sites[site].name == "uint8/tensor"  # for the other reader, too
    both = (Override("left", activation=IntFormat(8)), Override("right", activation=IntFormat(6)))
    with pytest.raises(DatapathError, match="but overrides give left int8/tensor and right int6/tensor; match both"):
        assign(plan, spec("int4", "int4", overrides=both))


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        (
            {"activation_scaling": "channel"},
            "products of one sum must share their activation scale, but got int4/channel",
        ),
        ({"activation_scaling": "group16"}, "but got int4/group16; write group16_dynamic"),
        ({"scaling": "token"}, "weights are constants with constant scales around zero, but got int4/token"),
        ({"scaling": "channel_dynamic"}, "but got int4/channel_dynamic"),
        ({"scaling": "tensor_asym"}, "but got int4/tensor_asym"),
        ({"activation_scaling": "token", "activation_rule": "mse"}, "dynamic scales are those of the largest values"),
        (
            {"overrides": (Override("conv", activation_scaling=parse_scaling("token")),), "activation_rule": "mse"},
            "dynamic scales are those of the largest values",
        ),
        ({"overrides": (Override("conv", activation=IntFormat(8, signed=False)),)}, "must be signed, but got uint8"),
        ({"overrides": (Override("conv", weight_scaling=parse_scaling("token")),)}, "but got int4/token"),
    ],
)
def test_contradictions_are_refused_in_one_sentence(choices: dict[str, object], message: str) -> None:
    with pytest.raises(BitfrontError, match=message) as caught:
        spec("int4", "int4", **choices)  # type: ignore[arg-type]
    assert str(caught.value).count(". ") == 0


def test_what_only_the_network_shows_is_refused_in_one_sentence() -> None:
    with pytest.raises(DatapathError, match=r"must match a layer, but 'blok\*' matches none of stem, conv, depthwise,"):
        assign(PLAN, spec("int4", "int4", overrides=(Override("blok*", weight=IntFormat(8)),)))
    asym = (Override("conv", activation=parse_element("e2m1")),)
    with pytest.raises(DatapathError, match="a zero point is one of integer codes, but got e2m1/tensor_asym"):
        assign(PLAN, spec("int4", "int4", activation_scaling="tensor_asym", overrides=asym))
    dynamic = ENGINE.quantize(spec("int4", "int4", activation_scaling="token"))
    with pytest.raises(
        BitfrontError, match="must have constant activation scales to be built of Brevitas' modules, but"
    ):
        _ = dynamic.module


@pytest.mark.parametrize("recipe", ["rtn", "bias_correction", "gptq", "gptq_float", "axe"])
@pytest.mark.parametrize("scaling", ["tensor_asym", "token", "group8_po2_dynamic", "group8_e4m3_dynamic"])
def test_recipes_run_on_every_activation_scale(recipe: str, scaling: str) -> None:
    quantized = ENGINE.quantize(
        spec("int4", "int4", recipe, activation_scaling=scaling, bits=14 if recipe == "axe" else None, edge="int4")
    )
    assert max(layer.bits for layer in quantized.layers) <= 14
    with torch.inference_mode():
        error = quantized.network(images(20, seed=3)) - MODEL(images(20, seed=3))
    assert float(error.square().mean()) < 0.05
