"""An exact product of two integers as a module of its own, of LUTs or left to DSP slices."""

from __future__ import annotations

from hwmodels.rtl.multiplier import Factor, multiplier_module, multiplier_type
from hwmodels.rtl.verilog import module, vector


def product_modules(name: str, a: Factor, b: Factor, *, dsp: bool = False) -> str:
    """Verilog of a product with the ports a, b and p; the multiplier of LUTs stands one level below (see `inverse_module`)."""
    ports = [f"input wire {vector(factor.bits)} {port}" for port, factor in (("a", a), ("b", b))]
    ports.append(f"output wire {vector(multiplier_type(a, b)[0])} p")
    if dsp:
        terms = [f"$signed({port})" if f.signed else f"$signed({{1'b0, {port}}})" for port, f in (("a", a), ("b", b))]
        return module(name, ports, [f"assign p = {terms[0]} * {terms[1]};"])
    return multiplier_module(f"{name}_mul", a, b) + module(name, ports, [f"{name}_mul mul (.a(a), .b(b), .p(p));"])
