"""A classifier whose accelerator gives the index of the largest score instead of the last layer's sums.

By default sums leave the chip, as in what ``dse export --to finn`` builds, and scale, bias and arg max are left to where they
arrive. On the chip it takes both: scales that differ from channel to channel, and biases, matter to which is the largest, so a
requantizer brings the sums to one scale first.
"""

from __future__ import annotations

from hwmodels.datapath import TensorQuant
from hwmodels.formats import IntFormat
from hwmodels.operators import SCORES
from hwmodels.ops import LabelSelect, MatVec, Network, Numerics, Requantize
from hwmodels.report import CostError

SCORE_BITS = 16
"""Bits of a score (assumed: those of a requantizer's scale, and what stands for floating point elsewhere)."""


def with_label_select(network: Network, numerics: Numerics) -> tuple[Network, Numerics]:
    """`network` with a requantizer to scores and a label select behind its last layer, and the numerics with their format.

    Raises:
        CostError: the network does not end in the sums of a layer with weights and at least two rows.
    """
    read = {op.source for op in network.operators if isinstance(op, Requantize)}
    last = network.operators[-1] if network.operators else None
    if not isinstance(last, MatVec) or last.name in read or last.rows < 2 or SCORES in network.sites:
        found = "nothing" if last is None else f"{last.name}, a {type(last).__name__}"
        raise CostError(
            "label select reads the sums of a last layer with weights and at least two rows, but the network ends in "
            f"{found}; leave it out."
        )
    behind = (
        Requantize(f"{last.name}.{SCORES}", last.name, last.rows, last.vectors, SCORES),
        LabelSelect(f"{last.name}.label", last.rows, last.vectors, SCORES),
    )
    sites = {**numerics.sites, SCORES: TensorQuant(IntFormat(SCORE_BITS))}
    return Network(network.name, (*network.operators, *behind)), Numerics(sites, numerics.layers)
