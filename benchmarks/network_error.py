"""Whole accelerators after implementation beside the calibrated model and FINN's own estimate, operator by operator.

Two accelerators of FINN v0.10 on a XC7Z020 (`hwmodels/calibration/vivado_*.csv`). CNV w1a1 is the one that forms were read off:
two constants of its matrix-vector units are fitted, those of windows, FIFOs, converters and shell read off, block memory obeys a
rule found there. Nothing was fitted to the matrix-vector units, converters and shell of the other, an MLP of 2-bit weights;
its FIFOs of two words are what that form was read off. It was in sight, though, while forms were chosen: no blind test. Units are
costed as FINN's HLS library builds them (units=hls).

    python benchmarks/network_error.py
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np

import hwmodels.calibration
from hwmodels.accumulator import bits_by_data_type
from hwmodels.batch import calibrated_row
from hwmodels.datapath import Accumulator, TensorQuant
from hwmodels.devices import Device, get_device
from hwmodels.estimate import estimate
from hwmodels.finn.rows import cost_row
from hwmodels.formats import IntFormat
from hwmodels.ops import Folding, LayerNumerics, MatVec, Network, Numerics, Operator, Pool, Requantize, Window
from hwmodels.options import CostOptions, UnitStyle
from hwmodels.primitives.elementwise import pool
from hwmodels.primitives.label_select import label_select
from hwmodels.primitives.memory import MemoryStyle
from hwmodels.primitives.requantize import search_thresholds
from hwmodels.primitives.shell import shell
from hwmodels.report import CostReport
from hwmodels.resources import Resources

FOLDER = Path(hwmodels.calibration.__file__).parent
NETWORKS = ("cnv_w1a1", "unsw_mlp_w2a2")
COUNTS = ("lut", "ff", "bram18", "dsp")
BIT = IntFormat(1, signed=False)
_NOTHING = Resources()


def rows(name: str) -> list[dict[str, str]]:
    """The rows of a table."""
    with (FOLDER / f"vivado_{name}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def others(device: Device) -> Mapping[str, Resources]:
    """What no row can describe, by its name in the table: CNV's pools, input thresholds, label select, DMA engines, interconnect.

    Label select reads ten sums of 32 bits (column odt), one a cycle. FINN's is HLS for any number of best labels; ours is RTL for
    one, so no prediction of it.
    """
    family, capacity = device.family.value, device.resources
    parts = {
        f"StreamingMaxPool_hls_{i}": pool(BIT, channels, 4, row, "max", channels, family)
        for i, (channels, row) in enumerate(((64, 14), (128, 5)))
    }
    parts["LabelSelect_hls_0"] = label_select(32, 10, 1, family)
    parts["Thresholding_rtl_0"] = search_thresholds(9, IntFormat(8), 3, 1, family=family, capacity=capacity)
    return {name: part.resources for name, part in parts.items()} | {c.component: c.resources for c in shell()}


def measured(row: Mapping[str, str]) -> dict[str, float]:
    """The measured counts of a row."""
    return {name: float(row[f"measured_{name}"]) for name in COUNTS}


@dataclass(frozen=True)
class Line:
    """An operator: what it is, its name, predicted and measured counts, FINN's LUT."""

    kind: str
    name: str
    predicted: Mapping[str, float]
    measured: Mapping[str, float]
    finn: float = 0.0

    @staticmethod
    def total(name: str, lines: Sequence[Line]) -> Line:
        """The sum of lines."""
        ours, found = (
            {c: sum(getattr(line, of)[c] for line in lines) for c in COUNTS} for of in ("predicted", "measured")
        )
        return Line("", f"{name} ({len(lines)})", ours, found, sum(line.finn for line in lines))

    def __str__(self) -> str:
        cells = "".join(
            f"{self.predicted[c]:8,.0f}{self.measured[c]:8,.0f}{error(self.predicted[c], self.measured[c])}"
            for c in ("lut", "ff")
        )
        blocks = f"{self.predicted['bram18']:6,.0f}{self.measured['bram18']:6,.0f}"
        finn = error(self.finn, self.measured["lut"]) if self.finn else ""
        return f"{self.name:36}{cells}{blocks}{self.finn:9,.0f}{finn}"


