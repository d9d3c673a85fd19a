"""Which channels share a block: the orders against Brevitas' and by brute force, the regions, and the function unchanged."""

from __future__ import annotations

from itertools import combinations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small_networks import images, tiny_resnet
from test_prepare import MODEL, PLAN, TOKENS
from torch import Tensor, nn

from workloads.hadamard import BlockHadamard
from workloads.llm.tiny_llama import OUTLIERS
from workloads.permute import ORDERS, Magnitudes, massdiff, permutation
from workloads.plan import make_plan
from workloads.prepare import prepare
from workloads.recipes import PERMUTATIONS, Preparation, RecipeError, Transform, parse_recipe
from workloads.regions import find_regions
from workloads.replan import PreparationError, copied

RESNET_PLAN = make_plan(tiny_resnet(), images(1))


def outliers(seed: int, channels: int = 64, rows: int = 40) -> Tensor:
    """Gaussian values, some of whose channels are much larger, float64."""
    random = torch.Generator().manual_seed(seed)
    scale = torch.where(torch.rand(channels, generator=random) < 0.15, 20.0, 1.0)
    return torch.randn(rows, channels, dtype=torch.float64, generator=random) * scale


def seen(x: Tensor) -> Magnitudes:
    return Magnitudes(x.abs().mean(0), x.abs().amax(0))


def masses(x: Tensor, order: Tensor, block: int) -> Tensor:
    """Mean l1 mass of every block."""
    return x.abs().mean(0)[order].reshape(-1, block).sum(1)


@pytest.mark.filterwarnings("ignore:brevitas.fx is deprecated:DeprecationWarning", "ignore:fast_hadamard_transform")
@pytest.mark.parametrize("transform", [Transform.MASSDIFF, Transform.ZIGZAG, Transform.ABSMAX])
@pytest.mark.parametrize("block", [2, 8, 32])
def test_orders_are_those_of_brevitas(transform: Transform, block: int) -> None:
    from brevitas.graph.permute import get_permutation_method

    for seed in range(5):
        x = outliers(seed)
        expected = get_permutation_method(transform.value)(x, block_size=block)
        assert torch.equal(ORDERS[transform](seen(x), block), expected)


@given(st.integers(0, 10_000), st.sampled_from([2, 4, 8, 16]))
def test_every_order_is_a_permutation_and_massdiff_evens_the_blocks_out(seed: int, block: int) -> None:
    x = outliers(seed)
    for order in ORDERS.values():
        assert torch.equal(order(seen(x), block).sort().values, torch.arange(64))
    even, ranked = (masses(x, ORDERS[t](seen(x), block), block) for t in (Transform.MASSDIFF, Transform.ABSMAX))
    assert even.max() <= ranked.max() + 1e-9
    assert even.max() - even.min() <= ranked.max() - ranked.min() + 1e-9


@pytest.mark.parametrize("seed", range(5))
def test_the_greedy_order_is_close_to_the_best(seed: int) -> None:
    """All ways to split 10 channels into two blocks of 5."""
    mean = outliers(seed, channels=10).abs().mean(0)
    best = min(
        max(float(mean[list(half)].sum()), float(mean.sum() - mean[list(half)].sum()))
        for half in combinations(range(10), 5)
    )
    x = mean.unsqueeze(0)
    assert best * (1 - 1e-9) <= float(masses(x, massdiff(seen(x), 5), 5).max()) <= 1.1 * best


def test_the_bound_of_a_gaussian_with_outliers_falls_and_with_it_the_largest_value() -> None:
    """PeRQ's bound max_j |X_j|_1 / sqrt(b) before and after MassDiff, where outliers share blocks: almost halved."""
    random = torch.Generator().manual_seed(0)
    x = torch.randn(64, 256, generator=random)
    x[:, :8] *= 12  # half a block of outliers
    order = massdiff(seen(x.double()), 16)
    rotate = BlockHadamard(16)
    bound = [float(each.reshape(64, 16, 16).abs().sum(-1).max()) / 4 for each in (x, x[:, order])]
    actual = [float(rotate(each).abs().max()) for each in (x, x[:, order])]
    assert bound[1] < 0.6 * bound[0]
    assert actual[1] < 0.8 * actual[0]
    assert all(a <= b for a, b in zip(actual, bound, strict=True))


