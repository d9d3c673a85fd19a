"""Where a network is quantized: its layers with weights and its *sites*, the places where an activation quantizer stands.

Rules. Every tensor has at most one quantizer. One stands at the model's input, behind every ReLU, and behind any other
tensor that a layer with weights, a pooling unit or more than one consumer reads. Both inputs of a residual add share one
more (site ``<add>.in``), so the add is done on one grid, and the ReLU behind it brings the sum to the activation format.
What an online rotation reads and what it gives are two tensors, with a quantizer each.
What is measured is therefore what the hardware computes.

Language models compute in floating point between their quantized layers: norms, attention, gates, and the residual stream,
which begins in an embedding. There a quantizer stands only in front of layers with weights, and adds have none. What
attention stores, its keys and values, can be quantized as well: *caches* are the places for that, empty if nobody asks.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, fx, nn

from workloads.attention import Attention
from workloads.graph import (
    SUPPORTED,
    Kind,
    PlanError,
    is_depthwise,
    kind,
    label,
    module_of,
    pair,
    shape,
    trace,
)

__all__ = ["Layer", "Plan", "PlanError", "Site", "make_plan", "plan_graph"]

INPUT_SITE = "input"


@dataclass(frozen=True)
class Site:
    """A place where an activation quantizer stands.

    Args:
        name: of the module whose output is quantized, ``input``, or ``<add>.in``.
        nonnegative: no value here can be negative (behind a ReLU), so that an integer format needs no sign.
        residual: it is the shared input of a residual add.
        edges: (producer, consumer) node names; consumer None: every consumer reads the quantized tensor.
        channels: of the tensor.
        vectors: its pixels per image.
    """

    name: str
    nonnegative: bool
    residual: bool
    edges: tuple[tuple[str, str | None], ...]
    channels: int
    vectors: int


@dataclass(frozen=True)
class Layer:
    """A convolution or linear layer: a matrix of `rows` x `cols` weights that reads `site`. Sizes are (height, width).

    The columns are in hardware order, kernel row, kernel column, input channel (FINN's order of a window's values). A
    depthwise layer has one column per tap.
    """

    name: str
    module: str
    site: str
    depthwise: bool
    in_channels: int
    rows: int
    cols: int
    vectors: int
    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    input_size: tuple[int, int] = (1, 1)  # padded
    output_size: tuple[int, int] = (1, 1)
    zeros: tuple[int, int, int, int] = (0, 0, 0, 0)  # of the padded size: top, left, bottom, right


@dataclass(frozen=True, eq=False)
class Plan:
    """A traced float model with its sites and layers, both in dataflow order.

    Args:
        graph: the model.
        sites: where activation quantizers stand.
        layers: those with weights.
        floating: names of the nodes whose result is a floating-point tensor in hardware, too.
        caches: where keys (behind rotary positions) and values come to attention, ``<attention>.key`` and ``.value``.
    """

    graph: fx.GraphModule
    sites: tuple[Site, ...]
    layers: tuple[Layer, ...]
    floating: frozenset[str] = frozenset()
    caches: tuple[Site, ...] = ()

    @property
    def nonnegative_input(self) -> bool:
        """Whether the model's input is known to hold nothing negative."""
        return any(site.name == INPUT_SITE and site.nonnegative for site in self.sites)

    @property
    def edges(self) -> frozenset[str]:
        """The layers that few bits hurt most: those that read the model's input, and the last one."""
        return frozenset({layer.name for layer in self.layers if layer.site == INPUT_SITE} | {self.layers[-1].name})

    def site(self, name: str) -> Site:
        """The site of that name."""
        return next(s for s in self.sites if s.name == name)

    def kind(self, node: fx.Node) -> Kind:
        """What a node of the graph is to hardware."""
        return kind(self.graph, node)

    def origin(self, node: fx.Node) -> fx.Node:
        """The node that made the values of a tensor: `node`, or the first one before nodes that pass values on."""
        while self.kind(node) is Kind.PASS:
            (node,) = node.all_input_nodes
        return node

    def consumers(self, node: fx.Node) -> tuple[fx.Node, ...]:
        """The nodes that read a tensor, looking through those that pass values on; the model's output counts."""
        found: list[fx.Node] = []
        for user in node.users:
            found.extend(self.consumers(user) if self.kind(user) is Kind.PASS else (user,))
        return tuple(found)

    def site_at(self, node: fx.Node) -> str | None:
        """The site whose quantizer stands behind a node for all its consumers, or None."""
        return next((s.name for s in self.sites if (node.name, None) in s.edges), None)

    @cached_property
    def rotations(self) -> tuple[fx.Node, ...]:
        """The online rotations of the graph."""
        return tuple(node for node in self.graph.graph.nodes if self.kind(node) is Kind.ROTATE)

    @cached_property
    def rotated_sites(self) -> frozenset[str | None]:
        """The sites that online rotations read."""
        return frozenset(self.site_of(node.all_input_nodes[0]) for node in self.rotations)

    def site_of(self, node: fx.Node) -> str | None:
        """The site on whose grid the values of a tensor lie, or None if they are sums that are not quantized yet."""
        origin = self.origin(node)
        if self.kind(origin) is Kind.MAX_POOL and self.site_at(origin) is None:
            return self.site_of(origin.all_input_nodes[0])  # the largest of some values is one of them
        return self.site_at(origin)


