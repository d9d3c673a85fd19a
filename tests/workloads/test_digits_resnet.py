"""The committed network is as good as it says, and loads whole or not at all."""

import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import fx, nn

from workloads.checkpoint import CheckpointError, read_metadata
from workloads.metrics import evaluate_top1
from workloads.registry import WORKLOADS, get_workload
from workloads.vision.digits import DigitsWorkload
from workloads.vision.digits_data import SPLITS, data_hash, make_split
from workloads.vision.digits_resnet import CHECKPOINT, WORKLOAD, DigitsResNet
from workloads.vision.resnet import ResidualAdd
from workloads.vision.train import main, steps_of, train

REMEDY = "run `python -m workloads.vision.train digits-resnet` to train it"


def trained(checkpoint: Path) -> DigitsWorkload:
    """The workload with another checkpoint."""
    assert isinstance(WORKLOAD, DigitsWorkload)
    return replace(WORKLOAD, checkpoint=checkpoint)


def test_the_committed_checkpoint_reproduces_its_stated_accuracy() -> None:
    workload = get_workload("digits-resnet")
    images, labels = workload.test()
    metrics = evaluate_top1(workload.load_model(), images, labels)
    stated = read_metadata(CHECKPOINT, remedy=REMEDY)
    assert metrics.samples == int(stated["samples"]) == SPLITS["test"].images
    # Another processor's kernels may round one image's logits to the other side.
    assert abs(metrics.correct - int(stated["correct"])) <= 1
    assert metrics.loss == pytest.approx(float(stated["loss"]), rel=1e-4)
    assert workload.float_accuracy == int(stated["correct"]) / int(stated["samples"])


def test_the_network_is_good_enough_to_be_worth_quantizing() -> None:
    assert get_workload("digits-resnet").float_accuracy >= 0.95


def test_the_checkpoint_names_the_data_it_was_trained_and_judged_on() -> None:
    stated = read_metadata(CHECKPOINT, remedy=REMEDY)
    assert stated["test_data"] == data_hash(make_split("test"))
    assert int(stated["train_images"]) == SPLITS["train"].images
    assert {"torch", "numpy", "scikit-learn", "seed", "epochs", "data_seed", "train_data"} <= stated.keys()


def test_the_checkpoint_is_small() -> None:
    assert CHECKPOINT.stat().st_size < 2_000_000


def test_the_data_id_is_that_of_what_the_workload_hands_out() -> None:
    workload = get_workload("digits-resnet")
    calibration, test = make_split("calibration"), make_split("test")
    assert workload.data_id == data_hash(calibration, test)
    assert torch.equal(workload.calibration(), torch.from_numpy(calibration.images))
    assert torch.equal(workload.test()[0], torch.from_numpy(test.images))
    assert workload.example_input.shape == (1, 1, 32, 32)


def test_parameters_and_macs_are_those_of_the_docstring() -> None:
    model = DigitsResNet().eval()
    assert sum(parameter.numel() for parameter in model.parameters()) == 58_906
    macs = 0

    def count(module: nn.Module, _: object, output: torch.Tensor) -> None:
        nonlocal macs
        if isinstance(module, nn.Conv2d | nn.Linear):
            macs += output.numel() * module.weight[0].numel()

    for module in model.modules():
        module.register_forward_hook(count)
    model(torch.zeros(1, 1, 32, 32))
    assert macs == 2_733_184


def test_dot_lengths_of_the_full_convolutions_divide_into_groups_of_16() -> None:
    for name, module in DigitsResNet().named_modules():
        if isinstance(module, nn.Conv2d) and module.groups == 1 and name != "stem":
            assert module.in_channels % 16 == 0, name


def test_fx_traces_the_network_and_the_trace_computes_the_same() -> None:
    workload = get_workload("digits-resnet")
    model = workload.load_model()
    images = workload.calibration()[:8]
    with torch.inference_mode():
        assert torch.equal(fx.symbolic_trace(model)(images), model(images))


def test_every_relu_and_add_is_a_module_called_once_per_forward_pass() -> None:
    model = DigitsResNet().eval()
    calls: dict[str, int] = {}
    for name, module in model.named_modules():
        if isinstance(module, nn.ReLU | ResidualAdd):
            calls[name] = 0
            module.register_forward_hook(lambda _m, _i, _o, name=name: calls.__setitem__(name, calls[name] + 1))
    model(torch.zeros(1, 1, 32, 32))
    assert set(calls.values()) == {1}
    assert sum(name.endswith(".add") for name in calls) == 4


