"""Small pieces of Verilog-2001 text that every generator here shares."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from hwmodels.errors import BitfrontError


class RtlError(BitfrontError):
    """A unit that cannot be generated or simulated."""


def vector(bits: int) -> str:
    """The range of a vector of `bits` bits: ``[7:0]``."""
    return f"[{bits - 1}:0]"


def constant(value: int, bits: int) -> str:
    """A sized decimal constant, two's complement where negative."""
    return f"{bits}'d{value % (1 << bits)}"


def extended(name: str, have: int, want: int, *, signed: bool) -> str:
    """`name` of `have` bits as an expression of exactly `want` bits: extended by its sign or zeros, or its low bits."""
    if want <= have:
        return name if want == have else f"{name}{vector(want)}"
    fill = f"{name}[{have - 1}]" if signed else "1'b0"
    return f"{{{{{want - have}{{{fill}}}}}, {name}}}"


def module(name: str, ports: Sequence[str], body: Iterable[str]) -> str:
    """The text of one module; `ports` are full declarations, `body` its lines."""
    head = ",\n".join(f"    {port}" for port in ports)
    lines = "\n".join(f"    {line}" if line else "" for line in body)
    return f"module {name} (\n{head}\n);\n{lines}\nendmodule\n"


def ports_of(text: str, name: str) -> dict[str, tuple[str, int]]:
    """(``input`` or ``output``, bits) of every port of a module that :func:`module` wrote, in order.

    Raises:
        RtlError: the text has no such module.
    """
    head = re.search(rf"^module {name} \(\n(.*?)\n\);", text, re.MULTILINE | re.DOTALL)
    if head is None:
        raise RtlError(f"a text must hold the module {name}, but does not.")
    found = re.findall(r"(input|output) (?:wire|reg) (?:\[(\d+):0\] )?(\w+)", head[1])
    return {port: (kind, int(top or 0) + 1) for kind, top, port in found}


def renamed(text: str, names: Mapping[str, str]) -> str:
    """A text with its modules under other names; what is not named in `names` stays."""
    pattern = re.compile(r"\b(" + "|".join(map(re.escape, names)) + r")\b")
    lines = (line if line.startswith("//") else pattern.sub(lambda m: names[m[1]], line) for line in text.split("\n"))
    return "\n".join(lines)


def module_names(text: str) -> tuple[str, ...]:
    """The modules that a text defines, in order."""
    return tuple(re.findall(r"^module (\w+)", text, re.MULTILINE))


def table(target: str, key: str, key_bits: int, values: Sequence[int], bits: int) -> list[str]:
    """A combinational look-up table: `target` (a reg of `bits` bits) = values[key], one value for each of 2^key_bits keys."""
    assert len(values) == 1 << key_bits
    rows = [f"    {constant(k, key_bits)}: {target} = {constant(v, bits)};" for k, v in enumerate(values[:-1])]
    return ["always @* case (" + key + ")", *rows, f"    default: {target} = {constant(values[-1], bits)};", "endcase"]


def add(target: str, bits: int, first: str, second: str, carry: str | None = None, *, keep: bool = False) -> list[str]:
    """`target` = first + second (+ carry), all of exactly `bits` bits.

    A carry enters as a bit below both summands: it costs one bit of the carry chain and no LUT, because the two equal
    bits cancel in the chain's select input. `first` is the summand whose bits the chain itself propagates.

    Args:
        keep: the sum stays an adder of its own, where Yosys would merge several into rows of compressors: no smaller, slower
            to synthesize, and not what vendors' tools do.
    """
    attribute = "(* keep *) " if keep else ""
    total, width = (target, bits) if carry is None else (f"{target}_c", bits + 1)
    terms = (first, second) if carry is None else (f"{{{first}, {carry}}}", f"{{{second}, {carry}}}")
    lines = [f"{attribute}wire {vector(width)} {total};", f"assign {total} = {terms[0]} + {terms[1]};"]
    return lines if carry is None else [*lines, f"wire {vector(bits)} {target} = {total}[{bits}:1];"]
