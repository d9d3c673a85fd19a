"""What stands at the two ends of an accelerator if the host does not do it: pixels brought to a format, the largest score found.

By default the host quantizes the input and takes the last layer's sums, as around what ``dse export --to finn`` builds; scale,
bias and arg max are its own.
"""

from __future__ import annotations

from hwmodels.datapath import TensorQuant
from hwmodels.formats import IntFormat
from hwmodels.image_operators import SCORES
from hwmodels.ops import Depthwise, Duplicate, LabelSelect, MatVec, Network, Numerics, Pad, Pixels, Requantize, Window
from hwmodels.report import CostError

SCORE_BITS = 16
"""Bits of a score (assumed: those of a requantizer's scale, and what stands for floating point elsewhere)."""


def with_label_select(network: Network, numerics: Numerics) -> tuple[Network, Numerics]:
    """`network` with a requantizer to scores and a label select behind its last layer, and the numerics with their format.

    Scales that differ from channel to channel and biases matter to which is the largest, so it takes both.

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


def with_pixels(network: Network, numerics: Numerics) -> Network:
    """`network` with what brings pixels of 8 bits to the format of its input; as it is, where that holds them (a scale of 1/255).

    Raises:
        CostError: it does not begin with images or vectors that are read by layers.
    """
    first = network.operators[0] if network.operators else None
    match first:
        case Pad() | Window():
            channels, vectors = first.channels, first.input_size[0] * first.input_size[1]
        case MatVec():
            channels, vectors = first.cols, first.vectors
        case Depthwise() | Duplicate():
            channels, vectors = first.channels, first.vectors
        case _:
            found = "nothing" if first is None else f"{first.name}, a {type(first).__name__}"
            raise CostError(
                f"pixels are what layers or windows read, but the network begins with {found}; leave them out."
            )
    quant = numerics.sites[first.site]
    if quant.format == IntFormat(8, signed=False) and not (quant.scaling.dynamic or quant.scaling.zero_point):
        return network
    return Network(network.name, (Pixels(f"{first.site}.pixels", channels, vectors, first.site), *network.operators))
