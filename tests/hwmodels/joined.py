"""Many generated units as one design, so that a test starts Yosys once."""

import re

import numpy as np

from hwmodels.rtl.simulate import elaborate, run
from hwmodels.rtl.verilog import module, ports_of, vector


class Joined:
    """Units side by side; the ports of unit k are called k_name, the clock is shared."""

    def __init__(self, texts, top):
        ports, body, renamed = ["input wire clk"], [], []
        for k, text in enumerate(texts):
            own = {name: each for name, each in ports_of(text, top).items() if name != "clk"}
            renamed.append(re.sub(r"\b" + top, f"u{k}_{top}", text))
            ports += [f"{kind} wire {vector(bits)} p{k}_{name}" for name, (kind, bits) in own.items()]
            wires = "".join(f", .{name}(p{k}_{name})" for name in own)
            body.append(f"u{k}_{top} i{k} (.clk(clk){wires});")
        self.graph = elaborate("".join(renamed) + module("joined", ports, body), "joined")

    def run(self, cycles):
        """Outputs of each cycle by (unit, port); a cycle maps (unit, port) to bits of shape (bits, batch)."""
        given = [{f"p{k}_{name}": bits for (k, name), bits in cycle.items()} for cycle in cycles]
        found = run(self.graph, given)
        return [{tuple_of(name): bits for name, bits in each.items()} for each in found]


def tuple_of(name):
    unit, port = re.fullmatch(r"p(\d+)_(.*)", name).groups()
    return int(unit), port


def bits_of(values, bits):
    """Integers of shape (batch,) as a port of `bits` bits."""
    return ((np.asarray(values)[None, :] >> np.arange(bits)[:, None]) & 1).astype(bool)


def code_of(port):
    """A port as unsigned codes of shape (batch,)."""
    return (port.astype(np.int64) << np.arange(len(port))[:, None]).sum(axis=0)
