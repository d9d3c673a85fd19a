"""FINN itself on our exports: four networks through finn-plus' estimate-only flow, its figures beside ours, node by node.

    make finn-check     # or: python benchmarks/finn_check.py --finn .venv-finn/bin/python

Fails (exit code 1) where FINN does not build an export, names or folds its nodes otherwise than the export said, or where our
finn model, given the attributes of FINN's own node, says something else than FINN; the known differences between FINN v0.10.1,
whose formulas they are, and finn-plus 1.6.1 are stated in the report. Writes `docs/finn-check.md` and the golden nodes.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from dse.export.qonnx import export_qonnx
from dse.finn.classes import run
from dse.finn.export import Completed, complete
from dse.finn.folder import NETWORK
from dse.onnx_network import read_network
from dse.point import Hardware
from dse.recost import cost_options, fold_network
from hwmodels.catalog import parse_element
from hwmodels.datapath import TensorQuant, parse_scaling
from hwmodels.devices import get_device
from hwmodels.estimate import estimate
from hwmodels.finn.attrs import NODE_OPERATORS, cost_attrs
from hwmodels.resources import Resources
from workloads.numerics import NumericsSpec
from workloads.plan import make_plan
from workloads.quantize import QuantizedModel, quantize
from workloads.recipes import parse_recipe
from workloads.registry import get_workload

ROOT = Path(__file__).parents[1]
TOOL = "finn-plus 1.6.1"
HARDWARE: Mapping[str, Hardware] = {
    "mlp": Hardware("XCZU3EG", target_fps=20_000, clock_mhz=200),
    "digits-resnet": Hardware("XCZU3EG", target_fps=2_000, clock_mhz=200),
    "digits-mobilenet": Hardware("XCZU3EG", target_fps=5_000, clock_mhz=200),
    "depthwise": Hardware("XCZU7EV", target_fps=25_000, clock_mhz=200),
}
"""Part, frame rate and clock of each network."""

CALIBRATION_IMAGES = 64
EXECUTED_IMAGES = 16

NEWER = {"Thresholding_rtl": ("BRAM_18K",)}
"""What finn-plus 1.6.1 estimates otherwise than FINN v0.10.1: block memories of deep thresholds, which v0.10.1 counts as 0."""

ALIASES = {"ElementwiseAdd_hls": "AddStreams_hls"}
"""Kinds that v0.10.1 calls otherwise."""


class Perceptron(nn.Module):
    """1024 -> 64 -> 64 -> 10."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden1, self.relu1 = nn.Linear(1024, 64), nn.ReLU()
        self.hidden2, self.relu2 = nn.Linear(64, 64), nn.ReLU()
        self.head = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        """(images, 1024) -> (images, 10)."""
        logits: Tensor = self.head(self.relu2(self.hidden2(self.relu1(self.hidden1(x)))))
        return logits


class Separable(nn.Module):
    """Stem, max pool, two depthwise-separable blocks, global mean, head: 1x32x32 -> 10."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        self.max_pool = nn.MaxPool2d(2)
        self.depthwise1 = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1, groups=16), nn.ReLU())
        self.pointwise1 = nn.Sequential(nn.Conv2d(16, 32, 1), nn.ReLU())
        self.depthwise2 = nn.Sequential(nn.Conv2d(32, 32, 3, stride=2, padding=1, groups=32), nn.ReLU())
        self.pointwise2 = nn.Sequential(nn.Conv2d(32, 64, 1), nn.ReLU())
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.head = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        """(images, 1, 32, 32) -> (images, 10)."""
        x = self.pointwise1(self.depthwise1(self.max_pool(self.stem(x))))
        x = self.pointwise2(self.depthwise2(x))
        logits: Tensor = self.head(self.flatten(self.pool(x)))
        return logits


@cache
def images() -> Tensor:
    """Images of digits, (images, 1, 32, 32); both workloads have the same."""
    return get_workload("digits-resnet").calibration()[:CALIBRATION_IMAGES]


def untrained(made: Callable[[], nn.Module], samples: Tensor) -> nn.Module:
    """A network with seeded weights, and batch norm statistics of the samples."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = made().train()
        with torch.no_grad():
            for _ in range(10):
                model(samples)
        return model.eval()


