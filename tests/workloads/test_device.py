"""Networks on another device: what runs there must hold nothing of the processor's. Fake tensors know devices without one."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from small_networks import images, spec, tiny_resnet
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from dse.evaluate import Evaluator
from hwmodels.catalog import parse_element
from hwmodels.datapath import TensorQuant, parse_scaling
from workloads import metrics
from workloads.device import DeviceError, copied_to, device_of, find_device, placed_on
from workloads.llm.decoder import Decoder, DecoderShape
from workloads.numerics import NumericsSpec
from workloads.plan import make_plan
from workloads.quantize import Engine

SHAPE = DecoderShape(
    vocabulary=50,
    width=16,
    hidden=32,
    layers=1,
    heads=4,
    key_heads=2,
    head_dim=4,
    positions=16,
    norm_epsilon=1e-6,
    rotary_base=1e4,
)
TOKENS = torch.randint(0, 50, (4, 16), generator=torch.Generator().manual_seed(0))


def stored(asked: NumericsSpec, fmt: str, scaling: str) -> NumericsSpec:
    return replace(asked, kv_cache=TensorQuant(parse_element(fmt), parse_scaling(scaling)))


TEXT = {
    "static": stored(spec("int4", "int8", edge=None), "int8", "tensor"),
    "token": stored(spec("e2m1", "e3m2", activation_scaling="token", edge=None), "e2m1", "token"),
    "groups": spec("int4", "e2m1", scaling="group8", activation_scaling="group8_po2_dynamic", edge=None),
    "e4m3": spec("int4", "e2m1", activation_scaling="group8_e4m3_dynamic", edge=None),
    "asymmetric": spec("int4", "int8", activation_scaling="tensor_asym", edge=None),
}
IMAGES = {"static": spec("int4", "int4"), "frame": spec("e2m1", "int8", activation_scaling="tensor_dynamic")}


@pytest.fixture(scope="module")
def decoder() -> Engine:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Decoder(SHAPE).eval()
    return Engine(model, make_plan(model, TOKENS[:1, :1]), TOKENS)


def elsewhere(network: nn.Module, mode: FakeTensorMode) -> nn.Module:
    """The network with its parameters and buffers on a CUDA device that is not there."""
    moved = copy.deepcopy(network)
    with mode:
        for module in moved.modules():
            for store in (module._parameters, module._buffers):
                for name, tensor in store.items():
                    if tensor is not None:
                        fake = torch.empty(tensor.shape, dtype=tensor.dtype, device="cuda")
                        store[name] = nn.Parameter(fake, requires_grad=False) if store is module._parameters else fake
    return moved


@pytest.mark.parametrize("name", TEXT)
def test_language_models_stay_on_their_device(decoder: Engine, name: str) -> None:
    network, mode = decoder.quantize(TEXT[name]).network, FakeTensorMode()
    moved = elsewhere(network, mode)
    with mode:
        assert device_of(moved).type == "cuda"
        output = metrics._output(moved, torch.empty(4, 16, dtype=torch.int64))  # tokens as they come, of the processor
        assert output.device.type == "cuda"
        assert output.shape == (4, 16, 50)


@pytest.mark.parametrize("name", IMAGES)
def test_image_networks_stay_on_their_device(name: str) -> None:
    model, mode = tiny_resnet(), FakeTensorMode()
    network = Engine(model, make_plan(model, images(1)), images(16)).quantize(IMAGES[name]).network
    moved = elsewhere(network, mode)
    with mode:
        assert moved(torch.empty(3, 2, 8, 8, device="cuda")).device.type == "cuda"


def test_a_constant_of_the_processor_would_be_found(decoder: Engine) -> None:
    """What the tests above rest on."""

    class Stray(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(3))

        def forward(self, x: Tensor) -> Tensor:
            return x * self.weight + torch.ones(3)

    mode = FakeTensorMode()
    moved = elsewhere(Stray(), mode)
    with mode, pytest.raises(RuntimeError, match=r"(at least|found) two (different )?devices"):
        moved(torch.empty(3, device="cuda"))


def test_a_network_is_back_where_it_was(decoder: Engine) -> None:
    network = decoder.quantize(TEXT["token"]).network
    with torch.no_grad():
        before = network(TOKENS)
        with placed_on(network, torch.device("cpu")):
            assert torch.equal(network(TOKENS), before)
    calls: list[str] = []

    class Recorder(nn.Linear):
        def to(self, device: torch.device) -> Recorder:  # type: ignore[override]
            calls.append(device.type)
            return self

    with pytest.raises(KeyError), placed_on(Recorder(2, 2), torch.device("meta")):
        raise KeyError
    assert calls == ["meta", "cpu"]  # also after an error
    assert copied_to(network, torch.device("cpu")) is network
    assert device_of(copied_to(nn.Linear(2, 2), torch.device("meta"))).type == "meta"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there_is_refused() -> None:
    with pytest.raises(
        DeviceError, match=r"evaluation\.device must be cpu where torch finds no CUDA device, but got cuda"
    ):
        Evaluator("digits-resnet", test_images=4, calibration_images=4, device="cuda").load()
    with pytest.raises(DeviceError, match="a device must be one of cpu, cuda, but got 'tpu'"):
        find_device("tpu")
    assert find_device("cpu").type == "cpu"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("workload", ["digits-resnet", "tiny-llama"])
def test_both_devices_say_the_same(workload: str) -> None:
    asked = spec("int8", "int8")
    here, there = (
        Evaluator(workload, test_images=16, calibration_images=16, device=device).load().accuracy(asked)
        for device in ("cpu", "cuda")
    )
    assert there.metrics["loss"] == pytest.approx(here.metrics["loss"], rel=1e-2)  # type: ignore[union-attr]
