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
from hwmodels.options import CostOptions, UnitStyle
from hwmodels.primitives.cost import Cost
from hwmodels.primitives.finn_stream import finn_fifo, finn_width_converter, finn_window
from hwmodels.primitives.hls import parallel_thresholds
from hwmodels.primitives.memory import MemoryStyle, vivado_style
from hwmodels.primitives.requantize import search_thresholds
from hwmodels.report import CostError
from hwmodels.resources import Resources
from hwmodels.window_shape import WindowShape

_STYLES: Mapping[RamStyle, MemoryStyle] = {finn: ours for ours, finn in RAM_STYLES.items()}


def calibrated_row(row: Mapping[str, str], device: Device | None = None) -> tuple[Resources, int]:
    """(resources, cycles per frame) of the operator that a row describes: the sum of :func:`calibrated_costs`.

    Raises:
        As :func:`calibrated_costs`.
    """
    costs, cycles = calibrated_costs(row, device)
    return Resources.sum(cost.resources for cost in costs), cycles


def calibrated_costs(row: Mapping[str, str], device: Device | None = None) -> tuple[tuple[Cost, ...], int]:
    """(components, cycles per frame) of the operator that a row describes, by the calibrated model.

    Args:
        row: text by column name, as for the FINN compatibility mode.
        device: part of rows without a column `part` (windows, thresholds, FIFOs, converters); default XCZU7EV.

    Units of the HLS backend are costed as FINN's HLS library builds them; externally stored weights cost no memory.

    Raises:
        FinnModelError: a row that cannot be read.
        DeviceError: an unknown part.
        CostError: an operator that only FINN's model knows.
    """
    operator = read_row(row)
    part = get_device(row["part"]) if row.get("part") else device or get_device("xczu7ev")
    return tuple(_costs(operator, part, row)), operator.cycles()


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
            return [finn_window(shape, op.activation.bits, op.simd, op.parallel_window, style, capacity)]
        case ThresholdingRtl():
            output = _format(op.output)
            return [search_thresholds(op.threshold.bits, output, op.channels, op.pe, family=family, capacity=capacity)]
        case ThresholdingHls():
            # FINN's HLS formula does not look at the output type, so the operator does not keep it
            output = _format(parse_finn_type(row["odt"]))
            return [search_thresholds(op.activation.bits, output, op.channels, op.pe, family=family, capacity=capacity)]
        case Fifo():
            return [finn_fifo("FIFO", op.depth, op.width, _STYLES[op.ram_style], capacity)]
        case WidthConverter():
            return [finn_width_converter(op.in_width, op.out_width)]
        case _:
            raise CostError(f"the calibrated model has no row form of {type(op).__name__}; cost its network instead.")


def _unit(op: Mvau | Vvau, device: Device) -> Iterable[Cost]:
    """A unit as its backend builds it, with the thresholds of an HLS unit inside."""
    layer: MatVec | Depthwise
    if isinstance(op, Mvau):
        layer = MatVec("mvau", op.rows, op.cols, prod(op.vectors), "input")
    else:
        layer = Depthwise("vvau", op.channels, prod(op.kernel), prod(op.out_dim), "input")
    folding = Folding(op.pe, op.simd)
    use_dsp = op.backend == "rtl" or op.res_type == "dsp"
    multiplier = Multiplier.DSP if use_dsp else Multiplier.LUT
    bits = max(accumulator_bits(layer.dot_length, op.weight, op.activation, op.accumulator), 2)
    units = UnitStyle.HLS if op.backend == "hls" else UnitStyle.RTL
    options = CostOptions(multiplier=multiplier, memory=_weight_memory(op, layer, folding), units=units)

    def costs(weight: IntFormat, activation: IntFormat) -> dict[str, Cost]:
        channel = TensorQuant(weight, Scaling(Granularity.CHANNEL))
        path = Datapath(channel, TensorQuant(activation), Accumulator(bits), multiplier)
        return {cost.component: cost for cost in compute_costs(layer, path, folding, device, options)}

    stored = costs(_format(op.weight), _format(op.activation))
    summed = costs(_operand(op.weight, op.activation), _operand(op.activation, op.weight))
    parts = [summed[name] if name == "dot products" else cost for name, cost in stored.items()]
    if op.mem_mode == "external":
        parts = [cost for cost in parts if cost.component != "weight memory"]
    if not op.no_activation:
        parts.append(parallel_thresholds(bits, op.output.bits, layer.rows // op.pe, op.pe))
    return parts


def _operand(kind: FinnType, other: FinnType) -> IntFormat:
    """What is multiplied: -1 and 1 beside several bits ask for a negation, as narrow INT2 does; beside one bit it is XNOR."""
    return IntFormat(2, narrow=True) if kind.name == "BIPOLAR" and other.bits > 1 else _format(kind)


def _weight_memory(op: Mvau | Vvau, layer: MatVec | Depthwise, folding: Folding) -> MemoryStyle:
    """LUTs for embedded weights that are shallow; what Vivado makes of it where FINN leaves the style to it."""
    if op.mem_mode == "internal_embedded" and op.weight_depth <= EMBEDDED_LUT_DEPTH:
        return MemoryStyle.LUTRAM
    if op.ram_style == "auto":
        lanes = folding.pe * folding.simd
        return vivado_style(lanes * op.weight.bits, layer.rows * layer.cols // lanes)
    return _STYLES[op.ram_style]