def test_regions_of_a_decoder_and_of_a_residual_network() -> None:
    """The stream with all that write and read it, and the hidden channels of each block; heads are no region."""
    found = find_regions(PLAN)
    assert [(len(region.rows), len(region.columns)) for region in found] == [(2 * 2 + 5, 1 + 2 * 5 + 1), (2, 1), (2, 1)]
    assert [str(node.target) for node in found[1].rows] == [
        "model.layers.0.mlp.gate_proj",
        "model.layers.0.mlp.up_proj",
    ]
    residual, pooled = find_regions(RESNET_PLAN)
    assert {str(node.target) for node in residual.rows} == {"stem", "conv", "depthwise"}
    assert {str(node.target) for node in residual.columns} == {"conv", "pointwise"}
    assert [str(node.target) for node in (*pooled.rows, *pooled.columns)] == ["pointwise", "head"]


class Flat(nn.Module):
    """An image made flat: the order of its channels is that of the layer's columns, pixel by pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.relu, self.last = nn.Conv2d(2, 8, 3), nn.ReLU(), nn.Linear(8 * 36, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.relu(self.conv(x)).flatten(1))


def test_channels_that_are_made_flat_are_not_permuted() -> None:
    assert find_regions(make_plan(Flat().eval(), images(1))) == ()


@pytest.mark.parametrize("transform", sorted(PERMUTATIONS))
@pytest.mark.parametrize("block", [4, 8])
def test_permuted_networks_are_the_same_function(transform: Transform, block: int) -> None:
    """Heads of 8 channels hold two blocks of 4, and are permuted too; of 8 they are blocks themselves."""
    for plan, samples in ((PLAN, TOKENS), (RESNET_PLAN, images(8))):
        made = permutation(transform)(plan, samples, block)
        assert torch.allclose(made.graph(samples), plan.graph(samples), atol=1e-5)
        assert made.sites == plan.sites
        both = prepare(made, Preparation(Transform.HADAMARD, block), samples)
        assert torch.allclose(both.graph(samples), plan.graph(samples), atol=1e-5)
    permuted = permutation(transform)(PLAN, TOKENS, block).graph
    moved = {
        name
        for name, parameter in PLAN.graph.named_parameters()
        if name.endswith("v_proj.bias") and not torch.equal(parameter, permuted.get_parameter(name))
    }
    assert len(moved) == (2 if block == 4 else 0)
    assert torch.equal(PLAN.graph(TOKENS), make_plan(MODEL, TOKENS[:1, :1]).graph(TOKENS))


def test_the_blocks_of_a_network_have_more_even_masses() -> None:
    plan = make_plan(OUTLIERS.load_model(), OUTLIERS.example_input)
    tokens = OUTLIERS.calibration()[:2]
    peaks = {}
    for transform in (Transform.MASSDIFF, Transform.ABSMAX):
        graph = copied(permutation(transform)(plan, tokens, 16))
        inputs: list[Tensor] = []
        graph.get_submodule("model.layers.2.mlp.down_proj").register_forward_hook(
            lambda module, given, output, inputs=inputs: inputs.append(given[0])
        )
        graph(tokens)
        peaks[transform] = float(inputs[0].abs().mean((0, 1)).reshape(-1, 16).sum(1).max())
    assert peaks[Transform.MASSDIFF] < peaks[Transform.ABSMAX] / 2


def test_a_permutation_stands_in_front_of_its_rotation() -> None:
    assert parse_recipe("rotate+massdiff32+hadamard32+gptq").name == "rotate+massdiff32+hadamard32+gptq"
    for name, reason in (
        (
            "massdiff32",
            r"massdiff32 must stand right in front of hadamard32, whose blocks it fills, but got massdiff32; write ",
        ),
        ("massdiff32+hadamard16", r"write massdiff32\+hadamard32"),
        ("hadamard32+zigzag32", r"write zigzag32\+hadamard32"),
        ("massdiff32+rotate+hadamard32", r"write massdiff32\+hadamard32"),
        (
            "massdiff+hadamard",
            r"massdiff must have a block size, .* in its name, but got none; write massdiff32",
        ),
        ("random12+hadamard12", "must be a block size, a power of two from 2, but got random12"),
    ):
        with pytest.raises(RecipeError, match=reason):
            parse_recipe(name)


def test_nothing_to_permute_is_a_refusal() -> None:
    with pytest.raises(
        PreparationError, match=r"massdiff64 must find channels of two blocks or more .* use hadamard64 alone"
    ):
        permutation(Transform.MASSDIFF)(PLAN, TOKENS, 64)
