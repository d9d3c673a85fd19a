"""Comparing an exported file with its model node by node, each on the model's own tensors.

Both compute in float32 and add in different orders. So a value in front of a quantizer differs in its last bits, and where
it lies on the border between two codes (a tie) it may be rounded the other way: a whole step, which then spreads. Comparing
outputs alone cannot tell this from a wrong file. Here nothing spreads: every node of the network is computed by the file's nodes
from the model's tensors, and its result

- must be the model's, bit for bit, of quantizers and of all that rounds once or not at all;
- must be the model's up to the rounding errors of its sums and functions (:mod:`dse.export.tolerance`) of everything else.

What is left are ties. They are counted in a second computation, in which the file goes on from its own values, but behind every
quantizer, where those that fell the other way are counted, from the model's. Its outputs are those of the file with every tie
fallen as in the model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx

from dse.export.execute import Array, Executable, batches
from dse.export.tolerance import tolerance
from dse.export.write import tensor_names
from workloads.graph import label
from workloads.network import QUANTIZERS
from workloads.quantized import QuantizedModel


@dataclass(frozen=True)
class Comparison:
    """What the comparison found.

    Attributes:
        first_difference: the first node that computes something else, in words, or None.
        ties: per sample compared, how many activations lie on a rounding tie that fell the other way.
        bounds: per sample compared, the largest difference of an output without ties, in output units; infinite where errors
            add up over nodes without a quantizer between them.
        mismatches: outputs whose largest logit is another than the model's although every tie falls as in the model.
        difference: the largest difference of an output then.
    """

    first_difference: str | None
    ties: NDArray[np.int64]
    bounds: NDArray[np.float64]
    mismatches: int
    difference: float


def compare(
    path: Path, model: QuantizedModel, example_input: Tensor, samples: Tensor, *, dialect: str, batch: int
) -> Comparison:
    """Compare a file with the quantized model it was exported from; stops at the first difference.

    Args:
        path: the file.
        model: the network.
        example_input: as it was exported with.
        samples: inputs (samples, ...).
        dialect: of :data:`dse.export.write.DIALECTS`.
        batch: samples compared at once.
    """
    file, names = Executable(path), tensor_names(model, example_input, dialect)
    ties: list[NDArray[np.int64]] = []
    bounds: list[NDArray[np.float64]] = []
    mismatches, largest = 0, 0.0
    difference = None
    for part in batches(len(samples), batch):
        run = _Beside(model.network, file, names)
        try:
            with torch.inference_mode(), np.errstate(all="ignore"):  # a damaged file may give anything
                run.run(samples[part])
        except _DifferenceError as found:
            difference = str(found)
        ties.append(run.ties)
        bounds.append(run.bounds)
        mismatches += run.mismatches
        largest = max(largest, run.difference)
        if difference is not None:
            break
    return Comparison(difference, np.concatenate(ties), np.concatenate(bounds), mismatches, largest)


class _DifferenceError(Exception):
    """The first difference, in words."""


@dataclass
class _Tensors:
    """Of one tensor: the model's values, and the file's own, every tie having fallen as in the model."""

    model: Array
    own: Array


class _Beside(fx.Interpreter):
    """Runs the network, and in front of every node the file's nodes that make the same tensor."""

    def __init__(self, network: fx.GraphModule, file: Executable, names: Mapping[str, str]) -> None:
        super().__init__(network)
        self.extra_traceback = False  # it would add to the message of a difference
        self.network, self.file, self.names = network, file, names
        self.maker = {node.output[0]: node for node in file.active}
        self.order = {node.output[0]: index for index, node in enumerate(file.active)}
        self.known: dict[str, _Tensors] = {}
        self.last = {
            name: node for node in network.graph.nodes for name in (names.get(s.name) for s in node.all_input_nodes)
        }
        self.ties, self.bounds = np.zeros(0, np.int64), np.zeros(0)
        self.mismatches, self.difference = 0, 0.0

    def run_node(self, n: fx.Node) -> Any:
        """The node's value, after the file's was compared with it."""
        if n.op == "placeholder":
            value = super().run_node(n)
            self.known[self.names[n.name]] = self.known[self.file.input] = _Tensors(value.numpy(), value.numpy())
            self.ties, self.bounds = np.zeros(len(value), np.int64), np.zeros(len(value))
            return value
        if n.op == "output":
            self._judge(self.names[n.all_input_nodes[0].name])
            return super().run_node(n)
        name = self.names[n.name]
        forced = None if name in self.known else self._forced(name)
        operands = [self.env[a] for a in n.args if isinstance(a, fx.Node)]
        if _in_place(self.network, n):
            operands = [x.clone() for x in operands]
        value = super().run_node(n)
        if forced is not None:
            self._check(n, name, forced, value, operands)
        for source in n.all_input_nodes:
            used = self.names[source.name]
            if (
                self.last[used] is n and self.known.get(used) is not self.known[self.file.input]
            ):  # positions are read off the input
                self.known.pop(used, None)
        return value

    def _check(self, node: fx.Node, name: str, forced: Array, value: Tensor, inputs: list[Tensor]) -> None:
        wanted = value.numpy()
        if forced.shape != wanted.shape:
            raise _DifferenceError(
                f"{self._where(node, name)}: its shape is {forced.shape}, the model's {wanted.shape}"
            )
        own = self._aligned(name, forced)
        if str(node.target).startswith(f"{QUANTIZERS}."):
            if not np.array_equal(forced, wanted):
                off = f"by up to {_off(forced, wanted):.3g}"
                raise _DifferenceError(
                    f"{self._where(node, name)}: other values than the model's for equal inputs, {off}"
                )
            self.ties += (own != wanted).reshape(len(wanted), -1).sum(axis=1)
            self.known[name] = _Tensors(wanted, wanted)
            return
        limit = tolerance(self.network, node, inputs, value).numpy()
        if not (np.abs(forced.astype(np.float64) - wanted) <= limit).all():
            raise _DifferenceError(
                f"{self._where(node, name)}: off by {_off(forced, wanted):.3g}, more than rounding errors explain"
            )
        self.bounds = limit.reshape(len(limit), -1).max(axis=1).astype(np.float64)
        if own is not forced:
            self.bounds[:] = np.inf  # errors add up over several nodes
        self.known[name] = _Tensors(wanted, own)

    def _forced(self, name: str) -> Array:
        """A tensor of the file, given the model's tensors in front."""
        return self._run(name, {source: tensors.model for source, tensors in self.known.items()})

    def _aligned(self, name: str, forced: Array) -> Array:
        """The same, given the file's own tensors in front, those behind quantizers replaced by the model's."""
        sources = [source for part in self._parts(name) for source in part.input if source in self.known]
        if all(np.array_equal(self.known[s].own, self.known[s].model) for s in sources):
            return forced
        return self._run(name, {source: tensors.own for source, tensors in self.known.items()})

    def _run(self, name: str, given: dict[str, Array]) -> Array:
        context = {**self.file.folded, **given}
        for part in self._parts(name):
            self.file.execute(part, context)
        if name not in context:
            raise _DifferenceError(f"the file has no tensor {name!r}")
        return context[name]

    def _parts(self, name: str) -> list[Any]:
        """The nodes that make a tensor of known ones, in order."""
        found, wanted = {}, [name]
        while wanted:
            tensor = wanted.pop()
            if tensor in self.maker and tensor not in found and tensor not in self.known:
                found[tensor] = self.maker[tensor]
                wanted.extend(self.maker[tensor].input)
        return [found[tensor] for tensor in sorted(found, key=self.order.__getitem__)]

    def _judge(self, name: str) -> None:
        """Count the outputs whose largest logit differs."""
        last = self.known[name]
        self.mismatches = int((last.own.argmax(axis=-1) != last.model.argmax(axis=-1)).sum())
        self.difference = _off(last.own, last.model)

    def _where(self, node: fx.Node, name: str) -> str:
        """The node of the network, and the file's node that made its tensor."""
        made = (
            f"node {self.maker[name].name!r}, {self.maker[name].op_type}" if name in self.maker else f"tensor {name!r}"
        )
        return f"{name if str(node.target).startswith(f'{QUANTIZERS}.') else label(node)} ({made})"


def _in_place(module: fx.GraphModule, node: fx.Node) -> bool:
    """Whether a node overwrites its input."""
    if node.op == "call_module":
        return bool(getattr(module.get_submodule(str(node.target)), "inplace", False))
    return getattr(node.target, "__name__", "") == "iadd"


def _off(own: Array, wanted: Array) -> float:
    return float(np.abs(own.astype(np.float64) - wanted).max())
