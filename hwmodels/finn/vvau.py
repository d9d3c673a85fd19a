"""FINN's vector-vector unit (VVAU), HLS and RTL: depthwise convolutions behind a depthwise window generator.

Source: FINN v0.10.1 `vectorvectoractivation.py`, `hls/vectorvectoractivation_hls.py`, `rtl/vectorvectoractivation_rtl.py`.
Known wrong: the RTL unit is costed with 0 LUT, every unit with 0 flip-flops; with resType "dsp" one DSP is counted per
PE whatever SIMD is; thresholds are always counted as LUTs, in fractions of a memory.
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
from hwmodels.resources import Resources


@dataclass(frozen=True, kw_only=True, slots=True)
class Vvau:
    """One K = Kh * Kw dot product per channel and output pixel, folded by PE (channels) and SIMD (window).

    Attributes:
        backend: "hls" or "rtl".
        channels: number of channels; PE divides it.
        kernel: (Kh, Kw); SIMD divides their product.
        out_dim: (height, width) of the output.
        accumulator: declared accumulator type; FINN's default is INT32.
        no_activation: True without thresholds inside the unit.

    Raises:
        FinnModelError: a size below 1, or PE or SIMD that does not divide.
    """

    backend: Backend
    channels: int
    kernel: tuple[int, int]
    out_dim: tuple[int, int]
    pe: int
    simd: int
    activation: FinnType
    weight: FinnType
    output: FinnType
    accumulator: FinnType = INT32
    no_activation: bool = False
    mem_mode: MemMode = "internal_decoupled"
    ram_style: RamStyle = "auto"
    res_type: ResType = "auto"

    def __post_init__(self) -> None:
        require_positive(Kernel=min(self.kernel), Dim=min(self.out_dim))
        require_divides("PE", self.pe, "Channels", self.channels)
        require_divides("SIMD", self.simd, "the kernel size", prod(self.kernel))

    @property
    def weight_depth(self) -> int:
        """Words of the weight memory, each PE * SIMD weights wide."""
        return prod(self.kernel) * self.channels // self.pe // self.simd

    @property
    def weight_stream_bits(self) -> int:
        """Bits of weights that enter the unit each cycle."""
        return self.pe * self.simd * self.weight.bits

    def cycles(self) -> int:
        """Cycles of one frame: channel fold * window fold * output pixels."""
        return self.weight_depth * prod(self.out_dim)

    def resources(self) -> Resources:
        """LUT, DSP, BRAM18 and URAM as FINN estimates them; CARRY8 and flip-flops are 0."""
        return Resources(lut=_luts(self), dsp=_dsps(self), bram18=_bram18(self), uram=_uram(self))


def _luts(op: Vvau) -> int:
    if op.backend == "rtl":
        return 0
    acc_bits = accumulator_bits(prod(op.kernel), op.weight, op.activation, op.accumulator)
    threshold_luts = 0.0
    if not op.no_activation:
        threshold_bits = (2**op.output.bits - 1) * acc_bits
        threshold_luts = threshold_bits * (op.channels // op.pe) / 64 + threshold_bits
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


def _dsps(op: Vvau) -> int:
    if op.backend == "rtl":
        return op.pe * ceil_div(op.simd, 3)
    return op.pe * dsp_per_product(op.weight, op.activation) if op.res_type == "dsp" else 0


def _bram18(op: Vvau) -> int:
    shallow = op.weight_depth <= EMBEDDED_LUT_DEPTH
    if (
        op.mem_mode == "external"
        or (op.mem_mode == "internal_decoupled" and op.ram_style in ("distributed", "ultra"))
        or (shallow and (op.mem_mode == "internal_embedded" or op.ram_style == "auto"))
    ):
        return 0
    return bram18_by_width(op.weight_stream_bits, op.weight_depth, parity_bits=False)


def _uram(op: Vvau) -> int:
    if op.mem_mode != "internal_decoupled" or op.ram_style != "ultra":
        return 0
    return uram_blocks(op.weight_stream_bits, op.weight_depth)
