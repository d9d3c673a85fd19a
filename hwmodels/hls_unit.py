"""The calibrated cost of a unit as FINN's HLS library builds it: what an exported network becomes if its products are in LUTs.

The dot products are those of :mod:`hwmodels.dot_product`; around them stands what :mod:`hwmodels.primitives.hls` describes.
Thresholds behind the unit are part of it in FINN and a line of their own here.
"""

from __future__ import annotations

from hwmodels.datapath import Datapath, Multiplier
from hwmodels.devices import Device
from hwmodels.dot_product import cheapest_encoding, dot_product_unit
from hwmodels.ops import Compute, Folding, MatVec
from hwmodels.options import CostOptions, OptionsError
from hwmodels.primitives.cost import Cost
from hwmodels.primitives.hls import hls_band, hls_control, register_buffer, weight_stream
from hwmodels.primitives.memory import memory
from hwmodels.resources import Resources
from hwmodels.segment import segment_size

_REGISTERS = 3
"""Flip-flops per bit of a row's sum: read off the nine units of FINN's CNV w1a1 (pipeline of the adder tree, accumulator)."""


def hls_costs(
    op: Compute, datapath: Datapath, folding: Folding, device: Device, options: CostOptions
) -> tuple[Cost, ...]:
    """All components of the unit of `op`.

    Raises:
        OptionsError: a minifloat, a tile or a group scale, which FINN does not have.
        ShapeError: the folding does not divide the operator.
        MemoryStyleError: URAM on a part without.
    """
    folding.check(op)
    if not datapath.is_integer or segment_size(datapath) is not None:
        raise OptionsError(
            f"FINN's HLS units take integers in one accumulator, but got weight={datapath.weight}, activation="
            f"{datapath.activation}, tile_size={datapath.accumulator.tile_size}; use units=rtl."
        )
    band = hls_band(datapath.weight.bits, dense=isinstance(op, MatVec))
    width = folding.pe * folding.simd * datapath.weight.bits
    costs = [
        _products(datapath, folding, device, options),
        memory(
            "weight memory", width, op.rows * op.cols // (folding.pe * folding.simd), options.memory, device.resources
        ),
        weight_stream(width, band),
    ]
    if isinstance(op, MatVec) and folding.pe < op.rows:
        costs.append(register_buffer(folding.simd * datapath.activation.bits, op.cols // folding.simd, band))
    return (*costs, hls_control(band))


def _products(datapath: Datapath, folding: Folding, device: Device, options: CostOptions) -> Cost:
    """PE dot products of SIMD lanes; HLS gives every product a DSP slice of its own if any, summed in their cascade."""
    bits = datapath.accumulator.bits
    registers = _REGISTERS * bits * folding.pe
    band = hls_band(datapath.weight.bits, dense=True)
    if options.multiplier is Multiplier.DSP:
        count = folding.pe * folding.simd
        formula = f"{count} {device.dsp}, summed in the DSP cascade; FF {_REGISTERS} P per row"
        return Cost("dot products", Resources(dsp=count, ff=registers), formula, "derived", band)
    overflow = datapath.accumulator.overflow
    written = cheapest_encoding(datapath.weight.format, datapath.activation.format, folding.simd, bits, overflow)
    unit, _ = dot_product_unit(*written, folding.simd, bits, device.family, overflow)
    resources = Resources(lut=unit.lut, carry8=unit.carry8) * folding.pe + Resources(ff=registers)
    formula = f"{folding.pe} units of {folding.simd} lanes, P = {bits}; FF {_REGISTERS} P per row"
    return Cost("dot products", resources, formula, "hwmodels.dot_product, fitted; FF read off", band)
