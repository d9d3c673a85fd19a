"""Integers against minifloats in block formats, by crest factor: the measured QSNR of blocks beside the theory.

    python benchmarks/crest_factor.py [--out docs/reproduction]

Blocks of normal and of heavy-tailed values (Student's t, three degrees of freedom), as they are and behind a block Hadamard
transform, are quantized with the scales and the codec that sweeps use. `crest_factor.csv` holds one row per format and source,
`crest_factor.png` the QSNR of blocks by their crest factor beside the theory of arXiv 2510.25602 ("INT v.s. FP"), whose
crossovers are where integers stop being better.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.linalg import hadamard

from hwmodels.catalog import parse_element
from hwmodels.codec import quantize
from hwmodels.datapath import TensorQuant, parse_scaling
from hwmodels.formats import IntFormat
from workloads.scales import expand, weight_scales

Values = NDArray[np.float32]

BLOCKS = 1 << 14
SEED = 20261126


@dataclass(frozen=True)
class Duel:
    """An integer and a minifloat block format of equal width, the overhead of their scale, and whether that scale brings a
    block's largest value to a code exactly (an E4M3 scale nearly does)."""

    name: str
    integer: str
    minifloat: str
    scaling: str
    block: int
    rho: float
    exact: bool = False

    def quant(self, kind: str) -> TensorQuant:
        """The format with its scaling."""
        return TensorQuant(parse_element(getattr(self, kind)), parse_scaling(self.scaling))


# rho: a scale rounded up to a power of two is 1 to 2 times too large, 1.5 as that paper has it
DUELS = (
    Duel("MX8", "int8_narrow", "ocp_e4m3", "group32_po2", 32, 1.5),
    Duel("MX6", "int6_narrow", "ocp_e2m3", "group32_po2", 32, 1.5),
    Duel("MX4", "int4_narrow", "ocp_e2m1", "group32_po2", 32, 1.5),
    Duel("NV4", "int4_narrow", "ocp_e2m1", "group16_e4m3", 16, 1.0, exact=True),
)


def integer_qsnr(duel: Duel, kappa: float) -> float:
    """QSNR of the integers in dB (arXiv 2510.25602, the equation for INT): uniform rounding error over a symmetric range."""
    rounded = duel.block / (duel.block - 1) if duel.exact else 1.0
    bits = duel.quant("integer").format.bits
    return 4.78 + 6.02 * bits - 20 * math.log10(duel.rho * kappa) + 10 * math.log10(rounded)


def minifloat_qsnr(duel: Duel, kappa: float) -> float:
    """QSNR of the minifloats in dB (arXiv 2510.25602, the equation for FP): normal numbers err relatively, subnormals absolutely.

    Values are taken as normally distributed; the share of energy in normals and the share of values among subnormals follow
    from where the smallest normal number lies.
    """
    fmt = duel.quant("minifloat").format
    assert not isinstance(fmt, IntFormat)
    step = duel.rho * kappa / float(fmt.max_value)  # the scale, in standard deviations
    threshold = step * float(fmt.step) * (1 << fmt.mantissa_bits)  # the smallest normal number
    normal = NormalDist()
    below = 2 * normal.cdf(threshold) - 1
    energy_below = below - 2 * threshold * normal.pdf(threshold)
    largest = kappa**2 / duel.block if duel.exact else 0.0  # its share of the energy
    relative = (1 - energy_below - largest) / (24 * 4**fmt.mantissa_bits)
    absolute = below * (step * float(fmt.step)) ** 2 / 12
    return -10 * math.log10(relative + absolute)


def crossover(duel: Duel) -> float:
    """The crest factor beyond which the minifloat is better, by the theory (bisection)."""
    low, high = 1.0, 3.5 if duel.exact else 32.0  # with the largest value exact, crest factors end at sqrt(block)
    while high - low > 1e-4:
        middle = (low + high) / 2
        better = integer_qsnr(duel, middle) > minifloat_qsnr(duel, middle)
        low, high = (middle, high) if better else (low, middle)
    return low


def sources(block: int) -> dict[str, Values]:
    """Blocks (blocks, values) by what they hold."""
    rng = np.random.default_rng(SEED)
    drawn = {
        "Gaussian": rng.standard_normal((BLOCKS, block)),
        "heavy tails (t, 3 d.o.f.)": rng.standard_t(3, (BLOCKS, block)),
    }
    turned = {f"{name}, rotated": values @ (hadamard(block) / math.sqrt(block)) for name, values in drawn.items()}
    return {name: values.astype(np.float32) for name, values in (drawn | turned).items()}


