"""Synthesis in the loop: the Verilog of a unit through Yosys, and what it takes of an FPGA, counted from the netlist."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from hwmodels.devices import Family
from hwmodels.lut_packing import Lut, packed_sites
from hwmodels.primitives.carry import carry_blocks
from hwmodels.rtl.unit import TOP, DotUnit, unit_verilog
from hwmodels.yosys import SynthError, run_yosys, yosys_version

FAMILIES = {Family.XC7: "xc7", Family.XCUP: "xcup"}
"""Families that Yosys maps to, by its own names. Versal it does not know."""

TIME_LIMIT_S = 300.0
DELAY_TARGET_NS = 100
"""Delay that logic is mapped for: so long that all slack goes into area, which is what is counted. Without a target Yosys maps
for the least delay first, which costs up to 9 % more LUTs (measured: 8 lanes of E4M3, 587 instead of 535) and nothing less."""

_SCRIPT = f"""scratchpad -set abc9.D {DELAY_TARGET_NS * 1000}
read_verilog unit.v
synth_xilinx -family {{family}} -top {{top}} -flatten -noiopad -noclkbuf -nodsp -nosrl
write_json netlist.json
"""


@dataclass(frozen=True)
class Synthesis:
    """Primitives of one synthesized unit.

    Attributes:
        lut_inputs: LUTs by number of inputs, LUT1 first.
        lut: their sum. lut_packed: LUT6 sites after pairing into LUT6_2 (what the cost model means by LUT).
        carry4: carry blocks of four bits as Yosys emits them, on UltraScale+ too. carry8: the same chains in units of eight bits
            as the cost model counts them (a CARRY4 of 7 series is one half, a chain of UltraScale+ is rounded up).
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
    dsp: int
    bram18: int
    uram: int
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        """A plain description for JSON."""
        return asdict(self)


LUT_NAMES = tuple(f"lut{n}" for n in range(1, 7))
# netlist cells by the field that counts them, and how much one counts
CELLS: dict[str, tuple[str, int]] = {
    **{f"LUT{n}": (name, 1) for n, name in enumerate(LUT_NAMES, 1)},
    "INV": ("lut1", 1),
    "MUXF7": ("muxf7", 1),
    "MUXF8": ("muxf8", 1),
    "CARRY4": ("carry4", 1),
    **dict.fromkeys(("FDRE", "FDSE", "FDCE", "FDPE", "FDRE_1", "FDSE_1", "FDCE_1", "FDPE_1"), ("ff", 1)),
    **dict.fromkeys(("SRL16E", "SRLC16E", "SRLC32E"), ("srl", 1)),
    **dict.fromkeys(("RAM32X1D", "RAM64X1D", "RAM32X1S", "RAM64X1S"), ("lutram", 1)),
    **dict.fromkeys(("RAM32M", "RAM64M"), ("lutram", 4)),
    **dict.fromkeys(("RAM32M16", "RAM64M8"), ("lutram", 8)),
    **dict.fromkeys(("DSP48E1", "DSP48E2"), ("dsp", 1)),
    **dict.fromkeys(("RAMB18E1", "RAMB18E2"), ("bram18", 1)),
    **dict.fromkeys(("RAMB36E1", "RAMB36E2"), ("bram18", 2)),
    "URAM288": ("uram", 1),
}


@dataclass(frozen=True, slots=True)
class Carry:
    """One CARRY4: the nets of its chain input and output, and (S, DI) of its bits; constants are None."""

    chain_in: int | None
    chain_out: int | None
    bits: tuple[tuple[int | None, int | None], ...]


def count_cells(netlist: dict[str, Any], top: str) -> tuple[dict[str, int], tuple[int, ...]]:
    """(primitives of the flat module `top` of a netlist in Yosys' JSON with `lut_packed`, CARRY4 of each chain).

    Raises:
        SynthError: the netlist holds a cell that is not in :data:`CELLS`.
    """
    counts = dict.fromkeys((name for name, _ in CELLS.values()), 0)
    luts: list[Lut] = []
    carries: list[Carry] = []
    for cell in netlist["modules"][top]["cells"].values():
        kind, pins = cell["type"], cell["connections"]
        if kind in ("GND", "VCC", "$scopeinfo"):
            continue
        if kind not in CELLS:
            raise SynthError(f"a netlist must hold only {', '.join(CELLS)}, but holds a cell {kind}.")
        name, weight = CELLS[kind]
        counts[name] += weight
        if name in LUT_NAMES:
            read = [_net(net) for pin, nets in pins.items() if pin.startswith("I") for net in nets]
            luts.append(Lut(frozenset(net for net in read if net is not None), pins["O"][0]))
        elif name == "carry4":
            bits = tuple((_net(s), _net(di)) for s, di in zip(pins["S"], pins["DI"], strict=True))
            carries.append(Carry(_net(pins["CI"][0]), _net(pins["CO"][3]), bits))
    counts["lut_packed"] = packed_sites(luts, [bit for carry in carries for bit in carry.bits])
    return counts, _chains(carries)