def make_plan(model: nn.Module, example_input: Tensor) -> Plan:
    """The plan of a float model; the model itself is not changed.

    Args:
        model: convolutions (ungrouped or depthwise), batch norm, ReLU, residual adds, pooling, linear layers, and what
            transformers have.
        example_input: a frame of hardware: an image (1, channels, height, width), a token of a decoder (1, 1), a text of an
            encoder (1, tokens). If no value of an image is negative, the input is taken to be non-negative (and calibration
            images are checked against that).

    Raises:
        PlanError: the model holds an operation that is not supported, or no layer with weights.
    """
    return plan_graph(trace(model, example_input), nonnegative_input=bool((example_input >= 0).all()))


def plan_graph(graph: fx.GraphModule, *, nonnegative_input: bool) -> Plan:
    """The plan of a traced graph (:func:`workloads.graph.trace`), which it takes as its own.

    Args:
        nonnegative_input: no value of the model's input can be negative.

    Raises:
        PlanError: the graph holds no layer with weights.
    """
    computes = [n for n in graph.graph.nodes if kind(graph, n) is Kind.COMPUTE]
    if not computes:
        raise PlanError(f"a model must have a layer with weights, but it has none; supported are {SUPPORTED}.")
    bare = Plan(graph, (), (), _floating(graph))
    nonnegative = _nonnegative(bare, nonnegative_input)
    anchors: dict[fx.Node, None] = {}  # an ordered set of the nodes with a quantizer of their own
    for node in graph.graph.nodes:
        if _needs_quantizer(bare, node):
            anchors[bare.origin(node)] = None
    sites: list[Site] = []
    for node in graph.graph.nodes:
        if node in anchors:
            name = INPUT_SITE if bare.kind(node) is Kind.INPUT else label(node)
            sites.append(_site(node, name, ((node.name, None),), nonnegative=node in nonnegative))
        if bare.kind(node) is Kind.ADD and node.name not in bare.floating:
            edges = tuple((source.name, node.name) for source in node.all_input_nodes)
            both = all(source in nonnegative for source in node.all_input_nodes)
            sites.append(_site(node, f"{label(node)}.in", edges, nonnegative=both, residual=True))
    plan = Plan(graph, tuple(sites), (), bare.floating)
    caches = tuple(site for node in graph.graph.nodes for site in _caches(graph, node))
    return Plan(graph, plan.sites, tuple(_layer(plan, node) for node in computes), plan.floating, caches)


def _caches(graph: fx.GraphModule, node: fx.Node) -> tuple[Site, ...]:
    """The sites of what a node stores: none but attention does. Queries, keys and values of one tensor have no site."""
    module = graph.get_submodule(str(node.target)) if node.op == "call_module" else None
    if not isinstance(module, Attention) or len(set(node.args)) != len(node.args):
        return ()
    found = []
    for source, role in zip(node.all_input_nodes[1:], ("key", "value"), strict=True):
        _, tokens, heads, head = shape(source)
        edges = ((source.name, node.name),)
        found.append(Site(f"{label(node)}.{role}", False, False, edges, heads * head, tokens))
    return tuple(found)


