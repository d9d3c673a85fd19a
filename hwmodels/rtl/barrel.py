"""Shifters that keep a window of the bits: by an amount at a port, or until the leading one stands at the top.

Large steps come first, so that bits which leave the window are never moved again. A LUT6 is a 4:1 multiplexer: two bits of the
amount make one stage.
"""

from __future__ import annotations

from dataclasses import dataclass

from hwmodels.rtl.verilog import vector


@dataclass(frozen=True, slots=True)
class Step:
    """One stage of a window shifter: bits `low` and up of the amount (`bits` of them) choose; what it gives, lowest bit first."""

    low: int
    bits: int
    window: tuple[int, int]
    inputs: tuple[int, ...]


def window_steps(have: int, amount_bits: int, low: int, want: int, *, signed: bool) -> list[Step]:
    """The stages that give bits `low` to low + want - 1 of an integer of `have` bits times 2^amount.

    `inputs` of a stage says of each multiplexer how many signals it reads: the bits that it chooses among, and the amount's. Bits
    that only repeat the sign are made once.
    """
    steps = []
    first, last = 0, have - 1
    for position in range(amount_bits - 1 - (1 - amount_bits % 2), -1, -2):
        bits = 1 if position == amount_bits - 1 else 2
        rest = (1 << position) - 1
        bottom = max(low - rest, 0)
        top = min(low + want - 1, last + (((1 << bits) - 1) << position))
        window = (bottom, max(top, bottom))
        inputs = []
        for bit in range(window[0], window[1] + 1):
            sources = {
                min(source, last)
                for source in (bit - (step << position) for step in range(1 << bits))
                if source >= first and (signed or source <= last)
            }
            if sources:
                inputs.append(len(sources) + bits)
        steps.append(Step(position, bits, window, tuple(inputs)))
        first, last = window
    return steps


def window_shift(
    name: str, have: int, amount: str, amount_bits: int, low: int, want: int, *, signed: bool
) -> tuple[list[str], str]:
    """(lines, expression of exactly `want` bits): bits `low` and up of the wire `name` of `have` bits times 2^`amount`."""
    lines: list[str] = []
    source, span = name, (0, have - 1)
    for step in window_steps(have, amount_bits, low, want, signed=signed):
        moved = [
            _bits(source, span, step.window, places << step.low, signed=signed) for places in range(1 << step.bits)
        ]
        chosen = f"{amount}[{step.low}] ? {moved[1]} : {moved[0]}"
        if step.bits == 2:
            chosen = f"{amount}[{step.low + 1}] ? ({amount}[{step.low}] ? {moved[3]} : {moved[2]}) : ({chosen})"
        target = f"{name}_s{step.low}"
        lines.append(f"wire {vector(step.window[1] - step.window[0] + 1)} {target} = {chosen};")
        source, span = target, step.window
    return lines, _bits(source, span, (low, low + want - 1), 0, signed=signed)


def _bits(name: str, span: tuple[int, int], window: tuple[int, int], places: int, *, signed: bool) -> str:
    """The bits of a window of `name` (which holds bits `span`) shifted left by `places`; zeros stand below, the sign above."""
    low, high = window[0] - places, window[1] - places
    first, last = span
    parts = []
    if high > last:
        fill = f"{name}[{last - first}]" if signed else "1'b0"
        parts.append(f"{{{high - max(last, low - 1)}{{{fill}}}}}")
    if min(high, last) >= max(low, first):
        parts.append(f"{name}[{min(high, last) - first}:{max(low, first) - first}]")
    if low < first:
        parts.append(f"{min(first - low, high - low + 1)}'d0")
    return "{" + ", ".join(parts) + "}"


def normalizer_widths(bits: int, keep: int) -> list[tuple[int, int]]:
    """(places, bits behind the stage) of each stage of :func:`normalizer`."""
    widths = []
    for stage in reversed(range((bits - 1).bit_length())):
        places = 1 << stage
        widths.append((places, min(bits, keep + places - 1)))
    return widths


def normalizer(name: str, bits: int, keep: int) -> tuple[list[str], str]:
    """(lines, expression of `keep` bits): the wire `name` shifted left until its leading one is at the top; its highest bits.

    The wire `zeros` of (bits - 1).bit_length() bits says by how many places; zero stays zero.
    """
    lines, flags = [], []
    source, have = name, bits
    for places, width in normalizer_widths(bits, keep):
        lines.append(f"wire z{places} = ~|{source}[{have - 1}:{have - places}];")
        kept = f"{source}[{have - 1}:{have - width}]"
        low = have - places - width
        moved = f"{source}[{have - places - 1}:{max(low, 0)}]"
        if low < 0:
            moved = f"{{{moved}, {-low}'d0}}"
        lines.append(f"wire {vector(width)} n{places} = z{places} ? {moved} : {kept};")
        flags.append(f"z{places}")
        source, have = f"n{places}", width
    lines.append(f"wire {vector(len(flags))} zeros = {{{', '.join(flags)}}};")
    if have >= keep:
        return lines, f"{source}[{have - 1}:{have - keep}]"
    return lines, f"{{{source}, {keep - have}'d0}}"
