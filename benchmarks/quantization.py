"""Trials per minute of a grid of formats and recipes, three ways: Brevitas in a fresh process per trial, Brevitas in one
process, and bitfront's engine. `python benchmarks/quantization.py [--help]`

All three compute the same function (weights per channel, activations per tensor, absmax scales), and the metrics are compared:
with round-to-nearest they are equal, digit for digit. GPTQ adds up its Hessians in another order (columns in hardware order),
so that a few weights that lie between two codes fall the other way.

Times are CPU seconds of one thread, which other work on the machine does not change. Start-up (imports, data, tracing) counts for
fresh processes only, as it does in practice. Not every trial is run in a fresh process, since they take the same time.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

# integers are symmetric, as Brevitas' are
WEIGHTS = "int8_narrow,int6_narrow,int5_narrow,int4_narrow,int3_narrow,e2m1,e3m0,e2m2,e3m1,e2m3,e3m2,e3m3"
ACTIVATIONS = "int8_narrow,int6_narrow,int4_narrow,e2m1,e2m3,e3m2"
WAYS = {"fresh": "Brevitas, fresh process", "brevitas": "Brevitas, one process", "engine": "bitfront"}


@dataclass(frozen=True)
class Trial:
    """One configuration: formats of weights and activations, and a recipe."""

    weight: str
    activation: str
    recipe: str


@dataclass(frozen=True)
class Result:
    """What one trial gave in one way, and the CPU and wall-clock seconds it took."""

    trial: Trial
    metrics: dict[str, float]
    cpu_seconds: float
    wall_seconds: float


@dataclass(frozen=True)
class Way:
    """All trials run in one way; start-up seconds are those before the first trial, peak memory that of the process."""

    name: str
    results: tuple[Result, ...]
    startup_cpu_seconds: float
    peak_mib: float


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark, or one way of it in a child process."""
    options = _options(arguments)
    if options.child:
        _child(options)
        return 0
    ways = [_run(name, options) for name in WAYS if name != "fresh"]
    if options.fresh:
        ways.insert(0, _run_fresh(options))
    report = _report(ways, options)
    print(_markdown(report))
    if options.markdown:
        options.markdown.write_text(_markdown(report) + "\n")
    if options.json:
        options.json.write_text(json.dumps(report | {"ways": [asdict(way) for way in ways]}, indent=1) + "\n")
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workload", default="digits-resnet", help="default: %(default)s")
    parser.add_argument("--weights", default=WEIGHTS, help="comma-separated formats; default: %(default)s")
    parser.add_argument("--activations", default=ACTIVATIONS, help="default: %(default)s")
    parser.add_argument("--recipes", default="rtn,gptq", help="of rtn and gptq; default: %(default)s")
    parser.add_argument(
        "--fresh", type=int, default=3, help="trials per recipe in fresh processes; default: %(default)s"
    )
    parser.add_argument("--test-samples", type=int, help="default: all")
    parser.add_argument("--calibration-samples", type=int, help="default: all")
    parser.add_argument("--json", type=Path, help="file for all results")
    parser.add_argument("--markdown", type=Path, help="file for the table")
    parser.add_argument("--child", choices=WAYS, help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def _trials(options: argparse.Namespace) -> list[Trial]:
    axes = (options.weights.split(","), options.activations.split(","))
    return [Trial(w, a, recipe) for recipe in options.recipes.split(",") for w, a in product(*axes)]


def _some(trials: Sequence[Trial], count: int) -> list[Trial]:
    """Up to `count` trials of each recipe, spread over the grid."""
    by_recipe: dict[str, list[Trial]] = {}
    for trial in trials:
        by_recipe.setdefault(trial.recipe, []).append(trial)
    spread = [(each, min(count, len(each))) for each in by_recipe.values()]
    return [each[i * len(each) // n] for each, n in spread for i in range(n)]


def _run(name: str, options: argparse.Namespace, trials: Sequence[Trial] | None = None) -> Way:
    """One way in a process of its own, which tells every result as it comes."""
    asked = _trials(options) if trials is None else trials
    command = [sys.executable, __file__, "--child", name, "--workload", options.workload]
    for flag in ("test_samples", "calibration_samples"):
        if (value := getattr(options, flag)) is not None:
            command += [f"--{flag.replace('_', '-')}", str(value)]
    # one thread, and what is imported is what is beside this folder
    root = Path(__file__).resolve().parents[1]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(root), *_python_path()])}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        json.dump([asdict(trial) for trial in asked], process.stdin)
        process.stdin.close()
        results, last = [], {}
        for line in process.stdout:
            last = json.loads(line)
            if "trial" in last:
                results.append(Result(**(last | {"trial": Trial(**last["trial"])})))
                print(f"\r{WAYS[name]}: {len(results)} of {len(asked)} ", end="", file=sys.stderr, flush=True)
    if process.returncode or len(results) != len(asked):
        raise SystemExit(f"{WAYS[name]} must finish all {len(asked)} trials, but it ended after {len(results)}.")
    print(file=sys.stderr)
    return Way(name, tuple(results), last["startup_cpu_seconds"], last["peak_mib"])


def _python_path() -> list[str]:
    return [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]


