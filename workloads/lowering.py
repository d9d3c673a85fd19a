"""From a plan to the operators of a dataflow accelerator (:class:`hwmodels.ops.Network`)."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import fx, nn

from hwmodels.ops import (
    Add,
    Depthwise,
    Duplicate,
    MatVec,
    Network,
    Operator,
    Pool,
    Requantize,
    Rotate,
    Window,
    with_zeros,
)
from workloads.float_lowering import lower_float, spread
from workloads.graph import Kind, PlanError, label, pair, shape
from workloads.hadamard import BlockHadamard
from workloads.plan import Layer, Plan, channels_and_vectors

ON_A_GRID = (Kind.RELU, Kind.MAX_POOL)
"""Nodes whose stream lies on the grid of a quantizer when it leaves its operator."""


def lower(plan: Plan, name: str, context: int | None = None) -> Network:
    """The operators of a planned model in dataflow order.

    A layer is its window (kernel or stride above 1), the zeros around what that reads, its matrix and its requantizer into the
    next site; a tensor with several readers is duplicated behind its requantizer. Names are those of the modules, with
    ``.window``, ``.padding``, ``.requantize`` or ``.duplicate`` behind them. The last layer has no requantizer: its sums leave
    the chip as they are, and scale and bias (per channel, so they do matter to the arg max) are applied where they arrive.

    What computes in floating point between quantized layers is here as well (:mod:`workloads.float_lowering`), on sites of
    its own that no accuracy is measured with: :func:`hwmodels.float_parts.with_float_parts` gives them a format.

    Args:
        context: tokens that a decoder's cache holds, itself included; None: the frame's.

    Raises:
        PlanError: a stream begins in the model's input and reaches a requantizer before any operator, or a node computes in
            floating point and no operator is known for it.
    """
    build = Lowering(plan, context)
    for node in plan.graph.graph.nodes:
        build.visit(node)
    return Network(name, tuple(build.operators))


@dataclass
class Lowering:
    """Operators so far, and the operator that each node's stream comes from.

    Args:
        plan: of the model.
        context: as of :func:`lower`.
        streams: the operator that gives a node's tensor.
        sizes: channels and vectors of tensors whose shape does not tell them.
    """

    plan: Plan
    context: int | None = None
    operators: list[Operator] = field(default_factory=list)
    streams: dict[fx.Node, str] = field(default_factory=dict)
    sizes: dict[fx.Node, tuple[int, int]] = field(default_factory=dict)

    def visit(self, node: fx.Node) -> None:
        """Append the operators of a node, and what brings its tensor to where it is read."""
        if node.name in self.plan.floating:
            lower_float(self, node)
            return
        match self.plan.kind(node):
            case Kind.COMPUTE:
                layer = next(item for item in self.plan.layers if item.module == node.target)
                self.operators.extend(_layer_operators(layer))
                self.streams[node] = layer.name
            case Kind.ADD:
                site = f"{label(node)}.in"
                for source in node.all_input_nodes:
                    self.requantize(self.plan.origin(source), site)
                self.operators.append(Add(label(node), *channels_and_vectors(node), site))
                self.streams[node] = label(node)
            case Kind.AVERAGE_POOL | Kind.MAX_POOL:
                self.pool(node)
            case Kind.ROTATE:
                self.rotate(node)
            case Kind.RELU:
                self.relu(node)
            case Kind.INPUT | Kind.PASS | Kind.FLOAT | Kind.OUTPUT:
                pass
        if any(reader.name in self.plan.floating for reader in self.plan.consumers(node)):
            spread(self, node, placed=self.plan.kind(node) in ON_A_GRID)
        else:
            self.fork(node)

    def size(self, node: fx.Node) -> tuple[int, int]:
        """Channels of a tensor and its vectors per frame."""
        return self.sizes.get(node) or channels_and_vectors(node)

    def fork(self, node: fx.Node) -> None:
        """Requantize where a site stands right behind a sum, then duplicate for several readers."""
        kind = self.plan.kind(node)
        site = self.plan.site_of(node)
        if kind in (Kind.COMPUTE, Kind.ADD, Kind.AVERAGE_POOL, Kind.ROTATE) and site is not None:
            self.streams[node] = self.requantize(node, site)
        readers = len(self.plan.consumers(node))
        if kind not in (Kind.PASS, Kind.OUTPUT) and readers > 1:
            assert site is not None  # several readers always get a site
            name = f"{label(node)}.duplicate"
            self.operators.append(Duplicate(name, *channels_and_vectors(node), readers, site))
            self.streams[node] = name

    def requantize(self, source: fx.Node, site: str) -> str:
        """Emit the requantizer of a stream into a site; return its name."""
        if source not in self.streams:
            raise PlanError(
                f"the model's input must be read by a layer with weights before site {site!r}, but it goes there directly."
            )
        stream = self.streams[source]
        name = f"{stream}.requantize"
        if any(op.name == name for op in self.operators):  # two residual adds read one duplicated tensor
            name = f"{site}.requantize"
        self.operators.append(Requantize(name, stream, *self.size(source), site))
        return name

    def relu(self, node: fx.Node) -> None:
        """A ReLU is part of the requantizer into its site.

        Raises:
            PlanError: it has none.
        """
        own, source = self.plan.site_at(node), self.plan.origin(node.all_input_nodes[0])
        if own is None:
            raise PlanError(
                f"a ReLU must be read by a layer with weights to be costed, but what reads {label(node)!r} computes in floating "
                "point."
            )
        name = f"{own}.requantize"
        placed = any(isinstance(op, Requantize) and op.site == own for op in self.operators)
        self.streams[node] = name if placed else self.requantize(source, own)

    def rotate(self, node: fx.Node) -> None:
        """Append an online rotation; it reads what its input's quantizer gives."""
        site = self.plan.site_of(node.all_input_nodes[0])
        module = self.plan.graph.get_submodule(str(node.target))
        assert site is not None  # a rotation reads values on a grid
        assert isinstance(module, BlockHadamard)
        channels, vectors = channels_and_vectors(node)
        self.operators.append(Rotate(label(node), channels, module.block, vectors, site))
        self.streams[node] = label(node)

    def pool(self, node: fx.Node) -> None:
        """Append a pooling unit, and its window where it is not the whole image."""
        source = node.all_input_nodes[0]
        site = self.plan.site_of(source)
        assert site is not None  # pooling reads values on a grid
        (channels, vectors), name = channels_and_vectors(node), label(node)
        module = self.plan.graph.get_submodule(str(node.target)) if node.op == "call_module" else None
        kind = "max" if self.plan.kind(node) is Kind.MAX_POOL else "average"
        height, width = shape(source)[2:]
        if isinstance(module, nn.MaxPool2d | nn.AvgPool2d):
            kernel, (pad_y, pad_x) = pair(module.kernel_size), pair(module.padding)
            padded, output = (height + 2 * pad_y, width + 2 * pad_x), shape(node)[2:]
            if kernel != padded:
                window = Window(
                    f"{name}.window",
                    name,
                    channels,
                    padded,
                    (output[0], output[1]),
                    kernel,
                    pair(module.stride),
                    (1, 1),
                    True,
                    site,
                )
                self.operators += with_zeros(window, channels, padded, (pad_y, pad_x, pad_y, pad_x))
        else:
            kernel = (height, width)
        self.operators.append(Pool(name, channels, kernel[0] * kernel[1], vectors, kind, site))
        self.streams[node] = name


def _layer_operators(layer: Layer) -> tuple[Operator, ...]:
    compute = (
        Depthwise(layer.name, layer.rows, layer.cols, layer.vectors, layer.site)
        if layer.depthwise
        else MatVec(layer.name, layer.rows, layer.cols, layer.vectors, layer.site)
    )
    if layer.kernel == (1, 1) and layer.stride == (1, 1):
        return with_zeros(compute, layer.in_channels, layer.input_size, layer.zeros)
    window = Window(
        f"{layer.name}.window",
        layer.name,
        layer.in_channels,
        layer.input_size,
        layer.output_size,
        layer.kernel,
        layer.stride,
        layer.dilation,
        layer.depthwise,
        layer.site,
    )
    return *with_zeros(window, layer.in_channels, layer.input_size, layer.zeros), compute
