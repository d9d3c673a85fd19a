"""A float model as an FX graph of the few operations that hardware maps, batch norm folded into the layers.

This is the one place that says which modules, functions and methods are understood: the tables below. Everything after
it (sites, lowering, quantization) works on the kinds of :class:`Kind` and never looks at torch classes again.
"""

from __future__ import annotations

import copy
import operator
from collections.abc import Callable
from enum import StrEnum
from typing import Any, TypeAlias

import torch
from torch import Tensor, fx, nn
from torch.fx.passes.shape_prop import ShapeProp
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from hwmodels.errors import BitfrontError
from workloads.attention import Attention, ClassToken, PatchTokens, PositionedEmbedding, Rotary
from workloads.hadamard import BlockHadamard


class PlanError(BitfrontError):
    """A model that cannot be quantized and lowered; names the node and what is supported."""


class Kind(StrEnum):
    """What a node of the graph is to hardware."""

    INPUT = "input"
    COMPUTE = "compute"
    RELU = "relu"
    ADD = "add"
    MAX_POOL = "max_pool"
    AVERAGE_POOL = "average_pool"
    ROTATE = "rotate"  # an online block Hadamard rotation
    FLOAT = "float"  # computed in floating point between two quantized layers
    PASS = "pass"  # values and their order stay as they are
    OUTPUT = "output"


ComputeModule: TypeAlias = nn.Conv2d | nn.Linear

MODULES: dict[type[nn.Module], Kind] = {
    nn.Conv2d: Kind.COMPUTE,
    nn.Linear: Kind.COMPUTE,
    nn.ReLU: Kind.RELU,
    nn.ReLU6: Kind.RELU,
    nn.MaxPool2d: Kind.MAX_POOL,
    nn.AvgPool2d: Kind.AVERAGE_POOL,
    nn.AdaptiveAvgPool2d: Kind.AVERAGE_POOL,
    nn.Embedding: Kind.FLOAT,
    nn.RMSNorm: Kind.FLOAT,
    nn.LayerNorm: Kind.FLOAT,
    nn.SiLU: Kind.FLOAT,
    nn.GELU: Kind.FLOAT,
    BlockHadamard: Kind.ROTATE,
    PositionedEmbedding: Kind.FLOAT,
    PatchTokens: Kind.FLOAT,
    ClassToken: Kind.FLOAT,
    Rotary: Kind.FLOAT,
    Attention: Kind.FLOAT,
    nn.Flatten: Kind.PASS,
    nn.Identity: Kind.PASS,
    nn.Dropout: Kind.PASS,  # the model is in eval mode
}

FUNCTIONS: dict[Callable[..., Any], Kind] = {
    operator.add: Kind.ADD,
    operator.iadd: Kind.ADD,
    torch.add: Kind.ADD,
    operator.mul: Kind.FLOAT,
    torch.relu: Kind.RELU,
    nn.functional.relu: Kind.RELU,
    nn.functional.adaptive_avg_pool2d: Kind.AVERAGE_POOL,
    torch.flatten: Kind.PASS,
}

METHODS: dict[str, Kind] = {"relu": Kind.RELU, "add": Kind.ADD, "flatten": Kind.PASS, "unflatten": Kind.PASS}

SUPPORTED = (
    "Conv2d (ungrouped or depthwise), Linear, BatchNorm2d behind a convolution, ReLU, ReLU6, residual add, MaxPool2d, "
    "AvgPool2d, global average pooling, Embedding, RMSNorm, LayerNorm, rotary positions, attention, SiLU, GELU, product, "
    "Flatten, Identity and Dropout"
)


