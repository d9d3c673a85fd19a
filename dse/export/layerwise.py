"""Comparing an exported file with its model quantizer by quantizer, each part on the model's own tensors.

Both compute in float32 and add in different orders. So a value in front of a quantizer differs in its last bits, and where
it lies on the border between two codes (a tie) it may be rounded the other way: a whole step, which then spreads. Comparing
outputs alone cannot tell this from a wrong file. Here nothing spreads: every part of the file between two quantizers is
given the model's tensors, and

- in front of each quantizer, the file's values must equal the model's up to the rounding errors of their sum. In any order
  of summation |fl(x.y) - x.y| <= gamma_n |x|.|y|, gamma_n = n u / (1 - n u), u = 2^-24, with n terms (N. Higham, Accuracy and
  Stability of Numerical Algorithms, 2nd ed., eq. 3.5), so two evaluations may differ by twice that; |x|.|y| is computed by the
  very node on absolute values. Derived, no constant is fitted.
- behind it, given the model's values in front, the file's values must be the model's, bit for bit.

What is left are ties, which are counted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from numpy.typing import NDArray

from dse.export.execute import Images, qonnx_batches

if TYPE_CHECKING:
    from torch import fx

FloatArray = NDArray[np.float32]

UNIT_ROUNDOFF = 2.0**-24
"""u of float32, rounding to nearest."""

_QUANTIZERS = ("Quant", "FloatQuant", "QuantizeLinear")
_SAME_VALUES = ("Relu", "Flatten", "Reshape", "Identity")  # differences in front are not larger behind


@dataclass(frozen=True)
class Comparison:
    """What the comparison found.

    Attributes:
        first_difference: the first node that computes something else, in words, or None.
        ties: per image compared, how many activations lie on a rounding tie that fell the other way.
        bounds: per image compared, the largest difference of an output without ties, in output units.
    """

    first_difference: str | None
    ties: NDArray[np.int64]
    bounds: NDArray[np.float64]


def compare(path: Path, module: fx.GraphModule, images: Images) -> Comparison:
    """Compare a file with the quantized model it was exported from; stops at the first difference."""
    ties: list[NDArray[np.int64]] = []
    bounds: list[NDArray[np.float64]] = []
    names = [node.name for node in activation_quantizers(onnx.load(path).graph)]
    for model, chunk in qonnx_batches(path, images):
        calls, logits = record(module, chunk)
        if len(calls) != len(names):
            counts = f"the file has {len(names)} quantizers of activations, the model calls {len(calls)}"
            return Comparison(counts, np.zeros(0, np.int64), np.zeros(0))
        # by name, because qonnx sorts the nodes anew
        run = _Run(model, dict(zip(names, calls, strict=True)), logits)
        difference = run.go(chunk)
        ties.append(run.ties)
        bounds.append(run.bounds)
        if difference is not None:
            return Comparison(difference, np.concatenate(ties), np.concatenate(bounds))
    return Comparison(None, np.concatenate(ties), np.concatenate(bounds))


def record(module: fx.GraphModule, images: Images) -> tuple[list[tuple[FloatArray, FloatArray]], FloatArray]:
    """The (input, output) of every call of a quantizer, in order, and the logits of the quantized model."""
    import torch

    calls: list[tuple[FloatArray, FloatArray]] = []

    def keep(_: torch.nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        calls.append((inputs[0].numpy().copy(), output.numpy().copy()))

    hooks = [part.register_forward_hook(keep) for part in module.get_submodule("quantizers").children()]
    try:
        with torch.inference_mode():
            logits: FloatArray = module(torch.from_numpy(images)).numpy()
    finally:
        for hook in hooks:
            hook.remove()
    return calls, logits


def activation_quantizers(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """The quantizer nodes that do not quantize constants, in order: that of the model's calls, in an exported file."""
    constants = {tensor.name for tensor in graph.initializer}
    return [node for node in graph.node if node.op_type in _QUANTIZERS and node.input[0] not in constants]


