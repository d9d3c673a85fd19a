"""One operator given as a table row, costed by the calibrated model: the counterpart of :func:`hwmodels.finn.rows.cost_row`.

The rows are those of the FINN compatibility mode, so that the two models can stand side by side for the same operator.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import prod

from hwmodels.compute_cost import compute_costs
from hwmodels.datapath import Accumulator, Datapath, Granularity, Multiplier, Scaling, TensorQuant
from hwmodels.devices import Device, get_device
from hwmodels.finn.datatypes import FinnType, parse_finn_type
from hwmodels.finn.dot_product import EMBEDDED_LUT_DEPTH, RamStyle, accumulator_bits
from hwmodels.finn.mvau import Mvau
from hwmodels.finn.operators import FinnOperator
from hwmodels.finn.rows import read_row
from hwmodels.finn.streams import Fifo, WidthConverter
from hwmodels.finn.thresholding import ThresholdingHls, ThresholdingRtl
from hwmodels.finn.vvau import Vvau
from hwmodels.finn.window import Window
from hwmodels.finn_mode import RAM_STYLES
from hwmodels.formats import IntFormat
from hwmodels.ops import Depthwise, Folding, MatVec
from hwmodels.options import CostOptions
from hwmodels.primitives.cost import Cost
from hwmodels.primitives.memory import MemoryStyle
from hwmodels.primitives.requantize import Rescale, requantize
from hwmodels.primitives.stream import fifo, width_converter
from hwmodels.primitives.window import WindowShape, window
from hwmodels.report import CostError
from hwmodels.resources import Resources

_STYLES: Mapping[RamStyle, MemoryStyle] = {finn: ours for ours, finn in RAM_STYLES.items()}
_RESCALE = Rescale(power_of_two=False, per_channel=True)


def calibrated_row(row: Mapping[str, str], device: Device | None = None) -> tuple[Resources, int]:
    """(resources, cycles per frame) of the operator that a row describes, by the calibrated model.

    Args:
        row: text by column name, as for the FINN compatibility mode.
        device: part of rows without a column `part` (windows, thresholds, FIFOs, converters); default XCZU7EV.

    Thresholds inside a unit are costed as its requantizer; externally stored weights cost no memory.

    Raises:
        FinnModelError: a row that cannot be read.
        DeviceError: an unknown part.
        CostError: an operator that only FINN's model knows.
    """
    operator = read_row(row)
    part = get_device(row["part"]) if row.get("part") else device or get_device("xczu7ev")
    return Resources.sum(cost.resources for cost in _costs(operator, part, row)), operator.cycles()


def _format(kind: FinnType) -> IntFormat:
    """The integer format of as many bits: BIPOLAR and BINARY are one bit, TERNARY is narrow INT2."""
    if kind.bits == 1:
        return IntFormat(1, signed=False)
    return IntFormat(kind.bits, signed=kind.signed, narrow=kind.minimum == -kind.maximum)


def _costs(op: FinnOperator, device: Device, row: Mapping[str, str]) -> Iterable[Cost]:
    family, capacity = device.family.value, device.resources
    match op:
        case Mvau() | Vvau():
            return _unit(op, device)
        case Window():
            pairs = op.in_dim, op.out_dim, op.kernel, op.stride, op.dilation
            shape = WindowShape(op.channels, *pairs, depthwise=op.depthwise)
            style = _STYLES[op.ram_style]
            return [window(shape, op.activation.bits, op.simd, op.parallel_window, style, capacity)]
        case ThresholdingRtl():
            return [
                requantize(
                    op.threshold.bits,
                    _format(op.output),
                    op.channels,
                    op.pe,
                    _RESCALE,
                    family=family,
                    capacity=capacity,
                )
            ]
        case ThresholdingHls():
            # FINN's HLS formula does not look at the output type, so the operator does not keep it
            output = _format(parse_finn_type(row["odt"]))
            return [
                requantize(op.activation.bits, output, op.channels, op.pe, _RESCALE, family=family, capacity=capacity)
            ]
        case Fifo():
            return [fifo("FIFO", op.depth, op.width, _STYLES[op.ram_style], capacity)]
        case WidthConverter():
            return [width_converter(op.in_width, op.out_width)]
        case _:
            raise CostError(f"the calibrated model has no row form of {type(op).__name__}; cost its network instead.")


def _unit(op: Mvau | Vvau, device: Device) -> Iterable[Cost]:
    """Products and sums, weight memory, input buffer, control, and the requantizer of a unit with thresholds inside."""
    layer: MatVec | Depthwise
    if isinstance(op, Mvau):
        layer = MatVec("mvau", op.rows, op.cols, prod(op.vectors), "input")
    else:
        layer = Depthwise("vvau", op.channels, prod(op.kernel), prod(op.out_dim), "input")
    use_dsp = op.backend == "rtl" or op.res_type == "dsp"
    multiplier = Multiplier.DSP if use_dsp else Multiplier.LUT
    weight = TensorQuant(_format(op.weight), Scaling(Granularity.CHANNEL))
    bits = accumulator_bits(layer.dot_length, op.weight, op.activation, op.accumulator)
    path = Datapath(weight, TensorQuant(_format(op.activation)), Accumulator(max(bits, 2)), multiplier)
    embedded = op.mem_mode == "internal_embedded" and op.weight_depth <= EMBEDDED_LUT_DEPTH
    external = op.mem_mode == "external"
    style = MemoryStyle.LUTRAM if embedded or external else _STYLES[op.ram_style]
    options = CostOptions(multiplier=multiplier, memory=style)
    costs = compute_costs(layer, path, Folding(op.pe, op.simd), device, options)
    if external:
        costs = tuple(cost for cost in costs if cost.component != "weight memory")
    if not op.no_activation:
        output = _format(op.output)
        family, capacity = device.family.value, device.resources
        costs = (*costs, requantize(bits, output, layer.rows, op.pe, _RESCALE, family=family, capacity=capacity))
    return costs
