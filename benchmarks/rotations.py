"""Block size against perplexity, with and without permutations, and what the rotations cost: MixQuant's table at our scale.

The embedded language model, as it is and with outlier channels, INT4 weights (per channel) and INT4 activations (per token) in
every layer, round to nearest. Recovery is the perplexity of whole-vector rotations over that of the recipe (arXiv 2601.22347).
Costs are those of the whole decoder on an XCU250 at 1,000 tokens per second and 200 MHz.

    python benchmarks/rotations.py                 # measures (minutes), writes docs/rotations.csv, prints the tables
    python benchmarks/rotations.py --tables        # prints the tables of docs/rotations.csv
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

TABLE = Path(__file__).parents[1] / "docs" / "rotations.csv"
WORKLOADS = ("tiny-llama", "tiny-llama-outliers")
BLOCKS = ("16", "32", "64", "128", "")
COLUMNS = ("workload", "recipe", "perplexity", "perplexity_low", "perplexity_high", "windows", "rotation_lut", "lut")

Row: TypeAlias = dict[str, str]


def recipes(block: str) -> tuple[str, ...]:
    """The recipes of a block size (empty: whole vectors, which no permutation changes)."""
    online, permuted = f"hadamard{block}", f"massdiff{block}+hadamard{block}"
    return (online, permuted, f"rotate+{online}", f"rotate+{permuted}") if block else (online, f"rotate+{online}")


RECIPES = ("rtn", "rotate", *(recipe for block in BLOCKS for recipe in recipes(block)), "zigzag16+hadamard16")


def measure(windows: int | None, calibration: int | None, wanted: Sequence[str]) -> Iterator[Row]:
    """One row per workload and recipe, as they are measured."""
    from dse.evaluate import Evaluator
    from dse.point import DesignPoint, Hardware
    from dse.records import Refusal
    from hwmodels.catalog import parse_element
    from hwmodels.datapath import TensorQuant, parse_scaling
    from workloads.numerics import NumericsSpec
    from workloads.recipes import parse_recipe

    hardware = Hardware("XCU250", 1000, 200)
    for workload in WORKLOADS:
        evaluator = Evaluator(workload, windows, calibration)
        for recipe in wanted:
            spec = NumericsSpec(
                weight=TensorQuant(parse_element("int4"), parse_scaling("channel")),
                activation=TensorQuant(parse_element("int4"), parse_scaling("token")),
                recipe=parse_recipe(recipe),
                edge=None,
            )
            outcome = evaluator.accuracy(spec)
            if isinstance(outcome, Refusal):
                print(f"{workload} {recipe}: {outcome.reason}", file=sys.stderr)
                continue
            report = evaluator.cost(DesignPoint(spec, hardware), outcome.widths)
            rotations = sum(line.resources.lut for line in report.lines if line.component == "rotation")
            assert outcome.perplexity is not None
            measured = (outcome.perplexity, outcome.perplexity_low, outcome.perplexity_high)
            numbers = (*(f"{each:.3f}" for each in measured), len(evaluator.test_set[0]))
            costs = (f"{rotations:.0f}", f"{report.total.lut:.0f}")
            yield dict(zip(COLUMNS, map(str, (workload, recipe, *numbers, *costs)), strict=True))


def tables(rows: Sequence[Row]) -> str:
    """The tables of docs/rotations.md."""
    return "\n\n".join(_table([row for row in rows if row["workload"] == workload]) for workload in WORKLOADS)


def _table(rows: Sequence[Row]) -> str:
    found = {row["recipe"]: row for row in rows}
    whole = float(found["hadamard"]["perplexity"])
    lines = [
        f"| {rows[0]['workload']}: recipe | perplexity (95 %) | recovery | LUT of rotations | LUT of all |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for recipe, row in found.items():
        value, low, high = (float(row[name]) for name in ("perplexity", "perplexity_low", "perplexity_high"))
        lines.append(
            f"| `{recipe}` | {value:,.1f} ({low:,.1f} to {high:,.1f}) | {whole / value:.0%} | "
            f"{int(row['rotation_lut']):,} | {int(row['lut']):,} |"
        )
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", action="store_true", help="only print the tables of the file")
    parser.add_argument("--windows", type=int, default=None, help="test windows (default: all)")
    parser.add_argument("--calibration", type=int, default=None, help="calibration windows (default: all)")
    parser.add_argument("--recipes", nargs="+", default=RECIPES, help="recipes (default: all of the table)")
    parser.add_argument("--output", type=Path, default=TABLE, help="the file")
    options = parser.parse_args(arguments)
    if not options.tables:
        rows = []
        for row in measure(options.windows, options.calibration, options.recipes):
            print(", ".join(row.values()), file=sys.stderr, flush=True)
            rows.append(row)
        with options.output.open("w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
    with options.output.open(newline="") as file:
        print(tables(list(csv.DictReader(file))))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
