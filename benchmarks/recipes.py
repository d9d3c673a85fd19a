"""What each recipe gains and costs on the embedded workloads, as Markdown: `python benchmarks/recipes.py [--help]`

Accuracy is that of all test samples, with its 95 % interval; neighbours in a table often cannot be told apart by it. Seconds are
CPU seconds of one thread for the recipe alone: what all recipes share (calibration, rounding to nearest) is computed before,
and a preparation of the float network counts in the first row that has it, as in a sweep. With AXE, P is asked for;
without, it is the width that the widest layer is proved to need.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch

from hwmodels.catalog import parse_element
from hwmodels.datapath import TensorQuant, parse_scaling
from hwmodels.errors import BitfrontError
from hwmodels.formats import IntFormat
from workloads.numerics import NumericsSpec
from workloads.plan import make_plan
from workloads.quantize import Engine
from workloads.recipes import parse_recipe
from workloads.registry import get_workload

CHOOSE = ("rtn", "bias_correction", "gptq", "gptq_float", "gpfq", "qronos", "adaround")


@dataclass(frozen=True)
class Setting:
    """One table: a workload, formats and scaling of its weights, and recipes. P is asked for with AXE; edges as the axis."""

    workload: str
    weight: str
    activation: str
    recipes: tuple[str, ...]
    scaling: str = "channel"
    edge: str | None = None
    bits: int | None = None
    tile: int | None = None

    @property
    def title(self) -> str:
        """What is measured, in words."""
        edge = "first and last layer alike" if self.edge is None else f"first and last layer {self.edge}"
        asked = "" if self.bits is None else f"; AXE: P={self.bits}, T={self.tile or 'none'}"
        return f"{self.workload}: {self.weight}/{self.scaling} x {self.activation}, {edge}{asked}"


SETTINGS = (
    Setting(
        "digits-resnet",
        "int3_narrow",
        "int8",
        (*CHOOSE, "gptq+bias_correction", "equalize", "magr10+gptq"),
        edge="int8",
    ),
    Setting("digits-resnet", "int4_narrow", "int4", (*CHOOSE, "axe", "axe_gpfq"), bits=11, tile=64),
    Setting("digits-resnet", "e2m1", "e2m1", CHOOSE),
    Setting(
        "digits-mobilenet",
        "int4_narrow",
        "int8",
        (
            "rtn",
            "bias_correction",
            "gptq",
            "equalize",
            "equalize+bias_correction",
            "equalize+gptq",
            "smoothquant50",
            "awq4",
        ),
        scaling="tensor",
    ),
    Setting("tiny-llama", "int3_narrow", "int8", (*CHOOSE, "awq3", "awq3+gptq", "magr10", "magr10+gptq")),
    Setting(
        "tiny-llama-outliers",
        "int4_narrow",
        "int8",
        ("rtn", "gptq", "equalize", "smoothquant50", "smoothquant50+gptq", "awq4", "awq4+gptq"),
    ),
)


@dataclass(frozen=True)
class Row:
    """One recipe: metric with interval, widest proved accumulator, CPU seconds; or why it was refused."""

    recipe: str
    value: float = 0.0
    low: float = 0.0
    high: float = 0.0
    bits: int = 0
    seconds: float = 0.0
    refused: str | None = None


def measure(setting: Setting, samples: int | None = None) -> tuple[str, list[Row]]:
    """The metric's name and a row per recipe, on the first `samples` test samples or all."""
    workload = get_workload(setting.workload)
    model = workload.load_model()
    engine = Engine(model, make_plan(model, workload.example_input), workload.calibration())
    inputs, labels = (each[:samples] for each in workload.test())
    judge = workload.judge(model, inputs, labels)
    base = NumericsSpec(
        weight=TensorQuant(parse_element(setting.weight), parse_scaling(setting.scaling)),
        activation=TensorQuant(parse_element(setting.activation)),
        recipe=parse_recipe("rtn"),
        edge=None if setting.edge is None else parse_element(setting.edge),
        residual=IntFormat(8),
    )
    engine.quantize(base)  # what all recipes share
    name, rows = "", []
    for recipe in setting.recipes:
        parsed = parse_recipe(recipe)
        limits = (setting.bits, setting.tile) if parsed.uses_accumulator else (None, None)
        start = time.process_time()
        try:
            spec = replace(base, recipe=parsed, accumulator_bits=limits[0], tile_size=limits[1])
            quantized = engine.quantize(spec)
        except BitfrontError as error:
            rows.append(Row(recipe, refused=str(error)))
            continue
        seconds = time.process_time() - start
        columns = judge(quantized.network).columns()
        name = next(metric for metric in ("top1", "perplexity") if metric in columns)
        bits = max(layer.bits for layer in quantized.layers)
        rows.append(Row(recipe, columns[name], columns[f"{name}_low"], columns[f"{name}_high"], bits, seconds))
        print(setting.title, rows[-1], sep="\t", file=sys.stderr, flush=True)
    return name, rows


def table(setting: Setting, name: str, rows: Sequence[Row]) -> Iterator[str]:
    """The lines of a table."""
    digits = 4 if name == "top1" else 2
    yield f"\n**{setting.title}**\n"
    yield f"| recipe | {name} | 95 % interval | P | CPU s |"
    yield "| --- | --- | --- | --- | --- |"
    for row in rows:
        if row.refused is not None:
            yield f"| `{row.recipe}` | refused: {row.refused} | | | |"
            continue
        interval = f"{row.low:.{digits}f} - {row.high:.{digits}f}"
        yield f"| `{row.recipe}` | {row.value:.{digits}f} | {interval} | {row.bits} | {row.seconds:.2f} |"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workload", action="append", help="of the tables; default: all; may be given again")
    parser.add_argument("--samples", type=int, help="test samples; default: all")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    for setting in SETTINGS:
        if options.workload is None or setting.workload in options.workload:
            print(*table(setting, *measure(setting, options.samples)), sep="\n", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
