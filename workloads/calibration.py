"""Static activation scales: what the float network shows on the calibration images, and the scale that loses least.

The scale of a site is the one with the least mean squared error on a seeded sample of its values, among a grid that
begins at the smallest scale that clips nothing and goes down: factors 0.95^k for float scales, powers of two for
power-of-two scales. (Clipping the maximum pays at few bits: against the widest scale, digits-resnet gains about 9 points of
top-1 with E2M1 activations, 4 with INT4 and 39 with INT3.)
Values are observed in the float network, so scales depend on the formats of their own site only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, fx

from hwmodels.datapath import ScaleKind, TensorQuant
from hwmodels.errors import BitfrontError
from workloads.plan import INPUT_SITE, Plan
from workloads.quantizers import round_in_place
from workloads.scales import SMALLEST_SCALE, no_clip_scale, round_up_to_power_of_two

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


def observe(plan: Plan, images: Tensor) -> Mapping[str, Observed]:
    """The float network's values at every site of `plan` on images of shape (images, channels, height, width).

    Raises:
        CalibrationError: no images, values that are not finite, or negative values where the plan says there are none.
    """
    if len(images) == 0:
        raise CalibrationError("calibration must have at least one image, but got none.")
    watched: dict[str, list[str]] = {}
    for site in plan.sites:
        for producer, _ in site.edges:
            watched.setdefault(producer, []).append(site.name)
    recorder = _Recorder(plan.graph, watched, per_batch=-(-SAMPLE * BATCH // len(images)))
    with torch.no_grad():
        for batch in torch.split(images, BATCH):
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
        if plan.site(name).nonnegative and values.low < 0:
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


def activation_scale(observed: Observed, quant: TensorQuant) -> Tensor:
    """The static scale of a site, a float32 scalar (see the module's rule); 1 where all values are zero."""
    widest = no_clip_scale(quant.format, np.array(observed.low), np.array(observed.high))
    if widest == 0:
        return torch.tensor(1.0)
    if quant.scaling.kind is ScaleKind.POWER_OF_TWO:
        candidates = round_up_to_power_of_two(widest) * POWER_OF_TWO_FACTORS
    else:
        candidates = widest * FLOAT_FACTORS
    scales = torch.from_numpy(np.maximum(candidates, SMALLEST_SCALE).astype(np.float32))
    sample = observed.sample
    errors = [
        round_in_place(sample / scale, quant.format).mul_(scale).sub_(sample).square_().mean(dtype=torch.float64)
        for scale in scales
    ]
    return scales[int(torch.stack(errors).argmin())].clone()
