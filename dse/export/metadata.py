"""What ONNX has no node for: accumulators wider than the weights prove or starting anew after a tile, and groups."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dse.onnx_reader.metadata import LAYERS_KEY, StatedLayer, write_layers

if TYPE_CHECKING:
    import onnx

    from workloads.quantize import QuantizedModel


def describe(exported: onnx.ModelProto, model: QuantizedModel) -> None:
    """Add, in place, what a reader could not know of the layers of `model` from nodes and weights alone."""
    stated: dict[str, StatedLayer] = {}
    for result in model.layers:
        accumulator = model.numerics.layers[result.name].accumulator
        group = result.weight.scaling.group_size
        if accumulator.bits != max(result.bits, 2) or accumulator.tile_size is not None or group is not None:
            stated[result.name] = StatedLayer(accumulator.bits, accumulator.tile_size, group)
    if stated:
        exported.metadata_props.add(key=LAYERS_KEY, value=write_layers(stated))
