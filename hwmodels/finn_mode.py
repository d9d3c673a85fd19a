"""Our operators as FINN v0.10.1's, for the finn cost model: which FINN unit each becomes, and what FINN says it costs.

FINN estimates before it inserts FIFOs and width converters, so these are not part of its figures. A requantizer right
behind a layer with weights becomes the thresholds inside that unit, as FINN's compiler does by default.
"""

from __future__ import annotations

from collections.abc import Mapping

from hwmodels.dataflow import Lanes
from hwmodels.datapath import Datapath, Granularity, Multiplier, Overflow, TensorQuant
from hwmodels.devices import Device
from hwmodels.finn.datatypes import INT32, FinnType, parse_finn_type
from hwmodels.finn.dot_product import MemMode, RamStyle, ResType
from hwmodels.finn.mvau import Mvau
from hwmodels.finn.operators import FinnOperator
from hwmodels.finn.specialize import mvau_backend, vvau_backend
from hwmodels.finn.thresholding import ThresholdingRtl
from hwmodels.finn.uncosted import ChannelStream
from hwmodels.finn.uncosted import Pool as FinnPool
from hwmodels.finn.vvau import Vvau
from hwmodels.finn.window_rtl import WindowRtl
from hwmodels.formats import IntFormat
from hwmodels.ops import (
    Add,
    Attention,
    Compute,
    Depthwise,
    Duplicate,
    Folding,
    LabelSelect,
    MatMul,
    MatVec,
    Network,
    Numerics,
    Pixels,
    Pool,
    Requantize,
    Window,
)
from hwmodels.options import CostOptions
from hwmodels.primitives.cost import Cost, ErrorBand, uncalibrated
from hwmodels.primitives.memory import MemoryStyle
from hwmodels.primitives.operands import integer_grid
from hwmodels.report import CostError

RAM_STYLES: Mapping[MemoryStyle, RamStyle] = {
    MemoryStyle.AUTO: "auto",
    MemoryStyle.BRAM: "block",
    MemoryStyle.LUTRAM: "distributed",
    MemoryStyle.URAM: "ultra",
}

_BANDS: Mapping[str, ErrorBand] = {
    "MVAU": uncalibrated("FINN's own estimate; on CNV w1a1 after implementation its LUTs are 49 % off on average"),
    "ConvolutionInputGenerator": uncalibrated("FINN's own estimate; on CNV w1a1 its LUTs are 52 to 100 % too high"),
}
_OTHER = uncalibrated("FINN's own estimate, whatever it leaves out")


def finn_type(name: str, quant: TensorQuant) -> FinnType:
    """FINN's data type of a quantized tensor.

    Args:
        name: of the layer or site, for the message.

    Raises:
        CostError: a minifloat, a group scale, a dynamic one or a zero point, which FINN does not map.
    """
    fmt, scaling = integer_grid(quant.format), quant.scaling
    grouped = scaling.granularity is Granularity.GROUP
    if not isinstance(fmt, IntFormat) or grouped or scaling.dynamic or scaling.zero_point:
        raise CostError(
            f"the finn model costs integers with tensor or channel scales only, but {name} has {quant}; "
            "use model=calibrated."
        )
    return parse_finn_type(f"{'' if fmt.signed else 'U'}INT{fmt.bits}")


def refuse_foreign(network: Network) -> None:
    """Refuse a network with an operator that FINN does not have.

    Raises:
        CostError: names it.
    """
    for op in network.operators:
        if isinstance(op, Attention | MatMul | Pixels | LabelSelect):
            raise CostError(
                f"the finn model has layers with weights, windows, thresholds, adds and pools only, but {op.name} is a "
                f"{type(op).__name__}; use model=calibrated."
            )


def compute_unit(
    op: Compute,
    datapath: Datapath,
    folding: Folding,
    device: Device,
    options: CostOptions,
    output: FinnType | None,
    window: Window | None,
) -> Mvau | Vvau:
    """The MVAU or VVAU of a layer.

    Args:
        output: type of the thresholds' result, or None for a unit that gives its sums.
        window: the window generator in front of a depthwise layer, for its kernel and output size.

    Raises:
        CostError: an operator or format that FINN does not have, or an accumulator that saturates.
    """
    if datapath.accumulator.overflow is Overflow.SATURATE:
        raise CostError(
            f"the accumulators of the finn model do not saturate, but that of {op.name} shall; use model=calibrated, or overflow "
            "wrap or impossible."
        )
    refuse_foreign(Network(op.name, (op,)))
    weight, activation = finn_type(op.name, datapath.weight), finn_type(op.site, datapath.activation)
    bare = output is None
    res_type: ResType = "dsp" if options.multiplier is Multiplier.DSP else "lut"
    accumulator = parse_finn_type(f"INT{min(datapath.accumulator.bits, 64)}")
    mem_mode: MemMode = "external" if options.memory is MemoryStyle.EXTERNAL else "internal_decoupled"
    ram_style = RAM_STYLES.get(options.memory, "auto")
    if isinstance(op, MatVec):
        narrow = weight.minimum == -weight.maximum
        return Mvau(
            backend=mvau_backend(
                activation=activation, weight=weight, no_activation=bare, part=device.part, narrow_weights=narrow
            ),
            part=device.part,
            cols=op.cols,
            rows=op.rows,
            vectors=(op.vectors,),
            pe=folding.pe,
            simd=folding.simd,
            activation=activation,
            weight=weight,
            output=output or INT32,
            accumulator=accumulator,
            no_activation=bare,
            mem_mode=mem_mode,
            ram_style=ram_style,
            res_type=res_type,
        )
    return Vvau(
        backend=vvau_backend(activation=activation, weight=weight, no_activation=bare, part=device.part),
        channels=op.channels,
        kernel=window.kernel if window else (1, op.taps),
        out_dim=window.output_size if window else (1, op.vectors),
        pe=folding.pe,
        simd=folding.simd,
        activation=activation,
        weight=weight,
        output=output or INT32,
        accumulator=accumulator,
        no_activation=bare,
        mem_mode=mem_mode,
        ram_style=ram_style,
        res_type=res_type,
    )


