"""What nodes alone do not say: accumulators wider than the weights prove, or starting anew after a tile; scales by their name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dse.onnx_reader.metadata import FRAME_KEY, LAYERS_KEY, SITES_KEY, StatedLayer, write_layers, write_sites
from hwmodels.datapath import ScaleKind, Scaling

if TYPE_CHECKING:
    from workloads.quantize import QuantizedModel


def described(model: QuantizedModel, frame: int) -> dict[str, str]:
    """The metadata of a file: what a reader could not know of the layers of `model` from nodes and weights alone."""
    stated: dict[str, StatedLayer] = {}
    for result in model.layers:
        accumulator = model.numerics.layers[result.name].accumulator
        if accumulator.bits != max(result.bits, 2) or accumulator.tile_size is not None:
            stated[result.name] = StatedLayer(accumulator.bits, accumulator.tile_size)
    scalings = {name: quant.scaling for name, quant in model.numerics.sites.items() if quant.scaling not in PLAIN}
    made = {LAYERS_KEY: write_layers(stated)} if stated else {}
    if frame != 1:
        made[FRAME_KEY] = str(frame)
    return made | ({SITES_KEY: write_sites(scalings)} if scalings else {})


PLAIN = (Scaling(), Scaling(kind=ScaleKind.POWER_OF_TWO))
"""What a quantizer with one constant scale is taken for."""