def errors(values: Values, quant: TensorQuant) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Energy of every block and of its quantization error."""
    scales = expand(weight_scales(values, quant), values.shape)
    exact = values.astype(np.float64)
    lost = quantize(quant.format, values / scales) * scales - exact
    return np.square(exact).sum(1), np.square(lost).sum(1)


def crest_factors(values: Values) -> NDArray[np.float64]:
    """max |x| / sigma of every block, sigma its root mean square (values have mean zero)."""
    return np.abs(values).max(1) / np.sqrt(np.square(values.astype(np.float64)).mean(1))


def table() -> pd.DataFrame:
    """QSNR of every format on every source, in dB, whole sources and by crest factor."""
    rows = []
    for duel in DUELS:
        for source, values in sources(duel.block).items():
            kappa = crest_factors(values)
            for kind in ("integer", "minifloat"):
                energy, lost = errors(values, duel.quant(kind))
                row = {"duel": duel.name, "kind": kind, "format": getattr(duel, kind), "scaling": duel.scaling}
                row |= {"source": source, "crest_factor": float(np.mean(kappa)), "bin": "all"}
                rows.append(row | {"blocks": len(values), "qsnr_db": _db(energy, lost)})
                for low in np.arange(1.25, math.sqrt(duel.block), 0.25):
                    chosen = (kappa >= low) & (kappa < low + 0.25)
                    if chosen.sum() >= 100:  # fewer say nothing
                        middle = {"crest_factor": low + 0.125, "bin": f"{low:g}", "blocks": int(chosen.sum())}
                        rows.append(row | middle | {"qsnr_db": _db(energy[chosen], lost[chosen])})
    return pd.DataFrame(rows)


def _db(energy: NDArray[np.float64], lost: NDArray[np.float64]) -> float:
    return round(10 * math.log10(energy.sum() / lost.sum()), 2)


def draw(data: pd.DataFrame, path: Path) -> None:
    """One panel per pair of formats: measured points, theory as lines, the crossover."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 7.5), layout="constrained")
    colours = {"integer": "#0b6fa4", "minifloat": "#c2571a"}
    markers = dict(zip(data.source.unique(), "osx+", strict=True))
    for axes, duel in zip(figure.subplots(2, 2).flat, DUELS, strict=True):
        mine = data[(data.duel == duel.name) & (data.bin != "all")]
        grid = np.linspace(1.3, 0.98 * math.sqrt(duel.block), 100)
        for kind, colour in colours.items():
            theory = integer_qsnr if kind == "integer" else minifloat_qsnr
            axes.plot(grid, [theory(duel, k) for k in grid], color=colour, label=f"{getattr(duel, kind)}, theory")
            for source, points in mine[mine.kind == kind].groupby("source"):
                axes.plot(
                    points.crest_factor,
                    points.qsnr_db,
                    markers[source],
                    color=colour,
                    alpha=0.75,
                    markersize=5,
                    label=source if kind == "integer" else None,
                )
        at = crossover(duel)
        inside = at < math.sqrt(duel.block)
        if inside:
            axes.axvline(at, color="grey", linestyle=":")
        axes.set_title(f"{duel.name} ({duel.scaling}): crossover {at:.2f}{'' if inside else ', beyond any block'}")
        axes.set_xlabel("crest factor of the block, max |x| / sigma")
        axes.set_ylabel("QSNR (dB)")
        axes.grid(alpha=0.3)
        axes.legend(fontsize=7.5)
    figure.savefig(path, dpi=110)


def main() -> None:
    """Measure, write the table and the figure, print the figures of whole sources."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("docs/reproduction"), help="folder; default: %(default)s")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    data = table()
    data.to_csv(out / "crest_factor.csv", index=False, float_format="%.4g")
    draw(data, out / "crest_factor.png")
    whole = data[data.bin == "all"].pivot_table(index=["duel", "format"], columns="source", values="qsnr_db")
    print(whole.to_string())
    print("crossovers by the theory:", {duel.name: round(crossover(duel), 2) for duel in DUELS})


if __name__ == "__main__":
    main()
