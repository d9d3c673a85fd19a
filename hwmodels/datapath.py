"""The numerics of a compute unit as one frozen value: what the cost model needs of a quantized layer, and no more."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from hwmodels.errors import BitfrontError
from hwmodels.formats import BlockFormat, ElementFormat, Minifloat, NumberFormat


class DatapathError(BitfrontError):
    """A datapath that cannot exist."""


class Granularity(StrEnum):
    """How many values share one scale."""

    TENSOR = "tensor"
    CHANNEL = "channel"
    GROUP = "group"


class ScaleKind(StrEnum):
    """What a scale may be: any positive float (costs a multiplier) or a power of two (costs a shift)."""

    FLOAT = "float"
    POWER_OF_TWO = "power_of_two"


class Overflow(StrEnum):
    """What an accumulator does with a sum that it cannot hold."""

    IMPOSSIBLE = "impossible"  # proved from the weights, or the point is refused
    WRAP = "wrap"
    SATURATE = "saturate"


class Multiplier(StrEnum):
    """Which primitive multiplies."""

    LUT = "lut"
    DSP = "dsp"


@dataclass(frozen=True)
class Scaling:
    """How a tensor is scaled. `group_size` (values along the input channels) is given if and only if per group."""

    granularity: Granularity = Granularity.TENSOR
    kind: ScaleKind = ScaleKind.FLOAT
    group_size: int | None = None

    def __post_init__(self) -> None:
        if (self.granularity is Granularity.GROUP) != (self.group_size is not None):
            raise DatapathError(
                "`group_size` must be given if and only if granularity is group, but got "
                f"granularity={self.granularity}, group_size={self.group_size}."
            )
        if self.group_size is not None and self.group_size < 2:
            raise DatapathError(f"`group_size` must be at least 2 values, but got group_size={self.group_size}.")

    @property
    def name(self) -> str:
        """``tensor``, ``channel``, ``group32``; a power-of-two scale adds ``_po2``. Read back by :func:`parse_scaling`."""
        size = "" if self.group_size is None else str(self.group_size)
        return f"{self.granularity}{size}{'_po2' if self.kind is ScaleKind.POWER_OF_TWO else ''}"

    def __str__(self) -> str:
        return self.name


def parse_scaling(name: str) -> Scaling:
    """The scaling of a name such as ``tensor``, ``channel_po2``, ``group32`` or ``group16_po2``.

    Raises:
        DatapathError: the name is none of these.
    """
    text = name.strip().lower()
    stem = text.removesuffix("_po2")
    kind = ScaleKind.POWER_OF_TWO if stem != text else ScaleKind.FLOAT
    if stem in (Granularity.TENSOR, Granularity.CHANNEL):
        return Scaling(Granularity(stem), kind)
    size = stem.removeprefix("group")
    if stem.startswith("group") and size.isdecimal():
        return Scaling(Granularity.GROUP, kind, int(size))
    raise DatapathError(f"a scaling must be tensor, channel or groupN, each with or without _po2, but got {name!r}.")


@dataclass(frozen=True)
class TensorQuant:
    """A number format and its scaling. A block format brings its own scale and is resolved by :func:`tensor_quant`."""

    format: ElementFormat
    scaling: Scaling = Scaling()

    @property
    def bits(self) -> int:
        """Stored bits of one element."""
        return self.format.bits

    @property
    def name(self) -> str:
        """``int4/channel``, ``e2m1/group32_po2``."""
        return f"{self.format.name}/{self.scaling.name}"

    def __str__(self) -> str:
        return self.name


def tensor_quant(fmt: NumberFormat, scaling: Scaling | None = None) -> TensorQuant:
    """`fmt` with `scaling` (default per tensor); a block format becomes its element with a power-of-two group scale.

    Raises:
        DatapathError: a block format is given together with a scaling that contradicts its own.
    """
    if not isinstance(fmt, BlockFormat):
        return TensorQuant(fmt, scaling or Scaling())
    own = Scaling(Granularity.GROUP, ScaleKind.POWER_OF_TWO, fmt.block_size)
    if scaling not in (None, own):
        raise DatapathError(f"{fmt} brings the scaling {own}, but got {scaling}; leave the scaling out.")
    return TensorQuant(fmt.element, own)


@dataclass(frozen=True)
class Accumulator:
    """A sum of `bits` bits (P). With `tile_size` (T products) it is the inner accumulator of a tile.

    `overflow` impossible is a claim: :mod:`hwmodels.accumulator` proves it from the weights, or the point is refused.
    """

    bits: int
    tile_size: int | None = None
    overflow: Overflow = Overflow.IMPOSSIBLE

    def __post_init__(self) -> None:
        if not 2 <= self.bits <= 1024:
            raise DatapathError(f"an accumulator must have 2 to 1024 bits, but got bits={self.bits}.")
        if self.tile_size is not None and self.tile_size < 1:
            raise DatapathError(f"`tile_size` must be at least 1 product, but got tile_size={self.tile_size}.")


@dataclass(frozen=True)
class Datapath:
    """Weights times activations, summed in an accumulator: the compute unit of one layer."""

    weight: TensorQuant
    activation: TensorQuant
    accumulator: Accumulator
    multiplier: Multiplier = Multiplier.LUT

    def __post_init__(self) -> None:
        if self.multiplier is Multiplier.DSP and any(
            isinstance(q.format, Minifloat) and q.format.integer_grid is None for q in (self.weight, self.activation)
        ):
            raise DatapathError(
                "DSP multipliers are modelled for integer formats only, but got "
                f"weight={self.weight.format}, activation={self.activation.format}; use multiplier=lut."
            )

    @property
    def is_integer(self) -> bool:
        """Whether both operands are integer grids (E1My counts: it is one)."""
        return all(
            not isinstance(q.format, Minifloat) or q.format.integer_grid is not None
            for q in (self.weight, self.activation)
        )
