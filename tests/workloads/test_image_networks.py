"""The built-in networks are those of the papers, and a user's network on a user's images is a workload like any other."""

import pickle
import sys
from collections.abc import Iterator
from pathlib import Path

import image_files
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from image_files import write_images
from PIL import Image
from safetensors.torch import save_file
from torch import nn
from transformers import (
    MobileNetV2Config,
    MobileNetV2ForImageClassification,
    ResNetConfig,
    ResNetForImageClassification,
)

from dse.evaluate import Evaluator
from dse.point import DesignPoint, Hardware
from hwmodels.catalog import parse_element
from hwmodels.datapath import TensorQuant, parse_scaling
from hwmodels.errors import BitfrontError
from workloads.numerics import NumericsSpec
from workloads.recipes import parse_recipe
from workloads.registry import ImageNetwork, Preprocessing, get_workload, metrics_of
from workloads.samples import batches
from workloads.vision.constructors import BUILT_IN, build, call
from workloads.vision.folder import make_images, read_pixels
from workloads.vision.mobilenet import MobileNetV2
from workloads.vision.resnet import ResNet18
from workloads.vision.transformer import VisionTransformer, from_torchvision

SMALL = Preprocessing(resize=40, crop=32)
PUBLISHED = {"resnet18": 11_689_512, "mobilenet_v2": 3_504_872, "vit_b_32": 88_224_232}


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("images"))


def network(model: str, images: Path, checkpoint: Path | None = None, **changes: object) -> ImageNetwork:
    asked = {"preprocessing": SMALL, "calibration_images": None} | changes
    return ImageNetwork(model, None if checkpoint is None else str(checkpoint), str(images), **asked)


# The networks


@pytest.mark.parametrize("name", BUILT_IN)
def test_parameters_are_as_many_as_published(name: str) -> None:
    with torch.device("meta"):
        made = BUILT_IN[name].make(1000, 224)
    assert sum(parameter.numel() for parameter in made.parameters()) == PUBLISHED[name]


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2"])
def test_convolutional_networks_compute_what_transformers_computes(name: str) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 3, 64, 64)
    if name == "resnet18":
        ours: nn.Module = ResNet18(5)
        config = ResNetConfig(
            embedding_size=64, hidden_sizes=[64, 128, 256, 512], depths=[2, 2, 2, 2], layer_type="basic", num_labels=5
        )
        theirs = ResNetForImageClassification(config)
    else:
        ours = MobileNetV2(5)
        theirs = MobileNetV2ForImageClassification(
            MobileNetV2Config(num_labels=5, tf_padding=False, layer_norm_eps=1e-5, classifier_dropout_prob=0.0)
        )
    # modules are matched by the order in which they are called, so the wiring is compared as well as the shapes
    with torch.no_grad():
        for own, other in zip(_called(ours.eval(), x), _called(theirs.eval(), x), strict=True):
            for tensor in (*own.parameters(), *own.buffers()):
                if tensor.is_floating_point():
                    tensor.uniform_(0.5, 1.5) if tensor.ndim == 1 else tensor.normal_(std=tensor[0].numel() ** -0.5)
            other.load_state_dict(own.state_dict())
        expected = theirs(x).logits
        assert expected.std() > 0.01
        torch.testing.assert_close(ours(x), expected, rtol=1e-4, atol=1e-4)


def _called(model: nn.Module, x: torch.Tensor) -> list[nn.Module]:
    found: list[nn.Module] = []
    handles = [
        module.register_forward_hook(lambda m, _i, _o: found.append(m))
        for module in model.modules()
        if isinstance(module, nn.Conv2d | nn.BatchNorm2d | nn.Linear)
    ]
    with torch.no_grad():
        model(x)
    for handle in handles:
        handle.remove()
    return found


class TorchTransformer(nn.Module):
    """The vision transformer from torch's own layers, under torchvision's names."""

    def __init__(self, *, old_names: bool) -> None:
        super().__init__()
        self.conv_proj = nn.Conv2d(3, 32, 8, 8)
        self.class_token = nn.Parameter(torch.randn(1, 1, 32))
        self.pos = nn.Parameter(torch.randn(1, 17, 32))
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(32, 4, 64, 0.0, "gelu", layer_norm_eps=1e-6, batch_first=True, norm_first=True)
            for _ in range(2)
        )
        self.ln = nn.LayerNorm(32, eps=1e-6)
        self.head = nn.Linear(32, 5)
        self.mlp = ("mlp.linear_1", "mlp.linear_2") if old_names else ("mlp.0", "mlp.3")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        patches = self.conv_proj(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.class_token.expand(len(x), -1, -1), patches], 1) + self.pos
        for layer in self.layers:
            tokens = layer(tokens)
        return self.head(self.ln(tokens)[:, 0])

    def published(self) -> dict[str, torch.Tensor]:
        parts = {"self_attn": "self_attention", "linear1": self.mlp[0], "linear2": self.mlp[1]}
        parts |= {"norm1": "ln_1", "norm2": "ln_2"}
        found = {}
        for name, tensor in self.state_dict().items():
            if name.startswith("layers."):
                _, number, part, rest = name.split(".", 3)
                name = f"encoder.layers.encoder_layer_{number}.{parts[part]}.{rest}"  # noqa: PLW2901
            names = {"pos": "encoder.pos_embedding", "ln.weight": "encoder.ln.weight", "ln.bias": "encoder.ln.bias"}
            names |= {"head.weight": "heads.head.weight", "head.bias": "heads.head.bias"}
            found[names.get(name, name)] = tensor
        return found


