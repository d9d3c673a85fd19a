"""The gate of every export: the file is executed on the test set and must compute what was measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dse.export.errors import ExportError
from dse.export.execute import EXECUTORS, Run
from dse.export.layerwise import compare
from dse.files import sha256
from hwmodels.errors import BitfrontError
from hwmodels.formats import IntFormat
from workloads.network import QUANTIZERS

if TYPE_CHECKING:
    from workloads.base import Measured
    from workloads.quantize import QuantizedModel

Judge: TypeAlias = "Callable[[nn.Module], Measured]"

IMAGES_AT_ONCE, TOKENS_AT_ONCE = 100, 1024
"""Compared at once; memory and speed only."""


@dataclass(frozen=True, kw_only=True)
class GateReport:
    """How an exported file compares with its model on the test set.

    An output is what has a largest logit: an image, or a token of a window.

    Attributes:
        samples: images or windows.
        outputs: how many they have.
        mismatching_outputs: outputs whose largest logit is another than the model's, the file left to itself.
        mismatches_without_ties: those that are left if every activation on a rounding tie falls as in the model.
        largest_difference: of any logit, the file left to itself, in units of the logits.
        relative_difference: the same, divided by the largest logit of the model in magnitude.
        difference_in_steps: the same, in steps of the last layer's accumulator; None where these have no constant size.
        difference_without_ties: the largest difference of any logit if every activation on a tie falls as in the model.
        bound: what float32 rounding errors allow of that (see :mod:`dse.export.layerwise`); None where they add up over
            floating-point nodes, each of which is held to a bound of its own.
        tied_activations: activations that rounding errors in front of their quantizer move to another value, over all samples: on
            a tie by a whole step; with dynamic scales, which are computed from them, also by the error of the scale.
        tied_samples: samples that have one; only there may an output differ by more than the bound.
        first_difference: the first node that computes something else than the model, or None.
        metrics_exported, metrics_model: what the workload measures, of the file and of the model.
        executor: what executed the file.
        file, sha256: what was executed.
    """

    samples: int
    outputs: int
    mismatching_outputs: int
    mismatches_without_ties: int
    largest_difference: float
    relative_difference: float
    difference_in_steps: float | None
    difference_without_ties: float
    bound: float | None
    tied_activations: int
    tied_samples: int
    first_difference: str | None
    metrics_exported: Mapping[str, float | int]
    metrics_model: Mapping[str, float | int]
    executor: str
    file: str
    sha256: str

    @property
    def equal(self) -> bool:
        """Every node computes what the model computes, and every largest logit is the same, rounding ties aside."""
        return self.first_difference is None and self.mismatches_without_ties == 0

    def as_dict(self) -> dict[str, object]:
        """The fields and `equal`, for JSON."""
        return {**asdict(self), "equal": self.equal}

    def text(self) -> str:
        """For people, in lines."""
        ties = "rounding errors move no activation"
        if self.tied_samples:
            ties = f"rounding errors move {self.tied_activations:,} activations of {self.tied_samples:,} samples"
            if self.mismatching_outputs:
                ties += f", without which {self.mismatches_without_ties:,} outputs mismatch"
        steps = "" if self.difference_in_steps is None else f", {self.difference_in_steps:.3g} output steps"
        lines = [
            f"executed by {self.executor} on {self.samples:,} test samples: {self.mismatching_outputs:,} of {self.outputs:,} "
            f"outputs mismatch; {ties}",
            f"largest difference {self.largest_difference:.3g} ({self.relative_difference:.2g} of the largest logit{steps}); "
            f"without those {self.difference_without_ties:.2g}"
            + ("" if self.bound is None else f", of at most {self.bound:.2g} by rounding errors"),
            *(
                f"{name} of the file {_number(value)}, of the quantized model {_number(self.metrics_model[name])}"
                for name, value in self.metrics_exported.items()
                if not name.endswith(("_low", "_high")) and name != "samples"
            ),
        ]
        if self.first_difference is not None:
            lines.append(f"first difference: {self.first_difference}")
        return "\n".join(f"  {line}" for line in lines)


def check_export(
    path: Path, model: QuantizedModel, example_input: Tensor, samples: Tensor, judge: Judge, *, exporter: str
) -> GateReport:
    """Execute an exported file on samples and compare it with the quantized model: end to end, then node by node.

    Args:
        path: the file.
        model: what was exported.
        example_input: as it was exported with.
        samples: inputs (samples, ...).
        judge: measures a network on these samples.
        exporter: ``qonnx`` or ``qcdq``; decides what executes the file.

    Raises:
        ExportError: the file cannot be executed, or there are no samples.
        OnnxReadError: it cannot be read.
    """
    if len(samples) == 0:
        raise ExportError("an export must be checked on at least one sample, but got none.")
    executor, prepare = EXECUTORS[exporter]
    digest = sha256(path.read_bytes())
    steps = output_steps(model)
    beside = _Beside(path, prepare(path), model.network, steps)
    try:
        metrics = judge(beside).columns()
    except BitfrontError:
        raise
    except ValueError as error:  # logits that are not finite
        raise ExportError(f"{path} must compute what can be measured, but it does not: {error}.") from error
    comparison = compare(path, model, example_input, samples, dialect=exporter, batch=batch_size(samples))
    differences = np.concatenate(beside.differences)
    first = comparison.first_difference
    if first is None and (unexplained := (differences > comparison.bounds) & (comparison.ties == 0)).any():
        off = f"off by {differences[unexplained].max():.3g} without a tie"
        first = f"the output of sample {int(np.argmax(unexplained))}: {off}"
    return GateReport(
        samples=len(samples),
        outputs=beside.outputs,
        mismatching_outputs=beside.mismatches,
        mismatches_without_ties=comparison.mismatches,
        largest_difference=float(differences.max()),
        relative_difference=float(differences.max() / max(beside.largest, np.finfo(np.float32).tiny)),
        difference_in_steps=None if steps is None else beside.steps,
        difference_without_ties=comparison.difference,
        bound=bound if np.isfinite(bound := float(comparison.bounds.max(initial=0.0))) else None,
        tied_activations=int(comparison.ties.sum()),
        tied_samples=int((comparison.ties > 0).sum()),
        first_difference=first,
        metrics_exported=metrics,
        metrics_model=judge(model.network).columns(),
        executor=executor,
        file=str(path),
        sha256=digest,
    )


class _Beside(nn.Module):
    """The file as a network that a judge can measure; beside it runs the model, and what differs is noted."""

    def __init__(self, path: Path, run: Run, model: nn.Module, steps: NDArray[np.float64] | None) -> None:
        super().__init__()
        self.path, self.run_file, self.model, self.output_steps = path, run, model, steps
        self.differences: list[NDArray[np.float64]] = []  # per sample, the largest
        self.outputs, self.mismatches, self.largest, self.steps = 0, 0, 0.0, 0.0
        self.eval()

    def forward(self, samples: Tensor) -> Tensor:
        """The file's outputs."""
        wanted = self.model(samples).numpy()
        made = self.run_file(samples.numpy())
        if made.shape != wanted.shape:
            raise ExportError(f"{self.path} must give outputs of shape {wanted.shape}, but it gives {made.shape}.")
        with np.errstate(all="ignore"):
            difference = np.abs(made.astype(np.float64) - wanted)
        difference = np.where(np.isfinite(difference), difference, np.inf)
        self.differences.append(difference.reshape(len(made), -1).max(axis=1))
        self.mismatches += int((made.argmax(axis=-1) != wanted.argmax(axis=-1)).sum())
        self.outputs += made[..., 0].size
        self.largest = max(self.largest, float(np.abs(wanted).max()))
        if self.output_steps is not None:
            self.steps = max(self.steps, float((difference / self.output_steps).max()))
        return torch.from_numpy(np.array(made))


