"""Counting the primitives of a synthesized netlist in Yosys' JSON: LUTs packed in pairs, carry chains, registers, memories."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

from hwmodels.lut_packing import Lut, packed_sites
from hwmodels.yosys import SynthError

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
    **dict.fromkeys(("RAM128X1S", "RAM128X1D", "RAM256X1S"), ("lutram", 4)),
    "RAM512X1S": ("lutram", 8),
    **dict.fromkeys(("RAM32M", "RAM64M"), ("lutram", 4)),
    **dict.fromkeys(("RAM32M16", "RAM64M8"), ("lutram", 8)),
    **dict.fromkeys(("DSP48E1", "DSP48E2"), ("dsp", 1)),
    **dict.fromkeys(("RAMB18E1", "RAMB18E2"), ("bram18", 1)),
    **dict.fromkeys(("RAMB36E1", "RAMB36E2"), ("bram18", 2)),
    "URAM288": ("uram", 1),
}

SITES = {"SRL16E": 0.5, "RAM32X1D": 2, "RAM64X1D": 2, "RAM128X1S": 2, "RAM128X1D": 4, "RAM256X1S": 4, "RAM512X1S": 8}
"""LUT sites of what stores bits in LUTs, where not one: two 16-bit shift registers of one length share a site (UG574)."""

PORTS = {"RAM32M": 4, "RAM64M": 4, "RAM32M16": 8, "RAM64M8": 8}
"""LUTs of memories of several ports, the last of which holds the address of writing."""


@dataclass(frozen=True, slots=True)
class Carry:
    """One CARRY4: the nets of its chain input and output, and (S, DI) of its bits; constants are None."""

    chain_in: int | None
    chain_out: int | None
    bits: tuple[tuple[int | None, int | None], ...]


def count_cells(netlist: dict[str, Any], top: str) -> tuple[dict[str, int], tuple[int, ...]]:
    """(primitives of the flat module `top` of a netlist in Yosys' JSON, with LUT sites by use, CARRY4 of each chain).

    Raises:
        SynthError: the netlist holds a cell that is not in :data:`CELLS`.
    """
    counts = dict.fromkeys((name for name, _ in CELLS.values()), 0)
    luts: list[Lut] = []
    carries: list[Carry] = []
    stored = 0.0
    for cell in netlist["modules"][top]["cells"].values():
        kind, pins = cell["type"], cell["connections"]
        if kind in ("GND", "VCC", "$scopeinfo"):
            continue
        if kind not in CELLS:
            raise SynthError(f"a netlist must hold only {', '.join(CELLS)}, but holds a cell {kind}.")
        name, weight = CELLS[kind]
        counts[name] += weight
        if name in ("srl", "lutram"):
            stored += _sites(kind, pins)
        if name in LUT_NAMES:
            read = [_net(net) for pin, nets in pins.items() if pin.startswith("I") for net in nets]
            luts.append(Lut(frozenset(net for net in read if net is not None), pins["O"][0]))
        elif name == "carry4":
            bits = tuple((_net(s), _net(di)) for s, di in zip(pins["S"], pins["DI"], strict=True))
            carries.append(Carry(_net(pins["CI"][0]), _net(pins["CO"][3]), bits))
    bits_of_chains = [bit for carry in carries for bit in carry.bits]
    counts["lut_packed"] = packed_sites(luts, bits_of_chains)
    # the select input of a chain comes from its LUT only, so a register's bit passes through one
    made = {lut.output for lut in luts}
    counts["route_through"] = sum(select is not None and select not in made for select, _ in bits_of_chains)
    counts["memory_luts"] = ceil(stored)
    return counts, _chains(carries)


def _sites(kind: str, pins: Mapping[str, Sequence[int | str]]) -> float:
    """LUT sites of one cell; of a memory of several ports those whose data is used, and the one that holds the write address."""
    if kind not in PORTS:
        return SITES.get(kind, 1)
    written = (nets for pin, nets in pins.items() if pin.startswith("DI"))
    return min(sum(any(_net(net) is not None for net in nets) for nets in written) + 1, PORTS[kind])


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