@pytest.mark.parametrize("old_names", [False, True])
def test_the_transformer_computes_what_torchs_own_layers_compute(old_names: bool) -> None:
    torch.manual_seed(0)
    theirs = TorchTransformer(old_names=old_names).eval()
    ours = VisionTransformer(size=32, patch=8, channels=3, width=32, heads=4, layers=2, hidden=64, classes=5).eval()
    ours.load_state_dict(from_torchvision(theirs.published()))
    x = torch.randn(3, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs(x), rtol=1e-4, atol=1e-5)


# Built, quantized and costed


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "vit_b_32"])
def test_every_network_is_planned_quantized_measured_and_costed(name: str, images: Path, tmp_path: Path) -> None:
    full = {"preprocessing": Preprocessing()}
    torch.manual_seed(0)
    match name:
        case "resnet18":  # as published: torch.save, and no counters of batches
            state = {k: v for k, v in ResNet18(3).state_dict().items() if "num_batches" not in k}
            torch.save(state, path := tmp_path / "resnet.pth")
            asked = network(name, images, path, **full)
        case "mobilenet_v2":  # as a training script leaves it: data-parallel, half precision
            state = {f"module.{k}": v.half() if v.ndim else v for k, v in MobileNetV2(3).state_dict().items()}
            torch.save({"state_dict": state, "epoch": 3}, path := tmp_path / "mobilenet.pt")
            asked = network(name, images, path, **full)
        case _:  # 350 MB of weights are not written to disk
            asked = network("image_files:vit_of_three_classes", images, **full)
    evaluator = Evaluator(asked, test_images=3).load()
    assert evaluator.source.example_input.shape == (1, 3, 224, 224)
    reference = evaluator.float_accuracy()
    assert reference.samples == 3
    point = DesignPoint(_spec("e3m2", "e3m2"), Hardware("XCU250", 10.0, 200.0))
    found = evaluator.accuracy(point.numerics)
    assert found.metrics["samples"] == 3
    assert found.loss == pytest.approx(reference.loss, rel=0.2)
    report = evaluator.cost(point, found.widths)
    assert report.total.lut > 10_000
    assert report.fps(200.0) >= 10.0
    assert len(found.widths) == len(evaluator.plan.layers) == {"resnet18": 21, "mobilenet_v2": 53}.get(name, 74)


def _spec(weight: str, activation: str) -> NumericsSpec:
    return NumericsSpec(
        TensorQuant(parse_element(weight), parse_scaling("channel")),
        TensorQuant(parse_element(activation), parse_scaling("tensor")),
        parse_recipe("rtn"),
    )


# Images


