"""The clock that a unit reaches when it is placed and routed: on a Lattice ECP5, with open tools.

It is a *relative* timing, good for comparing formats: carry chains, LUTs (of four inputs) and routing are another maker's and
another generation's, so no megahertz here is one of a Xilinx part. Yosys maps the unit (`synth_ecp5`, without DSP slices, as the
units are built), nextpnr places and routes it between registers of its own (:mod:`hwmodels.rtl.registered`).
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from hwmodels.jobs import entry_of, run_all, write_entry
from hwmodels.nextpnr import TimingError, nextpnr_version, run_nextpnr
from hwmodels.rtl.registered import REGISTERED_TOP, registered_module
from hwmodels.rtl.unit import TOP
from hwmodels.yosys import SynthError, run_yosys, yosys_version

PART = "LFE5U-25F-6"
"""24,288 LUT4; the slowest speed grade (grade 8 is 1.3 times as fast: 69 and 91 MHz for 8 lanes of INT4)."""
SEEDS = (1, 2, 3)
"""Of the placer. One seed differs from another by up to 5 %, so the median of three is given."""
TIME_LIMIT_S = 600.0

_SCRIPT = """read_verilog unit.v
setattr -mod -set keep_hierarchy 1 {top}
synth_ecp5 -top {registered} -nobram -nolutram -nodsp
write_json netlist.json
"""
# the hierarchy is kept because registers of the surrounding would else move into tables of the unit
_OPTIONS = (
    "--25k --package CABGA381 --speed 6 --threads 1 --freq 500 --timing-allow-fail --lpf-allow-unconstrained --quiet"
)
_COUNTED = {"LUT4": "lut4", "CCU2C": "ccu2c", "TRELLIS_FF": "ff"}


@dataclass(frozen=True)
class Timing:
    """One placed and routed unit.

    Attributes:
        fmax_mhz: median over the seeds of the placer. fmax_by_seed: each, in the order of :data:`SEEDS`.
        lut4, ccu2c, ff: LUTs of logic, blocks of two carry bits and registers of the unit as synthesized.
        comb: sites for a LUT4 that the unit takes when placed; a CCU2C takes two, the ends of its chain and constants more.
    """

    tool: str
    part: str
    fmax_mhz: float
    fmax_by_seed: tuple[float, ...]
    lut4: int
    ccu2c: int
    ff: int
    comb: int

    def as_dict(self) -> dict[str, Any]:
        """A plain description for JSON."""
        return asdict(self)


def time_unit(text: str, top: str = TOP, cache: Path | None = None, limit_s: float = TIME_LIMIT_S) -> Timing:
    """The timing of the module `top` of a Verilog text, whose ports must be as the generators here write them.

    Args:
        cache: a folder of results by content (text, tool versions, part, seeds); None: none is kept or read.
        limit_s: seconds of wall time for the synthesis and for each seed.

    Raises:
        SynthError: no Yosys, an error, or a time-out.
        TimingError: no nextpnr, a unit that does not fit the part, or a time-out.
    """
    script = _SCRIPT.format(top=top, registered=REGISTERED_TOP)
    tool = f"Yosys {yosys_version()}, nextpnr {nextpnr_version()}"
    surrounding, own_luts = registered_module(text, top)
    entry = entry_of(cache, tool, script, _OPTIONS, str(SEEDS), surrounding, text)
    if entry is not None and entry.is_file():
        return _parse(entry)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "unit.v").write_text(text + surrounding)
        run_yosys(script, folder, limit_s)
        cells = json.loads((folder / "netlist.json").read_text())["modules"][top]["cells"].values()
        reports = []
        for seed in SEEDS:
            files = ["--json", "netlist.json", "--report", "report.json", "--seed", str(seed)]
            run_nextpnr([*_OPTIONS.split(), *files], folder, limit_s)
            reports.append(json.loads((folder / "report.json").read_text()))
    fmax = tuple(round(_fmax(report), 2) for report in reports)
    result = Timing(
        tool=tool,
        part=PART,
        fmax_mhz=median(fmax),
        fmax_by_seed=fmax,
        comb=reports[0]["utilization"]["TRELLIS_COMB"]["used"] - own_luts,
        **{field: sum(cell["type"] == kind for cell in cells) for kind, field in _COUNTED.items()},
    )
    if entry is not None:
        write_entry(entry, result.as_dict())
    return result


def _fmax(report: dict[str, Any]) -> float:
    clocks = report["fmax"]
    if len(clocks) != 1:
        raise TimingError(f"a timed unit must have one clock, but nextpnr reports {', '.join(clocks) or 'none'}.")
    achieved: float = next(iter(clocks.values()))["achieved"]
    return achieved


def _parse(entry: Path) -> Timing:
    try:
        document = json.loads(entry.read_text())
        return Timing(**{**document, "fmax_by_seed": tuple(document["fmax_by_seed"])})
    except (ValueError, TypeError, KeyError) as error:
        raise TimingError(f"{entry} must be a cached timing, but is not ({error}); delete it.") from None


def time_all(
    texts: Sequence[str], cache: Path | None, workers: int, limit_s: float = TIME_LIMIT_S, top: str = TOP
) -> Iterator[tuple[int, Timing | TimingError]]:
    """The index of every unit's text (top module `top`) with its timing or its error, as they finish, on `workers` processes.

    Raises:
        SynthError, TimingError: a tool is absent.
    """
    yosys_version()  # absent: say so once, before any process starts
    nextpnr_version()
    yield from run_all(partial(_timed, top=top, cache=cache, limit_s=limit_s), texts, workers, TimingError)


def _timed(text: str, top: str, cache: Path | None, limit_s: float) -> Timing:
    try:
        return time_unit(text, top, cache, limit_s)
    except SynthError as error:
        raise TimingError(str(error)) from None
