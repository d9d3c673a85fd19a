"""A segmented unit against exact arithmetic: corner and random vectors, simulated."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hwmodels.formats import E8M0
from hwmodels.rtl.check import Codes, Flags, Simulator, vectors
from hwmodels.rtl.icarus import TIME_LIMIT_S, IcarusDesign
from hwmodels.rtl.reference import Integers, finite_codes
from hwmodels.rtl.scale import ShiftScale
from hwmodels.rtl.segment import SEGMENT_TOP, SegmentUnit, segment_verilog
from hwmodels.rtl.segment_reference import expected_segment_sums
from hwmodels.rtl.simulate import Graph, code_bits, integers, run
from hwmodels.rtl.testbench import bench, joined
from hwmodels.rtl.unit import DotUnit
from hwmodels.rtl.verilog import RtlError


def segment_vectors(unit: SegmentUnit, cycles: int, batch: int, seed: int) -> tuple[Codes, Codes, Codes, Flags, Flags]:
    """Arguments of :func:`segment_reference.expected_segment_sums`: extreme operands in the first 16 sequences, rest random.

    Scale codes of powers of two lie in the window and a little outside of it, one in eight anywhere; other scales anywhere.
    A new dot product starts at any cycle, after seven segments on average.
    """
    whole = DotUnit(unit.datapath, unit.lanes, dropped_bits=unit.inner.dropped, pipeline=unit.pipeline)
    weights, activations, _, enable = vectors(whole, cycles, batch, seed)
    rng = np.random.default_rng([seed, 1])
    clear = rng.random(cycles) < 0.15 / unit.cycles
    clear[0] = True
    shape = (cycles, batch, unit.units, unit.operands)
    match unit.scale:
        case None:
            codes = np.zeros(shape, dtype=np.int64)
        case ShiftScale(reach=reach, start=start):
            totals = rng.integers(start - 2, start + reach + 2, shape[:-1])
            second = totals // 2 + rng.integers(-9, 10, shape[:-1]) if unit.operands > 1 else 0 * totals
            codes = np.stack([totals - second, second], axis=-1)[..., : unit.operands]
            codes = np.clip(codes, 0, E8M0.max_magnitude_code)
            anywhere = rng.integers(0, E8M0.max_magnitude_code + 1, shape)
            codes = np.where(rng.random(shape) < 0.125, anywhere, codes)
        case scale:
            codes = rng.choice(finite_codes(scale.format), shape)
            codes[:, ::5] = finite_codes(scale.format)[-1]
    return weights, activations, codes, clear, enable


def simulate_segments(
    unit: SegmentUnit,
    design: Graph | IcarusDesign,
    weights: Codes,
    activations: Codes,
    codes: Codes,
    clear: Flags,
    enable: Flags,
) -> Integers:
    """The outer register as each cycle's products leave it: the counterpart of the reference, of the same arguments."""
    count, batch, _ = weights.shape
    cycles: list[dict[str, NDArray[np.bool_]]] = []
    for index in [*range(count), *[count - 1] * unit.latency]:
        live = len(cycles) < count
        ports = {
            "weights": code_bits(weights[index], unit.datapath.weight.bits),
            "activations": code_bits(activations[index], unit.datapath.activation.bits),
            "clear": np.full((1, batch), live and clear[index]),
            "enable": np.full((1, batch), live and enable[index]),
        }
        if unit.scale is not None:
            ports["codes"] = code_bits(codes[index].reshape(batch, -1), unit.scale.format.bits)
        cycles.append(ports)
    return np.array([integers(out["sum"]) for out in run(design, cycles)[unit.latency :]], dtype=object)


def segment_mismatches(
    unit: SegmentUnit,
    design: Graph | IcarusDesign,
    weights: Codes,
    activations: Codes,
    codes: Codes,
    clear: Flags,
    enable: Flags,
) -> tuple[int, int]:
    """(sums that differ from the reference, sums compared), from the first complete segment on."""
    expected = expected_segment_sums(unit, weights, activations, codes, clear, enable)
    got = simulate_segments(unit, design, weights, activations, codes, clear, enable)
    known = _known(unit, clear, enable)
    return int((got != expected)[known].sum()), int(known.sum()) * got.shape[1]


def _known(unit: SegmentUnit, clear: Flags, enable: Flags) -> Flags:
    """Cycles behind the first complete segment: before it the register holds what it powered up with."""
    taken, complete, known = 0, False, []
    for start, counts in zip(clear, enable, strict=True):
        if counts:
            taken = 1 if start else taken + 1
            complete |= taken == unit.cycles
            taken %= unit.cycles
        known.append(complete)
    return np.array(known)


def check_segments(
    unit: SegmentUnit,
    cycles: int = 16,
    batch: int = 128,
    seed: int = 0,
    simulator: Simulator = Simulator.YOSYS,
    limit_s: float = TIME_LIMIT_S,
) -> int:
    """Simulate the unit's Verilog on corner and random vectors; return how many sums were equal to the reference's: all.

    Args:
        cycles: at least; as many as six segments take are simulated, or three of more than 32 cycles.

    Raises:
        RtlError: some differ.
        SynthError, SimulatorError: the simulator is absent, fails, or does not end in time.
    """
    least = (6 if unit.cycles <= 32 else 3) * unit.cycles
    given = segment_vectors(unit, max(cycles, least), batch, seed)
    design = simulator.design(segment_verilog(unit), SEGMENT_TOP, limit_s)
    wrong, compared = segment_mismatches(unit, design, *given)
    if wrong:
        raise RtlError(
            f"a generated unit must compute what its formats and scales say, but {wrong} of {compared} sums differ in "
            f"{simulator.tool}: {unit}."
        )
    return compared


def segment_testbench(
    unit: SegmentUnit, weights: Codes, activations: Codes, codes: Codes, clear: Flags, enable: Flags
) -> str:
    """The text of module ``segmented_test`` for one sequence of vectors (see :mod:`hwmodels.rtl.testbench`).

    Args:
        weights, activations: codes, shape (cycles, lanes). codes: of the scales, (cycles, units, operands).
        clear, enable: shape (cycles,); the first cycle must have both.
    """
    sequences = (weights[:, None], activations[:, None], codes[:, None])
    sums = expected_segment_sums(unit, *sequences, clear, enable)[:, 0]
    known = _known(unit, clear, enable)
    w, x, scale = unit.datapath.weight.bits, unit.datapath.activation.bits, unit.outer.code_bits * unit.units
    bits = {"clear": 1, "enable": 1, "weights": w * unit.lanes, "activations": x * unit.lanes}
    bits |= {"codes": scale} if scale else {}
    vectors = []
    for cycle in range(len(weights)):
        given = {"clear": int(clear[cycle]), "enable": int(enable[cycle])}
        given |= {"weights": joined(weights[cycle], w), "activations": joined(activations[cycle], x)}
        if unit.scale is not None:
            given["codes"] = joined(codes[cycle], unit.scale.format.bits)
        vectors.append(given)
    awaited = [int(value) if is_known else None for value, is_known in zip(sums, known, strict=True)]
    return bench(SEGMENT_TOP, bits, vectors, awaited, unit.outer_bits, unit.latency)
