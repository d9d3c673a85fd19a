"""The evaluation kernel against the codec and against Brevitas' quantizers: every format, ties, and special inputs."""

from __future__ import annotations

from dataclasses import replace

import brevitas.nn as qnn
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from hwmodels.catalog import integers, minifloats, parse_element
from hwmodels.codec import quantize as codec
from hwmodels.codec import values
from hwmodels.formats import ElementFormat, IntFormat
from workloads.fake_quant import FakeQuant
from workloads.quantizers import activation_quantizer

STANDARDS = ("ocp_e4m3", "ocp_e5m2", "ieee_e4m3", "ieee_e3m4", "fnuz_e4m3", "fnuz_e5m2", "fnuz_e4m3b11", "e6m1", "e7m0")
FORMATS: tuple[ElementFormat, ...] = (
    *integers(),
    *(IntFormat(bits, signed=False, narrow=True) for bits in range(2, 9)),
    *minifloats(),
    *(replace(fmt, signed=False) for fmt in minifloats()),
    *(parse_element(name) for name in STANDARDS),
)
SCALES = (1.0, 0.25, 0.0371)  # on powers of two, ties are exact


def _probes(fmt: ElementFormat, scale: float) -> Tensor:
    """All values, all ties with their neighbours, values far beyond the range, tiny ones, zeros, and random ones."""
    grid = values(fmt)
    ties = (grid[1:] + grid[:-1]) / 2
    beyond = float(fmt.max_value) * np.array([1.0001, 1.1, 1.5, 2.0, 3.3, 1e3, 1e6])
    tiny = 2.0 ** np.arange(-149.0, 0.0, 7.0)
    spread = np.random.default_rng(0).standard_normal(500) * 2.0 ** np.linspace(-12, 8, 500)
    points = np.concatenate([grid, ties, beyond, tiny, spread, [0.0]])
    single = points[np.abs(points) < 1e30].astype(np.float32)
    near = np.concatenate([single, np.nextafter(single, np.float32(np.inf)), np.nextafter(single, np.float32(-np.inf))])
    return torch.from_numpy(np.concatenate([near, -near])) * scale


@pytest.mark.parametrize("fmt", FORMATS, ids=str)
def test_kernel_equals_codec_and_brevitas(fmt: ElementFormat) -> None:
    for number in SCALES:
        scale, x = torch.tensor(number), _probes(fmt, number)
        before = x.clone()
        ours = FakeQuant(fmt, scale)(x)
        assert torch.equal(ours, torch.from_numpy(codec(fmt, (x / scale).numpy()).astype(np.float32)) * scale)
        theirs = qnn.QuantIdentity(act_quant=activation_quantizer(fmt, scale), return_quant_tensor=False).eval()
        assert torch.equal(ours, theirs(x))
        assert torch.equal(x, before)
        assert torch.equal(FakeQuant(fmt, scale, nonnegative=True)(x), FakeQuant(fmt, scale)(x.relu()))


@pytest.mark.parametrize("fmt", FORMATS, ids=str)
def test_special_inputs(fmt: ElementFormat) -> None:
    """Infinities saturate, as the codec has it; of minifloats Brevitas makes NaN there. NaN stays NaN, in Brevitas too."""
    special = torch.tensor([float("inf"), -float("inf"), 3.4e38, -3.4e38, 0.0, -0.0, 1e-45, -1e-45, 1e-38])
    for number in SCALES:
        scale = torch.tensor(number)
        ours = FakeQuant(fmt, scale)(special)
        assert torch.equal(ours, torch.from_numpy(codec(fmt, (special / scale).numpy()).astype(np.float32)) * scale)
        theirs = qnn.QuantIdentity(act_quant=activation_quantizer(fmt, scale), return_quant_tensor=False).eval()(
            special
        )
        finite = (special / scale).isfinite() | torch.tensor(isinstance(fmt, IntFormat))
        assert torch.equal(ours[finite], theirs[finite])
        assert FakeQuant(fmt, scale)(torch.tensor([float("nan")])).isnan().all()


def test_scales_of_any_granularity() -> None:
    x = torch.randn(3, 8, 5, generator=torch.Generator().manual_seed(0))
    for fmt in (IntFormat(4), parse_element("e2m1")):
        for shape in ((1,), (8, 1), (3, 1, 1), (3, 8, 5)):
            scale = torch.rand(shape, generator=torch.Generator().manual_seed(1)) + 0.1
            expected = codec(fmt, (x / scale).numpy()).astype(np.float32) * scale.numpy()
            assert np.array_equal(FakeQuant(fmt, scale)(x).numpy(), expected)


@settings(deadline=None, max_examples=200)
@given(bits=st.integers(0, 2**32 - 1), fmt=st.sampled_from(FORMATS))
def test_any_float32_number(bits: int, fmt: ElementFormat) -> None:
    x = torch.from_numpy(np.array([bits], dtype=np.uint32).view(np.float32).copy())
    if not x.isnan().any():
        assert FakeQuant(fmt, torch.tensor(1.0))(x).item() == codec(fmt, x.numpy()).item()
