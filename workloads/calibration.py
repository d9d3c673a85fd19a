"""Static activation scales: what the float network shows on the calibration images, and the scale that fits it.

By default, the scale of a site is the one with the least mean squared error on a seeded sample of its values, among a grid
that begins at the smallest scale that clips nothing and goes down: factors 0.95^k for float scales, powers of two for
power-of-two scales. (Clipping the maximum pays at few bits: against the widest scale, digits-resnet gains about 9 points of
top-1 with E2M1 activations, 4 with INT4 and 39 with INT3.) Other rules take the widest scale, or leave the largest magnitudes
of the sample out. A zero point puts the range of the values, not that of their magnitudes, on the codes; the range always
holds the number zero, which a code must stand for (padding is zero).
Values are observed in the float network, so scales depend on the formats of their own site only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, fx

from hwmodels.datapath import ScaleKind, TensorQuant
from hwmodels.errors import BitfrontError
from hwmodels.formats import IntFormat
from workloads.fake_quant import FakeQuant
from workloads.metrics import TOKENS
from workloads.plan import INPUT_SITE, Plan, Site
from workloads.scale_rule import MSE, Fit, ScaleRule
from workloads.scales import SMALLEST_SCALE, no_clip_scale, round_up_to_power_of_two, tensor_scale

SAMPLE = 1 << 16
"""Values per site that errors are measured on (assumed; from 2^14 to 2^18, top-1 of digits-resnet moves by +-0.5 %)."""

BATCH = 100
"""Images per forward pass: small tensors stay in the second-level cache (rounding them is 3-5 times faster than by 500s)."""

FLOAT_FACTORS = 0.95 ** np.arange(48)  # down to 0.09 of the scale that clips nothing
POWER_OF_TWO_FACTORS = 0.5 ** np.arange(6)


class CalibrationError(BitfrontError):
    """Calibration images that contradict the plan or hold nothing."""


@dataclass(frozen=True, eq=False)
class Observed:
    """The range of a site's values over all images, and a sample of them."""

    low: float
    high: float
    sample: Tensor


