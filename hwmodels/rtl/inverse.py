"""1 / n or 1 / sqrt(n) of an integer as Verilog, in 16 bits: a leading one, a table, one Newton step on one multiplier.

n is v * 2^(bits - 1 - zeros) with 1 <= v < 2. A table of the next seven bits of v gives a guess y of 10 bits that is off by
at most 0.5 %; y * (2 - v * y) or y * (3 - v * y^2) / 2 squares that error (Newton and Raphson). Every product has the guess as
one factor, so that one multiplier of 17 x 10 bits does them one after the other. Both steps end below the true value or on it,
so that 16 bits behind the binary point hold the result.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hwmodels.primitives.scale import SCALE_BITS
from hwmodels.rtl.barrel import normalizer
from hwmodels.rtl.multiplier import Factor, multiplier_module
from hwmodels.rtl.verilog import RtlError, module, table, vector

TOP = "inverse"
"""Module name of a unit that stands alone."""

INDEX_BITS, GUESS_BITS = 7, 10
"""Bits behind the leading one that the table reads, and bits of a guess: a result is then off by at most 3 of 2^16 (chosen)."""

MANTISSA, GUESS = Factor(SCALE_BITS + 1, signed=False), Factor(GUESS_BITS, signed=False)


@dataclass(frozen=True)
class InverseUnit:
    """A reciprocal, or with `root` a reciprocal square root, of a positive integer of `bits` bits (even with `root`).

    Ports: clk; start, high for one cycle with n; value, zeros, and finished in the cycle in whose end they take the result:
    :attr:`cycles` after start. 1 / n is value * 2^(zeros + 1 - bits - 16), 1 / sqrt(n) is
    value * 2^((zeros >> 1) + 1 - bits / 2 - 16).
    """

    bits: int
    root: bool = False

    def __post_init__(self) -> None:
        if self.bits < 2 or (self.root and self.bits % 2):
            raise RtlError(
                f"`bits` must be at least 2, and even for a root, but got bits={self.bits}, root={self.root}."
            )

    @property
    def zeros_bits(self) -> int:
        """Width of the number of leading zeros."""
        return (self.bits - 1).bit_length()

    @property
    def cycles(self) -> int:
        """Cycles from start until another start may follow."""
        return 4 if self.root else 3

    @property
    def held_cycles(self) -> int:
        """Cycles from vector to vector that a stage of two passes needs at least: until the exponent is taken over too.

        Squares are registered before they are added up, so that a root is asked for a cycle later. Held to simulation.
        """
        return self.cycles + (5 if self.root else 4)

    @property
    def registers(self) -> int:
        """Flip-flops: operand, guess, leading zeros, result, one per phase."""
        return MANTISSA.bits + GUESS.bits + self.zeros_bits + SCALE_BITS + self.cycles


def guesses(root: bool) -> Sequence[int]:
    """The table: guesses in units of 2^-10, for the middle of what a key stands for; with `root` its top bit doubles v."""
    found = []
    for key in range(1 << INDEX_BITS + int(root)):
        octave, index = divmod(key, 1 << INDEX_BITS)
        middle = (1 + (index + 0.5) / (1 << INDEX_BITS)) * (1 << octave)
        found.append(min(round((1 / middle) ** (0.5 if root else 1) * (1 << GUESS_BITS)), (1 << GUESS_BITS) - 1))
    return found


def inverse_module(name: str, unit: InverseUnit) -> str:
    """Verilog of a unit with its multiplier, one level below: two below the top of a unit around it.

    Yosys orders the operands of an adder by its depth, and at an odd one a row of a multiplier takes up to two LUTs a bit.
    """
    top, low = MANTISSA.bits + GUESS.bits - 1, GUESS.bits
    ports = ["input wire clk", "input wire start", f"input wire {vector(unit.bits)} n", "output wire finished"]
    ports += [f"output reg {vector(SCALE_BITS)} value", f"output reg {vector(unit.zeros_bits)} places"]
    lines, leading = normalizer("n", unit.bits, MANTISSA.bits)
    key = f"t[{SCALE_BITS - 1}:{SCALE_BITS - INDEX_BITS}]"
    following = f"~p[{top}:{low}]"
    if unit.root:
        key = f"{{~places[0], {key}}}"
        # w = v * y^2, doubled for an odd exponent, is close to 1; (3 - w) / 2 is its bits inverted, but for the two on top
        lines += [f"wire {vector(MANTISSA.bits)} w = places[0] ? p[{top}:{low}] : p[{top - 1}:{low - 1}];"]
        following = f"phase[2] ? {{~w[16], w[16], ~w[15:1]}} : p[{top}:{low}]"
    last = unit.cycles - 1
    lines += [
        f"reg {vector(MANTISSA.bits)} t;",
        f"reg {vector(GUESS.bits)} guess, entry;",
        f"reg {vector(unit.cycles)} phase;",
        f"wire {vector(top + 1)} p;",
        f"{name}_mul mul (.a(t), .b(guess), .p(p));",
        *table("entry", key, INDEX_BITS + int(unit.root), guesses(unit.root), GUESS.bits),
        f"assign finished = phase[{last}];",
        "always @(posedge clk) begin",
        f"    phase <= {{phase[{last - 1}:0], start}};",
        f"    if (start) t <= {leading}; else if (~phase[0]) t <= {following};",
        "    if (start) places <= zeros;",
        "    if (phase[0]) guess <= entry;",
        f"    if (finished) value <= p[{top - 1}:{low}];",
        "end",
    ]
    return multiplier_module(f"{name}_mul", MANTISSA, GUESS) + module(name, ports, lines)
