"""Dynamic scales as ONNX nodes, bit for bit those of :func:`workloads.fake_quant.dynamic_scales`.

They compute in float64, as the model does, so that one division decides them and no rounding happens twice. Two helpers need
the power of two next to a number, for which ONNX has no operator and a logarithm is not exact. With u = 2^-53, the unit
roundoff of float64, and q = phi x, the difference q - (1 - u) q, each operation rounded to nearest, is

- the largest power of two that is not above x, for phi = 1 / (2 u) + 1: the "unit in the first place" of S. M. Rump, Ultimately
  fast accurate summation, SIAM J. Sci. Comput. 31 (2009);
- the smallest power of two that is not below x, for phi = 1 / u. Derived: q is exact and (1 - u) q = q - x. Let 2^e be the
  power of two below q, so that numbers there are w = 2^(e - 52) apart and w / 2 <= x < w. If x is no power of two, q > 2^e
  and q - x rounds to q - w: the difference is w. If it is one, q = 2^e, numbers below are w / 2 = x apart, and q - x is exact.

Both are tested on every exponent of float32. x = 0 gives 0.
"""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from dse.export.build import Build
from hwmodels.datapath import ScaleKind, TensorQuant
from hwmodels.formats import OCP_E4M3, Minifloat
from workloads.scales import SMALLEST_SCALE

ROUNDOFF = 2.0**-53
PHI_BELOW, PHI_ABOVE = 0.5 / ROUNDOFF + 1, 1 / ROUNDOFF
"""phi of the power of two below and above."""


def dynamic_scale(
    build: Build, quant: TensorQuant, tensor: float | None, source: str, axes: list[int], name: str
) -> str:
    """The nodes that compute the scales of blocks of `source`, one over `axes` each (which stay, with size 1); their output.

    Args:
        build: gets the nodes.
        quant: format and dynamic scaling.
        tensor: the scale of the whole tensor beside E4M3 scales, else None.
        source: the tensor of blocks.
        axes: those of a block.
        name: the nodes' names begin with it.
    """

    def wide(value: float) -> str:
        return build.constant(f"{value!r}.double", value, np.float64)

    def node(op: str, inputs: list[str], what: str, **attributes: object) -> str:
        return build.node(op, inputs, f"{name}.{what}", **attributes)

    def reduced(op: str, tensor: str, what: str) -> str:
        value = node(op, [tensor, build.sizes(*axes)], what, keepdims=1)
        return node("Cast", [value], f"{what}.double", to=TensorProto.DOUBLE)

    def power_of_two(value: str, phi: float, what: str) -> str:
        scaled = node("Mul", [value, wide(phi)], f"{what}.scaled")
        return node("Sub", [scaled, node("Mul", [scaled, wide(1 - ROUNDOFF)], f"{what}.less")], what)

    fmt, kind = quant.format, quant.scaling.kind
    if fmt.min_value == -fmt.max_value:
        largest = reduced("ReduceMax", node("Abs", [source], "magnitude"), "largest")
        exact = node("Div", [largest, wide(float(fmt.max_value))], "exact")
    else:
        high, low = reduced("ReduceMax", source, "high"), reduced("ReduceMin", source, "low")
        largest = node("Max", [high, node("Neg", [low], "low.negative")], "largest")
        exact = node("Div", [node("Max", [high, wide(0.0)], "high.positive"), wide(float(fmt.max_value))], "exact")
        if fmt.min_value < 0:
            below = node("Div", [node("Min", [low, wide(0.0)], "low.clipped"), wide(float(fmt.min_value))], "exact.low")
            exact = node("Max", [exact, below], "exact.both")
    match kind:
        case ScaleKind.FLOAT:
            scale = exact
        case ScaleKind.E4M3:
            assert tensor is not None
            relative = node("Div", [exact, wide(tensor)], "relative")
            narrow = node("Cast", [relative], "relative.float", to=TensorProto.FLOAT)
            rounded = float_quant(build, OCP_E4M3, narrow, build.number(1.0), f"{name}.e4m3")
            least = node("Max", [rounded, build.number(float(OCP_E4M3.step))], "e4m3.least")
            widened = node("Cast", [least], "e4m3.double", to=TensorProto.DOUBLE)
            scale = node("Mul", [widened, wide(tensor)], "product")
        case ScaleKind.POWER_OF_TWO if isinstance(fmt, Minifloat) and fmt.mantissa_bits:
            bounded = node("Max", [largest, wide(SMALLEST_SCALE)], "largest.bounded")
            binade = power_of_two(bounded, PHI_BELOW, "binade")
            scale = node("Mul", [binade, wide(2.0**-fmt.max_exponent)], "binade.of_scale")
        case ScaleKind.POWER_OF_TWO:
            scale = power_of_two(exact, PHI_ABOVE, "rounded_up")
    empty = node("LessOrEqual", [largest, wide(0.0)], "empty")
    chosen = node("Where", [empty, wide(1.0), scale], "chosen")
    bounded = node("Max", [chosen, wide(SMALLEST_SCALE)], "bounded")
    return node("Cast", [bounded], "scale", to=TensorProto.FLOAT)


def float_quant(build: Build, fmt: Minifloat, source: str, scale: str, name: str) -> str:
    """A FloatQuant node: its maximum and bias are always stated, because QONNX' own defaults differ from the standards'."""
    fields = (fmt.exponent_bits, fmt.mantissa_bits, fmt.exponent_bias, float(fmt.max_value))
    return build.node(
        "FloatQuant",
        [source, scale, *map(build.number, fields)],
        name,
        has_inf=int(fmt.specials == "ieee"),
        has_nan=int(fmt.specials in ("ieee", "nan")),
        has_subnormal=1,
        rounding_mode="ROUND",
        saturation=1,
        signed=None if fmt.signed else 0,
    )