def quantized(name: str) -> tuple[QuantizedModel, Tensor]:
    """(the network in 4 bits with 8-bit edges, an example input)."""
    samples = images().flatten(1) if name == "mlp" else images()
    model = {
        "mlp": lambda: untrained(Perceptron, samples),
        "digits-resnet": lambda: get_workload("digits-resnet").load_model(),
        "digits-mobilenet": lambda: get_workload("digits-mobilenet").load_model(),
        "depthwise": lambda: untrained(Separable, samples),
    }[name]()
    spec = NumericsSpec(
        weight=TensorQuant(parse_element("int4_narrow"), parse_scaling("channel")),
        activation=TensorQuant(parse_element("int4")),
        recipe=parse_recipe("rtn"),
    )
    return quantize(model, make_plan(model, samples[:1]), spec, samples), samples[:1]


NETWORKS: Mapping[str, str] = {
    "mlp": "an MLP, 1024-64-64-10, not trained",
    "digits-resnet": "the residual network of the default sweep",
    "digits-mobilenet": "the small MobileNetV2",
    "depthwise": "a depthwise-separable network with a max pool, not trained",
}


def export(name: str, folder: Path) -> Completed:
    """The folder for FINN of a network."""
    model, example = quantized(name)
    folder.mkdir(parents=True, exist_ok=True)
    export_qonnx(model, example, folder / NETWORK, name=name)
    return complete(folder, HARDWARE[name], title=name)


@dataclass(frozen=True)
class Node:
    """FINN's node and its figures."""

    name: str
    op: str
    attributes: Mapping[str, Any]
    cycles: int
    figures: Mapping[str, float]

    def golden(self) -> dict[str, Any]:
        """What tests compare with."""
        kept = {
            key: self.attributes[key]
            for key in ("PE", "SIMD", "MW", "MH", "Channels", "NumChannels")
            if key in self.attributes
        }
        return {"name": self.name, **kept, "cycles": self.cycles, **self.figures}


def run_finn(python: Path, folder: Path) -> list[Node]:
    """FINN's nodes, in its order, after its estimate-only flow.

    Raises:
        SystemExit: FINN fails; with the end of its log.
    """
    done = subprocess.run(
        [python.absolute(), "build_dataflow.py"], cwd=folder, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"FINN does not build {folder}:\n{(done.stdout + done.stderr)[-3000:]}")
    report = folder / "build" / "report"
    cycles = json.loads((report / "estimate_layer_cycles.json").read_text())
    figures = json.loads((report / "estimate_layer_resources.json").read_text())
    graph = onnx.load(folder / "build" / "intermediate_models" / "step_generate_estimate_reports.onnx").graph
    return [
        Node(
            node.name,
            node.op_type,
            {a.name: _attribute(a) for a in node.attribute},
            cycles[node.name],
            {key: int(figures[node.name][key]) for key in ("LUT", "BRAM_18K", "URAM", "DSP")},
        )
        for node in graph.node
    ]


EXECUTE = """
import sys
import numpy as np
import build_dataflow
build_dataflow.without_vivado()
from finn.util.settings import initialize_dummy_settings
initialize_dummy_settings()
from qonnx.core.modelwrapper import ModelWrapper
from finn.core.onnx_exec import execute_onnx
made = []
models = [ModelWrapper("build/intermediate_models/step_leave_to_the_host.onnx"), ModelWrapper("build/host.onnx")]
for image in np.load("codes.npy"):
    value = image[None]
    for model in models:
        value = execute_onnx(model, {model.graph.input[0].name: value})[model.graph.output[0].name]
    made.append(int(value.reshape(-1)[0]))
np.save("classes.npy", np.array(made))
"""
"""Run in FINN's environment: the streamlined graph on what the host gives it, then the host's part; the class of every image."""


