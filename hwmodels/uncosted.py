"""Scales that a network can be measured with but that no unit of the cost model computes: refused by name, never ignored."""

from __future__ import annotations

from hwmodels.datapath import Datapath, ScaleKind, TensorQuant
from hwmodels.ops import Network, Numerics, Requantize
from hwmodels.report import CostError


def refuse_uncosted(network: Network, numerics: Numerics) -> None:
    """Refuse a network with a scale that the cost model leaves out.

    Where nothing between the layers is counted (language models compute in floating point there), a dynamic scale is not
    counted either, and passes.

    Raises:
        CostError: names the layer or site, its scale, and what would do.
    """
    for name, layer in numerics.layers.items():
        _refuse_e4m3(f"the weights of layer {name}", layer.weight)
    requantized = {op.site for op in network.operators if isinstance(op, Requantize)}
    for name, quant in numerics.sites.items():
        _refuse_e4m3(f"the values of site {name!r}", quant)
        if requantized and quant.scaling.dynamic:
            raise CostError(
                "activations between quantized layers must have static scales to be costed, because no unit that finds a "
                f"maximum and divides by it is modelled, but site {name!r} has {quant}; use tensor or tensor_po2."
            )


def refuse_uncosted_unit(datapath: Datapath) -> None:
    """Refuse one compute unit with a scale that the cost model leaves out.

    Raises:
        CostError: as :func:`refuse_uncosted`.
    """
    _refuse_e4m3("the weights", datapath.weight)
    _refuse_e4m3("the activations", datapath.activation)


def _refuse_e4m3(where: str, quant: TensorQuant) -> None:
    if quant.scaling.kind is ScaleKind.E4M3:
        raise CostError(
            "group scales must be floats or powers of two to be costed, because no E4M3 multiplier is modelled, but "
            f"{where} have {quant}; use group{quant.scaling.group_size} or group{quant.scaling.group_size}_po2."
        )
