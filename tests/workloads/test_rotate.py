"""Hadamard matrices and the merged rotation of decoders, against scipy, Brevitas and the float network."""

from __future__ import annotations

import re

import numpy as np
import pytest
import scipy.linalg
import torch
from small_networks import images, tiny_resnet
from test_prepare import MODEL, PLAN, TOKENS
from torch import nn

from workloads.hadamard import HadamardError, hadamard, random_rotation
from workloads.llm.tiny_llama import OUTLIERS
from workloads.plan import make_plan
from workloads.replan import PreparationError
from workloads.rotate import ROTATED, rotate


@pytest.mark.parametrize("size", [1, 2, 16, 128])
def test_powers_of_two_are_sylvesters(size: int) -> None:
    assert np.array_equal(hadamard(size).numpy(), scipy.linalg.hadamard(size))


@pytest.mark.parametrize("size", [12, 20, 24, 28, 36, 40, 60, 76, 108, 140, 152, 384, 768, 1536])
def test_other_sizes_are_paleys_and_products(size: int) -> None:
    h = hadamard(size)
    assert set(h.unique().tolist()) == {-1.0, 1.0}
    assert torch.equal(h @ h.T, size * torch.eye(size, dtype=h.dtype))


@pytest.mark.filterwarnings("ignore:brevitas.fx is deprecated:DeprecationWarning", "ignore:fast_hadamard_transform")
def test_sizes_that_brevitas_has_by_table() -> None:
    """The orders that its table reaches are reached here too, but for those that only other constructions give."""
    from brevitas.graph.hadamard import get_hadK

    for size in (12, 20, 28, 36, 40, 60, 108, 140, 152):
        matrix, order = get_hadK(size)
        assert order == size
        assert torch.equal(matrix @ matrix.T, size * torch.eye(size))
        assert hadamard(size).shape == matrix.shape


@pytest.mark.parametrize("size", [0, 3, 6, 52, 92, 172])
def test_sizes_without_a_matrix_are_refused(size: int) -> None:
    with pytest.raises(HadamardError, match=rf"but got {size}; use hadamardN with a power of two N that divides it"):
        hadamard(size)


def test_random_rotations_are_orthogonal_and_seeded() -> None:
    turn = random_rotation(24, 3)
    assert torch.allclose(turn @ turn.T, torch.eye(24, dtype=torch.float64), atol=1e-12)
    assert torch.equal(turn, random_rotation(24, 3))
    assert not torch.equal(turn, random_rotation(24, 4))


def test_a_rotated_decoder_is_the_same_function_with_other_streams() -> None:
    made = rotate(PLAN, TOKENS, None)
    assert torch.allclose(made.graph(TOKENS), PLAN.graph(TOKENS), atol=1e-5)
    assert [layer.name for layer in made.layers] == [layer.name for layer in PLAN.layers]
    assert made.sites == PLAN.sites
    assert made.floating == PLAN.floating
    gains = [m.weight for name, m in made.graph.named_modules() if isinstance(m, nn.RMSNorm)]
    assert len(gains) == 5
    assert all(torch.equal(gain, torch.ones_like(gain)) for gain in gains)
    # the stream of the rotated network is that of the float one times R
    turn = random_rotation(24, 0).float()
    embedded = PLAN.graph.get_parameter("model.embed_tokens.weight")
    assert torch.allclose(made.graph.get_parameter("model.embed_tokens.weight"), embedded @ turn, atol=1e-6)
    blocks = {node.name: node.meta[ROTATED] for node in made.graph.graph.nodes if ROTATED in node.meta}
    assert sorted(blocks.values()) == [8, 8, 24, 24, 24, 24, 24]
    assert torch.equal(PLAN.graph(TOKENS), make_plan(MODEL, TOKENS[:1, :1]).graph(TOKENS))


def test_rotation_spreads_outlier_channels() -> None:
    plan = make_plan(OUTLIERS.load_model(), OUTLIERS.example_input)
    tokens = OUTLIERS.calibration()[:2]
    made = rotate(plan, tokens, None)
    crest = {}
    for name, each in (("float", plan), ("rotated", made)):
        seen: list[torch.Tensor] = []
        norm = each.graph.get_submodule("model.layers.1.input_layernorm")
        hook = norm.register_forward_hook(lambda module, inputs, output, seen=seen: seen.append(output))
        each.graph(tokens)
        hook.remove()
        crest[name] = float(seen[0].abs().max() / seen[0].std())
    assert crest["rotated"] < crest["float"] / 2


def test_networks_without_such_a_stream_are_refused() -> None:
    plan = make_plan(tiny_resnet(), images(1))
    with pytest.raises(PreparationError, match=re.escape("but it has no embedding; use hadamardN")):
        rotate(plan, images(2), None)

    class Peeking(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(16, 8)
            self.norm, self.act, self.head = nn.RMSNorm(8), nn.SiLU(), nn.Linear(8, 16)

        def forward(self, tokens: torch.Tensor) -> torch.Tensor:
            x = self.embed(tokens)
            return self.head(self.norm(x) * self.act(x))

    tokens = torch.zeros(1, 1, dtype=torch.int64)
    with pytest.raises(PreparationError, match=r"read by RMS norms alone, but 'embed' is read by 'act'"):
        rotate(make_plan(Peeking().eval(), tokens), tokens, None)