def different_classes(python: Path, folder: Path, samples: Tensor) -> int:
    """How many images FINN's integer graph puts into another class than the network that was exported."""
    quantizer = next(n for n in onnx.load(folder / NETWORK).graph.node if n.name == "input.quant")
    constants = {t.name: onnx.numpy_helper.to_array(t) for t in onnx.load(folder / NETWORK).graph.initializer}
    scale, bits = (float(constants[quantizer.input[i]]) for i in (1, 3))
    codes = np.clip(np.round(samples.numpy() / np.float32(scale)), 0, 2**bits - 1).astype(np.float32)
    np.save(folder / "codes.npy", codes)
    done = subprocess.run([python.absolute(), "-c", EXECUTE], cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"FINN does not execute {folder}:\n{(done.stdout + done.stderr)[-3000:]}")
    wanted = np.concatenate([next(iter(tensors.values())) for tensors in run(folder / NETWORK, samples.numpy())])
    return int((np.load(folder / "classes.npy") != wanted.argmax(axis=1)).sum())


def _attribute(attribute: onnx.AttributeProto) -> Any:
    value = onnx.helper.get_attribute_value(attribute)
    return value.decode() if isinstance(value, bytes) else list(value) if attribute.ints else value


def _figures(resources: Resources, cycles: int) -> tuple[dict[str, float], int]:
    found = {"LUT": resources.lut, "BRAM_18K": resources.bram18, "URAM": resources.uram, "DSP": resources.dsp}
    return found, cycles


def disagreements(node: Node, part: str) -> Iterator[str]:
    """Where our finn model says something else of FINN's node, given the node's own attributes."""
    op = ALIASES.get(node.op, node.op)
    attributes = dict(node.attributes)
    if node.op == "ElementwiseAdd_hls":
        shape = attributes["out_shape"]
        attributes |= {"NumChannels": shape[-1], "numInputVectors": shape[:-1]}
    if op not in NODE_OPERATORS:
        yield f"{node.name}: no formula"
        return
    ours, cycles = _figures(*cost_attrs(op, attributes, part=part))
    if cycles != node.cycles:
        yield f"{node.name}: {cycles} cycles, FINN {node.cycles}"
    for key, value in node.figures.items():
        if ours[key] != value and key not in NEWER.get(node.op, ()):
            yield f"{node.name}: {ours[key]:g} {key}, FINN {value:g}"


def calibrated(folder: Path, hardware: Hardware) -> dict[str, Resources]:
    """The calibrated model's resources of every operator, those of its requantizer with it where FINN keeps them in one unit."""
    network, numerics = read_network(folder / NETWORK)
    device, options = get_device(hardware.device), cost_options(hardware)
    foldings = fold_network(network, numerics, device, hardware.target_fps, options, hardware.clock_mhz)
    layers = {op.name for op in network.compute}
    home = {op.name: getattr(op, "source", None) for op in network.operators}
    found: dict[str, list[Resources]] = {}
    for line in estimate(network, numerics, foldings, device, options).lines:
        source = home.get(line.layer)
        found.setdefault(source if source in layers and source is not None else line.layer, []).append(line.resources)
    return {name: Resources.sum(parts) for name, parts in found.items()}


