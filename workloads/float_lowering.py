"""From what a network computes in floating point (nodes of kind FLOAT, residual adds between them) to operators of hardware.

A tensor between such nodes lies on a site of its own, ``<node>.float``; the two inputs of an add at ``<add>.in``, what a table
of a function reads at ``<node>.in``, what attention stores at ``<attention>.key`` and ``<attention>.value``. Where readers want
a tensor at different sites, it is brought to its own, duplicated, and requantized into each. A decoder makes one token a
frame: its keys and values stay in a cache of the whole context, and every token is costed with the full one. Where a frame has
all tokens (encoders), keys and values are made anew for it.

The table :data:`OPERATORS` says what each module is; a module that is not there is refused by name.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from torch import fx, nn

from hwmodels.ops import (
    Add,
    Duplicate,
    Lookup,
    MatMul,
    Multiply,
    Norm,
    Normalize,
    Operator,
    Requantize,
    Rope,
    Softmax,
    Table,
)
from workloads.attention import Attention, ClassToken, PatchTokens, PositionedEmbedding, Rotary
from workloads.graph import Kind, PlanError, label, shape

if TYPE_CHECKING:
    from workloads.lowering import Lowering


def lower_float(build: Lowering, node: fx.Node) -> None:
    """Append the operators of a node that gives a floating-point tensor, and bring that to where it is read.

    Raises:
        PlanError: no operator is known for it.
    """
    if build.plan.kind(node) is Kind.ADD:
        for source in node.all_input_nodes:
            _read(build, node, source)
        build.operators.append(Add(label(node), *build.size(node), f"{label(node)}.in"))
        build.streams[node] = label(node)
        spread(build, node, placed=False)
        return
    module = build.plan.graph.get_submodule(str(node.target)) if node.op == "call_module" else None
    make = OPERATORS.get(type(module)) if module is not None else FUNCTIONS.get(node.target)
    if make is None:
        what = node.target if module is None else type(module).__name__
        raise PlanError(
            f"every operation must have an operator in hardware to be costed, but {label(node)!r} is {what}; known are "
            f"{', '.join(kind.__name__ for kind in OPERATORS)} and products."
        )
    make(build, node, module)
    spread(build, node, placed=isinstance(build.operators[-1], Table | Lookup))


def spread(build: Lowering, node: fx.Node, *, placed: bool) -> None:
    """Requantize and duplicate a tensor for its readers, if any computes in floating point.

    Args:
        placed: the stream lies at the tensor's own site already; else it is sums.
    """
    if node not in build.streams:
        return  # the model's input; who may not read it says so
    own, wanted = own_site(build, node), dict[str, int]()
    for reader in build.plan.consumers(node):
        if build.plan.kind(reader) is not Kind.OUTPUT:
            site = _wanted(build, node, reader) or own
            wanted[site] = wanted.get(site, 0) + 1
    if not placed and len(wanted) == 1:
        ((own, _),) = wanted.items()
    if not placed and wanted:
        build.streams[node] = build.requantize(node, own)
    others = [site for site in wanted if site != own]
    if _duplicate(build, node, own, wanted.get(own, 0) + len(others)):
        build.streams[node] = f"{own}.duplicate"
    for site in others:
        build.requantize(node, site)
        _duplicate(build, node, site, wanted[site])


def own_site(build: Lowering, node: fx.Node) -> str:
    """The site at which a tensor lies for those who compute with it in floating point."""
    site = build.plan.site_of(node) if build.plan.kind(node) in (Kind.RELU, Kind.MAX_POOL) else None
    return site or f"{label(node)}.float"


def _duplicate(build: Lowering, node: fx.Node, site: str, copies: int) -> bool:
    """Give the stream of `node` at `site` to so many readers; whether that takes an operator."""
    if copies > 1:
        build.operators.append(Duplicate(f"{site}.duplicate", *build.size(node), copies, site))
    return copies > 1


def _wanted(build: Lowering, node: fx.Node, reader: fx.Node) -> str | None:
    """The site at which `reader` wants the tensor of `node`; None: the tensor's own."""
    plan = build.plan
    match plan.kind(reader):
        case Kind.ADD:
            return f"{label(reader)}.in"
        case Kind.COMPUTE | Kind.AVERAGE_POOL | Kind.MAX_POOL | Kind.ROTATE:
            return plan.site_of(node)
        case Kind.RELU:
            return plan.site_at(reader)
        case _:
            pass
    module = plan.graph.get_submodule(str(reader.target)) if reader.op == "call_module" else None
    if isinstance(module, nn.SiLU | nn.GELU | PatchTokens):
        return f"{label(reader)}.in"
    if isinstance(module, Attention):
        places = [place for place, source in enumerate(reader.args) if plan.origin(_node(source)) is node]
        return (None, f"{label(reader)}.key", f"{label(reader)}.value")[places[0]]
    return None


def _node(source: object) -> fx.Node:
    assert isinstance(source, fx.Node)  # the first inputs of modules and both of adds are tensors
    return source


def _read(build: Lowering, node: fx.Node, source: object) -> fx.Node:
    """The node whose tensor `node` reads.

    Raises:
        PlanError: it is the model's input, which no requantizer brings to a format.
    """
    origin = build.plan.origin(_node(source))
    if origin not in build.streams:
        raise PlanError(
            f"the model's input must be read by a layer with weights or an embedding before {label(node)!r}, but it goes there "
            "directly."
        )
    return origin


