"""The cost of bringing sums to the format of a site: a requantizer, and in front of it what computes scales as they arise."""

from __future__ import annotations

from hwmodels.dataflow import Lanes
from hwmodels.datapath import Granularity, ScaleKind, Scaling, TensorQuant
from hwmodels.devices import Device
from hwmodels.formats import ElementFormat, IntFormat
from hwmodels.ops import Pixels, Requantize
from hwmodels.primitives.cost import Cost
from hwmodels.primitives.dsp_packing import DspBlock
from hwmodels.primitives.requantize import Rescale, requantize
from hwmodels.primitives.transformer import dynamic_scale, scale_product, scaled_bits
from hwmodels.report import CostError

_HELD_BITS = 16
"""Width of values whose maximum is looked for (assumed: that of a scale)."""


def requantize_costs(
    op: Requantize | Pixels,
    sum_bits: int,
    output: TensorQuant,
    rescale: Rescale,
    lanes: Lanes,
    device: Device,
    dsp: DspBlock | None,
) -> tuple[Cost, ...]:
    """The components of the requantizer `op` of sums of `sum_bits` bits.

    A dynamic scale is found in values of one scale: sums whose scales differ from channel to channel, or that a bias comes
    to, are rounded to 16 bits first, others (at most 16 of their bits) are taken as they are. Where what is read has such a
    scale, that of a channel is multiplied with it first.

    Raises:
        CostError: constant scales of groups.
    """
    family, capacity, scaling = device.family.value, device.resources, output.scaling
    scales = tuple[Cost, ...]()
    if rescale.dynamic and rescale.per_channel and not rescale.power_of_two:
        scales = (scale_product(lanes.count, dsp=dsp, family=family),)
    if not finds_maximum(scaling):
        fmt = ungrouped(op, output)
        return scales + requantize(
            sum_bits, fmt, op.channels, lanes.count, rescale, passes=lanes.passes, family=family, capacity=capacity
        )
    held, first = min(sum_bits, _HELD_BITS), tuple[Cost, ...]()
    if rescale.varies or rescale.bias:
        first = requantize(
            sum_bits,
            IntFormat(_HELD_BITS),
            op.channels,
            lanes.count,
            rescale,
            passes=lanes.passes,
            family=family,
            capacity=capacity,
        )
        held = _HELD_BITS
    shifts = scaling.kind is ScaleKind.POWER_OF_TWO
    block = scaling.group_size or op.channels
    found = dynamic_scale(held, block, lanes.count, power_of_two=shifts, dsp=dsp, family=family, capacity=capacity)
    # behind the division by the maximum, rounding is the same for all values: by wires
    rounding = Rescale(power_of_two=True, per_channel=False, bias=False, dsp=dsp)
    last = requantize(
        scaled_bits(held, power_of_two=shifts),
        output.format,
        op.channels,
        lanes.count,
        rounding,
        family=family,
        capacity=capacity,
    )
    return (*scales, *first, found, *last)


def finds_maximum(scaling: Scaling) -> bool:
    """Whether the scale is made of the values that it scales. A dynamic one per channel comes with what is stored."""
    return scaling.dynamic and scaling.granularity is not Granularity.CHANNEL


def ungrouped(op: Requantize | Pixels, output: TensorQuant) -> ElementFormat:
    """The format of a site with constant scales.

    Raises:
        CostError: they are those of groups.
    """
    if finds_maximum(output.scaling):
        raise CostError(
            f"a dynamic scale needs a requantizer of its own to be costed, but site {op.site!r} has {output} inside an HLS "
            "unit; use units=rtl."
        )
    if output.scaling.granularity is Granularity.GROUP:
        raise CostError(
            f"activations that are requantized must have tensor or channel scales, but site {op.site!r} has "
            f"{output}; give the group scale to the weights."
        )
    return output.format
