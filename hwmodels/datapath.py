"""The numerics of a compute unit as one frozen value: what the cost model needs of a quantized layer, and no more."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from enum import StrEnum

from hwmodels.errors import BitfrontError
from hwmodels.formats import E8M0, BlockFormat, ElementFormat, Minifloat, NumberFormat


class DatapathError(BitfrontError):
    """A datapath that cannot exist."""


class Granularity(StrEnum):
    """How many values share one scale."""

    TENSOR = "tensor"
    CHANNEL = "channel"
    TOKEN = "token"  # all channels of one token or pixel
    GROUP = "group"


class ScaleKind(StrEnum):
    """What a scale may be: any positive float (costs a multiplier), a power of two (costs a shift), or, of groups, an OCP
    E4M3 number times one float scale of the whole tensor (NVFP4)."""

    FLOAT = "float"
    POWER_OF_TWO = "power_of_two"
    E4M3 = "e4m3"


class Overflow(StrEnum):
    """What an accumulator does with a sum that it cannot hold."""

    IMPOSSIBLE = "impossible"  # proved from the weights, or the point is refused
    WRAP = "wrap"
    SATURATE = "saturate"


class Architecture(StrEnum):
    """How an accumulator holds a sum: as an integer of P bits, or as a floating-point number."""

    FIXED = "fixed"
    FLOAT = "float"


class Multiplier(StrEnum):
    """Which primitive multiplies."""

    LUT = "lut"
    DSP = "dsp"


_KIND_SUFFIXES = {ScaleKind.FLOAT: "", ScaleKind.POWER_OF_TWO: "_po2", ScaleKind.E4M3: "_e4m3"}

_SCALING = re.compile(r"(tensor|channel|token|group([0-9]{1,9}))(_po2|_e4m3)?(_dynamic)?(_asym)?")


@dataclass(frozen=True)
class Scaling:
    """How a tensor is scaled.

    Args:
        granularity: how many values share a scale.
        kind: what a scale may be.
        group_size: values along the input channels; given if and only if per group.
        dynamic: scales are computed from the values they scale, where they arise; else they are constants.
        zero_point: the code of the number zero is a constant of the tensor, not 0.
    """

    granularity: Granularity = Granularity.TENSOR
    kind: ScaleKind = ScaleKind.FLOAT
    group_size: int | None = None
    dynamic: bool = False
    zero_point: bool = False

    def __post_init__(self) -> None:
        if (self.granularity is Granularity.GROUP) != (self.group_size is not None):
            raise DatapathError(
                "`group_size` must be given if and only if granularity is group, but got "
                f"granularity={self.granularity}, group_size={self.group_size}."
            )
        if self.group_size is not None and self.group_size < 2:
            raise DatapathError(f"`group_size` must be at least 2 values, but got group_size={self.group_size}.")
        if self.kind is ScaleKind.E4M3 and self.granularity is not Granularity.GROUP:
            raise DatapathError(f"e4m3 scales are those of groups, but got granularity={self.granularity}; use groupN.")
        if self.granularity is Granularity.TOKEN and not self.dynamic:
            raise DatapathError(
                "the scale of a token must be dynamic, because tokens are not known before, but got a constant."
            )
        if self.zero_point and (self.dynamic or self.granularity is not Granularity.TENSOR):
            raise DatapathError(
                f"a zero point must be a constant of a whole tensor, but got {self.name}; use tensor_asym."
            )

    @property
    def name(self) -> str:
        """``tensor``, ``channel``, ``token``, ``group32``; read back by :func:`parse_scaling`.

        Behind it stands ``_po2`` or ``_e4m3`` for the kind of scale, ``_dynamic`` where it is (a token's always is), and
        ``_asym`` for a zero point.
        """
        size = "" if self.group_size is None else str(self.group_size)
        dynamic = "_dynamic" if self.dynamic and self.granularity is not Granularity.TOKEN else ""
        return f"{self.granularity}{size}{_KIND_SUFFIXES[self.kind]}{dynamic}{'_asym' if self.zero_point else ''}"

    def __str__(self) -> str:
        return self.name


def parse_scaling(name: str) -> Scaling:
    """The scaling of a name such as ``tensor_asym``, ``channel_po2``, ``token``, ``group32`` or ``group16_e4m3_dynamic``.

    Raises:
        DatapathError: the name is none of these.
    """
    found = _SCALING.fullmatch(name.strip().lower())
    if found is None:
        raise DatapathError(
            "a scaling must be tensor, channel, token or groupN, each with or without _po2 (groups: or _e4m3), _dynamic and "
            f"_asym, but got {name!r}."
        )
    stem, size, kind, dynamic, zero_point = found.groups()
    granularity = Granularity.GROUP if size else Granularity(stem)
    return Scaling(
        granularity,
        next(k for k, suffix in _KIND_SUFFIXES.items() if suffix == (kind or "")),
        int(size) if size else None,
        dynamic=bool(dynamic) or granularity is Granularity.TOKEN,
        zero_point=bool(zero_point),
    )


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
    """`fmt` with `scaling` (default per tensor); a block format becomes its element with a group scale of its own kind.

    Raises:
        DatapathError: a block format is given together with a scaling that contradicts its own (dynamic or not is free).
    """
    if not isinstance(fmt, BlockFormat):
        return TensorQuant(fmt, scaling or Scaling())
    kind = ScaleKind.POWER_OF_TWO if fmt.scale == E8M0 else ScaleKind.E4M3
    own = Scaling(Granularity.GROUP, kind, fmt.block_size)
    if scaling not in (None, own, replace(own, dynamic=True)):
        raise DatapathError(f"{fmt} brings the scaling {own}, but got {scaling}; leave the scaling out.")
    return TensorQuant(fmt.element, scaling or own)


@dataclass(frozen=True)
class Accumulator:
    """A sum of `bits` bits (P). With `tile_size` (T products) it is the inner accumulator of a tile.

    `overflow` impossible is a claim: :mod:`hwmodels.accumulator` proves it from the weights, or the point is refused.

    Args:
        mantissa_bits: None: a fixed-point sum. Else a floating-point one of sign, exponent and so many stored mantissa bits,
            `bits` in all, to which every product is added by a tree of floating-point adders.
    """

    bits: int
    tile_size: int | None = None
    overflow: Overflow = Overflow.IMPOSSIBLE
    mantissa_bits: int | None = None

    def __post_init__(self) -> None:
        if not 2 <= self.bits <= 1024:
            raise DatapathError(f"an accumulator must have 2 to 1024 bits, but got bits={self.bits}.")
        if self.tile_size is not None and self.tile_size < 1:
            raise DatapathError(f"`tile_size` must be at least 1 product, but got tile_size={self.tile_size}.")
        if self.mantissa_bits is None:
            return
        if not 1 <= self.mantissa_bits <= self.bits - 3:
            raise DatapathError(
                "a floating-point accumulator must have at least 1 mantissa bit and 2 exponent bits beside its sign, but got "
                f"bits={self.bits}, mantissa_bits={self.mantissa_bits}."
            )
        if self.tile_size is not None or self.overflow is not Overflow.IMPOSSIBLE:
            raise DatapathError(
                "a floating-point accumulator has no tiles and an exponent that cannot overflow, but got "
                f"tile_size={self.tile_size}, overflow={self.overflow}."
            )

    @property
    def architecture(self) -> Architecture:
        """Fixed or floating point."""
        return Architecture.FIXED if self.mantissa_bits is None else Architecture.FLOAT

    @property
    def exponent_bits(self) -> int:
        """Bits of the exponent field, 0 of a fixed-point sum."""
        return 0 if self.mantissa_bits is None else self.bits - 1 - self.mantissa_bits

    @property
    def name(self) -> str:
        """``24`` or ``float:e6m10``. Read back by :func:`parse_accumulator`, without tile and overflow."""
        return str(self.bits) if self.mantissa_bits is None else f"float:e{self.exponent_bits}m{self.mantissa_bits}"


def parse_accumulator(name: str) -> Accumulator:
    """The accumulator of a name: a width in bits, or ``float:`` with its exponent and mantissa bits, as ``float:e6m10``.

    Raises:
        DatapathError: the name is neither.
    """
    text = name.strip().lower()
    if text.isdecimal() and text.isascii():
        return Accumulator(int(text))
    found = re.fullmatch(r"float:e([0-9]{1,3})m([0-9]{1,3})", text)
    if found is None:
        raise DatapathError(f"an accumulator must be a width in bits or like float:e6m10, but got {name!r}.")
    exponent, mantissa = int(found[1]), int(found[2])
    return Accumulator(1 + exponent + mantissa, mantissa_bits=mantissa)


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
        if self.accumulator.architecture is Architecture.FLOAT:
            self._check_float()

    def _check_float(self) -> None:
        pair = (self.weight, self.activation)
        if not all(isinstance(q.format, Minifloat) for q in pair) or self.multiplier is not Multiplier.LUT:
            raise DatapathError(
                f"a floating-point accumulator adds products of minifloats in LUTs, but got weight={self.weight.format}, "
                f"activation={self.activation.format}, multiplier={self.multiplier}; use a fixed-point accumulator."
            )
        if any(q.scaling.granularity is Granularity.GROUP for q in pair):
            raise DatapathError(
                f"a floating-point accumulator takes no group scales, but got {self.weight} x {self.activation}; use a "
                "fixed-point accumulator."
            )

    @property
    def is_integer(self) -> bool:
        """Whether both operands are integer grids (E1My counts: it is one)."""
        return all(
            not isinstance(q.format, Minifloat) or q.format.integer_grid is not None
            for q in (self.weight, self.activation)
        )