def test_preprocessing_is_torchs_smoothed_bilinear_resize_and_a_middle_crop(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    pixels = rng.integers(0, 256, (96, 150, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path := tmp_path / "x.png")
    found = read_pixels(path, Preprocessing(resize=48, crop=32))
    whole = torch.from_numpy(pixels.transpose(2, 0, 1)[None]).float()
    resized = F.interpolate(whole, size=(48, 75), mode="bilinear", antialias=True)[0]
    expected = resized[:, 8:40, 22:54].round()  # round(21.5) is 22
    assert np.abs(found - expected.numpy()).max() <= 1
    ready = make_images((path,), Preprocessing(resize=48, crop=32, mean=(0.5,) * 3, std=(0.25,) * 3), None).tensor()
    torch.testing.assert_close(ready[0], (torch.from_numpy(found.copy()).float() / 255 - 0.5) / 0.25)


def test_images_are_split_once_in_a_seeded_order_and_read_lazily(images: Path) -> None:
    workload = get_workload(network("resnet18", images, Path("none")))
    calibration, (inputs, labels) = workload.calibration(), workload.test()
    assert (len(calibration), len(inputs), len(labels)) == (1, 7, 7)
    paths = [*calibration.paths, *inputs.paths]
    assert sorted(paths) == sorted(p for p in images.rglob("*.*"))
    assert [("ant", "bee", "cat")[label] for label in labels] == [path.parent.name for path in inputs.paths]
    assert sorted(inputs.paths) != list(inputs.paths)
    again = get_workload(network("resnet18", images, Path("none")))
    assert again.test()[0].paths == inputs.paths
    assert again.data_id == workload.data_id
    assert metrics_of(network("resnet18", images)) == ("top1", "loss")
    whole = inputs.tensor()
    assert torch.equal(torch.cat(list(batches(inputs, 3))), whole)
    assert torch.equal(inputs[2:5][1:].tensor(), whole[3:5])


def test_other_calibration_images_leave_all_images_to_the_test(images: Path, tmp_path: Path) -> None:
    more = write_images(tmp_path / "more", 5)
    workload = get_workload(network("resnet18", images, Path("none"), calibration_images=str(more)))
    assert len(workload.calibration()) == 5
    assert len(workload.test()[0]) == 8
    assert workload.data_id != get_workload(network("resnet18", images, Path("none"))).data_id


def test_the_data_id_follows_a_files_bytes_and_the_preprocessing(images: Path, tmp_path: Path) -> None:
    folder = write_images(tmp_path / "same")
    ids = {get_workload(network("resnet18", f, Path("none"))).data_id for f in (images, folder)}
    assert len(ids) == 1
    changed = next(folder.rglob("*.bmp"))
    changed.write_bytes(changed.read_bytes()[:-1] + b"\x07")
    ids.add(get_workload(network("resnet18", folder, Path("none"))).data_id)
    ids.add(get_workload(network("resnet18", images, Path("none"), preprocessing=Preprocessing())).data_id)
    assert len(ids) == 3


# What cannot be done is one sentence


def _use(asked: ImageNetwork) -> None:
    evaluator = Evaluator(asked).load()
    evaluator.float_accuracy()


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (
            "resnet99",
            r"^a model must be one of resnet18, mobilenet_v2, vit_b_32 or module:function, but got 'resnet99'\.$",
        ),
        ("os.path:", r"^a model must be one of .* or module:function, but got 'os\.path:'\.$"),
        (
            "nowhere_at_all:make",
            r"^the function .* must import and return a network, but it raised ModuleNotFoundError: No",
        ),
        (
            "image_files:gone",
            r"must import and return a network, but it raised AttributeError: module 'image_files' has no",
        ),
        ("image_files:broken", r"must import and return a network, but it raised RuntimeError: out of luck\.$"),
        (
            "image_files:number",
            r"^the function image_files:number must return a torch\.nn\.Module, but it returned int\.$",
        ),
        (
            "image_files:with_nan",
            r"^the weights of image_files:with_nan must be finite, but head\.bias holds inf or NaN",
        ),
        (
            "image_files:four_classes",
            r"must have one folder per class of image_files:four_classes, whose output .*\(4,\), but",
        ),
        ("image_files:sigmoid", r"^node 'relu' must be one of .*, but it is Sigmoid\.$"),
        ("image_files:without_weights", r"^a model must have a layer with weights, but it has none"),
        (
            "image_files:flat",
            r"^the model must take an input of shape \(1, 3, 32, 32\), but it raised RuntimeError: mat1",
        ),
        (
            "image_files:asserting",
            r"^the model must have a forward without data-dependent control flow, but tracing it",
        ),
        ("image_files:failing", r"without data-dependent control flow, but tracing it failed: no message\.$"),
        ("resnet18", r"^resnet18 must be given a checkpoint, but got none; give the state dict"),
    ],
)
def test_a_network_that_does_not_work_is_refused(model: str, expected: str, images: Path) -> None:
    with pytest.raises(BitfrontError, match=expected) as caught:
        _use(network(model, images))
    assert "\n" not in str(caught.value)


class Evil:
    def __reduce__(self) -> tuple[object, ...]:
        return (image_files.broken, ())


def _state(**changes: torch.Tensor) -> dict[str, torch.Tensor]:
    return ResNet18(3).state_dict() | changes


