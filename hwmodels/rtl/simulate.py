"""Simulation of Verilog on many vectors at once: Yosys reads it, NumPy evaluates the and-inverter graph bit-parallel.

No simulator program is needed, and a million vectors of a multiplier take a second. What is simulated can be the design as
written, or the LUTs, carry chains and registers that it was synthesized to, by the vendor's models of these cells. The same
vectors can be given to Icarus Verilog instead, where that is installed (:mod:`hwmodels.rtl.icarus`).
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwmodels.rtl.icarus import Bits, IcarusDesign
from hwmodels.rtl.reference import Integers
from hwmodels.rtl.unit import TOP, DotUnit
from hwmodels.rtl.verilog import RtlError
from hwmodels.yosys import run_yosys

_READ = "read_verilog unit.v\n"
_WRITE = """proc
flatten
opt
memory_map
techmap
opt
async2sync
dffunmap
simplemap
aigmap
clean
write_aiger -ascii -symbols unit.aag
"""
_AS_WRITTEN = "hierarchy -check -top {top}\n"
_SYNTHESIZED = """synth_xilinx -family {family} -top {top} -flatten -noiopad -noclkbuf -nodsp -nosrl
techmap -autoproc -map +/xilinx/cells_sim.v
hierarchy -top {top}
"""


@dataclass(frozen=True)
class Graph:
    """An and-inverter graph with registers (AIGER 1.9): a literal is twice a variable, plus one where it is inverted.

    Attributes:
        inputs, outputs: literals of each port's bits, least significant first.
        latches: (variable, next, initial); initial is 0, 1, or None where the design gives none.
        ands: (variable, left literal, right literal), operands before their use.
    """

    variables: int
    inputs: Mapping[str, tuple[int, ...]]
    outputs: Mapping[str, tuple[int, ...]]
    latches: tuple[tuple[int, int, int | None], ...]
    ands: tuple[tuple[int, int, int], ...]

    @property
    def input_bits(self) -> Mapping[str, int]:
        """Width of each input port."""
        return {name: len(literals) for name, literals in self.inputs.items()}


def elaborate(text: str, top: str = TOP, family: str | None = None, limit_s: float = 300.0) -> Graph:
    """The graph of a Verilog text: as written, or as synthesized for a family (``xc7``, ``xcup``).

    Raises:
        SynthError: Yosys is absent or refuses the text.
    """
    middle = _AS_WRITTEN if family is None else _SYNTHESIZED
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "unit.v").write_text(text)
        run_yosys(_READ + middle.format(top=top, family=family) + _WRITE, folder, limit_s)
        return parse_aiger((folder / "unit.aag").read_text())


def parse_aiger(text: str) -> Graph:
    """Read the ASCII form of AIGER with a symbol table.

    Raises:
        RtlError: the text is not one.
    """
    lines = text.splitlines()
    head = re.fullmatch(r"aag (\d+) (\d+) (\d+) (\d+) (\d+)(?: 0)*", lines[0] if lines else "")
    if head is None:
        raise RtlError(f"an ASCII AIGER file must begin with 'aag M I L O A', but begins with {lines[:1]}.")
    variables, n_in, n_latch, n_out, n_and = map(int, head.groups())
    rows = [[int(word) for word in line.split()] for line in lines[1 : 1 + n_in + n_latch + n_out + n_and]]
    ins, rows = rows[:n_in], rows[n_in:]
    states, rows = rows[:n_latch], rows[n_latch:]
    outs, ands = rows[:n_out], rows[n_out:]
    latches = []
    for literal, following, *initial in states:
        value = initial[0] if initial else 0
        latches.append((literal >> 1, following, value if value in (0, 1) else None))
    symbols = lines[1 + n_in + n_latch + n_out + n_and :]
    named = dict(line.split(" ", 1) for line in symbols if re.match(r"[io]\d", line))
    return Graph(
        variables,
        _ports("i", [row[0] for row in ins], named),
        _ports("o", [row[0] for row in outs], named),
        tuple(latches),
        tuple((a >> 1, left, right) for a, left, right in ands),
    )


def _ports(kind: str, literals: Sequence[int], named: Mapping[str, str]) -> dict[str, tuple[int, ...]]:
    found: dict[str, dict[int, int]] = {}
    for index, literal in enumerate(literals):
        match = re.fullmatch(r"(.+?)(?:\[(\d+)\])?", named[f"{kind}{index}"])
        assert match is not None
        found.setdefault(match[1], {})[int(match[2] or 0)] = literal
    return {port: tuple(bits[i] for i in sorted(bits)) for port, bits in found.items()}


def run(design: Graph | IcarusDesign, cycles: Sequence[Mapping[str, Bits]], seed: int = 0) -> list[dict[str, Bits]]:
    """Outputs in each cycle, before its clock edge; registers without an initial value start at random.

    Args:
        design: a graph, which is evaluated here, or a text that Icarus simulates.
        cycles: for each cycle the input ports, all of one batch size; a clock is not among them.

    Raises:
        RtlError: an input is missing or has another shape.
        SimulatorError: Icarus is absent, refuses the text, or does not end in time.
    """
    _check_inputs({name: bits for name, bits in design.input_bits.items() if name != "clk"}, cycles)
    return design.run(cycles, seed) if isinstance(design, IcarusDesign) else _evaluate(design, cycles, seed)


def _check_inputs(bits: Mapping[str, int], cycles: Sequence[Mapping[str, Bits]]) -> None:
    for ports in cycles:
        batch = next(iter(ports.values())).shape[1] if ports else 1
        for name, width in bits.items():
            if name not in ports or ports[name].shape != (width, batch):
                given = ports[name].shape if name in ports else "nothing"
                raise RtlError(f"input {name} must have the shape {(width, batch)}, but got {given}.")


def _evaluate(graph: Graph, cycles: Sequence[Mapping[str, Bits]], seed: int) -> list[dict[str, Bits]]:
    rng = np.random.default_rng(seed)
    batch = next(iter(cycles[0].values())).shape[1] if cycles and cycles[0] else 1
    words = -(-batch // 64)
    values = np.zeros((2 * (graph.variables + 1), words), dtype=np.uint64)  # by literal
    ones = ~np.uint64(0)
    values[1] = ones

    def assign(variable: int, value: Any) -> None:
        values[2 * variable] = value
        values[2 * variable + 1] = ~values[2 * variable]

    for variable, _, initial in graph.latches:
        assign(
            variable, rng.integers(0, ones, words, np.uint64, True) if initial is None else ones * np.uint64(initial)
        )
    results = []
    for ports in cycles:
        for name, literals in graph.inputs.items():
            if name == "clk":
                continue
            for literal, bits in zip(literals, _packed(ports[name], words), strict=True):
                assign(literal >> 1, bits)
        for variable, left, right in graph.ands:
            np.bitwise_and(values[left], values[right], out=values[2 * variable])
            np.invert(values[2 * variable], out=values[2 * variable + 1])
        results.append({name: _unpacked(values[list(ls)], batch) for name, ls in graph.outputs.items()})
        following = values[[literal for _, literal, _ in graph.latches]]
        for (variable, _, _), value in zip(graph.latches, following, strict=True):
            assign(variable, value)
    return results


def _packed(bits: Bits, words: int) -> NDArray[np.uint64]:
    padded = np.zeros((len(bits), words * 64), dtype=np.uint8)
    padded[:, : bits.shape[1]] = bits
    return np.packbits(padded, axis=1, bitorder="little").view(np.uint64)


def _unpacked(words: NDArray[np.uint64], batch: int) -> Bits:
    return np.unpackbits(words.view(np.uint8), axis=1, bitorder="little")[:, :batch].astype(np.bool_)


def code_bits(codes: NDArray[np.integer], bits: int) -> Bits:
    """Codes of shape (batch, lanes) as one port, lane 0 in the lowest bits: shape (lanes * bits, batch)."""
    spread = (codes[:, :, None] >> np.arange(bits)) & 1
    return spread.reshape(len(codes), -1).T.astype(np.bool_)


def integers(bits: Bits) -> Integers:
    """A port as two's complement integers, shape (batch,)."""
    weights = [1 << i for i in range(len(bits) - 1)] + [-(1 << (len(bits) - 1))]
    return np.asarray(np.dot(bits.T.astype(object), np.array(weights, dtype=object)), dtype=object)


def simulate_unit(
    unit: DotUnit,
    design: Graph | IcarusDesign,
    weights: NDArray[np.integer],
    activations: NDArray[np.integer],
    clear: NDArray[np.bool_],
    enable: NDArray[np.bool_],
) -> Integers:
    """The register after each cycle, shape (cycles, batch): the counterpart of :func:`reference.expected_sums`."""
    batch = weights.shape[1]
    late = unit.latency
    held = [(w, x, bool(c), bool(e)) for w, x, c, e in zip(weights, activations, clear, enable, strict=True)]
    held += [(weights[-1], activations[-1], False, False)] * late
    cycles = [
        {
            "weights": code_bits(w, unit.weight.bits),
            "activations": code_bits(x, unit.activation.bits),
            "clear": np.full((1, batch), c),
            "enable": np.full((1, batch), e),
        }
        for w, x, c, e in held
    ]
    outputs = run(design, cycles)[late:]
    return np.array([integers(out["sum"]) for out in outputs], dtype=object)
