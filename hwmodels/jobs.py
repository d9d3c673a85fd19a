"""Long tasks on several processes, and their results kept as files by content."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

from hwmodels.errors import BitfrontError

Item = TypeVar("Item")
Result = TypeVar("Result")
Error = TypeVar("Error", bound=BitfrontError)


def run_all(
    task: Callable[[Item], Result], items: Sequence[Item], workers: int, error: type[Error]
) -> Iterator[tuple[int, Result | Error]]:
    """The index of every item with what the task gives, or the error that it raises, as they finish.

    One failure does not stop the rest.
    """
    # spawned, because the caller may run threads (a progress bar) that a forked child would inherit in any state
    with ProcessPoolExecutor(min(workers, len(items)) or 1, mp_context=get_context("spawn")) as pool:
        futures = {pool.submit(partial(_outcome, task, error), item): index for index, item in enumerate(items)}
        for future in as_completed(futures):
            yield futures[future], future.result()


def _outcome(task: Callable[[Item], Result], kind: type[Error], item: Item) -> Result | Error:
    try:
        return task(item)
    except kind as error:
        return error


def entry_of(cache: Path | None, *content: str) -> Path | None:
    """The file in the folder `cache` that holds the result of exactly this content; None without a folder."""
    if cache is None:
        return None
    return cache / f"{hashlib.sha256(chr(0).join(content).encode()).hexdigest()[:32]}.json"


def write_entry(entry: Path, document: Mapping[str, Any]) -> None:
    """Whole or not at all: written beside its place, then moved there, so that processes may share a cache."""
    entry.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=entry.parent, suffix=".tmp")
    with os.fdopen(handle, "w") as file:
        json.dump(document, file, indent=1)
    Path(name).replace(entry)
