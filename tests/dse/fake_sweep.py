"""A finished sweep in milliseconds: accuracy as a smooth function of the formats instead of a measurement."""

from pathlib import Path
from typing import Any

import yaml

from dse.config import SweepConfig, parse_config
from dse.evaluate import Evaluator
from dse.files import write_text
from dse.records import Accuracy, Refusal, Row, Store
from dse.results import CONFIG_FILE
from dse.sweep import Sweep
from dse.template import render
from workloads.numerics import NumericsSpec


class StoppedError(Exception):
    """A kill, as far as the store can tell."""


def layer_names() -> list[str]:
    """The layers of the embedded workload: widths are proved for these."""
    return [op.name for op in Evaluator("digits-resnet").network.compute]


class FakeExecutor:
    """Accuracy known at once; counts what it is asked and stops where it is told."""

    def __init__(self, layers: list[str], stop_after: int | None = None, reverse: bool = False):
        self.layers, self.stop_after, self.reverse = layers, stop_after, reverse
        self.asked: list[str] = []

    def float_accuracy(self) -> Accuracy:
        return self._accuracy(0.97, {})

    def accuracies(self, specs: list[NumericsSpec]):
        for spec in reversed(specs) if self.reverse else specs:
            if self.stop_after is not None and len(self.asked) >= self.stop_after:
                raise StoppedError
            self.asked.append(spec.key)
            if spec.weight.format.name == "e3m0":
                yield spec.key, Refusal(status="failed", reason="RuntimeError: made up", seconds=0.1)
            else:
                top1 = 0.97 - 0.6 ** (spec.weight.bits + 1) - 0.5 ** (spec.activation.bits + 1)
                yield spec.key, self._accuracy(top1, dict.fromkeys(self.layers, 14 + spec.weight.bits))

    def _accuracy(self, top1: float, widths: dict[str, int]) -> Accuracy:
        return Accuracy(
            top1=top1,
            top1_low=top1 - 0.01,
            top1_high=min(top1 + 0.01, 1.0),
            loss=1 - top1,
            samples=2000,
            widths=widths,
            weight_bits=1000,
            seconds=0.1,
        )


def fake_config(trials: int = 22, **changes: dict[str, Any]) -> SweepConfig:
    """The embedded workload's configuration, smaller, with LUT and DSP variants; `changes` per section."""
    data = yaml.safe_load(render("digits-resnet", "x"))
    data["search"] |= {"trials": trials, "batch": 4, "population": 4}
    data["hardware"] |= {"multiplier": ["lut", "dsp"]}
    for section, values in changes.items():
        data[section] |= values
    return parse_config(yaml.safe_dump(data))


def run_fake(
    folder: Path, made: SweepConfig, executor: FakeExecutor, progress=lambda *_: None
) -> tuple[Sweep, list[Row]]:
    """Run or resume a sweep in `folder`; its rows are read back from the store."""
    folder.mkdir(exist_ok=True)
    write_text(folder / CONFIG_FILE, made.as_yaml())
    has = (folder / "study.db").exists()
    store = Store.open(folder) if has else Store.create(folder, "x", ["maximize", "minimize"], ["top1", "lut"])
    sweep = Sweep(made, store, folder)
    try:
        sweep.run(executor, progress)
    finally:
        rows = store.rows()
        store.close()
    return sweep, rows
