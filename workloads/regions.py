"""Which channels of a network must keep one order: the equivariant regions, within which a permutation changes nothing.

Tensors whose channels meet value by value (in a ReLU, an add, a product, a pool, a norm, a depthwise layer) belong to one
region; a dense layer ends one with its columns and begins another with its rows. A region that touches the model's input or
output, or anything that looks into the order of its channels (heads of attention, rotary positions, a rotation, an image made
flat), is fixed. The others can be permuted: every row, column, gain and bias of the region by one permutation.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from torch import Tensor, fx, nn

from workloads.graph import Kind, is_depthwise, module_of
from workloads.plan import Plan, channels_and_vectors
from workloads.replan import set_weight

BY_VALUE = (nn.SiLU, nn.GELU)
NORMS = (nn.RMSNorm, nn.LayerNorm)


@dataclass(frozen=True)
class Region:
    """Channels that are permuted together.

    Args:
        tensors: names of the nodes whose tensors have these channels.
        rows: nodes with modules that have a row (weight, bias) for every channel: layers that write them, depthwise layers,
            norms.
        columns: nodes with modules that have a column for every channel: layers that read them, embeddings.
    """

    tensors: frozenset[str]
    rows: tuple[fx.Node, ...]
    columns: tuple[fx.Node, ...]


@dataclass
class _Members:
    tensors: set[str] = field(default_factory=set)
    rows: list[fx.Node] = field(default_factory=list)
    columns: list[fx.Node] = field(default_factory=list)
    fixed: bool = False


def find_regions(plan: Plan) -> tuple[Region, ...]:
    """The regions of a plan that can be permuted, in dataflow order; their nodes are those of the plan's graph."""
    members: dict[fx.Node, _Members] = {}

    def join(nodes: Iterable[fx.Node]) -> None:
        first, *others = {id(members[node]): members[node] for node in nodes}.values()
        for other in others:
            first.tensors |= other.tensors
            first.rows += other.rows
            first.columns += other.columns
            first.fixed |= other.fixed
            members.update({node: first for node, each in members.items() if each is other})

    for node in plan.graph.graph.nodes:
        sources = node.all_input_nodes
        own = members[node] = _Members({node.name})
        match _meeting(plan, node):
            case "layer":
                own.rows.append(node)
                members[sources[0]].columns.append(node)
            case "rows":
                own.rows.append(node)
                join((*sources, node))
            case "columns":
                own.columns.append(node)
            case "values":
                join((*sources, node))
            case _:
                own.fixed = True
                for source in sources:
                    members[source].fixed = True
    different = {id(each): each for each in members.values()}.values()
    return tuple(
        Region(frozenset(each.tensors), tuple(each.rows), tuple(each.columns)) for each in different if not each.fixed
    )


def _meeting(plan: Plan, node: fx.Node) -> str | None:
    """How a node treats the channels of its inputs and of its tensor; None: in a way that fixes their order."""
    module = plan.graph.get_submodule(str(node.target)) if node.op == "call_module" else None
    same = all(_channels(source) == _channels(node) for source in node.all_input_nodes)
    found, holds = None, True
    match plan.kind(node):
        case Kind.COMPUTE if is_depthwise(module_of(plan.graph, node)):
            found = "rows"
        case Kind.COMPUTE:
            layer = module_of(plan.graph, node)
            reads = layer.in_features if isinstance(layer, nn.Linear) else layer.in_channels
            found, holds = "layer", reads == _channels(node.all_input_nodes[0])
        case Kind.RELU | Kind.ADD | Kind.MAX_POOL | Kind.AVERAGE_POOL:
            found, holds = "values", same
        case Kind.PASS:
            found, holds = "values", same and node.target != "unflatten"
        case Kind.FLOAT if isinstance(module, NORMS):
            found, holds = "rows", module.normalized_shape == (_channels(node),) and module.weight is not None
        case Kind.FLOAT if isinstance(module, nn.Embedding):
            found = "columns"
        case Kind.FLOAT if isinstance(module, BY_VALUE) or module is None:  # a product
            found, holds = "values", same
        case _:
            pass
    return found if holds else None


def _channels(node: fx.Node) -> int | None:
    return channels_and_vectors(node)[0] if "tensor_meta" in node.meta and node.op != "output" else None


def permute(graph: fx.GraphModule, region: Region, order: Tensor) -> None:
    """Let channel `order[i]` of a region become channel i, in the weights of all its modules."""
    for node in region.rows:
        permute_rows(graph, node, order)
    for node in region.columns:
        permute_columns(graph, node, order)


def permute_rows(graph: fx.GraphModule, node: fx.Node, order: Tensor) -> None:
    """Take the rows of a module, and its biases, in another order."""
    module = graph.get_submodule(str(node.target))
    bias = getattr(module, "bias", None)
    weight = graph.get_parameter(f"{node.target}.weight")
    set_weight(graph, node, weight.detach()[order], None if bias is None else bias.detach()[order])


def permute_columns(graph: fx.GraphModule, node: fx.Node, order: Tensor) -> None:
    """Take the columns of a module in another order."""
    set_weight(graph, node, graph.get_parameter(f"{node.target}.weight").detach()[:, order])