@pytest.mark.parametrize(
    ("content", "suffix", "expected"),
    [
        (None, ".pth", r"^checkpoint must exist, but .*net\.pth is missing; give the state dict of that network"),
        (None, ".safetensors", r"^checkpoint must exist, but .*net\.safetensors is missing"),
        (b"no network", ".pth", r"^checkpoint must be readable, but .*net\.pth is not \("),
        (b"no network", ".safetensors", r"^checkpoint must be readable, but .*net\.safetensors is not \("),
        (Evil(), ".pth", r"^checkpoint must be readable, but .*net\.pth is not \(Weights only load failed"),
        ([1, 2], ".pth", r"^checkpoint .*net\.pth must hold tensors by name, but it holds something else"),
        ({"epoch": 3}, ".pth", r"must hold tensors by name, but it holds something else"),
        (
            {"fc.weight": torch.zeros(3, 512)},
            ".pth",
            r"must hold exactly the tensors of ResNet18, but \d+ differ \(bn1",
        ),
        ({"conv1.weight": torch.zeros(3)}, ".pth", r"must hold fc\.weight of resnet18, but it does not"),
        ("shape", ".safetensors", r"must hold exactly the tensors of ResNet18, but 1 differ \(bn1\.weight\)"),
        ("nan", ".safetensors", r"^the weights of resnet18 must be finite, but conv1\.weight holds inf or NaN"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused(
    content: object, suffix: str, expected: str, images: Path, tmp_path: Path
) -> None:
    path = tmp_path / f"net{suffix}"
    if content == "shape":
        save_file(_state(**{"bn1.weight": torch.zeros(5)}), path)
    elif content == "nan":
        save_file(_state(**{"conv1.weight": torch.full((64, 3, 7, 7), float("inf"))}), path)
    elif isinstance(content, bytes):
        path.write_bytes(content)
    elif isinstance(content, Evil):
        path.write_bytes(pickle.dumps(content))
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(BitfrontError, match=expected) as caught:
        build("resnet18", path, size=32)
    assert "\n" not in str(caught.value)


def test_a_transformer_takes_images_of_its_own_size_only(tmp_path: Path) -> None:
    made = VisionTransformer(size=64, patch=32, channels=3, width=768, heads=12, layers=0, hidden=3072, classes=3)
    save_file(made.state_dict(), path := tmp_path / "vit.safetensors")
    with pytest.raises(BitfrontError, match=r"must hold exactly the tensors of VisionTransformer, but \d+ differ"):
        build("vit_b_32", path, size=96)


def test_folders_and_images_that_do_not_work_are_refused(
    tmp_path: Path,
) -> None:
    def refused(folder: Path) -> str:
        with pytest.raises(BitfrontError) as caught:
            _use(network("image_files:small", folder))
        assert "\n" not in str(caught.value)
        return str(caught.value).replace(str(folder), "FOLDER")

    assert refused(tmp_path / "gone") == (
        "images must be a folder with one folder per class, but FOLDER: No such file or directory."
    )
    (tmp_path / "empty").mkdir()
    assert "FOLDER must hold one folder per class with images (.bmp, " in refused(tmp_path / "empty")
    (tmp_path / "empty" / "ant").mkdir()
    assert "but it holds 1 folders without an image." in refused(tmp_path / "empty")
    one = write_images(tmp_path / "one", 1)
    assert refused(one) == (
        "FOLDER must hold two images or more, one to calibrate on and one to test, but it holds one."
    )
    torn = write_images(tmp_path / "torn")
    victim = torn / "bee" / "1.jpeg"
    victim.write_bytes(victim.read_bytes()[:300])
    assert refused(torn).startswith("an image must be readable, but FOLDER/bee/1.jpeg is not (")
    victim.write_text("not an image")
    assert "FOLDER/bee/1.jpeg is not (cannot identify image file" in refused(torn)


def test_an_image_of_monstrous_size_is_refused(tmp_path: Path) -> None:
    header = b"P6\n60000 60000\n255\n"
    (tmp_path / "x.ppm").write_bytes(header)
    with pytest.raises(BitfrontError, match=r"^an image must be readable, but .*x\.ppm is not \(Image size"):
        read_pixels(tmp_path / "x.ppm", SMALL)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"crop": 300}, "`crop` must be within 1 to resize=256 pixels, but got crop=300; images are not padded."),
        ({"std": (0.1, 0.0, 0.1)}, "`mean` and `std` must be three numbers each, those of std above 0, but got"),
        ({"mean": (0.5,)}, "`mean` and `std` must be three numbers each"),
    ],
)
def test_preprocessing_that_cannot_be_is_refused(changes: dict[str, object], expected: str) -> None:
    with pytest.raises(BitfrontError) as caught:
        Preprocessing(**changes)
    assert str(caught.value).startswith(expected)


def test_the_function_is_found_in_the_current_folder_and_draws_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_network_here.py").write_text("import torch.nn as nn\n\ndef make():\n    return nn.Linear(3, 4)\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry not in ("", str(tmp_path))])
    before = torch.random.get_rng_state()
    one, two = call("my_network_here:make"), call("my_network_here:make")
    assert torch.equal(one.weight, two.weight)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert str(tmp_path) not in sys.path
    sys.modules.pop("my_network_here")
