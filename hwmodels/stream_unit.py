"""The cost of an operator that streams pass through: everything but layers with a matrix and requantizers."""

from __future__ import annotations

from collections.abc import Sequence

from hwmodels import dataflow
from hwmodels.dataflow import Lanes
from hwmodels.datapath import TensorQuant
from hwmodels.devices import Device
from hwmodels.formats import ElementFormat
from hwmodels.ops import (
    Add,
    Attention,
    Duplicate,
    LabelSelect,
    Lookup,
    Multiply,
    Norm,
    Normalize,
    Pad,
    Pool,
    Rope,
    Rotate,
    Softmax,
    Table,
    Window,
)
from hwmodels.options import UnitStyle
from hwmodels.primitives.cost import Cost
from hwmodels.primitives.dsp_packing import DspBlock
from hwmodels.primitives.elementwise import add, pool
from hwmodels.primitives.finn_stream import finn_window
from hwmodels.primitives.hadamard import rotate
from hwmodels.primitives.label_select import label_select
from hwmodels.primitives.memory import MemoryStyle
from hwmodels.primitives.operands import fixed_point_bits, integer_grid
from hwmodels.primitives.padding import pad
from hwmodels.primitives.shell import weight_dma
from hwmodels.primitives.stream import duplicate
from hwmodels.primitives.transformer import multiply, normalize, rope, softmax, table
from hwmodels.primitives.window import window


def stream_unit_cost(
    op: Window | Pad | Add | Pool | Duplicate | LabelSelect | Attention,
    lanes: Lanes,
    quants: Sequence[TensorQuant],
    device: Device,
    dsp: DspBlock | None,
    units: UnitStyle,
) -> Cost:
    """The cost of `op` on a part.

    Args:
        quants: of its site, then of its other sites (:func:`hwmodels.operators.other_sites`).
        dsp: slice that multiplies, or None for LUTs.
        units: who builds windows: this project's generators, or FINN's (hls).

    Raises:
        MemoryStyleError: a table of codes that are too wide.
    """
    fmt, family, capacity, count = quants[0].format, device.family.value, device.resources, lanes.count
    match op:
        case Window() | Pad() | Pool():
            cost = _image_unit_cost(op, lanes, fmt, device, units)
        case Add():
            cost = add(fmt, count, family)
        case Duplicate():
            cost = duplicate(count * fmt.bits, op.copies)
        case LabelSelect():
            cost = label_select(fixed_point_bits(integer_grid(fmt)) + int(not fmt.signed), op.channels, count, family)
        case Normalize():
            centred = op.kind is Norm.LAYER
            cost = normalize(fmt, op.channels, count, centred=centred, dsp=dsp, family=family, capacity=capacity)
        case Softmax():
            cost = softmax(fmt, op.channels, count, dsp=dsp, family=family, capacity=capacity)
        case Rope():
            cost = rope(fmt, op.head, op.context, count, dsp=dsp, family=family, capacity=capacity)
        case Rotate():
            cost = rotate(fmt, op.block, count, family)
        case Multiply():
            cost = multiply(fmt, quants[1].format, count, dsp=dsp, family=family)
        case Table():
            cost = table(fmt, quants[1].format, count, capacity)
        case Lookup():
            cost = weight_dma("embedding", count * fmt.bits)
    return cost


def _image_unit_cost(
    op: Window | Pad | Pool, lanes: Lanes, fmt: ElementFormat, device: Device, units: UnitStyle
) -> Cost:
    """The cost of what knows where in an image it is."""
    family, capacity, count = device.family.value, device.resources, lanes.count
    match op:
        case Window():
            shape = dataflow.window_shape(op)
            asked = shape, fmt.bits, count, lanes.parallel, MemoryStyle.AUTO, capacity
            return finn_window(*asked) if units is UnitStyle.HLS else window(*asked, family)
        case Pad():
            return pad(op.input_size, op.zeros, op.channels // count, count * fmt.bits, family)
        case Pool():
            return pool(fmt, op.channels, op.window, dataflow.pool_row(op), op.kind, count, family)
