"""A network through FINN's folding and figures, against the convolutional network that FINN itself estimated."""

import json
from pathlib import Path
from typing import Any

import pytest

from hwmodels.datapath import Accumulator, TensorQuant
from hwmodels.devices import get_device
from hwmodels.finn.folding import target_cycles
from hwmodels.finn_network import finn_network_cost
from hwmodels.formats import IntFormat, Minifloat
from hwmodels.ops import (
    Add,
    LayerNumerics,
    MatVec,
    Network,
    Numerics,
    Operator,
    Pool,
    Requantize,
    Window,
)
from hwmodels.options import CostModel, CostOptions
from hwmodels.report import CostError

GOLDEN = Path(__file__).parents[1] / "golden" / "finn" / "networks_finn_v0.10.1.json"
NETWORKS = json.loads(GOLDEN.read_text())
FINN = CostOptions(CostModel.FINN)
FRAME_RATES = (1000, 10000, 100000)


def integer(name: str) -> IntFormat:
    """FINN's INT8 or UINT2."""
    return IntFormat(int(name.lstrip("UINT")), signed=not name.startswith("U"))


def cnv() -> tuple[Network, Numerics]:
    """FINN's CNV w2a2 as our operators; its formats and accumulators are those that FINN found."""
    operators: list[Operator] = []
    sites: dict[str, TensorQuant] = {}
    layers: dict[str, LayerNumerics] = {}
    nodes = NETWORKS["cnv_w2a2_1000fps"]["layers"]
    site = "input"
    for index, node in enumerate(nodes):
        attrs: dict[str, Any] = node["attrs"]
        match node["op"]:
            case "ConvolutionInputGenerator_rtl":
                kernel, output = tuple(attrs["ConvKernelDim"]), tuple(attrs["OFMDim"])
                channels, image = attrs["IFMChannels"], tuple(attrs["IFMDim"])
                name = f"layer{index}.window"
                window = Window(
                    name,
                    f"layer{index + 1}",
                    channels,
                    image,
                    output,
                    kernel,
                    (1, 1),
                    (1, 1),
                    depthwise=False,
                    site=site,
                )
                operators.append(window)
            case "MVAU_hls":
                name = f"layer{index}"
                vectors = 1
                for size in attrs["numInputVectors"]:
                    vectors *= size
                sites[site] = TensorQuant(integer(attrs["inputDataType"]))
                weight = TensorQuant(IntFormat(2, narrow=True))
                # the last accumulator stands in the table as FINN widened it to whole bytes; 12 bits are what it needs
                bits = integer(attrs["accDataType"]).bits if index < len(nodes) - 1 else 12
                layers[name] = LayerNumerics(weight, Accumulator(bits))
                operators.append(MatVec(name, attrs["MH"], attrs["MW"], vectors, site))
                if not attrs["noActivation"]:
                    site = f"site{index}"
                    operators.append(Requantize(f"{name}.requantize", name, attrs["MH"], vectors, site))
            case "StreamingMaxPool_hls":
                (height, width), kernel = attrs["ImgDim"], tuple(attrs["PoolDim"])
                output = (height // kernel[0], width // kernel[1])
                name, channels = f"pool{index}", attrs["NumChannels"]
                window = Window(
                    f"{name}.window",
                    name,
                    channels,
                    (height, width),
                    output,
                    kernel,
                    kernel,
                    (1, 1),
                    depthwise=True,
                    site=site,
                )
                operators.append(window)
                operators.append(Pool(name, channels, kernel[0] * kernel[1], output[0] * output[1], "max", site))
            case other:
                raise AssertionError(other)
    return Network("cnv", tuple(operators)), Numerics(sites, layers)


@pytest.mark.parametrize("fps", FRAME_RATES)
def test_a_convolutional_network_costs_what_finn_says(fps: int) -> None:
    expected = NETWORKS[f"cnv_w2a2_{fps}fps"]
    report = finn_network_cost(*cnv(), get_device("xczu3eg"), FINN, target_cycles(fps))
    total = expected["total"]
    assert (report.total.lut, report.total.bram18, report.total.dsp, report.total.uram) == (
        total["LUT"],
        total["BRAM_18K"],
        total["DSP"],
        total["URAM"],
    )
    assert report.max_cycles == total["cycles_max"]
    assert list(report.cycles.values()) == [layer["exp_cycles"] for layer in expected["layers"]]
    assert [line.resources.lut for line in report.lines] == [layer["res"]["LUT"] for layer in expected["layers"]]


def test_a_global_mean_and_a_residual_add_are_folded_without_windows() -> None:
    operators = (
        MatVec("a", 8, 8, 16, "input"),
        Requantize("a.requantize", "a", 8, 16, "add.in"),
        Add("add", 8, 16, "add.in"),
        Requantize("add.requantize", "add", 8, 16, "sum"),
        Pool("pool", 8, 16, 1, "average", "sum"),
        Requantize("pool.requantize", "pool", 8, 1, "mean"),
        MatVec("head", 10, 8, 1, "mean"),
    )
    int8 = TensorQuant(IntFormat(8))
    sites = dict.fromkeys(("input", "add.in", "sum", "mean"), int8)
    layers = {name: LayerNumerics(int8, Accumulator(19)) for name in ("a", "head")}
    report = finn_network_cost(Network("n", operators), Numerics(sites, layers), get_device("xczu3eg"), FINN, 100)
    assert [line.component for line in report.lines] == [
        "MVAU_hls",
        "AddStreams_hls",
        "Thresholding_rtl",
        "GlobalAccPool_hls",
        "Thresholding_rtl",
        "MVAU_rtl",
    ]
    assert report.max_cycles < 100


def test_a_minifloat_is_refused_by_name() -> None:
    operators = (MatVec("layer", 8, 8, 1, "input"),)
    minifloat = TensorQuant(Minifloat(2, 1))
    numerics = Numerics({"input": minifloat}, {"layer": LayerNumerics(minifloat, Accumulator(20))})
    with pytest.raises(CostError, match="input has e2m1"):
        finn_network_cost(Network("n", operators), numerics, get_device("xczu3eg"), FINN, 100)