def table(name: str, nodes: list[Node], completed: Completed, folder: Path) -> str:
    """The report of one network, in Markdown."""
    hardware = HARDWARE[name]
    costs, empty = calibrated(folder, hardware), Resources()
    rows = [
        "| FINN's node | operator | PE, SIMD | cycles | LUT | BRAM18 | DSP | LUT, export | calibrated LUT | calibrated BRAM18 |",
        "| --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    sums = [0.0] * 6
    for node, ours in zip(nodes, completed.nodes, strict=True):
        cost = costs.get(ours.operator, empty)
        folding = ", ".join(f"{node.attributes[key]}" for key in ("PE", "SIMD") if key in node.attributes)
        f = node.figures
        values = [f["LUT"], f["BRAM_18K"], f["DSP"], ours.unit.resources().lut, cost.lut, cost.bram18]
        sums = [total + value for total, value in zip(sums, values, strict=True)]
        cells = " | ".join(f"{value:,.0f}" for value in values)
        rows.append(f"| {node.name} | {ours.operator} | {folding} | {node.cycles:,} | {cells} |")
    slowest = max(node.cycles for node in nodes)
    rows.append(f"| **all** | | | **{slowest:,}** | " + " | ".join(f"**{value:,.0f}**" for value in sums) + " |")
    title = f"## {name}: {NETWORKS[name]}"
    asked = f"{hardware.device}, {hardware.target_fps:,.0f} frames per second at {hardware.clock_mhz:g} MHz."
    return "\n".join([title, "", asked, "", *rows, ""])


HEADER = f"""# FINN on our exports

Made by `make finn-check`, which builds an environment with {TOOL}, exports four networks as `dse export --to finn` does (4-bit
weights and activations, 8-bit edges and residual adds), and runs FINN's estimate-only flow on the folders. It takes about ten
minutes, most of them installing, and is not part of `.ci/run`.

What must hold, or it fails: FINN builds every export; its nodes have the names, the order and the sizes that the export said;
every node takes the cycles that the export said; the finn model, given the attributes of FINN's own node, says what FINN says
of LUT, BRAM, URAM, DSP and cycles; FINN's integer graph, executed by FINN on {EXECUTED_IMAGES} images, with what it leaves to
the host, says the classes of the quantized network. One difference is known: {TOOL} counts block memories of deep thresholds,
which FINN v0.10.1, whose formulas the finn model repeats, takes to be 0.

"LUT, export" is the finn model before FINN was started. It differs for thresholds that stand alone, because FINN narrows their
type to the values that occur, which depend on the scales; nowhere else. "calibrated" is our own model of the same operator at
the same folding, with its requantizer, FIFOs and width converters. FINN's estimate has no FIFOs yet, costs zero for pads,
pools, adds and forks, and keeps thresholds where ours multiplies and shifts.

"""


def write_golden(networks: Mapping[str, list[dict[str, Any]]]) -> None:
    """The nodes of every network for the tests, a line each."""
    listed = (
        f"{json.dumps(name)}: [\n" + ",\n".join(f"  {json.dumps(node)}" for node in nodes) + "\n ]"
        for name, nodes in networks.items()
    )
    head = f'{{"tool": {json.dumps(TOOL)},'
    text = head + '\n "networks": {' + ",\n ".join(listed) + "}}\n"
    (ROOT / "tests" / "golden" / "finn" / "nodes_finn-plus_1.6.1.json").write_text(text)


def main() -> None:
    """Check all networks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--finn", type=Path, required=True, help="the Python of an environment with finn-plus")
    parser.add_argument(
        "--work", type=Path, default=ROOT / "build" / "finn-check", help="the folder for exports and builds"
    )
    arguments = parser.parse_args()
    wrong: list[str] = []
    parts, golden = [], {}
    for name in NETWORKS:
        folder = arguments.work / name
        completed = export(name, folder)
        print(f"{name}: {len(completed.nodes)} nodes exported to {folder}; FINN runs", file=sys.stderr)
        nodes = run_finn(arguments.finn, folder)
        if [node.name for node in nodes] != [node.name for node in completed.nodes]:
            wrong.append(f"{name}: FINN's nodes are {[node.name for node in nodes]}")
            continue
        for node, ours in zip(nodes, completed.nodes, strict=True):
            if node.cycles != ours.unit.cycles():
                wrong.append(f"{name}: {node.name} takes {node.cycles} cycles, the export said {ours.unit.cycles()}")
            if not node.op.startswith("Thresholding") and node.figures["LUT"] != ours.unit.resources().lut:
                wrong.append(
                    f"{name}: {node.name} has {node.figures['LUT']} LUT, the export said {ours.unit.resources().lut}"
                )
            wrong.extend(f"{name}: {text}" for text in disagreements(node, get_device(HARDWARE[name].device).part))
        samples = images().flatten(1) if name == "mlp" else images()
        if different := different_classes(arguments.finn, folder, samples[:EXECUTED_IMAGES]):
            wrong.append(
                f"{name}: FINN's integer graph puts {different} of {EXECUTED_IMAGES} images into another class"
            )
        parts.append(table(name, nodes, completed, folder))
        golden[name] = [node.golden() for node in nodes]
        print(parts[-1])
    if wrong:
        print("\n".join(wrong), file=sys.stderr)
        raise SystemExit(1)
    (ROOT / "docs" / "finn-check.md").write_text(HEADER + "\n".join(parts))
    write_golden(golden)
    print(f"{len(NETWORKS)} networks: FINN builds them as the exports said", file=sys.stderr)


if __name__ == "__main__":
    main()
