"""The two kinds of compute units that `dse synth` builds, plain and segmented, behind the same few functions."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, TypeAlias

from hwmodels.catalog import parse_element
from hwmodels.datapath import Accumulator, Datapath, Granularity, Overflow, ScaleKind, Scaling, tensor_quant
from hwmodels.devices import Family
from hwmodels.dot_product import dot_product_unit
from hwmodels.errors import BitfrontError
from hwmodels.outer_stage import segmented_unit
from hwmodels.rtl.check import Simulator, check_unit, vectors
from hwmodels.rtl.segment import SEGMENT_TOP, SegmentUnit, segment_verilog
from hwmodels.rtl.segment_check import check_segments, segment_testbench, segment_vectors
from hwmodels.rtl.testbench import testbench
from hwmodels.rtl.unit import TOP, DotUnit, unit_verilog

Unit: TypeAlias = DotUnit | SegmentUnit

_ROOM = 8
"""Bits of an outer accumulator above one segment's, unless told otherwise: 256 segments."""

_WIDEST = 4096


class CutError(BitfrontError):
    """Options about segments that do not go together."""


class BlockScale(StrEnum):
    """What the products of a block share."""

    MX = "mx"  # a power of two (E8M0) for the weights and one for the activations
    PO2 = "po2"  # a power of two for the weights
    FLOAT = "float"  # a 16-bit mantissa for the weights


@dataclass(frozen=True)
class Cut:
    """How sums are cut: by tiles of `tile` products, by blocks with scales, or not at all.

    Raises:
        CutError: a width or a kind of scale for sums that are not cut.
    """

    tile: int | None = None
    block: int | None = None
    scale: BlockScale | None = None
    outer_bits: int | None = None

    def __post_init__(self) -> None:
        if self.scale is not None and self.block is None:
            raise CutError(f"--block-scale must come with --block, but got --block-scale {self.scale} alone.")
        if self.outer_bits is not None and self.tile is None and self.block is None:
            raise CutError(f"--outer must come with --tile or --block, but got --outer {self.outer_bits} alone.")

    @property
    def scalings(self) -> tuple[Scaling, Scaling]:
        """Of the weights and of the activations."""
        if self.block is None:
            return Scaling(), Scaling()
        kind = ScaleKind.FLOAT if self.scale is BlockScale.FLOAT else ScaleKind.POWER_OF_TWO
        group = Scaling(Granularity.GROUP, kind, self.block)
        return group, group if self.scale in (None, BlockScale.MX) else Scaling()


def build(
    weight: str,
    activation: str,
    bits: int,
    lanes: int,
    cut: Cut,
    *,
    overflow: Overflow,
    dropped: int | None,
    stages: int,
) -> Unit:
    """The unit of two element formats by name; a segmented one where sums are cut."""
    of_weights, of_activations = cut.scalings
    path = Datapath(
        tensor_quant(parse_element(weight), of_weights),
        tensor_quant(parse_element(activation), of_activations),
        Accumulator(bits, cut.tile, overflow),
    )
    if cut.tile is None and cut.block is None:
        return DotUnit(path, lanes, dropped_bits=dropped, pipeline=stages > 0, registered=stages > 1)
    if stages > 1:
        raise CutError(
            "--stages 2 is a register between products and their accumulator, but sums that are cut have several; use 1."
        )
    outer = cut.outer_bits
    unit = SegmentUnit(path, lanes, _WIDEST if outer is None else outer, dropped_bits=dropped, pipeline=stages > 0)
    return unit if outer is not None else replace(unit, outer_bits=unit.outer.summand_bits + _ROOM)


def top_of(unit: Unit) -> str:
    """Name of the top module."""
    return TOP if isinstance(unit, DotUnit) else SEGMENT_TOP


def verilog(unit: Unit) -> str:
    """The synthesizable text."""
    return unit_verilog(unit) if isinstance(unit, DotUnit) else segment_verilog(unit)


def bench(unit: Unit) -> str:
    """The text of a testbench of 64 cycles, or eight segments; the last sequence is the random one behind the corners."""
    if isinstance(unit, DotUnit):
        weights, activations, *control = vectors(unit, cycles=64, batch=17, seed=0)
        return testbench(unit, weights[:, -1], activations[:, -1], *control)
    cycles = max(64, 8 * unit.cycles)
    weights, activations, codes, *control = segment_vectors(unit, cycles, batch=17, seed=0)
    return segment_testbench(unit, weights[:, -1], activations[:, -1], codes[:, -1], *control)


def check(unit: Unit, cycles: int, batch: int, simulator: Simulator, limit_s: float) -> int:
    """Simulated sums, all of them as the formats say; see :func:`hwmodels.rtl.check.check_unit`."""
    if isinstance(unit, DotUnit):
        return check_unit(unit, cycles, batch, simulator=simulator, limit_s=limit_s)
    return check_segments(unit, cycles, batch, simulator=simulator, limit_s=limit_s)


def unit_row(unit: Unit, family: Family) -> dict[str, Any]:
    """What is known of a unit before it is synthesized: what it is, and what the cost model predicts."""
    dot = unit if isinstance(unit, DotUnit) else unit.inner
    about: dict[str, Any] = {
        "weight": dot.weight.name,
        "activation": dot.activation.name,
        "accumulator": dot.bits,
        "lanes": unit.lanes,
        "overflow": str(dot.overflow),
        "dropped_bits": dot.dropped,
        "pipeline": unit.pipeline,
        "stages": int(unit.pipeline) + int(isinstance(unit, DotUnit) and unit.registered),
    }
    if isinstance(unit, SegmentUnit):
        about |= {"segment": unit.segment, "outer": unit.outer_bits, "scale": unit.scale.name if unit.scale else "none"}
        predicted, band = segmented_unit(unit, family)
    else:
        predicted, band = dot_product_unit(
            unit.weight, unit.activation, unit.lanes, unit.bits, family, unit.overflow, unit.dropped
        )
    numbers = {"lut": predicted.lut, "carry8": predicted.carry8, "ff": predicted.ff}
    return about | {"predicted": numbers | {"error_band": band.as_dict()}}
