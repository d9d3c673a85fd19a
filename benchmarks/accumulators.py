"""Accuracy against accumulator width: proved (AXE), saturating and wrapping, tiled or not, beside naive operand widths.
`python benchmarks/accumulators.py [--help]`

Four ways to live with an accumulator of P bits, on the test images of one workload:

- axe: weights chosen by GPTQ within what is proved to fit (AXE); for other pairs of formats, too, where these need up to three
  bits more than P, so that the best pair of AXE for each P stands beside the best naive one;
- saturate, wrap: the same formats with GPTQ alone, summed bit by bit in P bits. Saturating registers clamp once per cycle, so the
  products per cycle are those of the folding for a frame rate; `saturate, serial` has one product per cycle;
- naive: GPTQ on any widths of weights and activations whose sums are proved to fit; the figure has the best pair for each P.

First and last layer have the same formats as all others, residual adds 8 bits. Every tile size has a panel in the figure.
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dse.evaluate import Evaluator
from dse.files import atomic
from dse.plots import save
from dse.point import DesignPoint, Hardware
from dse.records import Accuracy
from hwmodels.datapath import Overflow, TensorQuant, parse_scaling
from hwmodels.formats import IntFormat
from workloads.numerics import NumericsSpec
from workloads.recipes import parse_recipe

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CLOCK_MHZ = 200.0
NO_TILE = "none"


@dataclass(frozen=True)
class Point:
    """One measured point.

    Attributes:
        way: axe, saturate, wrap, `saturate, serial`, naive, or exact (GPTQ without any limit).
        tile: T, or none.
        bits: P; of naive and exact the width that is proved.
        weight, activation: formats.
        top1, low, high: accuracy with its 95 % interval.
        overflow_rate, overflow_layer: the largest share of a layer's sums that overflowed, and where.
        seconds: CPU time of the point, quantization included.
    """

    way: str
    tile: str
    bits: int
    weight: str
    activation: str
    top1: float
    low: float
    high: float
    overflow_rate: float | None
    overflow_layer: str | None
    seconds: float


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and draw, or draw what was measured."""
    options = _options(arguments)
    if not options.plot_only:
        points = []
        for point in measure(options):
            points.append(point)
            print(*asdict(point).values(), sep="\t", file=sys.stderr, flush=True)
        with atomic(options.csv) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, [field.name for field in fields(Point)], lineterminator="\n")
            writer.writeheader()
            writer.writerows(asdict(point) for point in points)
    draw(options)
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workload", default="digits-resnet", help="default: %(default)s")
    parser.add_argument("--bits", type=int, default=4, help="of weights and activations; default: %(default)s")
    parser.add_argument("--widths", default="8-16", help="the range of P; default: %(default)s")
    parser.add_argument("--tiles", default=f"{NO_TILE},64,32", help="the T; default: %(default)s")
    parser.add_argument(
        "--narrowest", type=int, default=2, help="operand of the pairs of formats; default: %(default)s"
    )
    parser.add_argument("--fps", type=float, default=10000.0, help="frame rate of the folding; default: %(default)s")
    parser.add_argument("--device", default="XCZU3EG", help="default: %(default)s")
    parser.add_argument("--test-images", type=int, help="default: all")
    parser.add_argument("--csv", type=Path, default=Path("docs/accumulators.csv"), help="default: %(default)s")
    parser.add_argument("--figure", type=Path, default=Path("docs/accumulators.png"), help="default: %(default)s")
    parser.add_argument("--plot-only", action="store_true", help="draw the figure from the CSV")
    return parser.parse_args(arguments)


def measure(options: argparse.Namespace) -> Iterator[Point]:
    """Every point of the benchmark."""
    evaluator = Evaluator(options.workload, test_images=options.test_images).load()
    low, high = (int(text) for text in options.widths.split("-"))
    tiles = [None if tile == NO_TILE else int(tile) for tile in options.tiles.split(",")]
    base = _spec(options.bits, options.bits)
    for tile in tiles:
        yield _exact(evaluator, options, "exact", tile, operands=(options.bits, options.bits))
        for bits in range(high, low - 1, -1):
            yield _point(
                evaluator,
                options,
                "axe",
                replace(base, recipe=parse_recipe("axe"), accumulator_bits=bits, tile_size=tile),
            )
            for overflow in (Overflow.SATURATE, Overflow.WRAP):
                loose = replace(base, overflow=overflow, accumulator_bits=bits, tile_size=tile)
                yield _point(evaluator, options, overflow.value, loose)
                if overflow is Overflow.SATURATE and tile is None:
                    yield _point(evaluator, options, "saturate, serial", loose, serial=True)
    for pair in product(range(options.narrowest, options.bits + 2), repeat=2):
        for tile in tiles:
            free = _exact(evaluator, options, "naive", tile, operands=pair)
            yield free
            # up to three bits below what GPTQ is proved to need; with as many, AXE is GPTQ
            for bits in range(max(low, free.bits - 3), free.bits) if pair != (options.bits, options.bits) else ():
                spec = replace(_spec(*pair), recipe=parse_recipe("axe"), accumulator_bits=bits, tile_size=tile)
                yield _point(evaluator, options, "axe", spec)


def _spec(weight: int, activation: int) -> NumericsSpec:
    return NumericsSpec(
        weight=TensorQuant(IntFormat(weight), parse_scaling("channel")),
        activation=TensorQuant(IntFormat(activation)),
        recipe=parse_recipe("gptq"),
        edge=None,
    )


