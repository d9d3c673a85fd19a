"""What a network costs on a part: the only place that sums.

The calibrated model costs every operator and every stream between them; the finn model repeats FINN v0.10.1's estimates.
The shell that moves data on and off the chip is counted where the options ask for it. The host quantizes the input and takes the
last layer's sums, without scale, bias and arg max, unless :mod:`hwmodels.ends` puts them on the chip. Not counted: what placement
and routing change.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from hwmodels import finn_mode
from hwmodels.compute_cost import compute_costs
from hwmodels.datapath import Datapath
from hwmodels.devices import Device
from hwmodels.ops import Compute, Folding, LabelSelect, MatMul, Network, Numerics, Pad, Pixels
from hwmodels.options import CostModel, CostOptions
from hwmodels.primitives.cost import Cost
from hwmodels.primitives.memory import MemoryStyle
from hwmodels.primitives.shell import shell
from hwmodels.report import CostError, CostLine, CostReport
from hwmodels.resources import Resources
from hwmodels.uncosted import refuse_uncosted_unit
from hwmodels.varying import Varying
from hwmodels.wiring import Component, Waiting, Wiring, require_choices, waiting_fifo, waiting_words

__all__ = ["CostError", "CostLine", "CostModel", "CostOptions", "CostReport", "estimate", "estimate_operator"]


def estimate(
    network: Network,
    numerics: Numerics,
    foldings: Mapping[str, Folding],
    device: Device,
    options: CostOptions | None = None,
) -> CostReport:
    """The cost of `network`: resources line by line, cycles of every operator.

    Args:
        foldings: PE and SIMD of every layer with weights, by name. Everything else is made wide enough to keep up.
        options: default: calibrated, LUT multipliers, memories of what is cheapest on the part.

    Raises:
        ShapeError: a layer without folding or format, or a folding that does not divide it.
        CostError: the finn model and a format that FINN does not have.
        DatapathError: DSP multipliers and a minifloat.
        MemoryStyleError: URAM on a part without.
    """
    options = options or CostOptions()
    if options.model is CostModel.FINN:  # FINN's estimates have no zeros in front of windows
        network = network.without(Pad)
    require_choices(network, numerics, foldings)
    sites = {site: Varying((quant,)) for site, quant in numerics.sites.items()}
    layers = {name: Varying((layer,)) for name, layer in numerics.layers.items()}
    folded = {name: Varying((folding,)) for name, folding in foldings.items()}
    wiring = Wiring(network, sites, layers, folded, device, options)
    cycles = {name: count.only for name, count in wiring.cycles.items()}
    fill = max((moment.offset for moment in wiring.ready.values()), default=0)
    datapaths = {name: path.only for name, path in wiring.datapaths.items()}
    # matrices of activations that are made anew for each frame never leave the chip
    stored = {op.name: datapaths[op.name] for op in network.compute if not isinstance(op, MatMul) or op.cached}
    streams = _streams(stored, foldings, options)
    if options.model is CostModel.FINN:
        costs = finn_mode.network_costs(
            network,
            numerics,
            datapaths,
            foldings,
            {name: lanes.only for name, lanes in wiring.lanes.items()},
            {op.name: wiring.sum_bits(op).only for op in network.operators},
            device=device,
            options=options,
        )
        finn_lines = tuple(CostLine.of(name, cost) for name, cost, _ in costs)
        finn_cycles = {name: n for name, _, n in costs}
        return CostReport(
            options.model.value, device.name, finn_lines, finn_cycles, fill, _notes(network, options), streams
        )
    lines = tuple(CostLine.of(part.layer, cost) for part in wiring.components() for cost in _costs(part, wiring))
    return CostReport(options.model.value, device.name, lines, cycles, fill, _notes(network, options), streams)


def _notes(network: Network, options: CostOptions) -> tuple[str, ...]:
    """What a report says of what it leaves out."""
    return _shell_note(options), _ends_note(network)


def _ends_note(network: Network) -> str:
    """What a report says of the two ends of the chip."""
    kinds = {type(op) for op in network.operators}
    first = "pixels arrive in 8 bits" if Pixels in kinds else "the input arrives in its format"
    if LabelSelect in kinds:
        return f"{first}; the index of the largest score leaves the chip"
    return f"{first}; sums of the last layer leave the chip, without scale, bias and label select"


def _shell_note(options: CostOptions) -> str:
    total = Resources.sum(cost.resources for cost in shell())
    what = f"{total.lut:,.0f} LUT, {total.ff:,.0f} FF and {total.bram18:,.0f} BRAM18 on a Zynq"
    if options.shell:
        return f"with the shell that moves data on and off the chip: {what}"
    return f"without the shell that moves data on and off the chip: about {what}"


def _streams(
    datapaths: Mapping[str, Datapath], foldings: Mapping[str, Folding], options: CostOptions
) -> dict[str, int]:
    """Bits of weights per cycle that each layer takes from off-chip memory, if they are there."""
    if options.memory is not MemoryStyle.EXTERNAL:
        return {}
    return {n: foldings[n].pe * foldings[n].simd * path.weight.bits for n, path in datapaths.items()}


def _costs(part: Component | Waiting, wiring: Wiring) -> tuple[Cost, ...]:
    """What a part of an accelerator costs in which nothing varies."""
    if isinstance(part, Component):
        return part.costs.only
    lead = max(0, *(lead.offset for lead in part.leads))
    words = waiting_words(lead, part.words.only, wiring.interval.only)
    return (waiting_fifo(words, part.width.only, wiring.device, wiring.options.units),)


def estimate_operator(
    op: Compute, datapath: Datapath, folding: Folding, device: Device, options: CostOptions | None = None
) -> CostReport:
    """The cost of one layer with weights by itself: no window, no requantizer, no streams.

    Raises:
        As :func:`estimate`.
    """
    options = options or CostOptions()
    folding.check(op)
    refuse_uncosted_unit(datapath)
    if options.multiplier is not datapath.multiplier:
        datapath = replace(datapath, multiplier=options.multiplier)
    if options.model is CostModel.FINN:
        unit = finn_mode.compute_unit(op, datapath, folding, device, options, None, None)
        costs: tuple[Cost, ...] = (finn_mode.finn_cost(finn_mode.unit_name(unit), unit),)
    else:
        costs = compute_costs(op, datapath, folding, device, options)
    lines = tuple(CostLine.of(op.name, cost) for cost in costs)
    cycles = folding.cycles(op)
    streams = _streams({op.name: datapath}, {op.name: folding}, options)
    fill = -(-cycles // op.vectors)
    notes = ("one unit by itself: no window, requantizer, stream or shell",)
    return CostReport(options.model.value, device.name, lines, {op.name: cycles}, fill, notes, streams)
