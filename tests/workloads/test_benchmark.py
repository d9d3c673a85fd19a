"""The benchmark's claim, in this process: with round-to-nearest, Brevitas alone gives the same logits, bit for bit."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from workloads.plan import make_plan
from workloads.quantize import Engine
from workloads.registry import get_workload

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import plain_brevitas
import quantization
from quantization import Result, Trial, Way

WORKLOAD = get_workload("digits-resnet")
MODEL = WORKLOAD.load_model()
PLAN = make_plan(MODEL, WORKLOAD.example_input)
CALIBRATION = WORKLOAD.calibration()[:150]


@pytest.mark.parametrize("trial", [Trial("int4_narrow", "int4_narrow", "rtn"), Trial("e2m1", "e3m2", "rtn")])
def test_brevitas_alone_computes_the_same(trial: Trial) -> None:
    spec, inputs = quantization.specification(trial), WORKLOAD.test()[0][:100]
    ours = Engine(MODEL, PLAN, CALIBRATION).quantize(spec).network
    theirs = plain_brevitas.quantize(PLAN, spec, CALIBRATION)
    with torch.inference_mode():
        assert torch.equal(ours(inputs), theirs(inputs))


def test_gptq_of_brevitas_alone_differs_in_ties_at_most() -> None:
    trial = Trial("int3_narrow", "int8_narrow", "gptq")
    ours = Engine(MODEL, PLAN, CALIBRATION).quantize(quantization.specification(trial)).network
    theirs = plain_brevitas.quantize(PLAN, quantization.specification(trial), CALIBRATION)
    for layer in PLAN.layers:
        with torch.inference_mode():
            same = ours.get_submodule(layer.module).weight == theirs.get_submodule(layer.module).quant_weight().value
        assert same.float().mean() > 0.99, layer.name


def test_the_report_compares_equal_trials(tmp_path: Path) -> None:
    options = quantization._options(["--weights", "int4,int8", "--activations", "int8", "--recipes", "rtn"])
    slow, fast = quantization._trials(options)
    assert quantization._some([slow, fast], 1) == [slow]
    engine = Way("engine", tuple(Result(t, {"top1": 0.9}, 0.5, 1.0) for t in (slow, fast)), 1.0, 100.0)
    brevitas = Way(
        "brevitas", (Result(slow, {"top1": 0.9}, 2.0, 1.0), Result(fast, {"top1": 0.875}, 4.0, 1.0)), 1.0, 200.0
    )
    fresh = Way("fresh", (Result(slow, {"top1": 0.9}, 10.0, 1.0),), 0.0, 50.0)
    report = quantization._report([fresh, brevitas, engine], options)
    (row,) = report["recipes"]
    assert (row["fresh_ratio"], row["brevitas_ratio"], row["engine_per_minute"]) == (20.0, 6.0, 120.0)
    assert row["brevitas_differences"] == {"top1": pytest.approx(0.025)}
    assert "| rtn | 2 | 6.0 | 20.0 | 120.0 | 20.0 x | 6.0 x | top1 0.025 |" in quantization._markdown(report)
