"""Scales and integer codes of weights, by rule, in NumPy: what the quantizers are given and what proofs are made from.

Absolute-maximum scales, one per block (tensor, output channel, or `group_size` consecutive columns):

- float: the smallest scale that clips nothing. For a two's complement format that is max(w_max / max_code,
  w_min / min_code), so the lowest code is used where it helps; for symmetric formats it is absmax / max_value.
- power of two, integers and minifloats without mantissa bits: that scale rounded *up*, so the block's maximum is never
  clipped (rounding down, as in the MX standard, saturates it by up to 2x and costs an 8-bit integer 26 dB; the largest
  value of ExM0 is 2^emax itself, so there too it would saturate every maximum).
- power of two, other minifloats: 2^(floor(log2 absmax) - emax), the rule of OCP Microscaling formats 1.0, section 6.3; maxima
  between max_value and 2^(emax+1) saturate, as that standard has it. So a block format means what it says.

All scales are float32, and values are divided by them in float32, because that is what torch does: the codes here are
those of the quantized network, bit for bit.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hwmodels.accumulator import Codes
from hwmodels.codec import quantize
from hwmodels.datapath import Granularity, ScaleKind, TensorQuant
from hwmodels.formats import ElementFormat, IntFormat, Minifloat

Scales = NDArray[np.float32]

SMALLEST_SCALE = 2.0**-100
"""A lower bound that keeps quotients normal in float32; only blocks whose weights round to zero anyway meet it (assumed)."""


def weight_scales(matrix: NDArray[np.float32], quant: TensorQuant) -> Scales:
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
    low, high = blocks.min(axis=-1).astype(np.float64), blocks.max(axis=-1).astype(np.float64)
    exact = no_clip_scale(quant.format, low, high)
    match quant.scaling.kind, quant.format:
        case ScaleKind.FLOAT, _:
            scales = exact
        case ScaleKind.POWER_OF_TWO, (IntFormat() | Minifloat(mantissa_bits=0)):
            scales = round_up_to_power_of_two(exact)
        case _, minifloat:
            assert not isinstance(minifloat, IntFormat)
            absmax = np.maximum(np.maximum(-low, high), SMALLEST_SCALE)
            scales = np.ldexp(1.0, np.frexp(absmax)[1] - 1 - minifloat.max_exponent)
    scales = np.where(np.maximum(-low, high) == 0, 1.0, scales)
    return np.maximum(scales, SMALLEST_SCALE).astype(np.float32)


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
