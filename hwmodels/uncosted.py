"""Scales that a network can be measured with but that no unit of the cost model computes: refused by name, never ignored."""

from __future__ import annotations

from hwmodels.datapath import Datapath, Granularity, ScaleKind, TensorQuant
from hwmodels.ops import Depthwise, Network, Numerics, Pool, Requantize, Window
from hwmodels.report import CostError


def refuse_uncosted(network: Network, numerics: Numerics) -> None:
    """Refuse a network with a scale that the cost model leaves out.

    A unit that finds the largest of some values and divides by it is modelled for one vector at a time. So a dynamic scale
    must be one of a vector or of groups in it, and what reads it a layer without window, whose sums share it.

    Raises:
        CostError: names the layer or site, its scale, and what would do.
    """
    for name, layer in numerics.layers.items():
        _refuse_e4m3(f"the weights of layer {name}", layer.weight)
    windowed = {op.site for op in network.operators if isinstance(op, Window | Pool | Depthwise)}
    several = {op.site for op in network.operators if isinstance(op, Requantize) and op.vectors > 1}
    for name, quant in numerics.sites.items():
        _refuse_e4m3(f"the values of site {name!r}", quant)
        whole = quant.scaling.granularity is Granularity.TENSOR and name in several
        if quant.scaling.dynamic and (name in windowed or whole):
            raise CostError(
                "activations that a window, a depthwise layer or a pool reads must have static scales to be costed, and all "
                "others static ones or one per vector, because no unit that finds a maximum over several vectors is modelled, "
                f"but site {name!r} has {quant}; use tensor or tensor_po2."
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
