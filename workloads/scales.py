"""Scales and integer codes of weights, by rule, in NumPy: what the quantizers are given and what proofs are made from.

One scale per block (tensor, output channel, or `group_size` consecutive columns), by default of the block's largest values:

- float: the smallest scale that clips nothing. For a two's complement format that is max(w_max / max_code,
  w_min / min_code), so the lowest code is used where it helps; for symmetric formats it is absmax / max_value.
- power of two, integers and minifloats without mantissa bits: that scale rounded *up*, so the block's maximum is never
  clipped (rounding down, as in the MX standard, saturates it by up to 2x and costs an 8-bit integer 26 dB; the largest
  value of ExM0 is 2^emax itself, so there too it would saturate every maximum).
- power of two, other minifloats: 2^(floor(log2 absmax) - emax), the rule of OCP Microscaling formats 1.0, section 6.3; maxima
  between max_value and 2^(emax+1) saturate, as that standard has it. So a block format means what it says.
- E4M3 (NVFP4, arXiv 2509.25149): the float scale over that of the tensor, rounded to E4M3; the tensor's brings the largest
  block's to 448. Rounding it may clip a block's maximum by up to 1/16.

Two other rules clip on purpose: `percentile` leaves the largest magnitudes of a block out, `mse` takes the scale of least squared
error among those of the values times 0.95^k (powers of two: 2 to 2^-3). All scales are float32, and values are divided by them in
float32, because that is what torch does: the codes here are those of the quantized network, bit for bit.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hwmodels.accumulator import Codes
from hwmodels.codec import quantize
from hwmodels.datapath import DatapathError, Granularity, ScaleKind, TensorQuant
from hwmodels.formats import OCP_E4M3, ElementFormat, IntFormat, Minifloat
from workloads.scale_rule import ABSMAX, Fit, ScaleRule

Scales = NDArray[np.float32]

SMALLEST_SCALE = 2.0**-100
"""A lower bound that keeps quotients normal in float32; only blocks whose weights round to zero anyway meet it (assumed)."""

FACTORS = {ScaleKind.POWER_OF_TWO: 2.0 ** np.array([0, 1, -1, -2, -3])} | dict.fromkeys(
    (ScaleKind.FLOAT, ScaleKind.E4M3), 0.95 ** np.arange(24)
)
"""By how much values are taken larger or smaller in the search for the least squared error: to 0.31, or 2 to 1/8, because OCP's
rule may itself have clipped (assumed)."""


def weight_scales(matrix: NDArray[np.float32], quant: TensorQuant, rule: ScaleRule = ABSMAX) -> Scales:
    """The scales of a weight matrix (rows, cols): shape (1, 1), (rows, 1) or (rows, cols / group_size).

    A block of zeros gets the scale 1. Groups lie along the columns and must divide them.
    """
    rows, cols = matrix.shape
    match quant.scaling.granularity:
        case Granularity.TENSOR:
            blocks = matrix.reshape(1, 1, -1)
        case Granularity.CHANNEL:
            blocks = matrix.reshape(rows, 1, cols)
        case Granularity.GROUP:
            blocks = matrix.reshape(rows, -1, quant.scaling.group_size or cols)
        case Granularity.TOKEN:
            raise DatapathError(f"weights have no tokens to scale by, but got {quant.scaling}; use channel or groupN.")
    low, high = blocks.min(axis=-1).astype(np.float64), blocks.max(axis=-1).astype(np.float64)
    if rule.percent is not None:
        bound = np.quantile(np.abs(blocks), rule.percent / 100, axis=-1)
        bound = np.where(bound == 0, np.inf, bound)  # all but a few are zero: then none is clipped
        low, high = np.maximum(low, -bound), np.minimum(high, bound)
    tensor = tensor_scale(quant.format, low, high) if quant.scaling.kind is ScaleKind.E4M3 else None
    if rule.fit is not Fit.MSE:
        return block_scales(quant, low, high, tensor)
    candidates = [block_scales(quant, low * f, high * f, tensor) for f in FACTORS[quant.scaling.kind]]
    errors = [
        np.square(quantize(quant.format, blocks / s[..., None]) * s[..., None] - blocks).sum(axis=-1)
        for s in candidates
    ]
    chosen: Scales = np.take_along_axis(np.stack(candidates), np.argmin(errors, axis=0)[None], axis=0)[0]
    return chosen


def block_scales(
    quant: TensorQuant, low: NDArray[np.float64], high: NDArray[np.float64], tensor: float | None = None
) -> Scales:
    """The scales of blocks whose values lie in [low, high] (see the module's rules); `tensor` is that of E4M3 scales."""
    fmt, kind = quant.format, quant.scaling.kind
    exact, absmax = no_clip_scale(fmt, low, high), np.maximum(-low, high)
    match kind, fmt:
        case ScaleKind.FLOAT, _:
            scales = exact
        case ScaleKind.E4M3, _:
            assert tensor is not None
            rounded = quantize(OCP_E4M3, (exact / tensor).astype(np.float32))
            scales = np.maximum(rounded, float(OCP_E4M3.step)) * tensor
        case ScaleKind.POWER_OF_TWO, (IntFormat() | Minifloat(mantissa_bits=0)):
            scales = round_up_to_power_of_two(exact)
        case _, minifloat:
            assert not isinstance(minifloat, IntFormat)
            exponent = np.frexp(np.maximum(absmax, SMALLEST_SCALE))[1] - 1
            scales = np.ldexp(1.0, exponent - minifloat.max_exponent)
    scales = np.where(absmax <= 0, 1.0, scales)
    return np.maximum(scales, SMALLEST_SCALE).astype(np.float32)


def tensor_scale(fmt: ElementFormat, low: NDArray[np.float64], high: NDArray[np.float64]) -> float:
    """The float32 scale of a whole tensor beside E4M3 scales of its blocks: it brings the largest of them to 448."""
    widest = float(no_clip_scale(fmt, low, high).max(initial=0.0)) / float(OCP_E4M3.max_value)
    return float(np.float32(max(widest, SMALLEST_SCALE)))


def no_clip_scale(fmt: ElementFormat, low: NDArray[np.float64], high: NDArray[np.float64]) -> NDArray[np.float64]:
    """The smallest scales at which every value of [low, high] lies in the range of `fmt` (unsigned formats: of [0, high])."""
    scale = np.maximum(high, 0.0) / float(fmt.max_value)
    if fmt.min_value < 0:
        scale = np.maximum(scale, np.minimum(low, 0.0) / float(fmt.min_value))
    return scale


def round_up_to_power_of_two(scales: NDArray[np.float64]) -> NDArray[np.float64]:
    """The smallest powers of two that are not below `scales` (0 stays 0); exact, by the exponent field."""
    mantissa, exponent = np.frexp(scales)  # scale = mantissa * 2^exponent, mantissa in [0.5, 1)
    return np.where(scales == 0, 0.0, np.ldexp(1.0, np.where(mantissa == 0.5, exponent - 1, exponent)))


def expand(scales: Scales, shape: tuple[int, int]) -> Scales:
    """The scale of every weight of a matrix (rows, cols)."""
    rows, cols = shape
    return np.broadcast_to(np.repeat(scales, cols // scales.shape[1], axis=1), (rows, cols))


def weight_codes(matrix: NDArray[np.float32], scales: Scales, fmt: ElementFormat) -> Codes:
    """The integer codes of a weight matrix in units of the format's step (a minifloat's smallest subnormal)."""
    return to_codes(quantize(fmt, matrix / expand(scales, matrix.shape)), fmt)


def to_codes(values: NDArray[np.float64], fmt: ElementFormat) -> Codes:
    """Values of `fmt` (on a scale of 1) as integers in units of its step; Python integers where 64 bits are too few."""
    steps = values if isinstance(fmt, IntFormat) else values / float(fmt.step)
    if fmt.max_code < 1 << 62:
        return steps.astype(np.int64)
    return np.array([int(step) for step in steps.flat], dtype=object).reshape(steps.shape)
