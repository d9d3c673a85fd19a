"""From a significand product to a fixed-point summand: sign, exponent adder, shifter. What makes a minifloat dear.

A shifter stage selects between shifted by 2^i or not; one LUT6 (a 4:1 multiplexer) does two stages, hence the factor 1/2.
Only bits that a stage can reach and that a later stage can still bring into the kept window exist. Derived; the split in
bits within the product's width and bits beyond it is ours, because the fit shows that the latter cost half as much
(their multiplexers have fewer inputs and pair up in LUT6_2).
"""

from __future__ import annotations

from hwmodels.primitives.cost import ceil_log2
from hwmodels.primitives.operands import Operands


def aligner_bits(op: Operands, kept_bits: int) -> tuple[float, float]:
    """(bits handled within the product's width, shifter bits beyond it) of one lane; (0, 0) for integers.

    The first counts the negation after the product (minifloat x minifloat only), the exponent fields (zero detection,
    subnormals, exponent sum) and half of each shifter stage up to the product's width; the second the rest of the stages.

    Args:
        kept_bits: PW, bits of the product that the accumulator keeps, at most `op.product_bits`; low bits are dropped.
    """
    if op.is_integer:
        return 0.0, 0.0
    within = float(sum(op.exponents) + (op.core_bits if op.sign_magnitude else 0))
    beyond = 0.0
    stages = ceil_log2(op.max_shift + 1)
    for stage in range(stages):
        reach = min(
            op.core_bits + (2 << stage) - 1,
            op.product_bits,
            kept_bits + (1 << stages) - (2 << stage),
        )
        within += min(reach, op.core_bits) / 2
        beyond += max(reach - op.core_bits, 0) / 2
    return within, beyond


def aligner_chains(op: Operands) -> tuple[int, ...]:
    """Widths (bits) of its carry chains: negation, exponent corrections of 3 bits and more, exponent sum.

    Read off the table's carry column; two-bit exponents and smaller need no chain of their own.
    """
    chains = [bits for bits in op.exponents if bits >= 3]
    if op.sign_magnitude:
        chains += [max(op.exponents) + 1, op.core_bits + 1]
    return tuple(chains)