@dataclass
class _Run:
    """One batch: the tensors of the file so far, those of quantizers replaced by the model's."""

    model: Any
    calls: Mapping[str, tuple[FloatArray, FloatArray]]
    logits: FloatArray
    context: dict[str, FloatArray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        graph = self.model.graph
        self.nodes = list(graph.node)
        self.maker = {name: node for node in self.nodes for name in node.output}
        self.ties = np.zeros(len(self.logits), np.int64)
        self.bounds = np.zeros(len(self.logits))

    def go(self, images: Images) -> str | None:
        """The first difference in words, or None."""
        graph = self.model.graph
        self.context = dict(self.model.make_empty_exec_context())
        self.context[graph.input[0].name] = images
        done: set[str] = set()
        for node in self.nodes:
            if node.output[0] in done:
                continue
            if node.name not in self.calls:
                self._execute(node, self.context)
                continue
            unit = self._unit(node)
            done.update(part.output[0] for part in unit)
            if (difference := self._quantizer(unit, *self.calls[node.name])) is not None:
                return difference
        return self._output()

    def _quantizer(self, unit: list[Any], given: FloatArray, made: FloatArray) -> str | None:
        source, target, name = unit[0].input[0], unit[-1].output[0], unit[0].name
        own = self.context[source]
        if own.shape != given.shape:
            return f"the shape in front of {name}: {own.shape}, the model's {given.shape}"
        excess = np.abs(own.astype(np.float64) - given) - self._tolerance(source)
        if not (excess <= 0).all():
            return f"the values in front of {name}: off by {np.abs(own - given).max():.3g}, more than rounding errors explain"
        for part in unit:
            self._execute(part, self.context)
        own_made = self.context[target].copy()
        self.context[source] = given
        for part in unit:
            self._execute(part, self.context)
        if not np.array_equal(self.context[target], made):
            off = np.abs(self.context[target] - made).max()
            return f"{name}: other values than the model's for equal inputs, by up to {off:.3g}"
        self.ties += (own_made != made).reshape(len(made), -1).sum(axis=1)
        self.context[target] = made
        return None

    def _output(self) -> str | None:
        name = self.model.graph.output[0].name
        own = self.context[name]
        if own.shape != self.logits.shape:
            return f"the shape of the output: {own.shape}, the model's {self.logits.shape}"
        tolerance = np.broadcast_to(self._tolerance(name), own.shape)
        self.bounds = tolerance.reshape(len(own), -1).max(axis=1)
        difference = np.abs(own.astype(np.float64) - self.logits)
        if not (difference <= tolerance).all():
            return f"the output: off by {difference.max():.3g}, more than rounding errors explain"
        return None

    def _tolerance(self, name: str) -> NDArray[np.float64]:
        """How much two float32 evaluations of a tensor may differ, elementwise; zero where it is no sum."""
        shape = self.context[name].shape
        node = self.maker.get(name)
        while node is not None and node.op_type in _SAME_VALUES:
            node = self.maker.get(node.input[0])
        if node is None or node.op_type not in _TERMS:
            return np.zeros(shape)
        context = {tensor: np.abs(self.context[tensor]) for tensor in node.input}
        context[node.output[0]] = self.context[node.output[0]]
        self._execute(node, context)
        terms = _TERMS[node.op_type](node, self.context)
        gamma = terms * UNIT_ROUNDOFF / (1 - terms * UNIT_ROUNDOFF)
        return 2 * gamma * context[node.output[0]].astype(np.float64).reshape(shape)

    def _unit(self, node: Any) -> list[Any]:
        """A quantizer with what belongs to it: QuantizeLinear, Clip and DequantizeLinear are one."""
        unit = [node]
        while unit[-1].op_type in ("QuantizeLinear", "Clip"):
            unit.append(next(n for n in self.nodes if n.input[0] == unit[-1].output[0]))
        return unit

    def _execute(self, node: Any, context: dict[str, FloatArray]) -> None:
        from qonnx.core.onnx_exec import execute_node

        versions: Mapping[str, int] = self.model.get_opset_imports()
        execute_node(node, context, self.model.graph, versions[node.domain])


def _products(node: Any, context: Mapping[str, FloatArray]) -> int:
    """Products of one sum, and its bias."""
    weight = context[node.input[1]].shape
    return (math.prod(weight[1:]) if node.op_type == "Conv" else max(weight)) + 1


def _pixels(node: Any, context: Mapping[str, FloatArray]) -> int:
    """Values of one mean, and its division."""
    pooled, made = context[node.input[0]].shape, context[node.output[0]].shape
    kernel = next((list(a.ints) for a in node.attribute if a.name == "kernel_shape"), [])
    return (math.prod(kernel) if kernel else math.prod(pooled[2:]) // math.prod(made[2:])) + 1


def _two(node: Any, context: Mapping[str, FloatArray]) -> int:
    return 2


_TERMS: Mapping[str, Callable[[Any, Mapping[str, FloatArray]], int]] = {
    "Conv": _products,
    "Gemm": _products,
    "MatMul": _products,
    "AveragePool": _pixels,
    "GlobalAveragePool": _pixels,
    "Add": _two,
}
"""Operators that add: the number of terms n of one sum."""
