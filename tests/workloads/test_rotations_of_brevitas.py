"""Whole networks as Brevitas rotates and permutes them: the same weights, bit for bit where nothing is computed."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from workloads.online import online_hadamard
from workloads.permute import permutation
from workloads.plan import make_plan
from workloads.recipes import Transform

pytestmark = pytest.mark.filterwarnings(
    "ignore:brevitas.fx is deprecated:DeprecationWarning",
    "ignore:fast_hadamard_transform",
    "ignore:.*treespec:FutureWarning",
    "ignore:.*LeafSpec:FutureWarning",
)
INPUTS = torch.randn(64, 8, generator=torch.Generator().manual_seed(0))


class Gated(nn.Module):
    """A gated layer as in a Llama block, and a plain one behind it."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.up, self.down = nn.Linear(8, 64), nn.Linear(8, 64), nn.Linear(64, 32)
        self.act, self.relu, self.last = nn.SiLU(), nn.ReLU(), nn.Linear(32, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.relu(self.down(self.act(self.gate(x)) * self.up(x))))


def gated() -> Gated:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Gated().eval()
        with torch.no_grad():
            model.up.weight[[3, 4, 5, 6, 40]] *= 20
    return model


@pytest.mark.parametrize("block", [8, 32, None])
def test_layers_are_rotated_as_there(block: int | None) -> None:
    from brevitas.graph.equalize import LayerwiseActivationRotation

    theirs = LayerwiseActivationRotation(rotation_block_size=block).apply(copy.deepcopy(gated()))
    ours = online_hadamard(make_plan(gated(), INPUTS[:1]), INPUTS, block).graph
    for name, rotation in (("down", "mul"), ("last", "relu")):
        layer = theirs.get_submodule(name)
        assert torch.allclose(ours.get_parameter(f"{name}.weight"), layer.layer.weight, atol=1e-6)
        unit = torch.eye(layer.layer.in_features)
        assert torch.allclose(ours.get_submodule(f"hadamard.{rotation}")(unit), layer.rotation_forward(unit), atol=1e-6)
    assert torch.allclose(ours(INPUTS), theirs(INPUTS), atol=1e-5)


@pytest.mark.parametrize("transform", [Transform.MASSDIFF, Transform.ZIGZAG, Transform.ABSMAX])
@pytest.mark.parametrize("block", [8, 16])
def test_regions_are_permuted_as_there(transform: Transform, block: int) -> None:
    from brevitas.fx import symbolic_trace
    from brevitas.graph.equalize import GraphRotationEqualization
    from brevitas.graph.permute import rotate_permute_mode

    rotation = GraphRotationEqualization(
        orphan_sink=True, rotation_block_size=block, delay_rewriters=True, return_rewriters=True
    )
    mode = rotate_permute_mode(symbolic_trace(gated()), rotation=rotation, block_size=block, permute_fn=transform.value)
    with mode, torch.no_grad():
        mode.model(INPUTS)
    ours = permutation(transform)(make_plan(gated(), INPUTS[:1]), INPUTS, block).graph
    for name in ("gate", "up", "down", "last"):
        layer = mode.model.get_submodule(name)
        weight = getattr(layer, "layer", layer).weight
        assert torch.equal(ours.get_parameter(f"{name}.weight"), weight)
        assert not torch.equal(weight, gated().get_submodule(name).weight)  # type: ignore[arg-type]