def _net(net: int | str) -> int | None:
    """A net's number; None for a constant, which stands in the netlist as a string."""
    return net if isinstance(net, int) else None


def _chains(carries: Sequence[Carry]) -> tuple[int, ...]:
    """CARRY4 of each chain."""
    following = {carry.chain_in: carry for carry in carries if carry.chain_in is not None}
    driven = {carry.chain_out for carry in carries}
    lengths = []
    for carry in carries:
        if carry.chain_in is not None and carry.chain_in in driven:
            continue
        length, last = 1, carry
        while last.chain_out in following:
            length, last = length + 1, following[last.chain_out]
        lengths.append(length)
    return tuple(lengths)


def synthesize_verilog(
    text: str, family: Family, cache: Path | None = None, limit_s: float = TIME_LIMIT_S
) -> Synthesis:
    """Counts of a Verilog text with the top module :data:`hwmodels.rtl.unit.TOP`, out of context, LUTs only.

    Args:
        cache: a folder of results by content (text, family, tool version, script); None: none is kept or read.
        limit_s: seconds of wall time, after which it fails.

    Raises:
        SynthError: no Yosys, a family that it does not know, an error, or a time-out.
    """
    _check_family(family)
    script = _SCRIPT.format(family=FAMILIES[family], top=TOP)
    tool = f"Yosys {yosys_version()}"
    key = hashlib.sha256("\0".join((tool, script, _counting_version(), text)).encode()).hexdigest()[:32]
    entry = cache / f"{key}.json" if cache is not None else None
    if entry is not None and entry.is_file():
        return _parse(entry)
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "unit.v").write_text(text)
        run_yosys(script, folder, limit_s)
        counts, chains = count_cells(json.loads((folder / "netlist.json").read_text()), TOP)
    lut_inputs = tuple(counts.pop(name) for name in LUT_NAMES)
    result = Synthesis(
        family=str(family),
        tool=tool,
        lut_inputs=lut_inputs,
        lut=sum(lut_inputs),
        carry8=carry_blocks((4 * length for length in chains), family),
        seconds=round(time.monotonic() - started, 2),
        **counts,
    )
    if entry is not None:
        _write(entry, result)
    return result


def _check_family(family: Family) -> None:
    if family not in FAMILIES:
        raise SynthError(f"Yosys synthesizes for {', '.join(FAMILIES)}, but got family={family}.")


def _counting_version() -> str:
    """What a cached count depends on besides the netlist: the code that counts."""
    here = Path(__file__)
    return hashlib.sha256(here.read_bytes() + here.with_name("lut_packing.py").read_bytes()).hexdigest()


def _parse(entry: Path) -> Synthesis:
    try:
        document = json.loads(entry.read_text())
        return Synthesis(**{**document, "lut_inputs": tuple(document["lut_inputs"])})
    except (ValueError, TypeError, KeyError) as error:
        raise SynthError(f"{entry} must be a cached synthesis, but is not ({error}); delete it.") from None


def _write(entry: Path, result: Synthesis) -> None:
    """Whole or not at all: written beside its place, then moved there, so that processes may share a cache."""
    entry.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=entry.parent, suffix=".tmp")
    with os.fdopen(handle, "w") as file:
        json.dump(result.as_dict(), file, indent=1)
    Path(name).replace(entry)


def synthesize(unit: DotUnit, family: Family, cache: Path | None = None, limit_s: float = TIME_LIMIT_S) -> Synthesis:
    """Counts of the unit's own Verilog; see :func:`synthesize_verilog`."""
    return synthesize_verilog(unit_verilog(unit), family, cache, limit_s)


def synthesize_all(
    units: Sequence[DotUnit], family: Family, cache: Path | None, workers: int, limit_s: float = TIME_LIMIT_S
) -> Iterator[tuple[DotUnit, Synthesis | SynthError]]:
    """Every unit with its counts or its error, as they finish, on `workers` processes; one failure does not stop the rest."""
    yosys_version()  # absent: say so once, before any process starts
    _check_family(family)
    task = partial(_outcome, family=family, cache=cache, limit_s=limit_s)
    # spawned, because the caller may run threads (a progress bar) that a forked child would inherit in any state
    with ProcessPoolExecutor(min(workers, len(units)) or 1, mp_context=get_context("spawn")) as pool:
        futures = {pool.submit(task, unit): unit for unit in units}
        for future in as_completed(futures):
            yield futures[future], future.result()


def _outcome(unit: DotUnit, family: Family, cache: Path | None, limit_s: float) -> Synthesis | SynthError:
    try:
        return synthesize(unit, family, cache, limit_s)
    except SynthError as error:
        return error
