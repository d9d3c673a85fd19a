"""The folder that FINN builds from: the folding of every node under FINN's names, HLS or RTL, and the script that runs it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, assert_never

from dse.files import as_json, write_text
from dse.onnx_network import read_network
from dse.point import Hardware
from dse.recost import fold_network
from hwmodels.devices import Device, get_device
from hwmodels.finn.mvau import Mvau
from hwmodels.finn.operators import FinnOperator
from hwmodels.finn.streams import Fifo, WidthConverter
from hwmodels.finn.thresholding import ThresholdingHls, ThresholdingRtl
from hwmodels.finn.uncosted import ChannelStream, Pool, StreamingMaxPool
from hwmodels.finn.vvau import Vvau
from hwmodels.finn.window_hls import WindowHls
from hwmodels.finn.window_rtl import WindowRtl
from hwmodels.finn_nodes import FinnNode, finn_nodes
from hwmodels.folding import target_cycles
from hwmodels.options import CostModel, CostOptions

MODEL, NETWORK, SCRIPT = "model.onnx", "network.onnx", "build_dataflow.py"
FOLDING, STYLES, BUILD, NODES, GUIDE = (
    "folding_config.json",
    "specialize_layers_config.json",
    "build.json",
    "nodes.json",
    "README.md",
)

BOARDS: Mapping[str, str] = {
    "XC7Z020": "Pynq-Z2",
    "XCZU3EG": "Ultra96",
    "XCZU7EV": "ZCU104",
    "XCU250": "U250",
    "XCU55C": "U55C",
    "XCVC1902": "VCK190",
}
"""FINN's name of a board with each part (finn-plus 1.6.1, `util/basic.py`); only a bitfile needs it."""


def nodes_of(path: Path, hardware: Hardware, options: CostOptions) -> tuple[FinnNode, ...]:
    """The nodes that FINN makes of a QONNX file, folded as the point's cost says.

    Raises:
        OnnxReadError: the file is no network that can be read.
        BitfrontError: FINN has no such format, or no folding reaches the frame rate.
    """
    network, numerics = read_network(path)
    device = get_device(hardware.device)
    foldings = (
        target_cycles(hardware.target_fps, hardware.clock_mhz)
        if options.model is CostModel.FINN
        else fold_network(network, numerics, device, hardware.target_fps, options, hardware.clock_mhz)
    )
    return finn_nodes(network, numerics, device, options, foldings=foldings)


def write_folder(folder: Path, nodes: tuple[FinnNode, ...], hardware: Hardware, *, title: str) -> None:
    """Write everything but the ONNX files.

    Raises:
        FileError: a file cannot be written.
    """
    device = get_device(hardware.device)
    folding = {"Defaults": {}, **{node.name: folding_attributes(node.unit) for node in nodes}}
    styles = {"Defaults": {}, **{node.early_name: {"preferred_impl_style": node.backend} for node in nodes}}
    write_text(folder / FOLDING, as_json(folding))
    write_text(folder / STYLES, as_json(styles))
    write_text(
        folder / NODES, as_json({node.name: {"operator": node.operator, **shape_of(node.unit)} for node in nodes})
    )
    write_text(folder / BUILD, as_json(build_settings(device, hardware)))
    script = Path(__file__).with_name(SCRIPT)
    write_text(folder / SCRIPT, script.read_text(encoding="utf-8"))
    write_text(folder / GUIDE, _GUIDE.format(title=title, part=device.part, fps=hardware.target_fps))


def build_settings(device: Device, hardware: Hardware) -> dict[str, Any]:
    """What the script asks FINN for."""
    return {
        "model": MODEL,
        "part": device.part,
        "board": BOARDS[device.name],
        "clock_period_ns": 1000 / hardware.clock_mhz,
        "target_fps": hardware.target_fps,
        "folding_config_file": FOLDING,
        "specialize_layers_config_file": STYLES,
        "nodes_file": NODES,
        "outputs": ["estimate_reports"],
    }


def folding_attributes(unit: FinnOperator) -> dict[str, Any]:
    """The node attributes that FINN's `ApplyConfig` sets: parallelism, and what multiplies and stores."""
    match unit:
        case Mvau() | Vvau():
            made = {"PE": unit.pe, "SIMD": unit.simd, "mem_mode": unit.mem_mode, "ram_style": unit.ram_style}
            return made if unit.backend == "rtl" else {**made, "resType": unit.res_type}
        case WindowRtl() | WindowHls():
            return {"SIMD": unit.simd, "parallel_window": int(unit.parallel_window), "ram_style": unit.ram_style}
        case ThresholdingRtl() | ThresholdingHls() | Pool() | StreamingMaxPool():
            return {"PE": unit.pe}
        case ChannelStream():
            return {unit.parallel_name: unit.parallel}
        case Fifo() | WidthConverter():
            return {}
        case _:
            assert_never(unit)


def shape_of(unit: FinnOperator) -> dict[str, int]:
    """The attributes of FINN's node that say which one it is; the script compares them before it folds anything."""
    match unit:
        case Mvau():
            return {"MW": unit.cols, "MH": unit.rows}
        case Vvau():
            return {"Channels": unit.channels}
        case WindowRtl() | WindowHls():
            return {"IFMChannels": unit.channels}
        case ThresholdingRtl() | ThresholdingHls():
            return {"NumChannels": unit.channels}
        case _:
            return {}


_GUIDE = """# {title}

For FINN, part {part}, {fps:g} frames per second. Run `python build_dataflow.py` in an environment with finn-plus 1.6.1: it writes
FINN's estimates into `build/report/`, without Vivado. For hardware, add "stitched_ip" or "bitfile" to "outputs" in `build.json`.

| file | what it is |
| --- | --- |
| `model.onnx` | the network as FINN reads it; its output is the class |
| `network.onnx` | the same with logits as its output: what was executed and compared with the quantized model |
| `folding_config.json` | PE and SIMD of every node, under the names that FINN gives them |
| `specialize_layers_config.json` | HLS or RTL of every node |
| `nodes.json` | the layer of the network that each node is, and the sizes by which the script recognizes it |
| `build.json` | part, board, clock, outputs |
| `gate.json` | what was compared, and how it came out |

The host quantizes the input (the first quantizer of `model.onnx`, channels last), and computes `build/host.onnx` on what the
accelerator returns.
"""