def _run_fresh(options: argparse.Namespace) -> Way:
    """Each of some trials in a process of its own; its time is the whole process's."""
    results, peak = [], 0.0
    for trial in _some(_trials(options), options.fresh):
        before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        way = _run("brevitas", options, [trial])
        after, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter() - start
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        results.append(Result(trial, way.results[0].metrics, cpu, wall))
        peak = max(peak, way.peak_mib)
    return Way("fresh", tuple(results), 0.0, peak)


def _child(options: argparse.Namespace) -> None:
    """Run the trials that stdin lists, one result a line to stdout."""
    for result in _measure(options, [Trial(**trial) for trial in json.load(sys.stdin)]):
        print(json.dumps(result), flush=True)


def _measure(options: argparse.Namespace, trials: Sequence[Trial]) -> Iterator[dict[str, Any]]:
    import torch

    from workloads.plan import make_plan
    from workloads.registry import get_workload

    torch.set_num_threads(1)
    workload = get_workload(options.workload)
    model = workload.load_model()
    plan = make_plan(model, workload.example_input)
    inputs, labels = (tensor[: options.test_samples] for tensor in workload.test())
    judge = workload.judge(plan.graph, inputs, labels)
    quantize = _quantizer(options.child, model, plan, workload.calibration()[: options.calibration_samples])
    startup = time.process_time()
    for trial in trials:
        cpu, wall = time.process_time(), time.perf_counter()
        metrics = judge(quantize(trial)).columns()
        seconds = {"cpu_seconds": time.process_time() - cpu, "wall_seconds": time.perf_counter() - wall}
        yield {"trial": asdict(trial), "metrics": metrics, **seconds}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    yield {"startup_cpu_seconds": startup, "peak_mib": peak}


def _quantizer(way: str, model: Any, plan: Any, calibration: Any) -> Callable[[Trial], Any]:
    """From a trial to the quantized network."""
    if way == "engine":
        from workloads.quantize import Engine

        engine = Engine(model, plan, calibration)
        return lambda trial: engine.quantize(specification(trial)).network
    import plain_brevitas

    return lambda trial: plain_brevitas.quantize(plan, specification(trial), calibration)


def specification(trial: Trial) -> Any:
    """A trial as bitfront says it; the edge and residual adds hold 8 bits."""
    from hwmodels.catalog import parse_element
    from hwmodels.datapath import TensorQuant, parse_scaling
    from workloads.numerics import NumericsSpec
    from workloads.recipes import parse_recipe
    from workloads.scale_rule import ABSMAX

    return NumericsSpec(
        weight=TensorQuant(parse_element(trial.weight), parse_scaling("channel")),
        activation=TensorQuant(parse_element(trial.activation)),
        recipe=parse_recipe(trial.recipe),
        edge=parse_element("int8_narrow"),
        residual=parse_element("int8_narrow"),
        activation_rule=ABSMAX,
    )


def _report(ways: Sequence[Way], options: argparse.Namespace) -> dict[str, Any]:
    """Per recipe: trials, CPU seconds a trial and trials a minute of each way, the ratios, and the differences."""
    engine = {result.trial: result for way in ways if way.name == "engine" for result in way.results}
    recipes = []
    for recipe in options.recipes.split(","):
        row: dict[str, Any] = {"recipe": recipe, "trials": sum(t.recipe == recipe for t in engine)}
        for way in ways:
            mine = [result for result in way.results if result.trial.recipe == recipe]
            row[f"{way.name}_seconds"] = sum(r.cpu_seconds for r in mine) / len(mine)
            row[f"{way.name}_per_minute"] = 60 / row[f"{way.name}_seconds"]
            row[f"{way.name}_ratio"] = row[f"{way.name}_seconds"]
            if way.name != "engine":
                pairs = [(r.metrics, engine[r.trial].metrics) for r in mine]
                row[f"{way.name}_differences"] = {
                    name: max(abs(theirs[name] - ours[name]) for theirs, ours in pairs) for name in pairs[0][0]
                }
        for way in ways:
            row[f"{way.name}_ratio"] /= row["engine_seconds"]
        recipes.append(row)
    memory = {way.name: way.peak_mib for way in ways}
    return {"workload": options.workload, "recipes": recipes, "peak_mib": memory}


def _markdown(report: dict[str, Any]) -> str:
    """The report as a table."""
    names = [name for name in WAYS if name in report["peak_mib"]]
    head = ["recipe", "trials", *(f"{WAYS[name]}, trials/min" for name in names)]
    head += [f"ratio to {WAYS[name]}" for name in names if name != "engine"] + ["largest difference of a metric"]
    lines = [f"Workload {report['workload']}, CPU time of one thread.", "", _row(head), _row(["---"] * len(head))]
    for row in report["recipes"]:
        others = [name for name in names if name != "engine"]
        worst: dict[str, float] = {}
        for name in others:
            for metric, value in row[f"{name}_differences"].items():
                worst[metric] = max(worst.get(metric, 0.0), value)
        difference = "0" if not any(worst.values()) else ", ".join(f"{m} {v:.2g}" for m, v in worst.items() if v)
        cells = [row["recipe"], str(row["trials"]), *(f"{row[f'{name}_per_minute']:.1f}" for name in names)]
        lines.append(_row([*cells, *(f"{row[f'{name}_ratio']:.1f} x" for name in others), difference]))
    memory = ", ".join(f"{WAYS[name]} {report['peak_mib'][name]:,.0f} MiB" for name in names)
    return "\n".join([*lines, "", f"Peak memory: {memory}."])


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    raise SystemExit(main())
