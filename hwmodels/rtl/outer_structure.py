"""What an outer stage is made of, read off its generator: the counterpart of :mod:`hwmodels.rtl.structure` for dot products.

Besides that module's uses of logic bits there are `window` (clamping a total of exponents) and `digits` (loading and
moving the digits of a serial product).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from hwmodels.datapath import Overflow
from hwmodels.formats import E8M0
from hwmodels.rtl.outer import OuterStage, tree_adders
from hwmodels.rtl.scale import ProductScale, ShiftScale
from hwmodels.rtl.structure import Structure, lane_logic, multiplier_chains, row_chains, shifter_inputs


def outer_structure(stage: OuterStage) -> Structure:
    """The counts of the whole stage: the scales of all units, the tree over them, and the accumulator."""
    scales, adders = scale_structure(stage), tree_adders(stage)
    saturates = stage.overflow is Overflow.SATURATE
    # bits above both summands only repeat the sign
    register = max(stage.bits, stage.tree_bits)
    return Structure(
        chains=(*scales.chains, *(width for _, width in adders), register + int(saturates)),
        chain_luts=scales.chain_luts + sum(min(own, width) for own, width in adders) + register,
        row_chains=scales.row_chains,
        amount_bits=0,
        logic={**scales.logic} | ({("clamp", 3): stage.bits} if saturates else {}),
    )


def scale_structure(stage: OuterStage) -> Structure:
    """The counts of the scales of all units alone."""
    chains, luts, rows, logic = _scale(stage)
    units = stage.units
    return Structure(chains * units, luts * units, rows * units, 0, {key: n * units for key, n in logic.items()})


def _scale(stage: OuterStage) -> tuple[tuple[int, ...], int, int, Mapping[tuple[str, int], int]]:
    """(chains, LUTs on them, chains of multiplier rows, logic bits) of the scale of one unit."""
    inner, scale = stage.inner_bits, stage.scale
    logic: Counter[tuple[str, int]] = Counter()
    match scale:
        case None:
            return (), 0, 0, logic
        case ShiftScale():
            amount, added = (scale.reach - 1).bit_length(), stage.operands - 1
            high = E8M0.bits + added - amount
            logic["window", high] += 1 + int(scale.start > 0)
            logic["window", 2] += amount
            wanted = set(range(scale.dropped, inner + scale.reach - 1))
            logic.update(("shifter", n) for n in shifter_inputs(inner, scale.reach - 1, wanted, signed=True))
            return (E8M0.bits + 1,) * added, E8M0.bits * added, 0, logic
        case ProductScale():
            if not scale.is_integer:
                lane = scale.lane(inner)
                rows, luts = row_chains(lane)
                return rows, luts, len(rows), lane_logic(lane)[0]
            rows, luts = multiplier_chains(*scale.factors(inner))
            if scale.passes == 1:
                return rows, luts, len(rows), logic
            logic["digits", 3] += scale.digit * scale.passes
            return (*rows, inner + scale.digit), luts + inner + scale.digit, len(rows), logic


def scale_registers(stage: OuterStage) -> int:
    """Flip-flops of the scales of all units and of the flags that wait for them (derived)."""
    scale = stage.scale
    match scale:
        case None:
            return 0
        case ShiftScale():
            each = (scale.reach - 1).bit_length() + int(scale.start > 0) + stage.summand_bits
        case ProductScale(passes=1):
            each = scale.format.bits + stage.summand_bits
            if not scale.is_integer:
                # synthesis moves the table of shift amounts in front of the register, which then holds its words as well
                each += scale.lane(stage.inner_bits).most_shift.bit_length()
        case ProductScale():
            each = scale.format.bits + 2 * stage.inner_bits + scale.digit * scale.passes
    return each * stage.units + scale.delay + 1


def outer_registers(stage: OuterStage) -> int:
    """Flip-flops of the whole stage (derived)."""
    return stage.bits + scale_registers(stage)
