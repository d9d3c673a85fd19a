"""Minifloats against integers of equal width, by recipe: which format wins, and whether the recipe decides it.

    python benchmarks/formats_by_recipe.py [--workload digits-resnet] [--out docs/reproduction]

Weights and activations have the same width and exponent; first and last layer and residual adds hold 8 bits; weights are scaled
per channel, activations per tensor. Where no activation can be negative, integers and minifloats alike spend the sign's bit on
resolution. "Shedding the Bits" (arXiv 2311.12359) reports the best of many recipes for each format. The table has every recipe
by itself, and the report says how far two recipes agree on the ranking of formats (Kendall's tau). E1My is left out: it is the
integer grid.
"""

from __future__ import annotations

import argparse
import sys
from itertools import combinations
from pathlib import Path

import pandas as pd

from hwmodels.catalog import OCP_SPECIALS, parse_element

BITS = range(3, 9)
RECIPES = "rtn,bias_correction,gptq,gptq+bias_correction,gpfq+bias_correction,equalize+bias_correction"


def formats(bits: int) -> list[tuple[str, str]]:
    """(weight, activation) of a width: the integer, and the minifloats with two to five exponent bits, all codes finite."""
    splits = [(e, bits - 1 - e) for e in range(2, min(bits, 6))]
    return [(f"int{bits}", f"int{bits}"), *((_name("", e, m), _name("u", e, m + 1)) for e, m in splits)]


def _name(sign: str, exponent: int, mantissa: int) -> str:
    return f"{'finite_' if (exponent, mantissa) in OCP_SPECIALS else ''}{sign}e{exponent}m{mantissa}"


