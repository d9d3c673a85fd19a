"""The inverted-residual network and the vision transformer of the digits: as good as they say, and quantized and costed."""

from functools import cache
from pathlib import Path

import pytest
import torch
from torch import nn

from dse.evaluate import Evaluator
from dse.point import DesignPoint, Hardware
from hwmodels.catalog import parse_element
from hwmodels.datapath import TensorQuant, parse_scaling
from workloads.checkpoint import read_metadata
from workloads.metrics import evaluate_top1
from workloads.numerics import NumericsSpec
from workloads.recipes import parse_recipe
from workloads.registry import get_workload
from workloads.vision.digits import DigitsWorkload
from workloads.vision.digits_data import SPLITS, data_hash, make_split
from workloads.vision.train import TRAININGS, main

PARAMETERS_AND_MACS = {"digits-mobilenet": (74_570, 2_272_512), "digits-vit": (118_970, 1_970_816)}
LEAST_TOP1 = {"digits-mobilenet": 0.94, "digits-vit": 0.90}
NAMES = tuple(PARAMETERS_AND_MACS)


def workload_of(name: str) -> DigitsWorkload:
    found = get_workload(name)
    assert isinstance(found, DigitsWorkload)
    return found


@cache
def evaluator_of(name: str) -> Evaluator:
    return Evaluator(name, test_images=500, calibration_images=128).load()


def spec(weight: str, activation: str, scaling: str = "channel", recipe: str = "rtn") -> NumericsSpec:
    return NumericsSpec(
        TensorQuant(parse_element(weight), parse_scaling(scaling)),
        TensorQuant(parse_element(activation), parse_scaling("tensor")),
        parse_recipe(recipe),
    )


@pytest.mark.parametrize("name", NAMES)
def test_the_committed_checkpoint_reproduces_its_stated_accuracy(name: str) -> None:
    workload = workload_of(name)
    images, labels = workload.test()
    metrics = evaluate_top1(workload.load_model(), images, labels)
    stated = read_metadata(workload.checkpoint, remedy="")
    assert metrics.samples == int(stated["samples"]) == SPLITS["test"].images
    assert abs(metrics.correct - int(stated["correct"])) <= 1  # another processor may round an image to the other side
    assert metrics.loss == pytest.approx(float(stated["loss"]), rel=1e-4)
    assert workload.float_accuracy == int(stated["correct"]) / int(stated["samples"]) >= LEAST_TOP1[name]
    assert stated["workload"] == name
    assert int(stated["epochs"]) == TRAININGS[name].epochs
    assert int(stated["train_images"]) == SPLITS["train"].images
    assert stated["test_data"] == data_hash(make_split("test"))
    assert workload.checkpoint.stat().st_size < 500_000


@pytest.mark.parametrize("name", NAMES)
def test_parameters_and_macs_are_those_of_the_docstring(name: str) -> None:
    parameters, macs = PARAMETERS_AND_MACS[name]
    model = workload_of(name).network().eval()
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters
    layers = evaluator_of(name).plan.layers
    assert sum(layer.rows * layer.cols * layer.vectors for layer in layers) == macs
    documented = f"{parameters:,} parameters, {macs:,} MACs"
    assert documented in " ".join(str((type(model).__doc__ or "") + (workload_of(name).network.__doc__ or "")).split())


def test_the_inverted_residuals_have_the_parts_that_they_are_there_for() -> None:
    plan = evaluator_of("digits-mobilenet").plan
    assert sum(layer.depthwise for layer in plan.layers) == 5
    assert any(not site.nonnegative for site in plan.sites if not site.residual)  # linear bottlenecks
    assert sum(site.residual for site in plan.sites) == 3


def test_the_transformer_has_the_parts_that_it_is_there_for() -> None:
    plan = evaluator_of("digits-vit").plan
    assert {type(plan.graph.get_submodule(layer.module)) for layer in plan.layers} == {nn.Conv2d, nn.Linear}
    assert len(plan.layers) == 3 + 3 * 6
    assert plan.floating


@pytest.mark.parametrize("name", NAMES)
def test_eight_bits_cost_nothing_and_three_cost_accuracy(name: str) -> None:
    evaluator = evaluator_of(name)
    reference = evaluator.float_accuracy().top1
    eight, three = (evaluator.accuracy(spec(f, f)) for f in ("int8", "int3"))
    assert eight.top1 == pytest.approx(reference, abs=0.02)
    assert three.top1 < reference - 0.02


def test_one_scale_per_tensor_ruins_the_inverted_residuals_at_four_bits_and_equalization_saves_them() -> None:
    """As arXiv 1906.04721 found on MobileNetV2."""
    evaluator = evaluator_of("digits-mobilenet")
    tensor, channel = (evaluator.accuracy(spec("int4", "int8", scaling)).top1 for scaling in ("tensor", "channel"))
    assert channel > tensor + 0.4
    equalized = evaluator.accuracy(spec("int4", "int8", "tensor", "equalize+bias_correction")).top1
    assert equalized == pytest.approx(evaluator.float_accuracy().top1, abs=0.02)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("weight", "activation"), [("int4", "int4"), ("e2m1", "ue2m2")])
def test_both_are_costed_from_input_to_head(name: str, weight: str, activation: str) -> None:
    evaluator = evaluator_of(name)
    point = DesignPoint(spec(weight, activation), Hardware("XCZU7EV", 500.0, 200.0))
    quantized = evaluator.accuracy(point.numerics)
    report = evaluator.cost(point, quantized.widths)
    layers = {line.layer for line in report.lines}
    assert {layer.name for layer in evaluator.plan.layers} <= layers
    assert report.fps(200.0) >= 500.0
    assert 3_000 < report.total.lut < 100_000
    if name == "digits-vit":
        assert {"tokens.positions", "tokens", "encoder.ln"} <= layers


@pytest.mark.parametrize("name", NAMES)
def test_a_short_training_writes_a_checkpoint_that_loads(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / f"{name}.safetensors"
    assert main([name, "--epochs", "1", "--images", "200", "--output", str(path)]) == 0
    assert f": {path}" in capsys.readouterr().out
    stated = read_metadata(path, remedy="")
    assert (stated["workload"], stated["epochs"]) == (name, "1")
    trained = DigitsWorkload(name, workload_of(name).network, path).load_model()
    assert torch.isfinite(trained(workload_of(name).calibration()[:2])).all()
