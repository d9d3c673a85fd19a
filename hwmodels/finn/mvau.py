"""FINN's matrix-vector unit (MVAU), HLS and RTL: fully connected layers, and convolutions behind a window generator.

Source: FINN v0.10.1 `matrixvectoractivation.py`, `hls/matrixvectoractivation_hls.py`, `rtl/matrixvectoractivation_rtl.py`.
Known wrong: the RTL unit is costed with 0 LUT, every unit with 0 flip-flops and without its input buffer, and the RTL
unit with 4 lanes per DSP48 whatever the operand widths.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from hwmodels.finn.datatypes import INT32, FinnType
from hwmodels.finn.dot_product import (
    EMBEDDED_LUT_DEPTH,
    Backend,
    MemMode,
    RamStyle,
    ResType,
    accumulator_bits,
    dsp_per_product,
    unit_luts,
    weights_in_luts,
)
from hwmodels.finn.errors import require_divides, require_positive
from hwmodels.finn.memory import bram18_by_width, ceil_div, uram_blocks
from hwmodels.finn.parts import dsp_block
from hwmodels.resources import Resources


@dataclass(frozen=True, kw_only=True, slots=True)
class Mvau:
    """A matrix of MH rows and MW columns times `vectors` input vectors, folded by PE and SIMD.

    Attributes:
        backend: "hls" or "rtl".
        part: AMD part name; only the DSP count of the RTL backend depends on it.
        cols, rows: MW and MH.
        vectors: numInputVectors, e.g. (1, 30, 30) output pixels.
        pe, simd: PE divides MH, SIMD divides MW.
        accumulator: declared accumulator type; FINN's default is INT32.
        no_activation: True without thresholds inside the unit.

    Raises:
        FinnModelError: a size below 1, or PE or SIMD that does not divide.
    """

    backend: Backend
    part: str
    cols: int
    rows: int
    pe: int
    simd: int
    activation: FinnType
    weight: FinnType
    output: FinnType
    vectors: tuple[int, ...] = (1,)
    accumulator: FinnType = INT32
    no_activation: bool = False
    mem_mode: MemMode = "internal_decoupled"
    ram_style: RamStyle = "auto"
    threshold_ram_style: RamStyle = "auto"
    res_type: ResType = "auto"

    def __post_init__(self) -> None:
        require_divides("PE", self.pe, "MH", self.rows)
        require_divides("SIMD", self.simd, "MW", self.cols)
        require_positive(numInputVectors=min(self.vectors))

    @property
    def weight_depth(self) -> int:
        """Words of the weight memory, each PE * SIMD weights wide."""
        return self.rows * self.cols // (self.pe * self.simd)

    @property
    def weight_stream_bits(self) -> int:
        """Bits of weights that enter the unit each cycle."""
        return self.pe * self.simd * self.weight.bits

    def cycles(self) -> int:
        """Cycles of one frame: neuron fold * synapse fold * input vectors."""
        return self.weight_depth * prod(self.vectors)

    def resources(self) -> Resources:
        """LUT, DSP, BRAM18 and URAM as FINN estimates them; CARRY8 and flip-flops are 0."""
        return Resources(lut=_luts(self), dsp=_dsps(self), bram18=_bram18(self), uram=_uram(self))


def _luts(op: Mvau) -> int:
    if op.backend == "rtl":
        return 0
    acc_bits = accumulator_bits(op.cols, op.weight, op.activation, op.accumulator)
    threshold_luts = 0
    if not op.no_activation and op.threshold_ram_style == "distributed":
        threshold_bits = (2**op.output.bits - 1) * acc_bits
        threshold_luts = threshold_bits * ceil_div(op.rows // op.pe, 64) + threshold_bits
    return unit_luts(
        pe=op.pe,
        simd=op.simd,
        weight=op.weight,
        activation=op.activation,
        acc_bits=acc_bits,
        res_type=op.res_type,
        threshold_luts=threshold_luts,
        weight_depth=op.weight_depth,
        weight_luts=weights_in_luts(op.mem_mode, op.ram_style, op.weight_depth),
    )


def _dsps(op: Mvau) -> int:
    if op.backend == "hls":
        return op.pe * op.simd * dsp_per_product(op.weight, op.activation) if op.res_type == "dsp" else 0
    if dsp_block(op.part) == "DSP58":
        return op.pe * ceil_div(op.simd, 3)
    return ceil_div(op.pe, 4) * op.simd


def _weights_in_blocks(op: Mvau) -> bool:
    """Whether the weights are on chip, outside LUTs."""
    return op.mem_mode == "internal_decoupled" or (
        op.mem_mode == "internal_embedded" and op.weight_depth > EMBEDDED_LUT_DEPTH
    )


def _bram18(op: Mvau) -> int:
    if not _weights_in_blocks(op) or (op.mem_mode == "internal_decoupled" and op.ram_style in ("distributed", "ultra")):
        return 0
    return bram18_by_width(op.weight_stream_bits, op.weight_depth)


def _uram(op: Mvau) -> int:
    # FINN looks at the memory style of decoupled weights only: deep embedded weights are counted in both memories
    if not _weights_in_blocks(op) or (op.mem_mode == "internal_decoupled" and op.ram_style != "ultra"):
        return 0
    return uram_blocks(op.weight_stream_bits, op.weight_depth)
