"""Synthesis in the loop: the Verilog of a unit through Yosys, and what it takes of an FPGA, counted from the netlist."""

from __future__ import annotations

import hashlib
import json
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from hwmodels import lut_packing, netlist
from hwmodels.devices import Family
from hwmodels.jobs import entry_of, run_all, write_entry
from hwmodels.netlist import LUT_NAMES, count_cells
from hwmodels.primitives.carry import carry_blocks
from hwmodels.rtl.unit import TOP, DotUnit, unit_verilog
from hwmodels.yosys import SynthError, run_yosys, yosys_version

FAMILIES = {Family.XC7: "xc7", Family.XCUP: "xcup"}
"""Families that Yosys maps to, by its own names. Versal it does not know."""

TIME_LIMIT_S = 300.0
DELAY_TARGET_NS = 100
"""Delay that logic is mapped for: so long that all slack goes into area, which is what is counted. Without a target Yosys maps
for the least delay first, which costs up to 9 % more LUTs (measured: 8 lanes of E4M3, 587 instead of 535) and nothing less."""

_SYNTH = "synth_xilinx -family {family} -top {top} -flatten -noiopad -noclkbuf{dsp}{srl}"
_SCRIPT = f"""scratchpad -set abc9.D {DELAY_TARGET_NS * 1000}
read_verilog unit.v
{{synth}}
write_json netlist.json
"""
_KEPT_REGISTERS = f"""{_SYNTH} -run :map_luts
setattr -set keep 1 t:FD* t:$_*DFF*
{_SYNTH} -run map_luts:"""


@dataclass(frozen=True, slots=True)
class Design:
    """A Verilog text to synthesize out of context: its top module, for a family.

    With `dsp`, products may take DSP slices; with `shift_registers`, delays may take LUTs as shift registers. With
    `kept_enables`, what enables a register stays at its pin: Yosys would move it into the LUT in front of a register where that
    has inputs left, and two bits of a multiplexer would no longer share a LUT. (No fixed delay becomes a shift register then.)
    """

    text: str
    family: Family
    top: str = TOP
    dsp: bool = False
    shift_registers: bool = False
    kept_enables: bool = False


@dataclass(frozen=True)
class Synthesis:
    """Primitives of one synthesized unit.

    Attributes:
        lut_inputs: LUTs by number of inputs, LUT1 first.
        lut: their sum. lut_packed: LUT6 sites after pairing into LUT6_2 (what the cost model means by LUT).
        carry4: carry blocks of four bits as Yosys emits them, on UltraScale+ too. carry8: the same chains in units of eight bits
            as the cost model counts them (a CARRY4 of 7 series is one half, a chain of UltraScale+ is rounded up).
        memory_luts: LUT6 sites that hold bits, as distributed memory or shift registers. route_through: sites that only pass a
            register's bit on to a carry chain; neither is part of `lut_packed`.
        seconds: wall time of the run; of the first one where the result was cached.
    """

    family: str
    tool: str
    lut_inputs: tuple[int, ...]
    lut: int
    lut_packed: int
    muxf7: int
    muxf8: int
    carry4: int
    carry8: float
    ff: int
    srl: int
    lutram: int
    memory_luts: int
    route_through: int
    dsp: int
    bram18: int
    uram: int
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        """A plain description for JSON."""
        return asdict(self)


def synthesize_design(design: Design, cache: Path | None = None, limit_s: float = TIME_LIMIT_S) -> Synthesis:
    """Counts of a design's primitives.

    Args:
        cache: a folder of results by content (text, family, tool version, script); None: none is kept or read.
        limit_s: seconds of wall time, after which it fails.

    Raises:
        SynthError: no Yosys, a family that it does not know, an error, or a time-out.
    """
    check_family(design.family)
    synth = (_KEPT_REGISTERS if design.kept_enables else _SYNTH).format(
        family=FAMILIES[design.family],
        top=design.top,
        dsp="" if design.dsp else " -nodsp",
        srl="" if design.shift_registers else " -nosrl",
    )
    script = _SCRIPT.format(synth=synth)
    tool = f"Yosys {yosys_version()}"
    entry = entry_of(cache, tool, script, _counting_version(), design.text)
    if entry is not None and entry.is_file():
        return _parse(entry)
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "unit.v").write_text(design.text)
        run_yosys(script, folder, limit_s)
        counts, chains = count_cells(json.loads((folder / "netlist.json").read_text()), design.top)
    lut_inputs = tuple(counts.pop(name) for name in LUT_NAMES)
    result = Synthesis(
        family=str(design.family),
        tool=tool,
        lut_inputs=lut_inputs,
        lut=sum(lut_inputs),
        carry8=carry_blocks((4 * length for length in chains), design.family),
        seconds=round(time.monotonic() - started, 2),
        **counts,
    )
    if entry is not None:
        write_entry(entry, result.as_dict())
    return result


def check_family(family: Family) -> None:
    """Refuse a family that Yosys does not map to.

    Raises:
        SynthError: it is Versal.
    """
    if family not in FAMILIES:
        raise SynthError(f"Yosys synthesizes for {', '.join(FAMILIES)}, but got family={family}.")


def _counting_version() -> str:
    """What a cached count depends on besides the netlist: the code that counts."""
    files = (netlist.__file__, lut_packing.__file__)
    return hashlib.sha256(b"".join(Path(file).read_bytes() for file in files)).hexdigest()


def _parse(entry: Path) -> Synthesis:
    try:
        document = json.loads(entry.read_text())
        return Synthesis(**{**document, "lut_inputs": tuple(document["lut_inputs"])})
    except (ValueError, TypeError, KeyError) as error:
        raise SynthError(f"{entry} must be a cached synthesis, but is not ({error}); delete it.") from None


def synthesize(unit: DotUnit, family: Family, cache: Path | None = None, limit_s: float = TIME_LIMIT_S) -> Synthesis:
    """Counts of the unit's own Verilog; see :func:`synthesize_design`."""
    return synthesize_design(Design(unit_verilog(unit), family), cache, limit_s)


def synthesize_all(
    designs: Sequence[Design], cache: Path | None, workers: int, limit_s: float = TIME_LIMIT_S
) -> Iterator[tuple[int, Synthesis | SynthError]]:
    """The index of every design with its counts or its error, as they finish, on `workers` processes.

    One failure does not stop the rest.
    """
    yosys_version()  # absent: say so once, before any process starts
    for design in designs:
        check_family(design.family)
    yield from run_all(partial(synthesize_design, cache=cache, limit_s=limit_s), designs, workers, SynthError)
