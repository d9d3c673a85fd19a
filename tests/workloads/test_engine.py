"""The engine: nothing that it keeps changes a result, and it never keeps more than it may."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from small_networks import images, spec, tiny_resnet
from torch import nn

from hwmodels.errors import BitfrontError
from workloads import quantize
from workloads.cache import Cache, size_of
from workloads.fake_quant import FakeQuant
from workloads.numerics import NumericsSpec
from workloads.plan import make_plan
from workloads.quantize import Engine, QuantizedModel

MODEL = tiny_resnet()
PLAN = make_plan(MODEL, images(1))
POINTS: tuple[NumericsSpec, ...] = (
    spec("int4", "int4"),
    spec("int4", "e2m1"),
    spec("e2m1", "int4", scaling="group8_po2"),
    spec("int4", "int4", "bias_correction"),
    spec("int3", "int4", "gptq"),
    spec("int3", "int4", "gptq_float"),
    spec("int3", "e3m2", "gptq_float+bias_correction"),
    spec("e2m1", "int4", "gptq_float", scaling="group8"),
    spec("int4", "int4", "axe", bits=13),
    spec("int3", "e2m1", "qronos+bias_correction"),
    spec("int4", "int4"),
)


@cache
def _alone(point: NumericsSpec) -> QuantizedModel:
    return Engine(MODEL, PLAN, images(), Cache(0)).quantize(point)


def _same(a: QuantizedModel, b: QuantizedModel) -> bool:
    x = images(20, seed=3)
    with torch.inference_mode():
        logits = torch.equal(a.network(x), b.network(x))
    layers = zip(a.layers, b.layers, strict=True)
    return (
        logits
        and a.site_scales == b.site_scales
        and a.numerics == b.numerics
        and all(np.array_equal(i.codes, j.codes) and i.range == j.range and i.qsnr_db == j.qsnr_db for i, j in layers)
    )


@pytest.mark.parametrize("limit", [0, 60_000, 1 << 24])
def test_results_do_not_depend_on_what_is_kept(limit: int) -> None:
    engine = Engine(MODEL, PLAN, images(), Cache(limit))
    for point in POINTS:
        assert _same(engine.quantize(point), _alone(point))
        assert engine.cache.bytes <= limit


def test_what_points_share_is_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    for name in ("observe", "weight_scales", "layer_hessian", "choose_codes", "float_means"):
        monkeypatch.setattr(quantize, name, _counted(getattr(quantize, name), name, calls))
    engine = Engine(MODEL, PLAN, images())
    for _ in range(2):
        for point in POINTS:
            engine.quantize(point)
    layers = len(PLAN.layers)
    assert calls.count("observe") == calls.count("float_means") == 1
    # two layers are the edge, alike in all points but one, whose scales are powers of two
    assert calls.count("weight_scales") == (layers - 2) * 4 + 2 * 2
    assert calls.count("layer_hessian") == layers
    assert calls.count("choose_codes") == (layers - 2) * 2 + 2


def test_points_share_no_memory_that_a_step_writes_to() -> None:
    engine = Engine(MODEL, PLAN, images())
    first = engine.quantize(spec("int4", "int4"))
    with torch.inference_mode():
        before = first.network(images(8, seed=2)).clone()
    for point in POINTS:
        engine.quantize(point)
    with torch.inference_mode():
        assert torch.equal(first.network(images(8, seed=2)), before)


def test_evaluation_runs_on_plain_modules() -> None:
    quantized = Engine(MODEL, PLAN, images()).quantize(spec("int4", "e2m1"))
    kinds = {type(part) for part in quantized.network.modules() if not list(part.children())}
    assert kinds == {nn.Conv2d, nn.Linear, nn.AdaptiveAvgPool2d, nn.Flatten, FakeQuant}  # and no ReLU: quantizers clamp


def test_only_exports_need_brevitas() -> None:
    """Importing it takes seconds, and what evaluation runs on must not depend on it."""
    folder = Path(quantize.__file__).parent
    importers = {
        path.name
        for path in folder.rglob("*.py")
        if any(line.lstrip().startswith(("import brevitas", "from brevitas")) for line in path.read_text().splitlines())
    }
    assert importers == {"quantizers.py"}
    users = {p.name for p in folder.rglob("*.py") if "from workloads.quantizers import" in p.read_text()}
    assert users == {"brevitas_graph.py"}
    at_the_top = [p.name for p in folder.rglob("*.py") if "\nfrom workloads.brevitas_graph" in p.read_text()]
    assert at_the_top == []


def test_a_cache_forgets_the_least_recently_used() -> None:
    cache, made = Cache(800), []

    def get(key: str) -> torch.Tensor:
        return cache.get(key, lambda: made.append(key) or torch.zeros(100))  # type: ignore[func-returns-value]

    for key in ("a", "b", "a", "c", "a", "b"):  # 400 bytes each
        assert get(key).shape == (100,)
    assert made == ["a", "b", "c", "b"]
    assert cache.bytes == 800
    assert len(cache) == 2
    cache.get("large", lambda: torch.zeros(1000))
    assert cache.peek("large") is None
    assert len(cache) == 2


def test_sizes_and_limits() -> None:
    assert size_of(torch.zeros(3, 5)) == 60
    assert size_of((np.zeros(4, np.int64), {"a": np.zeros(2, np.float32)})) == 32 + 64 + 8
    assert size_of(np.array([1 << 80, 1], dtype=object)) > 128
    with pytest.raises(BitfrontError, match="limit must be 0 bytes or more, but got -1"):
        Cache(-1)


def _counted(function, name, calls):  # type: ignore[no-untyped-def]
    def call(*args, **kwargs):  # type: ignore[no-untyped-def]
        calls.append(name)
        return function(*args, **kwargs)

    return call
