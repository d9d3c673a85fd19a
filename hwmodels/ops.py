"""What a dataflow accelerator is made of: a network of operators, and the numerics that run through them.

A network is a tuple of operators in dataflow order. Tensors between operators are named by their *site*, the place where
an activation quantizer stands; compute operators are named by their layer. :class:`Numerics` says which format each site
and each layer has, so the shapes (which never change in a sweep) and the formats (which always do) are separate values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isqrt

from hwmodels.datapath import Accumulator, Datapath, Multiplier, TensorQuant
from hwmodels.image_operators import LabelSelect, Pad, Pixels, Pool, Window
from hwmodels.operators import (
    Add,
    Attention,
    Compute,
    Depthwise,
    Duplicate,
    Lookup,
    MatMul,
    MatVec,
    Multiply,
    Norm,
    Normalize,
    Operator,
    Requantize,
    Rope,
    Rotate,
    Softmax,
    Table,
    Unfolded,
    other_sites,
    with_zeros,
)
from hwmodels.shapes import ShapeError

__all__ = [
    "Add",
    "Attention",
    "Compute",
    "Depthwise",
    "Duplicate",
    "Folding",
    "LabelSelect",
    "LayerNumerics",
    "Lookup",
    "MatMul",
    "MatVec",
    "Multiply",
    "Network",
    "Norm",
    "Normalize",
    "Numerics",
    "Operator",
    "Pad",
    "Pixels",
    "Pool",
    "Requantize",
    "Rope",
    "Rotate",
    "ShapeError",
    "Softmax",
    "Table",
    "Unfolded",
    "Window",
    "divisors",
    "known_divisors",
    "with_zeros",
]


@dataclass(frozen=True)
class Network:
    """Operators in dataflow order. Names are unique; what a window, a padding or a requantizer refers to exists."""

    name: str
    operators: tuple[Operator, ...]

    def __post_init__(self) -> None:
        names = [op.name for op in self.operators]
        if len(set(names)) != len(names):
            raise ShapeError(
                f"operator names must be unique, but {sorted({n for n in names if names.count(n) > 1})} repeat."
            )
        for op in self.operators:
            match op:
                case Window():
                    reference = op.layer
                case Requantize():
                    reference = op.source
                case Pad():
                    reference = op.reader
                case _:
                    continue
            if reference not in names:
                raise ShapeError(f"{op.name} must refer to an operator of the network, but got {reference!r}.")

    @property
    def compute(self) -> tuple[Compute, ...]:
        """The operators with a matrix: layers with weights, and products of two activations."""
        return tuple(op for op in self.operators if isinstance(op, MatVec | Depthwise))

    def without(self, kind: type[Operator]) -> Network:
        """The network without its operators of a kind."""
        return Network(self.name, tuple(op for op in self.operators if not isinstance(op, kind)))

    @property
    def sites(self) -> tuple[str, ...]:
        """The names of all activation sites, in dataflow order."""
        return tuple(dict.fromkeys(site for op in self.operators for site in (op.site, *other_sites(op))))

    @property
    def macs(self) -> int:
        """Multiply-accumulates per frame."""
        return sum(op.macs for op in self.compute)


@dataclass(frozen=True)
class LayerNumerics:
    """Weights and accumulator of one compute operator."""

    weight: TensorQuant
    accumulator: Accumulator


@dataclass(frozen=True)
class Numerics:
    """The formats of a whole network: what each site and each layer holds."""

    sites: Mapping[str, TensorQuant]
    layers: Mapping[str, LayerNumerics]

    def datapath(self, op: Compute, multiplier: Multiplier = Multiplier.LUT) -> Datapath:
        """The datapath of one compute operator.

        Raises:
            ShapeError: the operator's layer or site has no format.
        """
        if op.name not in self.layers or op.site not in self.sites:
            raise ShapeError(f"layer {op.name!r} with input site {op.site!r} must have formats, but none were given.")
        layer = self.layers[op.name]
        return Datapath(layer.weight, self.sites[op.site], layer.accumulator, multiplier)


@dataclass(frozen=True)
class Folding:
    """PE rows and SIMD columns computed in parallel (FINN)."""

    pe: int = 1
    simd: int = 1

    def check(self, op: Compute) -> None:
        """Refuse a folding that does not divide the operator.

        Raises:
            ShapeError: `pe` does not divide rows or `simd` does not divide cols; names the nearest divisors.
        """
        for field, value, dimension, size in (("pe", self.pe, "rows", op.rows), ("simd", self.simd, "cols", op.cols)):
            if value < 1 or size % value:
                near = sorted(known_divisors(size), key=lambda d: abs(d - value))[:2]
                raise ShapeError(
                    f"`{field}` must divide {dimension}, but {op.name} got {field}={value}, {dimension}={size}; "
                    f"divisors near {value}: {', '.join(map(str, sorted(near)))}."
                )

    def cycles(self, op: Compute) -> int:
        """Clock cycles per frame: rows/PE * cols/SIMD * vectors (FINN; derived)."""
        self.check(op)
        return (op.rows // self.pe) * (op.cols // self.simd) * op.vectors


def divisors(n: int) -> tuple[int, ...]:
    """All divisors of a positive `n`, ascending: the values that a folding may take. About sqrt(n) steps."""
    return _divisors(n, isqrt(n))


def known_divisors(n: int) -> tuple[int, ...]:
    """Divisors of a positive `n`, ascending, to word a refusal with: all where n <= 10^10, and never more than milliseconds.

    They are those up to 10^5 and their cofactors.
    """
    return _divisors(n, min(isqrt(n), 10**5))


def _divisors(n: int, most: int) -> tuple[int, ...]:
    small = [d for d in range(1, most + 1) if n % d == 0]
    return tuple(sorted({*small, *(n // d for d in small)}))
