"""A unit against the codec: exhaustive over the operand pairs of one lane, corners and random vectors for whole units.

By either of two simulators that share no code: the graph that Yosys reads from the text, or Icarus Verilog.
"""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from hwmodels.rtl.icarus import TIME_LIMIT_S, IcarusDesign, icarus_version
from hwmodels.rtl.reference import expected_sums, finite_codes
from hwmodels.rtl.simulate import Graph, elaborate, simulate_unit
from hwmodels.rtl.unit import TOP, DotUnit, unit_verilog
from hwmodels.rtl.verilog import RtlError
from hwmodels.yosys import yosys_version

Codes = NDArray[np.int64]
Flags = NDArray[np.bool_]


class Simulator(StrEnum):
    """What simulates a unit's Verilog."""

    YOSYS = "yosys"
    ICARUS = "icarus"

    @property
    def tool(self) -> str:
        """Name and version of the program.

        Raises:
            SynthError, SimulatorError: it is absent.
        """
        return f"Yosys {yosys_version()}" if self is Simulator.YOSYS else f"Icarus Verilog {icarus_version()}"

    def design(self, text: str, top: str = TOP, limit_s: float = TIME_LIMIT_S) -> Graph | IcarusDesign:
        """A Verilog text, ready for :func:`hwmodels.rtl.simulate.run`; the program may run for `limit_s` seconds.

        Raises:
            SynthError: Yosys is absent, refuses the text, or does not end in time.
        """
        if self is Simulator.YOSYS:
            return elaborate(text, top, limit_s=limit_s)
        return IcarusDesign(text, top, limit_s)


def all_pairs(unit: DotUnit) -> tuple[DotUnit, Codes, Codes, Flags, Flags]:
    """The unit with one lane, and every pair of finite codes as one batch of one cycle: arguments of a simulation."""
    pairs = np.meshgrid(finite_codes(unit.weight), finite_codes(unit.activation), indexing="ij")
    weights, activations = (codes.reshape(1, -1, 1) for codes in pairs)
    once = np.ones(1, dtype=np.bool_)
    return replace(unit, lanes=1), weights, activations, once, once


def vectors(unit: DotUnit, cycles: int, batch: int, seed: int) -> tuple[Codes, Codes, Flags, Flags]:
    """Codes of shape (cycles, batch, lanes) and control of shape (cycles,).

    In the first sequences all lanes hold one pair of the extreme codes (smallest and largest value, zero or nearest to it,
    in every combination), which drives sums to their ends; the rest is random. Clear comes rarely, so that sums grow.
    """
    rng = np.random.default_rng(seed)
    shape = (cycles, batch, unit.lanes)
    formats = (unit.weight, unit.activation)
    codes = [rng.choice(finite_codes(fmt), shape) for fmt in formats]
    corners = [
        finite_codes(fmt)[[0, len(finite_codes(fmt)) // 2 - 1, len(finite_codes(fmt)) // 2, -1]] for fmt in formats
    ]
    for index in range(min(16, batch)):
        codes[0][:, index], codes[1][:, index] = corners[0][index // 4], corners[1][index % 4]
    clear, enable = rng.random(cycles) < 0.15, rng.random(cycles) < 0.85
    clear[0] = enable[0] = True
    return codes[0], codes[1], clear, enable


def mismatches(
    unit: DotUnit, design: Graph | IcarusDesign, weights: Codes, activations: Codes, clear: Flags, enable: Flags
) -> tuple[int, int]:
    """(sums that differ from the codec's, sums compared)."""
    got = simulate_unit(unit, design, weights, activations, clear, enable)
    expected = expected_sums(unit, weights, activations, clear, enable)
    return int((got != expected).sum()), got.size


def check_unit(
    unit: DotUnit,
    cycles: int = 16,
    batch: int = 128,
    seed: int = 0,
    simulator: Simulator = Simulator.YOSYS,
    limit_s: float = TIME_LIMIT_S,
) -> int:
    """Simulate the unit's Verilog on corner and random vectors; return how many sums were equal to the codec's: all.

    Raises:
        RtlError: some differ.
        SynthError, SimulatorError: the simulator is absent, fails, or does not end in time.
    """
    design = simulator.design(unit_verilog(unit), limit_s=limit_s)
    wrong, compared = mismatches(unit, design, *vectors(unit, cycles, batch, seed))
    if wrong:
        raise RtlError(
            f"a generated unit must compute what the codec says, but {wrong} of {compared} sums differ in {simulator.tool}: "
            f"{unit}."
        )
    return compared
