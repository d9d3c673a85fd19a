"""A planned network as plain torch modules: the layers on given weights, and a given quantizer at every site."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor, fx, nn

from workloads.graph import Kind, kind
from workloads.plan import Plan, Site

QUANTIZERS = "quantizers"
"""The submodule of a quantized network that holds the quantizers of all sites."""


def site_target(name: str) -> str:
    """The path of a site's quantizer inside a quantized network."""
    return f"{QUANTIZERS}.{name.replace('.', '_')}"


def insert_sites(module: fx.GraphModule, plan: Plan, make: Callable[[Site], nn.Module]) -> None:
    """Put one module on all edges of every site of `plan`, caches included, in a graph that has its nodes."""
    module.add_module(QUANTIZERS, nn.Module())
    # residual adds first: a tensor's own quantizer then comes to stand in front of theirs
    for site in (*sorted(plan.sites, key=lambda site: not site.residual), *plan.caches):
        target = site_target(site.name)
        module.add_submodule(target, make(site))
        nodes = {node.name: node for node in module.graph.nodes}
        for producer_name, consumer_name in site.edges:
            producer = nodes[producer_name]
            with module.graph.inserting_after(producer):
                quantized = module.graph.call_module(target, (producer,))
            if consumer_name is None:
                producer.replace_all_uses_with(quantized, delete_user_cb=lambda user, own=quantized: user is not own)
            else:
                nodes[consumer_name].replace_input_with(producer, quantized)
    module.recompile()


@dataclass(frozen=True, eq=False)
class Template:
    """The plan's graph with a place at every site, made once per plan.

    Args:
        graph: with an identity in every place; never run.
        rectifies: sites whose quantizer stands for the ReLU in front of it, too; the graph has none there.
    """

    graph: fx.GraphModule
    rectifies: frozenset[str]

    def fill(self, layers: Mapping[str, nn.Module], quantizers: Mapping[str, nn.Module]) -> fx.GraphModule:
        """The network with these layers (by path; others stay float) and these quantizers (by site)."""
        made = fx.GraphModule(self.graph, self.graph.graph)
        for path, layer in layers.items():
            made.set_submodule(path, layer)
        for name, quantizer in quantizers.items():
            made.set_submodule(site_target(name), quantizer)
        return made.eval()


def make_template(plan: Plan) -> Template:
    """The template of a plan."""
    module = copy.deepcopy(plan.graph)
    insert_sites(module, plan, lambda site: nn.Identity())
    rectifies = set()
    for site in plan.sites:
        calls = [node for node in module.graph.nodes if str(node.target) == site_target(site.name)]
        source = calls[0].all_input_nodes[0]
        if len(calls) == 1 and len(source.users) == 1 and _is_relu(module, source):
            calls[0].replace_input_with(source, source.all_input_nodes[0])
            module.graph.erase_node(source)
            rectifies.add(site.name)
    module.recompile()
    return Template(module, frozenset(rectifies))


def _is_relu(module: fx.GraphModule, node: fx.Node) -> bool:
    """Whether a node is a plain ReLU: what ReLU6 does at 6 a quantizer does not do."""
    if str(node.target).startswith(f"{QUANTIZERS}.") or kind(module, node) is not Kind.RELU:
        return False
    return node.op != "call_module" or isinstance(module.get_submodule(str(node.target)), nn.ReLU)


def with_parameters(layer: nn.Module, weight: Tensor, bias: Tensor | None) -> nn.Module:
    """A layer of the same shape on other parameters (which are not copied and ask for no gradient)."""
    made = copy.copy(layer)
    made._parameters = {
        name: None if value is None else nn.Parameter(value, requires_grad=False)
        for name, value in (("weight", weight), ("bias", bias))
    }
    return made