class _Tracer(fx.Tracer):
    """Looks into every module but those of the table above."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return type(m) in MODULES or super().is_leaf_module(m, module_qualified_name)


def trace(model: nn.Module, example: Tensor) -> fx.GraphModule:
    """An eval-mode copy of `model` as a graph: batch norm folded, shapes in ``meta["tensor_meta"]``, kinds checked.

    Raises:
        PlanError: the model does not take the example or cannot be traced, or holds something that is not in the tables above.
    """
    copied = copy.deepcopy(model).eval()
    try:
        graph = fx.GraphModule(copied, _Tracer().trace(copied), type(model).__name__)
    except (
        fx.proxy.TraceError,
        TypeError,
        ValueError,
        AttributeError,
        LookupError,
        RuntimeError,
        AssertionError,
    ) as error:
        reason = _first_line(error)
        raise PlanError(
            f"the model must have a forward without data-dependent control flow, but tracing it failed: {reason}."
        ) from error
    _fold_batch_norm(graph)
    graph.graph.eliminate_dead_code()
    graph.delete_all_unused_submodules()
    graph.recompile()
    for node in graph.graph.nodes:
        kind(graph, node)
    try:
        with torch.no_grad():
            graph.forward(example)  # a call would print a traceback of its own
    except Exception as error:  # anything may go wrong in a network of the user's
        reason = _first_line(error)
        raise PlanError(
            f"the model must take an input of shape {tuple(example.shape)}, but it raised {type(error).__name__}: {reason}."
        ) from error
    with torch.no_grad():
        ShapeProp(graph).propagate(example)
    for node in graph.graph.nodes:
        _check(graph, node)
    for node in graph.graph.nodes:
        node.meta[_LABEL] = label(node)  # before quantization replaces nodes around it
    for parameter in graph.parameters():
        parameter.requires_grad_(False)
    return graph.eval()


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or ["no message"])[0]


def kind(graph: fx.GraphModule, node: fx.Node) -> Kind:
    """The kind of a node.

    Raises:
        PlanError: it is none of the tables above.
    """
    found: Kind | None = None
    what = str(node.target)
    match node.op:
        case "placeholder":
            found = Kind.INPUT
        case "output":
            found = Kind.OUTPUT
        case "call_module":
            module = graph.get_submodule(str(node.target))
            found, what = MODULES.get(type(module)), type(module).__name__
        case "call_function" if callable(node.target):
            found, what = FUNCTIONS.get(node.target), getattr(node.target, "__name__", what)
        case "call_method":
            found = METHODS.get(str(node.target))
    if found is None:
        raise PlanError(f"node {label(node)!r} must be one of {SUPPORTED}, but it is {what}.")
    return found


def module_of(graph: fx.GraphModule, node: fx.Node) -> ComputeModule:
    """The convolution or linear layer that a compute node calls."""
    module = graph.get_submodule(str(node.target))
    assert isinstance(module, nn.Conv2d | nn.Linear)  # Kind.COMPUTE
    return module


_LABEL = "bitfront_label"


def label(node: fx.Node) -> str:
    """The name people know a node by: its module's path where the module holds this node alone, else the node's name."""
    if _LABEL in node.meta:
        return str(node.meta[_LABEL])
    path = _path(node)
    if path is None or any(other is not node and _path(other) == path for other in node.graph.nodes):
        return node.name
    return path


def _path(node: fx.Node) -> str | None:
    stack = node.meta.get("nn_module_stack")
    if node.op == "call_module":
        return str(node.target)
    return str(next(reversed(stack.values()))[0]) if stack else None


def shape(node: fx.Node) -> tuple[int, ...]:
    """Shape of the tensor that a node of a traced graph makes, batch first."""
    return tuple(node.meta["tensor_meta"].shape)


def is_depthwise(module: ComputeModule) -> bool:
    """Whether every output channel reads one input channel of its own."""
    return isinstance(module, nn.Conv2d) and module.groups > 1


def _fold_batch_norm(graph: fx.GraphModule) -> None:
    """Fold each batch norm into the layer in front of it (which nothing else may read)."""
    for node in list(graph.graph.nodes):
        if node.op != "call_module":
            continue
        norm = graph.get_submodule(str(node.target))
        if not isinstance(norm, nn.BatchNorm2d | nn.BatchNorm1d):
            continue
        (source,) = node.all_input_nodes
        layer = graph.get_submodule(str(source.target)) if source.op == "call_module" else None
        calls = [n for n in graph.graph.nodes if n.op == "call_module" and n.target == source.target]
        if not isinstance(layer, nn.Conv2d | nn.Linear) or len(source.users) != 1 or len(calls) != 1:
            raise PlanError(
                f"batch norm {label(node)!r} must stand alone behind a convolution or linear layer that is called once, "
                f"but it reads {label(source)!r}."
            )
        if norm.running_mean is None:
            raise PlanError(
                f"batch norm {label(node)!r} must have running statistics, but it was built without; train with them."
            )
        folded = fuse_conv_bn_eval(layer, norm) if isinstance(layer, nn.Conv2d) else fuse_linear_bn_eval(layer, norm)
        graph.set_submodule(str(source.target), folded)
        node.replace_all_uses_with(source)
        graph.graph.erase_node(node)


def _check(graph: fx.GraphModule, node: fx.Node) -> None:
    """Refuse the variants of supported operations that hardware operators do not cover."""
    match kind(graph, node):
        case Kind.COMPUTE:
            _check_compute(graph, node)
        case Kind.ADD:
            shapes = [shape(n) for n in node.all_input_nodes]
            if len(shapes) != 2 or shapes[0] != shapes[1] or any(k == "alpha" for k in node.kwargs):
                raise PlanError(
                    f"add {label(node)!r} must have two different inputs of one shape, but they are {shapes}."
                )
        case Kind.AVERAGE_POOL | Kind.MAX_POOL:
            _check_pool(graph, node)
        case Kind.INPUT:
            if sum(n.op == "placeholder" for n in graph.graph.nodes) != 1:
                raise PlanError(f"a model must have one input, but {label(node)!r} is one of several.")
        case Kind.OUTPUT:
            if not isinstance(node.args[0], fx.Node):
                raise PlanError("a model must return one tensor, but it returns a structure of several.")
        case Kind.RELU | Kind.PASS | Kind.FLOAT | Kind.ROTATE:
            pass


def _check_compute(graph: fx.GraphModule, node: fx.Node) -> None:
    module = module_of(graph, node)
    if sum(n.op == "call_module" and n.target == node.target for n in graph.graph.nodes) != 1:
        raise PlanError(
            f"layer {label(node)!r} must be called once, but it is shared; give each call a layer of its own."
        )
    if isinstance(module, nn.Linear):
        if len(shape(node)) not in (2, 3):
            raise PlanError(
                f"linear layer {label(node)!r} must read (images, features) or (windows, tokens, features), "
                f"but it makes {shape(node)}."
            )
        return
    if module.groups not in (1, module.in_channels) or (
        module.groups > 1 and module.out_channels != module.in_channels
    ):
        raise PlanError(
            f"convolution {label(node)!r} must be ungrouped or depthwise with as many outputs as inputs, but it has "
            f"groups={module.groups}, in_channels={module.in_channels}, out_channels={module.out_channels}."
        )
    if module.padding_mode != "zeros" or isinstance(module.padding, str):
        raise PlanError(
            f"convolution {label(node)!r} must pad with zeros by numbers of pixels, but it has padding={module.padding!r}, "
            f"padding_mode={module.padding_mode!r}."
        )


def _check_pool(graph: fx.GraphModule, node: fx.Node) -> None:
    height, width = shape(node)[2:]
    if node.op == "call_function" or isinstance(module := graph.get_submodule(str(node.target)), nn.AdaptiveAvgPool2d):
        if (height, width) != (1, 1):
            raise PlanError(
                f"pooling {label(node)!r} must average the whole image, but its output is {height}x{width}; use AvgPool2d."
            )
        return
    assert isinstance(module, nn.MaxPool2d | nn.AvgPool2d)
    dilated = isinstance(module, nn.MaxPool2d) and pair(module.dilation) != (1, 1)
    padded_average = isinstance(module, nn.AvgPool2d) and pair(module.padding) != (0, 0)
    if dilated or padded_average or module.ceil_mode:
        raise PlanError(
            f"pooling {label(node)!r} must have no dilation, no ceil_mode and, if it averages, no padding, but it is {module}."
        )


def pair(value: int | tuple[int, ...]) -> tuple[int, int]:
    """(height, width) of a size that torch lets be one number."""
    return (value, value) if isinstance(value, int) else (value[0], value[1])
