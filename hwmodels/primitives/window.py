"""A sliding-window generator as this project builds it: what stores words, addresses and control.

LUTs are weighed counts of the generators' parts (:mod:`hwmodels.rtl.window_structure`), with factors fitted to the table of
synthesized generators by ``python -m hwmodels.calibration.fit_windows``; those that store words, block memory and flip-flops are
derived. The depth of the ring is FINN's (`convolutioninputgenerator_rtl.py`), and so are the cycles, which these generators
take at most.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache

from hwmodels.calibration import window_constants as constants
from hwmodels.primitives.cost import BandKind, Cost, ErrorBand, ceil_div
from hwmodels.primitives.memory import (
    COLUMN_WORDS,
    MemoryStyle,
    bram18,
    lutram,
    lutram_columns,
    lutram_two_ports,
    price,
    shift_register_luts,
)
from hwmodels.resources import Resources
from hwmodels.rtl.window import WindowUnit
from hwmodels.rtl.window_parallel import ParallelWindowUnit
from hwmodels.rtl.window_structure import WindowStructure, parallel_structure, window_structure
from hwmodels.window_shape import WindowShape

_SOURCE = "hwmodels.rtl.window_structure, fitted; memory and FF derived; depth of FINN's convolutioninputgenerator_rtl"

Unit = WindowUnit | ParallelWindowUnit


def _structure(unit: Unit) -> WindowStructure:
    return window_structure(unit) if isinstance(unit, WindowUnit) else parallel_structure(unit)


def features(unit: Unit) -> Mapping[str, float]:
    """The counts that the form weighs, by name: all but what stores words."""
    structure = _structure(unit)
    if isinstance(unit, ParallelWindowUnit):
        return {"parallel": structure.counted}
    width, depth = structure.memory
    columns = 0 if unit.block else lutram_columns(width, ceil_div(depth, COLUMN_WORDS))
    return {"counted": structure.counted, "turned": structure.turned, "columns": columns}


def stored_luts(unit: Unit, family: str) -> float:
    """LUT6 that store words. Derived."""
    structure = _structure(unit)
    shifted = shift_register_luts(*structure.shifted)
    if unit.block:
        return shifted
    count = lutram_two_ports(*structure.memory, family) if isinstance(unit, WindowUnit) else lutram(*structure.memory)
    return shifted + count


def _resources(unit: Unit, family: str) -> Resources:
    structure = _structure(unit)
    lut = sum(constants.FACTORS[name] * count for name, count in features(unit).items()) + stored_luts(unit, family)
    if not unit.block:
        return Resources(lut=lut, ff=structure.registers)
    return Resources(lut=lut, ff=structure.registers - structure.behind, bram18=bram18(*structure.memory))


@lru_cache(maxsize=8192)
def window(
    shape: WindowShape, bits: int, lanes: int, parallel: bool, style: MemoryStyle, capacity: Resources, family: str
) -> Cost:
    """The window generator of `bits`-bit activations, `lanes` channels per cycle; `parallel` windows leave whole.

    `style` is of what stores words: bram, lutram, or what is cheaper on the part (auto).
    """
    plain: Unit = (ParallelWindowUnit if parallel else WindowUnit)(shape, bits, lanes)
    in_blocks = replace(plain, block=True)
    width, depth = _structure(plain).memory
    built, blocks = _resources(plain, family), _resources(in_blocks, family)
    auto = price(blocks, capacity) < price(built, capacity)
    use_blocks = bool(width) and (auto if style is MemoryStyle.AUTO else style is not MemoryStyle.LUTRAM)
    resources = blocks if use_blocks else built
    counts = {name: f"{count:g}" for name, count in features(in_blocks if use_blocks else plain).items()}
    what = "ring of" if not parallel else "lines of"
    formula = f"{what} {depth} words of {width} bits in {'block memory' if use_blocks else 'LUTs'}; " + " + ".join(
        f"{constants.FACTORS[name]:.2f} * {count} {name}" for name, count in counts.items() if count != "0"
    )
    return Cost("window", resources, formula, _SOURCE, _band(plain, depth, family))


def _band(unit: Unit, depth: int, family: str) -> ErrorBand:
    band = ErrorBand(BandKind.MEASURED, constants.BASIS, *constants.TEST)
    reasons = [] if family in constants.FAMILIES else [f"family {family} instead of {' or '.join(constants.FAMILIES)}"]
    if unit.width > constants.WIDTH[1]:
        reasons.append(f"words of {unit.width} bits, more than {constants.WIDTH[1]}")
    if depth > constants.DEPTH[1]:
        reasons.append(f"{depth} words, more than {constants.DEPTH[1]}")
    return band.extrapolated(", ".join(reasons)) if reasons else band
