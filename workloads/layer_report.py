"""What quantization does to each layer of a network: QSNR and crest factor of weights and inputs, and the width of sums."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx

from hwmodels.datapath import Granularity, Scaling
from workloads.assign import weight_matrix
from workloads.calibration import batch_size
from workloads.fake_quant import channel_axis
from workloads.network import site_target
from workloads.plan import Plan
from workloads.qsnr import crest_factors, ratio_db
from workloads.quantized import QuantizedModel


@dataclass(frozen=True)
class LayerReport:
    """One layer with weights. QSNR is that of arXiv 2510.25602 (:mod:`workloads.qsnr`), in dB.

    Args:
        name: of the layer.
        weight: format and scaling of its weights.
        activation: format and scaling of its input.
        weight_qsnr_db: of the weights, float against quantized.
        activation_qsnr_db: of the input's values in the float network, rounded as the quantizer of its site rounds them.
        weight_crest: median crest factor of the blocks that share a scale.
        activation_crest: the same of the input.
        accumulator_bits: P that is proved to hold every partial sum.
    """

    name: str
    weight: str
    activation: str
    weight_qsnr_db: float
    activation_qsnr_db: float
    weight_crest: float
    activation_crest: float
    accumulator_bits: int


@dataclass
class _Seen:
    """Sums of squares, range and number of a site's values so far, and the crest factors of blocks that share a scale."""

    signal: float = 0.0
    error: float = 0.0
    peak: float = 0.0
    count: int = 0
    crests: list[NDArray[np.float64]] = field(default_factory=list)


def report_layers(plan: Plan, quantized: QuantizedModel, images: Tensor) -> tuple[LayerReport, ...]:
    """The report of every layer in dataflow order.

    Args:
        plan: of the network that was quantized.
        quantized: what became of it.
        images: inputs, (samples, ...); activations are those of the float network on them.
    """
    seen = _watch(plan, quantized, images)
    reports = []
    for layer, result in zip(plan.layers, quantized.layers, strict=True):
        site = seen[layer.site]
        reports.append(
            LayerReport(
                name=result.name,
                weight=result.weight.name,
                activation=result.activation.name,
                weight_qsnr_db=result.qsnr_db,
                activation_qsnr_db=ratio_db(site.signal, site.error),
                weight_crest=float(
                    np.median(crest_factors(_blocks(weight_matrix(plan, layer), result.weight.scaling)))
                ),
                activation_crest=_crest(site),
                accumulator_bits=result.bits,
            )
        )
    return tuple(reports)


def _blocks(matrix: NDArray[np.float32], scaling: Scaling) -> NDArray[np.float32]:
    """A weight matrix as (blocks, values of one scale)."""
    match scaling.granularity:
        case Granularity.TENSOR:
            return matrix.reshape(1, -1)
        case Granularity.GROUP:
            return matrix.reshape(-1, scaling.group_size or matrix.shape[1])
        case _:
            return matrix


def _crest(site: _Seen) -> float:
    if site.crests:
        return float(np.median(np.concatenate(site.crests)))
    return site.peak / (site.signal / site.count) ** 0.5 if site.signal else 1.0


def _watch(plan: Plan, quantized: QuantizedModel, images: Tensor) -> Mapping[str, _Seen]:
    """Every site's values in the float network and what its quantizer makes of them."""
    wanted: dict[str, list[str]] = {}
    scalings = {
        layer.site: result.activation.scaling for layer, result in zip(plan.layers, quantized.layers, strict=True)
    }
    for name in scalings:
        for producer, _ in plan.site(name).edges:
            wanted.setdefault(producer, []).append(name)
    found: dict[str, _Seen] = {}

    class Watch(fx.Interpreter):
        def run_node(self, n: fx.Node) -> object:
            out = super().run_node(n)
            for name in wanted.get(n.name, ()):
                assert isinstance(out, Tensor)
                rounded = quantized.network.get_submodule(site_target(name))(out)
                values = out.double()
                seen = found.setdefault(name, _Seen())
                seen.signal += float(values.square().sum())
                seen.error += float((values - rounded.double()).square().sum())
                seen.peak, seen.count = max(seen.peak, float(out.abs().max())), seen.count + out.numel()
                if (size := _block_size(out, scalings[name])) is not None:
                    together = out.movedim(channel_axis(out), -1) if out.ndim > 2 else out
                    seen.crests.append(crest_factors(together.reshape(-1, size).numpy()))
            return out

    with torch.no_grad():
        for batch in torch.split(images, batch_size(images)):
            Watch(plan.graph).run(batch)
    return found


def _block_size(values: Tensor, scaling: Scaling) -> int | None:
    """Values along the channels that share an activation's scale; None: one scale for the whole tensor."""
    match scaling.granularity:
        case Granularity.GROUP:
            return scaling.group_size
        case Granularity.TOKEN:
            return values.shape[channel_axis(values)]
        case _:
            return None
