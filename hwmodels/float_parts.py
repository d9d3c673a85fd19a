"""Formats of what a quantized network computes in floating point and hardware does in fixed point: norms, attention, residuals.

Its accuracy is measured with these parts in floating point. What is costed is fixed point wide enough to be taken for it, an
assumption that is stated with every report and can be changed: :data:`FLOAT_BITS`.
"""

from __future__ import annotations

from hwmodels.accumulator import bits_by_data_type
from hwmodels.datapath import Accumulator, Granularity, Scaling, TensorQuant
from hwmodels.formats import IntFormat
from hwmodels.ops import LayerNumerics, MatMul, Network, Numerics, Requantize, Softmax, Table

FLOAT_BITS = 16
"""Bits of the fixed-point numbers that stand for floating-point ones (assumed: those of float16 and of a requantizer's scale)."""

TABLE_BITS = 10
"""Bits of the codes that a table of a function reads (assumed: 1024 entries, as hls4ml has by default)."""


def with_float_parts(network: Network, numerics: Numerics, bits: int = FLOAT_BITS) -> Numerics:
    """`numerics` with a format for everything in `network` that has none: integers of `bits` bits.

    Tables of functions read at most :data:`TABLE_BITS`. Products of two activations get the accumulator that their data
    types are proved to need. Probabilities that are multiplied with values of a scale per token carry those scales, one per
    position (see :meth:`hwmodels.wiring.Wiring._rescale`).
    """
    read_by_tables = {op.site for op in network.operators if isinstance(op, Table)}
    names = {op.name: op for op in network.operators}
    shares = {
        op.site for op in network.operators if isinstance(op, Requantize) and isinstance(names[op.source], Softmax)
    }
    sites = dict(numerics.sites)
    for site in network.sites:
        width = min(bits, TABLE_BITS) if site in read_by_tables else bits
        sites.setdefault(site, TensorQuant(IntFormat(width)))
    layers = dict(numerics.layers)
    for op in network.compute:
        if not isinstance(op, MatMul) or op.name in layers:
            continue
        stored = sites[op.stored]
        if op.site in shares and stored.scaling.granularity is Granularity.TOKEN:
            carried = Scaling(Granularity.CHANNEL, stored.scaling.kind, dynamic=True)
            sites[op.site] = TensorQuant(sites[op.site].format, carried)
        width = bits_by_data_type(op.dot_length, stored.format, sites[op.site].format)
        layers[op.name] = LayerNumerics(stored, Accumulator(width))
    return Numerics(sites, layers)