def measure(workload: str, recipes: list[str]) -> pd.DataFrame:
    """One row per format and recipe."""
    import torch

    from hwmodels.datapath import TensorQuant, parse_scaling
    from workloads.numerics import NumericsSpec
    from workloads.plan import make_plan
    from workloads.quantize import Engine
    from workloads.recipes import parse_recipe
    from workloads.registry import get_workload, metrics_of

    torch.set_num_threads(1)
    source = get_workload(workload)
    model = source.load_model()
    plan = make_plan(model, source.example_input)
    engine = Engine(model, plan, source.calibration())
    judge = source.judge(plan.graph, *source.test())
    metric = metrics_of(workload)[0]
    rows = [
        {
            "workload": workload,
            "bits": 32,
            "format": "float",
            "recipe": "float",
            metric: judge(plan.graph).columns()[metric],
        }
    ]
    asked = [(bits, *pair, recipe) for bits in BITS for pair in formats(bits) for recipe in recipes]
    for done, (bits, name, activation, recipe) in enumerate(asked, 1):
        spec = NumericsSpec(
            weight=TensorQuant(parse_element(name), parse_scaling("channel")),
            activation=TensorQuant(parse_element(activation)),
            recipe=parse_recipe(recipe),
        )
        columns = judge(engine.quantize(spec).network).columns()
        found = {key: columns[key] for key in columns if key.startswith(metric) or key == "samples"}
        rows.append(
            {"workload": workload, "bits": bits, "format": name, "activation": activation, "recipe": recipe, **found}
        )
        print(f"\r{done} / {len(asked)}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return pd.DataFrame(rows)


def metric_of(data: pd.DataFrame) -> tuple[str, bool]:
    """(metric of a table, whether more of it is better)."""
    metric = next(name for name in data.columns if name in ("top1", "perplexity"))
    return metric, metric == "top1"


def best_of(data: pd.DataFrame) -> pd.DataFrame:
    """For each width the best integer and the best minifloat over all recipes, with their recipes."""
    metric, higher = metric_of(data)
    measured = data[data.recipe != "float"].sort_values(metric, ascending=not higher, kind="stable")
    measured = measured.assign(kind=measured.format.str.startswith("int").map({True: "INT", False: "minifloat"}))
    best = measured.groupby(["bits", "kind"]).first().reset_index()
    return best.pivot_table(index="bits", columns="kind", values=["format", "recipe", metric], aggfunc="first")


def stability(data: pd.DataFrame) -> pd.DataFrame:
    """By width: Kendall's tau of the formats' ranking, least and mean over all pairs of recipes, and who wins under each."""
    metric, higher = metric_of(data)
    rows = []
    for bits, mine in data[data.recipe != "float"].groupby("bits"):
        table = mine.pivot_table(index="format", columns="recipe", values=metric)
        taus = [table[a].corr(table[b], method="kendall") for a, b in combinations(table.columns, 2)]
        winners = (table.idxmax() if higher else table.idxmin()).value_counts()
        rows.append(
            {
                "bits": bits,
                "formats": len(table),
                "tau_least": min(taus),
                "tau_mean": sum(taus) / len(taus),
                "winners": ", ".join(f"{name} {times}x" for name, times in winners.items()),
            }
        )
    return pd.DataFrame(rows)


def draw(data: pd.DataFrame, path: Path) -> None:
    """Accuracy by width: every recipe thin, the best of all bold, integers and minifloats."""
    from matplotlib.figure import Figure

    metric, higher = metric_of(data)
    figure = Figure(figsize=(9, 5.5), layout="constrained")
    axes = figure.subplots()
    measured = data[data.recipe != "float"]
    kinds = measured.format.str.startswith("int").map({True: "INT", False: "minifloat"})
    for (kind, colour), shift in zip({"INT": "#0b6fa4", "minifloat": "#c2571a"}.items(), (-0.06, 0.06), strict=True):
        mine = measured[kinds == kind]
        by_recipe = (
            mine.groupby(["recipe", "bits"])[metric].max() if higher else mine.groupby(["recipe", "bits"])[metric].min()
        )
        for recipe in by_recipe.index.unique("recipe"):
            points = by_recipe[recipe]
            axes.plot(points.index + shift, points, ".-", color=colour, alpha=0.25, linewidth=1)
        best = mine.sort_values(metric, ascending=not higher, kind="stable").groupby("bits").first()
        axes.plot(best.index + shift, best[metric], "o-", color=colour, linewidth=2, label=f"{kind}, best of recipes")
        below = (kind == "INT") == higher
        for bits, row in best.iterrows():
            text = row.format.removeprefix("finite_").upper()
            offset = (0, -16 if below else 9)
            axes.annotate(
                text,
                (bits + shift, row[metric]),
                offset,
                textcoords="offset points",
                ha="center",
                fontsize=8,
                color=colour,
            )
    reference = data[data.recipe == "float"][metric].iloc[0]
    axes.axhline(reference, color="grey", linestyle=":", label=f"float {reference:.4g}")
    if not higher:
        axes.set_yscale("log")
    axes.set_xlabel("bits of weights and activations")
    axes.set_ylabel({"top1": "top-1", "perplexity": "perplexity (log)"}[metric])
    axes.set_title(f"{data.workload.iloc[0]}: thin lines are single recipes")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=110)


def main() -> None:
    """Measure, write the table and the figure, print both summaries."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workload", default="digits-resnet", help="default: %(default)s")
    parser.add_argument("--recipes", default=RECIPES, help="comma-separated; default: %(default)s")
    parser.add_argument("--out", type=Path, default=Path("docs/reproduction"), help="folder; default: %(default)s")
    parser.add_argument(
        "--from-table", action="store_true", help="do not measure: draw and summarize the table in --out"
    )
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    table = asked.out / f"formats_{asked.workload}.csv"
    if not asked.from_table:
        measure(asked.workload, asked.recipes.split(",")).to_csv(table, index=False, float_format="%.5g")
    data = pd.read_csv(table)
    draw(data, table.with_suffix(".png"))
    print(best_of(data).to_string(), stability(data).to_string(index=False), sep="\n\n")


if __name__ == "__main__":
    main()
