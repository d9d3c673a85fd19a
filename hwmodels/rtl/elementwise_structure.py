"""What adds and pooling units are made of, read off their generator: the counterpart of :mod:`hwmodels.rtl.structure`.

Uses of logic bits here: `table` (fixed point from a short code), `exponent` (shift amounts), `shifter`, `select` (the larger
of two or the first).
"""

from __future__ import annotations

from collections import Counter
from functools import lru_cache

from hwmodels.formats import ElementFormat, IntFormat, Minifloat
from hwmodels.primitives.operands import fixed_point_bits, max_shift
from hwmodels.rtl.aligner import field_shift
from hwmodels.rtl.elementwise import AddUnit, PoolUnit, fixed_point_values, pool_sum_bits
from hwmodels.rtl.multiplier import TABLE_BITS
from hwmodels.rtl.structure import Structure, shifter_stages, table_inputs

MOST_ABSORBED_INPUTS = 5
"""Inputs of the widest logic bit that fits the LUT6 of an adder's bit together with the other summand."""


@lru_cache(maxsize=1024)
def elementwise_structure(unit: AddUnit | PoolUnit) -> Structure:
    """The counts of one lane."""
    fmt = unit.format
    bits, fixed = fixed_point_bits(fmt), fixed_point_structure(fmt)
    chains, luts, logic = fixed.chains, fixed.chain_luts, fixed.logic
    match unit:
        case AddUnit():
            second = fixed_point_structure(fmt, absorbed=True)
            both = Counter(logic) + Counter(second.logic)
            # the top bit repeats the sign, or is the carry
            return Structure((*chains * 2, bits + 1), 2 * luts + bits, 0, 0, both)
        case PoolUnit(kind="average"):
            wide = pool_sum_bits(fmt, unit.window, unit.kind)
            return Structure((*chains, wide), luts + wide, 0, 0, logic)
        case PoolUnit():
            pairs = -(-bits // 2)
            return Structure((*chains, pairs + 1), luts + pairs, 0, 0, {**logic, ("select", 4): bits})


@lru_cache(maxsize=1024)
def fixed_point_structure(fmt: ElementFormat, *, absorbed: bool = False) -> Structure:
    """The counts of what makes a code an integer.

    Args:
        absorbed: without the bits that an adder behind takes into its own LUTs, which one of its summands can be made of.
    """
    early: Counter[tuple[str, int]] = Counter()
    last: Counter[tuple[str, int]] = Counter()
    chains: tuple[int, ...] = ()
    match fmt:
        case IntFormat():
            pass
        case Minifloat() if fmt.bits <= TABLE_BITS:
            last.update(("table", n) for n in table_inputs(fixed_point_values(fmt), fixed_point_bits(fmt)) if n > 1)
        case Minifloat():
            width, most = fmt.mantissa_bits + 1 + int(fmt.signed), max_shift(fmt)
            shifts = [field_shift(fmt, field) for field in range(1 << fmt.exponent_bits)]
            early.update(("exponent", n) for n in table_inputs(shifts, most.bit_length()))
            wanted = set(range(min(width + most, fixed_point_bits(fmt))))
            for place, stage in enumerate(shifter_stages(width, most, wanted, signed=fmt.signed)):
                (early if place else last).update(("shifter", n) for n in stage)
            chains = (width + 1,) if fmt.signed else ()
    if absorbed:
        last = Counter({(use, n): count for (use, n), count in last.items() if n > MOST_ABSORBED_INPUTS})
    return Structure(chains, sum(chains) - 2 * len(chains), 0, 0, early + last)
