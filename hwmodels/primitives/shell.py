"""What moves data on and off the chip: DMA engines and the interconnect of a Zynq platform (FINN's `ZynqBuild`).

The numbers are those of FINN's CNV w1a1 after implementation (Vivado 2022.1, XC7Z020). Two other accelerators of FINN v0.10 on
the same part (`vivado_unsw_mlp_w2a2.csv`, Vivado 2022.2; github Ba1tu3han/Finn_Thesis@89b4c46b, Vivado 2022.1), which nothing
was fitted to, have 4,334 and 4,338 LUT of interconnect and DMA engines of 938 to 1,214 LUT.
"""

from __future__ import annotations

from hwmodels.primitives.cost import BandKind, Cost, ErrorBand
from hwmodels.resources import Resources

_SOURCE = "FINN's CNV w1a1 after implementation (vivado_cnv_w1a1.csv)"
_DMA_BAND = ErrorBand(BandKind.MEASURED, "four DMA engines of two other accelerators on the same part", 0.05, 0.22)
_INTERCONNECT_BAND = ErrorBand(BandKind.MEASURED, "two other accelerators on the same part", 0.003, 0.003)

_INPUT_DMA = Resources(lut=1045, ff=1617, bram18=2)
_OUTPUT_DMA = Resources(lut=945, ff=1448, bram18=1)
_INTERCONNECT = Resources(lut=4345, ff=5379)


def shell() -> tuple[Cost, ...]:
    """The components of the shell: a DMA engine for the input, one for the output, AXI interconnect and reset."""
    return (
        Cost("input DMA", _INPUT_DMA, "FINN's IODMA, memory to stream", _SOURCE, _DMA_BAND),
        Cost("output DMA", _OUTPUT_DMA, "FINN's IODMA, stream to memory", _SOURCE, _DMA_BAND),
        Cost(
            "interconnect",
            _INTERCONNECT,
            "whole design less its operators and DMA engines: AXI interconnects, reset, control registers",
            _SOURCE,
            _INTERCONNECT_BAND,
        ),
    )


def weight_dma(component: str, width: int) -> Cost:
    """The DMA engine that streams weights from off-chip memory, `width` bits per cycle, into a unit.

    As an input DMA, whatever the width: the measured ones give 8 to 64 bits per cycle.
    """
    band = _DMA_BAND.extrapolated("an engine for weights has not been measured")
    formula = f"an input DMA; {width} bits per cycle from off-chip memory"
    return Cost(component, _INPUT_DMA, formula, _SOURCE, band)