def batch_size(inputs: Tensor) -> int:
    """Samples per forward pass: :data:`BATCH` images, or as many windows of text as make :data:`TOKENS` tokens.

    Text is int64 tokens (windows, tokens) and what follows from them, (windows, tokens, channels).
    """
    is_text = inputs.ndim == 3 or not inputs.is_floating_point()
    return max(1, TOKENS // inputs.shape[1]) if is_text else BATCH


def observe(plan: Plan, images: Tensor, sites: Sequence[Site] | None = None) -> Mapping[str, Observed]:
    """The float network's values at every site of `plan` on images of shape (images, channels, height, width).

    Args:
        plan: of the network.
        images: calibration inputs.
        sites: other ones of the plan; None: those that are always quantized. What is sampled depends on all of them.

    Raises:
        CalibrationError: no images, values that are not finite, or negative values where the plan says there are none.
    """
    if len(images) == 0:
        raise CalibrationError("calibration must have at least one image, but got none.")
    watched: dict[str, list[str]] = {}
    sites = plan.sites if sites is None else sites
    for site in sites:
        for producer, _ in site.edges:
            watched.setdefault(producer, []).append(site.name)
    size = batch_size(images)
    recorder = _Recorder(plan.graph, watched, per_batch=-(-SAMPLE * size // len(images)))
    with torch.no_grad():
        for batch in torch.split(images, size):
            recorder.run(batch)
    found = {
        name: Observed(min(lows), max(highs), torch.cat(samples))
        for name, (lows, highs, samples) in recorder.seen.items()
    }
    for name, values in found.items():
        if not np.isfinite([values.low, values.high]).all():
            raise CalibrationError(
                f"values at site {name!r} must be finite, but they reach from {values.low} to {values.high}."
            )
        if values.low < 0 and any(site.name == name and site.nonnegative for site in sites):
            assert name == INPUT_SITE  # everything else is non-negative by construction
            raise CalibrationError(
                f"input images must not be negative, because the plan's example input was not, but they reach {values.low:g}; "
                "plan with a real image as example."
            )
    return found


class _Recorder(fx.Interpreter):
    """Runs the float graph and keeps range and sample of the tensors that are watched."""

    def __init__(self, graph: fx.GraphModule, watched: Mapping[str, list[str]], *, per_batch: int) -> None:
        super().__init__(graph)
        self.watched, self.per_batch = watched, per_batch
        self.seen: dict[str, tuple[list[float], list[float], list[Tensor]]] = {}
        self.generator = torch.Generator().manual_seed(0)

    def run_node(self, n: fx.Node) -> object:
        out = super().run_node(n)
        for site in self.watched.get(n.name, ()):
            assert isinstance(out, Tensor)
            flat = out.flatten()
            low, high = torch.aminmax(flat)
            picked = flat
            if flat.numel() > self.per_batch:
                picked = flat[torch.randint(flat.numel(), (self.per_batch,), generator=self.generator)]
            lows, highs, samples = self.seen.setdefault(site, ([], [], []))
            lows.append(float(low))
            highs.append(float(high))
            samples.append(picked.clone())
        return out


@dataclass(frozen=True, eq=False)
class SiteScale:
    """What a site's quantizer is given: a float32 scalar, and the code of the number zero."""

    scale: Tensor
    zero_point: int = 0


def activation_scale(observed: Observed, quant: TensorQuant, rule: ScaleRule = MSE) -> SiteScale:
    """The static scale of a site (see the module's rules); 1 where all values are zero.

    Of dynamic E4M3 scales, the constant one of the whole tensor beside them.
    """
    low, high = observed.low, observed.high
    if quant.scaling.kind is ScaleKind.E4M3:
        return SiteScale(torch.tensor(tensor_scale(quant.format, np.array(low), np.array(high))))
    if rule.percent is not None:
        low, high = _inner_range(observed, quant, rule.percent / 100)
    if quant.scaling.zero_point:
        return _with_zero_point(observed.sample, quant, rule, low, high)
    widest = no_clip_scale(quant.format, np.array(low), np.array(high))
    if widest == 0:
        return SiteScale(torch.tensor(1.0))
    if quant.scaling.kind is ScaleKind.POWER_OF_TWO:
        widest, factors = round_up_to_power_of_two(widest), POWER_OF_TWO_FACTORS
    else:
        factors = FLOAT_FACTORS
    scales = torch.from_numpy(np.maximum(widest * factors, SMALLEST_SCALE).astype(np.float32))
    if rule.fit is not Fit.MSE:
        return SiteScale(scales[0].clone())
    errors = [_error(observed.sample, FakeQuant(quant.format, scale)) for scale in scales]
    return SiteScale(scales[int(torch.stack(errors).argmin())].clone())


def _inner_range(observed: Observed, quant: TensorQuant, share: float) -> tuple[float, float]:
    """The range that holds `share` of the sample: of its magnitudes, or, with a zero point, of each of its two sides."""
    sample = observed.sample.double().numpy()
    if quant.scaling.zero_point:
        return float(np.quantile(sample, 1 - share)), float(np.quantile(sample, share))
    bound = float(np.quantile(np.abs(sample), share)) or np.inf  # all but a few are zero: then none is clipped
    return max(observed.low, -bound), min(observed.high, bound)


def _with_zero_point(sample: Tensor, quant: TensorQuant, rule: ScaleRule, low: float, high: float) -> SiteScale:
    """Scale and zero point of an integer format for values in [low, high], or in what loses least of it."""
    fmt = quant.format
    assert isinstance(fmt, IntFormat)  # NumericsSpec refuses others
    low, high = min(low, 0.0), max(high, 0.0)
    if low == high:
        return SiteScale(torch.tensor(1.0))
    candidates = []
    for factor in FLOAT_FACTORS if rule.fit is Fit.MSE else FLOAT_FACTORS[:1]:
        scale = np.array((high - low) * factor / (fmt.max_code - fmt.min_code))
        if quant.scaling.kind is ScaleKind.POWER_OF_TWO:
            scale = round_up_to_power_of_two(scale)
        scale = np.maximum(scale, SMALLEST_SCALE).astype(np.float32)
        zero_point = round(fmt.min_code - low * factor / float(scale))
        candidates.append(SiteScale(torch.tensor(float(scale)), min(max(zero_point, fmt.min_code), fmt.max_code)))
    errors = [_error(sample, FakeQuant(fmt, c.scale, zero_point=c.zero_point)) for c in candidates]
    return candidates[int(torch.stack(errors).argmin())]


def _error(sample: Tensor, quantizer: FakeQuant) -> Tensor:
    error: Tensor = quantizer(sample).sub_(sample)
    return error.square_().mean(dtype=torch.float64)