def lines(network: str) -> list[Line]:
    """Every operator of a network; what is left of the whole is the interconnect."""
    device = get_device("xc7z020")
    known, table = others(device), []
    for row in rows(network):
        finn = cost_row(row)[0].lut
        table.append(Line(row["op"], row["layer"], calibrated_row(row, device)[0].as_dict(), measured(row), finn))
    for row in rows("rest"):
        if row["network"] == network and row["layer"] != "(top)":
            kind = "shell" if row["layer"].endswith("DMA") else "others"
            table.append(Line(kind, row["layer"], known.get(row["layer"], _NOTHING).as_dict(), measured(row)))
    top = next(measured(row) for row in rows("rest") if row["network"] == network and row["layer"] == "(top)")
    rest = {name: top[name] - sum(line.measured[name] for line in table) for name in COUNTS}
    return [*table, Line("shell", "interconnect", known["interconnect"].as_dict(), rest)]


def error(predicted: float, found: float) -> str:
    """The relative error as text."""
    return f"{predicted / found - 1:+8.1%}" if found else f"{'':8}"


def cnv() -> CostReport:
    """CNV w1a1 as a network: our choice of streams, windows and pools around the same foldings of HLS units."""
    operators: list[Operator] = []
    foldings: dict[str, Folding] = {}
    units = [row for row in rows("cnv_w1a1") if row["op"] == "MVAU_hls"]
    windows = [row for row in rows("cnv_w1a1") if row["op"] == "ConvolutionInputGenerator_rtl"]
    for i, unit in enumerate(units):
        name, site, vectors = unit["layer"], f"x{i}", prod(_numbers(unit["numVec"]))
        if i < len(windows):
            inside, outside, kernel, stride, dilation = (
                _pair(windows[i][column]) for column in ("IFMDim", "OFMDim", "K", "Stride", "Dilation")
            )
            channels = int(windows[i]["IFMChannels"])
            shape = (channels, inside, outside, kernel, stride, dilation)
            operators.append(Window(f"{name}.window", name, *shape, depthwise=False, site=site))
        height, width = int(unit["MH"]), int(unit["MW"])
        operators.append(MatVec(name, height, width, vectors, site))
        foldings[name] = Folding(int(unit["PE"]), int(unit["SIMD"]))
        if i + 1 < len(units):
            # the second and fourth convolution are pooled 2 x 2
            pooled = i in (1, 3)
            operators.append(
                Requantize(f"{name}.thresholds", name, height, vectors, f"p{i}" if pooled else f"x{i + 1}")
            )
            if pooled:
                operators.append(Pool(f"{name}.pool", height, 4, vectors // 4, "max", f"p{i}"))
                operators.append(Requantize(f"{name}.pooled", f"{name}.pool", height, vectors // 4, f"x{i + 1}"))
    network = Network("cnv_w1a1", tuple(operators))
    sites = {site: TensorQuant(IntFormat(8) if site == "x0" else BIT) for site in network.sites}
    bits = {op.name: bits_by_data_type(op.cols, BIT, sites[op.site].format) for op in network.compute}
    layers = {name: LayerNumerics(TensorQuant(BIT), Accumulator(width)) for name, width in bits.items()}
    options = CostOptions(memory=MemoryStyle.BRAM, units=UnitStyle.HLS, shell=True)
    return estimate(network, Numerics(sites, layers), foldings, get_device("xc7z020"), options)


def _numbers(text: str) -> list[int]:
    return [int(number) for number in text.split("x")]


def _pair(text: str) -> tuple[int, int]:
    height, width = _numbers(text)
    return height, width


def main() -> int:
    """Print a table for each network."""
    for network in NETWORKS:
        print(
            f"\n{network:36}{'LUT':>8}{'impl.':>8}{'':8}{'FF':>8}{'impl.':>8}{'':8}{'BRAM':>6}{'impl.':>6}{'FINN LUT':>9}"
        )
        table = lines(network)
        print(*table, "-" * 113, sep="\n")
        for kind in dict.fromkeys(line.kind for line in table):
            print(Line.total(kind, [line for line in table if line.kind == kind]))
        print(Line.total("operators", [line for line in table if line.kind != "shell"]))
        print(Line.total("all", table))
        units = [line for line in table if line.kind == "MVAU_hls"]
        for name, values in (("model", [u.predicted["lut"] for u in units]), ("FINN", [u.finn for u in units])):
            errors = np.abs(np.array(values) / [u.measured["lut"] for u in units] - 1)
            print(f"LUT of matrix-vector units, {name}: mean error {errors.mean():.1%}, median {np.median(errors):.1%}")
    made = Line.total("all", lines(NETWORKS[0]))
    whole = Line("", f"{NETWORKS[0]} as estimate() lays it out", cnv().total.as_dict(), made.measured)
    print(f"\n{whole}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
