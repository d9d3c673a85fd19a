"""Simulation with Icarus Verilog (`iverilog` and `vvp` on the PATH): a reading of the text that shares nothing with Yosys'.

Its place is that of the graph in :mod:`hwmodels.rtl.simulate`: the same vectors go in, the same outputs come back.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from hwmodels.errors import BitfrontError
from hwmodels.programs import run_program
from hwmodels.rtl.verilog import ports_of, vector

Bits: TypeAlias = NDArray[np.bool_]
"""A port on a batch of vectors, least significant bit first: shape (bits, batch)."""

TIME_LIMIT_S = 300.0
_BENCH = "bench"
# a vector is applied, its outputs are read, then the clock rises: what `simulate.run` does
_TEXT = """module {bench};
    reg clk;
    reg {width} vectors [0:{last}];
    reg {width} now;
    wire {outputs_width} seen;
    integer i;
    {declared}
    assign {inputs} = now;
    {top} unit ({connected});
    assign seen = {outputs};
    initial begin
        clk = 0;
        $readmemb("vectors", vectors);
        for (i = 0; i <= {last}; i = i + 1) begin
            now = vectors[i];
            #1 $display("%b", seen);
            clk = 1;
            #1 clk = 0;
        end
        $finish;
    end
endmodule
"""


class SimulatorError(BitfrontError):
    """A simulation with Icarus Verilog that could not be run, did not end in time, or failed."""


@lru_cache(maxsize=1)
def icarus_version() -> str:
    """Version of Icarus Verilog on the PATH, such as ``12.0``.

    Raises:
        SimulatorError: there is none.
    """
    program = shutil.which("iverilog")
    if program is None or shutil.which("vvp") is None:
        raise SimulatorError(
            "simulation with Icarus Verilog needs `iverilog` and `vvp` on the PATH, but they were not found; install them "
            "(Debian, Ubuntu: apt install iverilog) or simulate with Yosys."
        )
    text = subprocess.run([program, "-V"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"Icarus Verilog version (\S+)", text)
    if found is None:
        raise SimulatorError(f"`{program} -V` must name a version of Icarus Verilog, but printed {text[:80]!r}.")
    return found[1]


def run_icarus(text: str, top: str, files: Mapping[str, str] | None = None, limit_s: float = TIME_LIMIT_S) -> str:
    """What the module `top` of a Verilog-2001 text prints until it finishes.

    Args:
        files: text by name of what it reads.
        limit_s: seconds of wall time for each of compilation and simulation.

    Raises:
        SimulatorError: Icarus is absent, refuses the text, stops with an error, or runs longer than `limit_s`.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file, content in {"unit.v": text, **(files or {})}.items():
            (folder / file).write_text(content)
        return run_icarus_files(folder, ["unit.v"], top, limit_s)


def run_icarus_files(folder: Path, sources: Sequence[str], top: str, limit_s: float = TIME_LIMIT_S) -> str:
    """What the module `top` of Verilog-2001 files in a folder prints until it finishes; it runs there, and leaves nothing.

    Raises:
        SimulatorError: as :func:`run_icarus`.
    """
    icarus_version()
    with tempfile.TemporaryDirectory(dir=folder) as name:
        compiled, output = str(Path(name).resolve() / "run"), ""
        for command in (["iverilog", "-g2001", "-s", top, "-o", compiled, *sources], ["vvp", "-n", compiled]):
            try:
                status, output = run_program(command, folder, limit_s)
            except subprocess.TimeoutExpired:
                raise SimulatorError(
                    f"a run of {command[0]} must end within {limit_s:g} s, but did not; give fewer vectors or lanes."
                ) from None
            if status:
                first = next(iter(output.splitlines()), f"status {status}")
                raise SimulatorError(f"{command[0]} must accept the design, but ended with: {first}.")
        return output


@dataclass(frozen=True)
class IcarusDesign:
    """The module `top` of a Verilog text, for :func:`hwmodels.rtl.simulate.run` to simulate with Icarus."""

    text: str
    top: str
    limit_s: float = TIME_LIMIT_S

    @property
    def input_bits(self) -> Mapping[str, int]:
        """Width of each input port."""
        return self._ports("input")

    def run(self, cycles: Sequence[Mapping[str, Bits]], seed: int) -> list[dict[str, Bits]]:
        """Outputs in each cycle, before its clock edge: what :func:`hwmodels.rtl.simulate.run` says.

        The sequences of a batch run one after another on one instance, so a register that no sequence sets starts with what
        the one before it left. Bits that are unknown (x) are read at random, as a register's that has no initial value.
        """
        inputs, outputs = self._ports("input"), self._ports("output")
        inputs.pop("clk", None)
        # the highest bit of the first port comes first: shape (bits, batch, cycles)
        given = np.concatenate([np.stack([ports[name][::-1] for ports in cycles], axis=2) for name in inputs])
        bits, batch, count = given.shape
        width = sum(outputs.values())
        bench = _TEXT.format(
            bench=_BENCH,
            top=self.top,
            width=vector(bits),
            last=batch * count - 1,
            outputs_width=vector(width),
            declared=" ".join(f"wire {vector(size)} {name};" for name, size in {**inputs, **outputs}.items()),
            inputs=f"{{{', '.join(inputs)}}}",
            outputs=f"{{{', '.join(outputs)}}}",
            connected=", ".join(f".{name}({name})" for name in ports_of(self.text, self.top)),
        )
        words = np.where(given.reshape(bits, -1).T, ord("1"), ord("0")).astype(np.uint8)
        files = {"vectors": "\n".join(word.tobytes().decode() for word in words)}
        printed = run_icarus(self.text + bench, _BENCH, files, self.limit_s).split()
        if len(printed) != batch * count or {len(word) for word in printed} != {width}:
            raise SimulatorError(
                f"a simulation must print {batch * count} words of {width} bits, but printed {len(printed)}: {printed[:3]}."
            )
        letters = np.frombuffer("".join(printed).encode(), dtype=np.uint8).reshape(batch, count, width)
        unknown = np.random.default_rng(seed).random(letters.shape) < 0.5
        seen = np.where(letters == ord("1"), True, np.where(letters == ord("0"), False, unknown))
        ends = np.cumsum([0, *outputs.values()]).tolist()
        spans = list(zip(outputs, ends[:-1], ends[1:], strict=True))
        return [{name: seen[:, i, low:high][:, ::-1].T for name, low, high in spans} for i in range(count)]

    def _ports(self, kind: str) -> dict[str, int]:
        return {name: bits for name, (found, bits) in ports_of(self.text, self.top).items() if found == kind}