def _exact(
    evaluator: Evaluator, options: argparse.Namespace, way: str, tile: int | None, *, operands: tuple[int, int]
) -> Point:
    """GPTQ on a pair of formats, with exact sums, at the width that these are proved to need."""
    # overflow wrap at a width that nothing leaves: exact sums, whose proof is per tile
    spec = replace(_spec(*operands), overflow=Overflow.WRAP, accumulator_bits=64, tile_size=tile)
    return _point(evaluator, options, way, spec, proved=True)


def _point(
    evaluator: Evaluator,
    options: argparse.Namespace,
    way: str,
    spec: NumericsSpec,
    *,
    serial: bool = False,
    proved: bool = False,
) -> Point:
    start = time.process_time()
    point = DesignPoint(spec, Hardware(options.device, options.fps, CLOCK_MHZ))
    outcome = evaluator.accuracy(spec if serial else evaluator.with_lanes(point).numerics)
    if not isinstance(outcome, Accuracy):
        raise SystemExit(
            f"every point must be measurable, but {way} at P={spec.accumulator_bits} is not: {outcome.reason}"
        )
    assert outcome.top1 is not None
    assert outcome.top1_low is not None
    assert outcome.top1_high is not None
    return Point(
        way=way,
        tile=NO_TILE if spec.tile_size is None else str(spec.tile_size),
        bits=max(outcome.widths.values()) if proved else spec.accumulator_bits or 0,
        weight=spec.weight.format.name,
        activation=spec.activation.format.name,
        top1=outcome.top1,
        low=round(outcome.top1_low, 4),
        high=round(outcome.top1_high, 4),
        overflow_rate=None if outcome.overflow_rate is None or proved else float(f"{outcome.overflow_rate:.3g}"),
        overflow_layer=outcome.overflow_layer,
        seconds=round(time.process_time() - start, 1),
    )


def read(path: Path) -> list[dict[str, Any]]:
    """The measured points."""
    with path.open(encoding="utf-8", newline="") as file:
        return [
            {**row, "bits": int(row["bits"]), **{k: float(row[k]) for k in ("top1", "low", "high")}}
            for row in csv.DictReader(file)
        ]


LOOKS = {
    "axe": ("proved (AXE)", "#0072B2", "o"),
    "saturate": ("saturating (GPTQ)", "#009E73", "s"),
    "wrap": ("wrapping (GPTQ)", "#D55E00", "^"),
}
"""Label, colour (Okabe-Ito) and marker of each way for the formats that are asked for."""

BEST_LOOKS = {
    ("axe", "naive"): ("any operand widths: proved (AXE)", "#0072B2", "D"),
    ("naive",): ("any operand widths: as they are (naive, GPTQ)", "#E69F00", "v"),
}
"""The same for the best pair of formats by these ways: AXE with room to spare is GPTQ."""


def draw(options: argparse.Namespace) -> None:
    """The figure of a CSV: a panel per tile size."""
    from matplotlib.figure import Figure

    points = read(options.csv)
    tiles = list(dict.fromkeys(point["tile"] for point in points))
    figure = Figure(figsize=(4.2 * len(tiles), 4.6), layout="constrained")
    panels = figure.subplots(1, len(tiles), sharey=True, squeeze=False)[0]
    exact = next(point for point in points if point["way"] == "exact")
    for panel, tile in zip(panels, tiles, strict=True):
        _panel(panel, [point for point in points if point["tile"] == tile], tile)
    panels[0].set_ylabel("Top-1 accuracy (bars: 95 % interval)")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=9, frameon=False)
    figure.suptitle(
        f"{options.workload}, {exact['weight']} x {exact['activation']}: accuracy in accumulators of P bits",
        fontsize=12,
    )
    save(figure, options.figure)


def _panel(panel: Axes, points: list[dict[str, Any]], tile: str) -> None:
    exact = next(point for point in points if point["way"] == "exact")
    widths = sorted({point["bits"] for point in points if point["way"] in ("axe", "saturate", "wrap")})
    panel.axhline(exact["top1"], color="grey", linewidth=1, linestyle=":", label="GPTQ, exact sums")
    panel.axvline(exact["bits"], color="grey", linewidth=1, linestyle="--", label="width that GPTQ is proved to need")
    formats = exact["weight"], exact["activation"]
    for way, look in LOOKS.items():
        mine = [p for p in points if p["way"] == way and (p["weight"], p["activation"]) == formats]
        _curve(panel, {p["bits"]: p for p in mine}, *look, line="-")
    for ways, look in BEST_LOOKS.items():
        fitting = {bits: [p for p in points if p["way"] in ways and p["bits"] <= bits] for bits in widths}
        best = {bits: max(some, key=lambda p: p["top1"]) for bits, some in fitting.items() if some}
        _curve(panel, best, *look, line="--")
    panel.set_title("one accumulator (no tiles)" if tile == NO_TILE else f"tiles of T = {tile} products", fontsize=10.5)
    panel.set_xlabel("P, bits of the (inner) accumulator")
    panel.set_xticks(widths)
    panel.grid(alpha=0.25)
    panel.set_ylim(0, 1)


def _curve(panel: Axes, points: dict[int, dict[str, Any]], label: str, colour: str, marker: str, *, line: str) -> None:
    x = sorted(points)
    y, low, high = ([points[bits][name] for bits in x] for name in ("top1", "low", "high"))
    bars = [[a - b for a, b in zip(y, low, strict=True)], [b - a for a, b in zip(y, high, strict=True)]]
    size, width = (5.5, 1.5) if line == "-" else (4, 1.0)
    panel.errorbar(
        x,
        y,
        yerr=bars,
        label=label,
        color=colour,
        marker=marker,
        markersize=size,
        linestyle=line,
        linewidth=width,
        capsize=2,
    )


if __name__ == "__main__":
    raise SystemExit(main())