def output_steps(model: QuantizedModel) -> NDArray[np.float64] | None:
    """The value of one step of the last layer's accumulator, per output channel; None if the network does not end in a layer or
    its inputs have scales of their own."""
    output = next(node for node in model.network.graph.nodes if node.op == "output")
    found = [layer for layer in model.layers if layer.name == str(output.all_input_nodes[0].target)]
    if not found or found[0].activation.scaling.dynamic or found[0].scale.shape[1] > 1:
        return None
    (layer,) = found
    quantizer = output.all_input_nodes[0].all_input_nodes[0]
    while not str(quantizer.target).startswith(f"{QUANTIZERS}."):
        (quantizer,) = quantizer.all_input_nodes
    scale = float(model.network.get_submodule(str(quantizer.target)).get_buffer("scale"))
    formats = (layer.weight.format, layer.activation.format)
    step = scale * float(np.prod([1.0 if isinstance(fmt, IntFormat) else float(fmt.step) for fmt in formats]))
    made: NDArray[np.float64] = layer.scale[:, 0].astype(np.float64) * step
    return made


def batch_size(samples: Tensor) -> int:
    """Samples that are compared at once; memory and speed only."""
    return IMAGES_AT_ONCE if samples.is_floating_point() else max(1, TOKENS_AT_ONCE // samples.shape[1])


def _number(value: float | int) -> str:
    return f"{value:.5g}"
