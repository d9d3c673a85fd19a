"""What the preparations of :mod:`workloads.prepare` share: copies of a plan's graph, and plans of changed ones."""

from __future__ import annotations

import copy

from torch import Tensor, fx

from hwmodels.errors import BitfrontError
from workloads.graph import ComputeModule, Kind, module_of
from workloads.network import with_parameters
from workloads.plan import Plan, plan_graph


class PreparationError(BitfrontError):
    """A network that a preparation has no place in, or that is not the same after it."""


def copied(plan: Plan) -> fx.GraphModule:
    """A copy of a plan's graph that shares no parameters with it; node names and what is known of nodes stay."""
    return copy.deepcopy(plan.graph)


def replanned(plan: Plan, graph: fx.GraphModule) -> Plan:
    """The plan of a changed copy of the graph of `plan`."""
    graph.graph.lint()
    graph.recompile()
    return plan_graph(graph, nonnegative_input=plan.nonnegative_input)


def set_weight(graph: fx.GraphModule, node: fx.Node, weight: Tensor, bias: Tensor | None = None) -> None:
    """Give the module that a node calls another weight, and another bias if one is given; both are made float32."""
    module = graph.get_submodule(str(node.target))
    kept = getattr(module, "bias", None) if bias is None else bias.float()
    graph.set_submodule(str(node.target), with_parameters(module, weight.float().contiguous(), kept))


def layer_at(plan: Plan, node: fx.Node) -> ComputeModule | None:
    """The layer with weights that a node calls, or None if it is none."""
    return module_of(plan.graph, node) if plan.kind(node) is Kind.COMPUTE else None


def weight_at(graph: fx.GraphModule, node: fx.Node) -> Tensor:
    """The weight of the module that a node calls, float64, so that several changes of it round once each only."""
    return graph.get_parameter(f"{node.target}.weight").detach().double()