def _floating(graph: fx.GraphModule) -> frozenset[str]:
    """The nodes that give floating-point tensors: by their kind, and adds that read one or are read by such a node."""
    plan, found = Plan(graph, (), ()), {n.name for n in graph.graph.nodes if kind(graph, n) is Kind.FLOAT}
    adds = [n for n in graph.graph.nodes if kind(graph, n) is Kind.ADD]
    while grown := {
        n.name
        for n in adds
        if n.name not in found
        and any(other.name in found for other in (*map(plan.origin, n.all_input_nodes), *plan.consumers(n)))
    }:
        found |= grown
    return frozenset(found)


def _needs_quantizer(plan: Plan, node: fx.Node) -> bool:
    """Whether the tensor of `node` must be quantized in its own right."""
    readers = [reader for reader in plan.consumers(node) if reader.name not in plan.floating]
    on_a_grid = {Kind.COMPUTE, Kind.AVERAGE_POOL, Kind.MAX_POOL, Kind.ROTATE}
    match plan.kind(node):
        case Kind.INPUT | Kind.RELU:
            return bool(readers)
        case Kind.OUTPUT | Kind.PASS:
            return False
        case Kind.MAX_POOL:
            return False  # its input is quantized, and the largest of some values is one of them
        case _:
            forked = len(readers) > 1 and node.name not in plan.floating
            return forked or any(plan.kind(reader) in on_a_grid for reader in readers)


def _nonnegative(plan: Plan, input_is: bool) -> set[fx.Node]:
    """The nodes whose values cannot be negative, before quantization and after it."""
    found: set[fx.Node] = set()
    for node in plan.graph.graph.nodes:
        match plan.kind(node):
            case Kind.RELU:
                known = True
            case Kind.INPUT:
                known = input_is
            case Kind.ADD | Kind.MAX_POOL | Kind.AVERAGE_POOL | Kind.PASS:
                known = all(source in found for source in node.all_input_nodes)
            case Kind.COMPUTE | Kind.ROTATE | Kind.FLOAT | Kind.OUTPUT:
                known = False
        if known:
            found.add(node)
    return found


def _site(
    node: fx.Node, name: str, edges: tuple[tuple[str, str | None], ...], *, nonnegative: bool, residual: bool = False
) -> Site:
    channels, vectors = channels_and_vectors(node)
    return Site(name, nonnegative, residual, edges, channels, vectors)


def channels_and_vectors(node: fx.Node) -> tuple[int, int]:
    """Channels of a tensor and its vectors per frame: pixels of (images, channels, ...), tokens of (windows, tokens, width)."""
    _, *size = shape(node)
    channels = size.pop(-1 if len(size) == 2 else 0)
    return channels, int(torch.Size(size).numel())


def _layer(plan: Plan, node: fx.Node) -> Layer:
    module = module_of(plan.graph, node)
    site = plan.site_of(node.all_input_nodes[0])
    assert site is not None  # a compute layer's input always has one
    target = str(node.target)
    if isinstance(module, nn.Linear):
        rows, cols = module.out_features, module.in_features
        return Layer(target, target, site, False, cols, rows, cols, channels_and_vectors(node)[1])
    assert isinstance(module, nn.Conv2d)
    (height, width), (pad_y, pad_x) = shape(node.all_input_nodes[0])[2:], pair(module.padding)  # type: ignore[arg-type]
    kernel = pair(module.kernel_size)
    output = shape(node)[2:]
    return Layer(
        target,
        target,
        site,
        is_depthwise(module),
        module.in_channels,
        module.out_channels,
        kernel[0] * kernel[1] * (module.in_channels // module.groups),
        output[0] * output[1],
        kernel,
        pair(module.stride),
        pair(module.dilation),
        (height + 2 * pad_y, width + 2 * pad_x),
        (output[0], output[1]),
        (pad_y, pad_x, pad_y, pad_x),
    )
