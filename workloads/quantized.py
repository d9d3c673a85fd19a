"""What quantization leaves: a network that runs, the codes and proved accumulator width of every layer, and its formats."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from torch import fx

from hwmodels.accumulator import Codes, DotRange
from hwmodels.datapath import TensorQuant
from hwmodels.ops import Numerics
from workloads.scales import Scales


@dataclass(frozen=True, eq=False)
class LayerResult:
    """One quantized layer.

    Args:
        name: of the layer.
        codes: weights in units of scale times the format's step, integers, shape (rows, cols), columns in hardware order.
        scale: float32, shape (1, 1), (rows, 1) or (rows, cols / group_size).
        weight: format and scaling of the weights.
        rule: why it has these and not the ones asked for in general ("as given", "edge", "per channel: ...").
        activation: format and scaling of its input.
        tile_size: products after which the accumulator starts anew, or None.
        range: exact range of every partial sum over all inputs, in units of the two steps' product.
        qsnr_db: of the weights, see :func:`workloads.qsnr.qsnr_db`.
    """

    name: str
    codes: Codes
    scale: Scales
    weight: TensorQuant
    rule: str
    activation: TensorQuant
    tile_size: int | None
    range: DotRange
    qsnr_db: float

    @property
    def bits(self) -> int:
        """The accumulator width that is proved to suffice, P."""
        return self.range.bits


@dataclass(frozen=True)
class LayerOverflow:
    """What the accumulators of a layer did on all samples that a network has been run on.

    Attributes:
        sums: of tiles, or of whole dot products where they are not tiled; 0 of a layer that is proved not to overflow.
        overflows: how many of them left the register: were clamped at least once, or are wrong by a wrap in the end.
    """

    sums: int
    overflows: int

    @property
    def rate(self) -> float:
        """The share of sums that overflowed; 0 of no sums."""
        return self.overflows / max(self.sums, 1)


@dataclass(frozen=True, eq=False)
class QuantizedModel:
    """A quantized network.

    Args:
        network: in eval mode, images to logits; plain torch layers whose weights are on their grid, and a fused quantizer at
            every site. What accuracy is measured on.
        layers: one result per layer with weights, in dataflow order.
        numerics: formats of all sites and layers with their accumulators: what the cost model takes.
        site_scales: the constant scale of every activation quantizer that has one; beside E4M3 scales, that of the tensor.
        zero_points: the code of the number zero at sites where it is not 0.
        make_module: builds `module`.
        overflows: of every layer, so far; of none where overflow is impossible.
    """

    network: fx.GraphModule
    layers: tuple[LayerResult, ...]
    numerics: Numerics
    site_scales: Mapping[str, float]
    zero_points: Mapping[str, int]
    make_module: Callable[[], fx.GraphModule] = field(repr=False)
    overflows: Callable[[], Mapping[str, LayerOverflow]] = field(repr=False, default=dict)

    @cached_property
    def module(self) -> fx.GraphModule:
        """The same network in Brevitas' modules, built when first asked for: what tests compare with. No sum overflows in it."""
        return self.make_module()