def test_a_missing_checkpoint_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "none.safetensors"
    with pytest.raises(CheckpointError) as caught:
        trained(path).load_model()
    assert str(caught.value) == (
        f"checkpoint must exist, but {path} is missing; run `python -m workloads.vision.train digits-resnet` to train it"
    )


@pytest.mark.parametrize("size", [0, 5, 100_000])
def test_a_truncated_checkpoint_is_one_sentence(tmp_path: Path, size: int) -> None:
    path = tmp_path / "torn.safetensors"
    path.write_bytes(CHECKPOINT.read_bytes()[:size])
    workload = trained(path)
    with pytest.raises(
        CheckpointError, match=r"^checkpoint must be readable, but .* is not \(.*\); run .* to train it$"
    ):
        workload.load_model()
    with pytest.raises(CheckpointError, match=r"^checkpoint must be readable"):
        _ = workload.float_accuracy


@pytest.mark.parametrize("change", ["missing", "extra", "shape", "dtype"])
def test_another_networks_checkpoint_is_refused_by_tensor_name(tmp_path: Path, change: str) -> None:
    tensors = load_file(CHECKPOINT)
    match change:
        case "missing":
            del tensors["head.weight"]
        case "extra":
            tensors["tail.weight"] = torch.zeros(2)
        case "shape":
            tensors["head.weight"] = torch.zeros(10, 32)
        case "dtype":
            tensors["head.weight"] = tensors["head.weight"].half()
    path = tmp_path / "other.safetensors"
    save_file(tensors, path, metadata={"correct": "1"})
    workload = trained(path)
    name = "tail" if change == "extra" else "head"
    with pytest.raises(
        CheckpointError, match=rf"must hold exactly the tensors of DigitsResNet, .*1 differ \({name}.weight\)"
    ):
        workload.load_model()
    with pytest.raises(CheckpointError, match="must state `correct` and `samples` as whole numbers"):
        _ = workload.float_accuracy


def test_a_checkpoint_without_metadata_has_no_accuracy(tmp_path: Path) -> None:
    path = tmp_path / "bare.safetensors"
    save_file(load_file(CHECKPOINT), path)
    workload = trained(path)
    assert not workload.load_model().training
    with pytest.raises(CheckpointError, match="must carry metadata, but it has none"):
        _ = workload.float_accuracy


def test_training_writes_a_checkpoint_that_loads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "new" / "tiny.safetensors"
    assert main(["--epochs", "1", "--images", "500", "--output", str(path)]) == 0
    workload = trained(path)
    images, labels = workload.test()
    metrics = evaluate_top1(workload.load_model(), images, labels)
    assert metrics.top1 == workload.float_accuracy
    assert [file.name for file in path.parent.iterdir()] == ["tiny.safetensors"]
    printed = capsys.readouterr()
    assert f"test top-1 {metrics.top1:.4f}" in printed.out
    assert "training, loss" not in printed.out
    assert "training, loss" in printed.err


def test_training_learns_its_images_and_repeats() -> None:
    digits = make_split("train", images=250)
    images, labels = torch.from_numpy(digits.images), torch.from_numpy(digits.labels)
    runs: list[list[float]] = [[], []]
    models = [train("digits-resnet", images, labels, epochs=25, seed=3, report=losses.append) for losses in runs]
    assert len(runs[0]) == steps_of(250, 25, 125) == 50
    chance = math.log(10)
    assert sum(runs[0][:5]) / 5 > 0.9 * chance
    assert sum(runs[0][-5:]) / 5 < 0.75 * chance
    assert runs[0] == runs[1]
    assert torch.equal(models[0].head.weight, models[1].head.weight)
    assert not models[0].training


@pytest.mark.parametrize("epochs", ["0", "-1", "two"])
def test_training_refuses_a_number_of_epochs_that_is_none(epochs: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--epochs", epochs])
    assert caught.value.code == 2
    assert "must be a whole number of at least 1" in capsys.readouterr().err


def test_an_unknown_workload_is_refused_with_the_choices() -> None:
    with pytest.raises(ValueError, match=r"^a workload must be one of digits-resnet.*, but got 'resnet'\.$"):
        get_workload("resnet")


@pytest.mark.parametrize("name", WORKLOADS)
def test_every_workload_of_the_table_loads_under_its_name(name: str) -> None:
    assert get_workload(name).name == name


def test_listing_the_workloads_imports_nothing_heavy() -> None:
    code = (
        "import sys, workloads, workloads.base, workloads.registry as registry; assert registry.WORKLOADS; "
        "print([m for m in ('torch', 'sklearn', 'scipy', 'brevitas', 'safetensors') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