def window_unit(op: Window, activation: FinnType, lanes: int, parallel: bool) -> WindowRtl:
    """The RTL window generator of a window."""
    return WindowRtl(
        channels=op.channels,
        in_dim=op.input_size,
        out_dim=op.output_size,
        kernel=op.kernel,
        simd=lanes,
        activation=activation,
        stride=op.stride,
        dilation=op.dilation,
        depthwise=op.depthwise,
        parallel_window=parallel,
    )


def threshold_unit(op: Requantize, lanes: int, sum_bits: int, output: FinnType) -> ThresholdingRtl:
    """Stand-alone thresholds on sums of `sum_bits` bits."""
    threshold = parse_finn_type(f"INT{min(max(sum_bits, 2), 64)}")
    return ThresholdingRtl(channels=op.channels, pe=lanes, threshold=threshold, output=output, vectors=(op.vectors,))


def uncosted_unit(op: Add | Duplicate | Pool, lanes: int) -> tuple[str, FinnOperator]:
    """(FINN's name, unit) of an operator that FINN gives cycles and no resources."""
    if isinstance(op, Pool):
        return "Pool_hls", FinnPool(channels=op.channels, kernel=(1, op.window), out_dim=(1, op.vectors), pe=lanes)
    name = "AddStreams" if isinstance(op, Add) else "DuplicateStreams"
    unit = ChannelStream(op=name, parallel_name="PE", parallel=lanes, channels=op.channels, pixels=op.vectors)
    return f"{name}_hls", unit


def unit_name(unit: Mvau | Vvau) -> str:
    """FINN's name of a unit with weights, e.g. MVAU_hls."""
    return f"{type(unit).__name__.upper()}_{unit.backend}"


def network_costs(
    network: Network,
    numerics: Numerics,
    datapaths: Mapping[str, Datapath],
    foldings: Mapping[str, Folding],
    lanes: Mapping[str, Lanes],
    sum_bits: Mapping[str, int],
    *,
    device: Device,
    options: CostOptions,
) -> list[tuple[str, Cost, int]]:
    """(operator, what FINN says it costs, cycles per frame) in dataflow order, without requantizers inside other units.

    Args:
        lanes: values per cycle of every operator.
        sum_bits: width of what a requantizer behind each operator reads.

    Raises:
        CostError: a format that FINN does not have.
    """
    refuse_foreign(network)
    windows = {op.layer: op for op in network.operators if isinstance(op, Window)}
    weights = {op.name for op in network.compute}
    outputs = {op.source: op for op in network.operators if isinstance(op, Requantize)}
    types = {site: finn_type(site, numerics.sites[site]) for site in network.sites}
    costs: list[tuple[str, Cost, int]] = []
    unit: FinnOperator
    for op in network.operators:
        width = lanes[op.name]
        match op:
            case MatVec() | Depthwise():
                output = types[outputs[op.name].site] if op.name in outputs else None
                layer = compute_unit(
                    op, datapaths[op.name], foldings[op.name], device, options, output, windows.get(op.name)
                )
                name, unit = unit_name(layer), layer
            case Window():
                name = "ConvolutionInputGenerator_rtl"
                unit = window_unit(op, types[op.site], width.count, width.parallel)
            case Requantize():
                if op.source in weights:
                    continue  # the thresholds inside that unit
                name = "Thresholding_rtl"
                unit = threshold_unit(op, width.count, sum_bits[op.source], types[op.site])
            case Add() | Duplicate() | Pool():
                name, unit = uncosted_unit(op, width.count)
        costs.append((op.name, finn_cost(name, unit), unit.cycles()))
    return costs


def finn_cost(name: str, operator: FinnOperator) -> Cost:
    """What FINN says `operator` (called `name` in the report) costs."""
    return Cost(
        name,
        operator.resources(),
        f"FINN v0.10.1, {name}",
        "hwmodels.finn",
        _BANDS.get(name.split("_", maxsplit=1)[0], _OTHER),
    )
