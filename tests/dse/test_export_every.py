"""Every format of the default sweep, and every recipe, as QONNX that computes what the quantized model computes, node by node."""

from itertools import cycle

import pytest

from dse.config import parse_config
from dse.export.qonnx import export_qonnx
from dse.export_point import run_gate
from dse.space import make_space
from dse.template import render
from tests.combinations import TRIED, evaluator_of

DEFAULT = make_space(parse_config(render("digits-resnet", "default")))
AXES = DEFAULT.axes
FORMATS = [
    *zip(AXES["weight"], cycle(AXES["activation"]), cycle(AXES["weight_scaling"]), cycle(AXES["activation_scaling"])),
    *(
        (weight, activation, "channel", "tensor")
        for weight, activation in zip(cycle(("int4_narrow", "e2m1")), AXES["activation"])
    ),
]
"""Every format of weights with changing activations and scalings, and every format of activations."""

RECIPES = [
    (workload, recipe)
    for workload in ("digits-resnet", "digits-mobilenet", "digits-vit", "tiny-llama")
    for recipe in TRIED
    if "rotate" not in recipe or workload == "tiny-llama"  # it is for decoders (docs/combinations.md)
]


def gate(path, workload, recipe, weight, activation, weight_scaling="channel", activation_scaling="tensor"):
    asked = {axis: choices[0] for axis, choices in AXES.items()} | {
        "recipe": recipe,
        "weight": weight,
        "activation": activation,
        "weight_scaling": weight_scaling,
        "activation_scaling": activation_scaling,
        "accumulator": "16" if "axe" in recipe else "auto",
    }
    evaluator = evaluator_of(workload)
    model = evaluator.engine.quantize(DEFAULT.spec(asked))
    export_qonnx(model, evaluator.source.example_input, path, name="design")
    return run_gate(path, evaluator, model, "qonnx", None)


@pytest.mark.parametrize("formats", FORMATS, ids=str)
def test_every_format_of_the_default_sweep_is_exported(tmp_path, formats):
    report = gate(tmp_path / "design.onnx", "digits-resnet", "rtn", *formats)
    assert report.equal, report


@pytest.mark.parametrize(("workload", "recipe"), RECIPES, ids=str)
def test_every_recipe_is_exported(tmp_path, workload, recipe):
    report = gate(tmp_path / "design.onnx", workload, recipe, "int4_narrow", "int8")
    assert report.equal, report
