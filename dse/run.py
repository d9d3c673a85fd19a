"""`dse run`: open or make the results folder, sweep with a progress bar, leave the tables of what is finished."""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from dse.config import SweepConfig
from dse.executors import make_executor
from dse.files import write_text
from dse.lock import locked
from dse.manifest import open_manifest
from dse.objectives import OBJECTIVES
from dse.records import STUDY_FILE, Row, Store
from dse.results import CONFIG_FILE
from dse.sweep import Sweep, counts
from dse.tables import front_document, write_front, write_points


class Stopped(KeyboardInterrupt):
    """SIGTERM, handled like Ctrl-C: what is finished is stored already."""


def run_sweep(config: SweepConfig, results: Path, workers: int) -> tuple[dict[str, Any], bool]:
    """Run or resume a sweep; returns its summary and whether it was interrupted.

    Raises:
        BitfrontError: the folder belongs to another sweep or is in use, or the configuration asks for what is not there.
    """
    folder = results / config.name
    with locked(folder):
        open_manifest(folder, config)
        write_text(folder / CONFIG_FILE, config.as_yaml())
        store = _open_store(folder, config)
        try:
            return _run(Sweep(config, store, folder), workers)
        finally:
            store.close()


def _run(sweep: Sweep, workers: int) -> tuple[dict[str, Any], bool]:
    start, interrupted = time.monotonic(), False
    for choice, reason in sweep.space.never().items():
        print(f"no point has {choice}: {reason}", file=sys.stderr)
    stored, asked = len(sweep.records), sweep.config.search.trials
    if stored > asked:
        print(
            f"{stored} numerics points are stored, more than the {asked} asked for: none is added, all count",
            file=sys.stderr,
        )
    # more processes than a batch has points would only wait
    workers = min(workers, sweep.config.search.batch)
    sweep.evaluator.require_caches(sweep.config.space.kv_cache)
    executor = make_executor(sweep.evaluator.load(), workers)  # what cannot be loaded is refused here, not in a worker
    previous = signal.signal(signal.SIGTERM, _stop)
    try:
        with _Bar(sweep, stored) as bar:
            sweep.run(executor, bar)
    except KeyboardInterrupt:
        interrupted = True
        print("interrupted; every finished point is stored, the same command goes on", file=sys.stderr)
    finally:
        signal.signal(signal.SIGTERM, previous)
        executor.close(now=interrupted)
    rows = sweep.store.rows()
    if rows:
        write_points(sweep.folder, rows)
        write_front(sweep.folder, front_document(sweep.config.name, rows, sweep.objectives), rows, sweep.objectives)
    summary = {
        "folder": str(sweep.folder),
        "trials": len(sweep.records),
        "points": len(rows),
        "counts": dict(counts(rows)),
        "quantizations": sweep.quantizations,
        "hypervolume": sweep.volume() or 0.0,
        "seconds": round(time.monotonic() - start, 1),
        "interrupted": interrupted,
    }
    return summary, interrupted


def _open_store(folder: Path, config: SweepConfig) -> Store:
    if (folder / STUDY_FILE).exists():
        return Store.open(folder)
    objectives = [OBJECTIVES[o] for o in config.objectives]
    return Store.create(folder, config.name, [o.direction for o in objectives], [o.name for o in objectives])


def _stop(_signal: int, _frame: FrameType | None) -> None:
    raise Stopped


class _Bar:
    """The progress of a sweep on stderr: a live bar on a terminal, one line per point elsewhere."""

    def __init__(self, sweep: Sweep, done: int) -> None:
        self._console = Console(stderr=True)
        self._live = self._console.is_terminal
        self._quality = next(o.name for o in sweep.objectives if o.is_quality)
        self._start, self._done_before = time.monotonic(), done
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("ETA"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
        )
        self._progress = Progress(*columns, console=self._console, disable=not self._live)
        self._task = self._progress.add_task(
            sweep.config.name, total=max(sweep.config.search.trials, done), completed=done, note="references"
        )

    def __enter__(self) -> _Bar:
        self._progress.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._progress.stop()

    def __call__(self, done: int, total: int, row: Row, volume: float | None) -> None:
        covered = "" if volume is None else f"hypervolume {volume:.4f}"
        if self._live:
            self._progress.update(self._task, completed=done, note=covered)
            return
        elapsed = time.monotonic() - self._start
        left = elapsed / max(done - self._done_before, 1) * (total - done)
        found = (
            row.status
            if (value := getattr(row, self._quality)) is None
            else f"{self._quality} {value:.5g}" + ("" if row.lut is None else f", {row.lut:,.0f} LUT")
        )
        what = f"{row.weight} x {row.activation}, {row.weight_scaling}, {row.recipe}, P {row.accumulator}"
        print(
            f"{done:4d}/{total} {row.id:>6}  {what}: {found}; {covered}; ETA {left:.0f} s", file=sys.stderr, flush=True
        )
