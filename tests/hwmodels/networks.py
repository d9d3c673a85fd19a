"""Small networks that several tests cost: a residual block, a depthwise-separable one, a pool and a classifier."""

from hwmodels.catalog import parse_format
from hwmodels.datapath import Accumulator, parse_scaling, tensor_quant
from hwmodels.ops import (
    Add,
    Depthwise,
    Duplicate,
    LayerNumerics,
    MatVec,
    Network,
    Numerics,
    Operator,
    Pool,
    Requantize,
    Window,
    with_zeros,
)


def conv_window(
    layer: str, channels: int, size: int, out: int, stride: int, site: str, depthwise: bool = False
) -> tuple[Operator, ...]:
    """A window generator of 3 x 3 pixels, and the zeros around its image."""
    kernel, pads = (3, 3), (size, size)
    window = Window(
        f"{layer}.window", layer, channels, pads, (out, out), kernel, (stride, stride), (1, 1), depthwise, site
    )
    return with_zeros(window, channels, pads, (1, 1, 1, 1))


def residual_network() -> Network:
    """Every kind of operator once at least; 32x32 input of one channel."""
    operators: tuple[Operator, ...] = (
        *conv_window("stem", 1, 34, 16, 2, "input"),
        MatVec("stem", 16, 9, 256, "input"),
        Requantize("stem.requantize", "stem", 16, 256, "a"),
        Duplicate("a.duplicate", 16, 256, 2, "a"),
        *conv_window("conv1", 16, 18, 16, 1, "a"),
        MatVec("conv1", 16, 144, 256, "a"),
        Requantize("conv1.requantize", "conv1", 16, 256, "b"),
        *conv_window("conv2", 16, 18, 16, 1, "b"),
        MatVec("conv2", 16, 144, 256, "b"),
        Requantize("conv2.requantize", "conv2", 16, 256, "sum"),
        Requantize("a.duplicate.requantize", "a.duplicate", 16, 256, "sum"),
        Add("add", 16, 256, "sum"),
        Requantize("add.requantize", "add", 16, 256, "c"),
        *conv_window("depthwise", 16, 18, 8, 2, "c", depthwise=True),
        Depthwise("depthwise", 16, 9, 64, "c"),
        Requantize("depthwise.requantize", "depthwise", 16, 64, "d"),
        MatVec("pointwise", 32, 16, 64, "d"),
        Requantize("pointwise.requantize", "pointwise", 32, 64, "e"),
        Pool("pool", 32, 64, 1, "average", "e"),
        Requantize("pool.requantize", "pool", 32, 1, "f"),
        MatVec("head", 10, 32, 1, "f"),
    )
    return Network("residual", operators)


def numerics_of(
    network: Network,
    weight: str,
    activation: str,
    bits: int = 20,
    *,
    tile: int | None = None,
    scaling: str = "channel",
    activation_scaling: str = "tensor",
) -> Numerics:
    """The same formats and accumulator everywhere."""
    block = weight.startswith(("mx", "nv"))
    weights = tensor_quant(parse_format(weight), None if block else parse_scaling(scaling))
    site = tensor_quant(parse_format(activation), parse_scaling(activation_scaling))
    return Numerics(
        dict.fromkeys(network.sites, site),
        {op.name: LayerNumerics(weights, Accumulator(bits, tile)) for op in network.compute},
    )
