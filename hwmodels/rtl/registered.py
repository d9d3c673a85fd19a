"""A unit between registers, with three pins: what is timed when it is placed and routed alone."""

from __future__ import annotations

from collections.abc import Mapping

from hwmodels.rtl.verilog import module, ports_of, vector

REGISTERED_TOP = "registered"


def registered_module(text: str, top: str) -> tuple[str, int]:
    """(Verilog of the module :data:`REGISTERED_TOP` around the module `top` of `text`, its own LUTs).

    Every input of the unit is a bit of a shift register that `in` fills, and every output enters a signature register that is
    shifted out, so that nothing of the unit is left out and no pin is on a path. Of its own it has registers and, for each bit
    of the signature, one XOR, and nothing fans out: what limits the clock is the unit.
    """
    ports = ports_of(text, top)
    inputs = {name: bits for name, (kind, bits) in ports.items() if kind == "input" and name != "clk"}
    outputs = {name: bits for name, (kind, bits) in ports.items() if kind == "output"}
    given, seen = sum(inputs.values()), sum(outputs.values())
    connected = [".clk(clk)", *_slices("given", inputs), *_slices("results", outputs)]
    lines = [
        f"reg {vector(given)} given;",
        f"reg {vector(seen)} signature;",
        f"wire {vector(seen)} results;",
        "always @(posedge clk) begin",
        "    given <= {given, in};",
        f"    signature <= {{signature, given[{given - 1}]}} ^ results;",
        "end",
        f"assign out = signature[{seen - 1}];",
        f"{top} unit ({', '.join(connected)});",
    ]
    return module(REGISTERED_TOP, ["input wire clk", "input wire in", "output wire out"], lines), seen


def _slices(name: str, ports: Mapping[str, int]) -> list[str]:
    """Connections of all ports to consecutive bits of the vector `name`."""
    found, low = [], 0
    for port, bits in ports.items():
        found.append(f".{port}({name}[{low + bits - 1}:{low}])")
        low += bits
    return found