def _embedding(build: Lowering, node: fx.Node, module: nn.Embedding) -> None:
    _append(build, node, Lookup(label(node), *build.size(node), module.num_embeddings, own_site(build, node)))


def _positioned(build: Lowering, node: fx.Node, module: PositionedEmbedding) -> None:
    """Rows of words and of positions (with the one segment added to them), from off-chip memory on one scale; their norm."""
    name, size = label(node), build.size(node)
    words, positions = module.word_embeddings.num_embeddings, module.position_embeddings.num_embeddings
    build.operators += [
        Lookup(f"{name}.words", *size, words, f"{name}.in"),
        Lookup(f"{name}.positions", *size, positions, f"{name}.in"),
        Add(f"{name}.sum", *size, f"{name}.in"),
        Requantize(f"{name}.sum.requantize", f"{name}.sum", *size, f"{name}.sum"),
    ]
    _append(build, node, Normalize(name, *size, Norm.LAYER, f"{name}.sum"))


def _patches(build: Lowering, node: fx.Node, module: PatchTokens) -> None:
    """Positions from off-chip memory, added to the patches; the row of the class token is added to nothing."""
    name, (channels, tokens) = label(node), build.size(node)
    build.operators.append(Lookup(f"{name}.positions", channels, tokens, tokens, f"{name}.in"))
    _append(build, node, Add(name, channels, tokens, f"{name}.in"))


def _class_token(build: Lowering, node: fx.Node, module: ClassToken) -> None:
    """The other tokens are dropped, which takes nothing."""
    build.streams[node] = build.streams[_read(build, node, node.args[0])]


def _norm(build: Lowering, node: fx.Node, module: nn.RMSNorm | nn.LayerNorm) -> None:
    """Over the last dimension: all channels of a vector, or those of a head."""
    source = _read(build, node, node.args[0])
    channels, vectors = build.size(source)
    width = module.normalized_shape[-1]
    if len(module.normalized_shape) > 1 or channels % width:
        raise PlanError(
            f"a norm must be one over channels to be costed, but {label(node)!r} is over {module.normalized_shape} of "
            f"{channels} channels."
        )
    kind = Norm.LAYER if isinstance(module, nn.LayerNorm) else Norm.RMS
    build.sizes[node] = channels, vectors
    unit = Normalize(label(node), width, channels // width * vectors, kind, own_site(build, source))
    _append(build, node, unit)


def _function(build: Lowering, node: fx.Node, module: nn.Module) -> None:
    """A function of one value."""
    build.sizes[node] = build.size(_read(build, node, node.args[0]))
    _append(build, node, Table(label(node), *build.sizes[node], f"{label(node)}.in", own_site(build, node)))


def _rotary(build: Lowering, node: fx.Node, module: Rotary) -> None:
    source = _read(build, node, node.args[0])
    _, tokens, _, head = shape(_node(node.args[0]))
    build.sizes[node] = build.size(source)
    context = build.context or tokens
    _append(build, node, Rope(label(node), *build.sizes[node], head, context, own_site(build, source)))


def _attention(build: Lowering, node: fx.Node, module: Attention) -> None:
    """Scores, softmax and mix; a mask saves nothing."""
    name = label(node)
    query, key, value = (_read(build, node, source) for source in node.args)
    if len({query, key, value}) < 3:
        raise PlanError(f"queries, keys and values of attention {name!r} must be three tensors, but some are one.")
    (_, tokens, heads, head), (_, _, matrices, _) = (shape(_node(source)) for source in node.args[:2])
    cached = module.causal and tokens == 1
    context = (build.context or tokens) if cached else tokens
    vectors = heads * tokens
    stored = (matrices, cached)
    build.operators += [
        MatMul(f"{name}.scores", context, head, vectors, own_site(build, query), f"{name}.key", *stored),
        Requantize(f"{name}.scores.requantize", f"{name}.scores", context, vectors, f"{name}.scores"),
        Softmax(f"{name}.softmax", context, vectors, f"{name}.scores"),
        Requantize(f"{name}.softmax.requantize", f"{name}.softmax", context, vectors, f"{name}.shares"),
    ]
    _append(build, node, MatMul(name, head, context, vectors, f"{name}.shares", f"{name}.value", *stored))


def _product(build: Lowering, node: fx.Node, module: None) -> None:
    """A gate."""
    if len(node.all_input_nodes) != 2 or shape(node.all_input_nodes[0]) != shape(node.all_input_nodes[1]):
        raise PlanError(f"a product must be of two tensors of one shape to be costed, but {label(node)!r} is not.")
    first, second = (_read(build, node, source) for source in node.all_input_nodes)
    build.sizes[node] = build.size(first)
    sites = own_site(build, first), own_site(build, second)
    _append(build, node, Multiply(label(node), *build.sizes[node], *sites))


def _append(build: Lowering, node: fx.Node, op: Operator) -> None:
    build.operators.append(op)
    build.streams[node] = op.name


OPERATORS: dict[type[nn.Module], Callable[[Lowering, fx.Node, Any], None]] = {
    nn.Embedding: _embedding,
    PositionedEmbedding: _positioned,
    PatchTokens: _patches,
    ClassToken: _class_token,
    nn.RMSNorm: _norm,
    nn.LayerNorm: _norm,
    nn.SiLU: _function,
    nn.GELU: _function,
    Rotary: _rotary,
    Attention: _attention,
}

FUNCTIONS: dict[object, Callable[[Lowering, fx.Node, Any], None]] = {operator.mul: _product}
