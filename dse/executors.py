"""Where quantizations run: in this process, or in worker processes that die with it. One thread each, so that the number of
workers changes nothing but the time."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from typing import ParamSpec, Protocol, TypeVar

from dse.evaluate import Evaluator
from dse.records import Accuracy, Refusal
from hwmodels.errors import BitfrontError
from workloads.numerics import NumericsSpec

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


class WorkerError(BitfrontError):
    """A worker process that ended in the middle of its work."""


class Executor(Protocol):
    """Evaluates accuracies; the sweep never knows where."""

    def float_accuracy(self) -> Accuracy:
        """The accuracy of the float network."""

    def accuracies(self, specs: Sequence[NumericsSpec]) -> Iterator[tuple[str, Accuracy | Refusal]]:
        """(numerics key, outcome) of each spec, in the order in which they finish."""


class LocalExecutor:
    """Evaluates in this process, one after the other."""

    def __init__(self, evaluator: Evaluator) -> None:
        self._evaluator = evaluator
        single_thread()

    def float_accuracy(self) -> Accuracy:
        """The accuracy of the float network."""
        return self._evaluator.float_accuracy()

    def accuracies(self, specs: Sequence[NumericsSpec]) -> Iterator[tuple[str, Accuracy | Refusal]]:
        """(numerics key, outcome) of each spec, in order."""
        for spec in specs:
            yield spec.key, self._evaluator.accuracy(spec)

    def close(self, *, now: bool = False) -> None:
        """Nothing to let go of."""


class PoolExecutor:
    """Evaluates in `workers` processes. They are spawned (torch does not survive a fork) and leave when the parent is gone.

    Every method raises WorkerError where a worker was ended from outside.
    """

    def __init__(self, evaluator: Evaluator, workers: int) -> None:
        self._pool = ProcessPoolExecutor(
            workers,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_start_worker,
            initargs=(replace(evaluator), os.getpid()),  # a fresh value: what this process has loaded stays here
        )

    def float_accuracy(self) -> Accuracy:
        """The accuracy of the float network."""
        return _result(self._submit(_float_accuracy))

    def accuracies(self, specs: Sequence[NumericsSpec]) -> Iterator[tuple[str, Accuracy | Refusal]]:
        """(numerics key, outcome) of each spec, as they finish."""
        futures = {self._submit(_accuracy, spec): spec for spec in specs}
        for future in as_completed(futures):
            yield futures[future].key, _result(future)

    def close(self, *, now: bool = False) -> None:
        """Stop the workers; `now`: without waiting for what they are at."""
        if now:
            for process in list((self._pool._processes or {}).values()):
                process.terminate()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _submit(
        self, function: Callable[Arguments, Result], *args: Arguments.args, **kwargs: Arguments.kwargs
    ) -> Future[Result]:
        # A terminal sends Ctrl-C to all processes, but it is this one that answers it. Workers, which start here and
        # inherit the mask, would die of it with a traceback each.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            return self._pool.submit(function, *args, **kwargs)
        except BrokenProcessPool as error:
            raise _worker_error() from error
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


def make_executor(evaluator: Evaluator, workers: int) -> LocalExecutor | PoolExecutor:
    """An executor with that many workers; one worker is this process."""
    return LocalExecutor(evaluator) if workers == 1 else PoolExecutor(evaluator, workers)


def _result(future: Future[Result]) -> Result:
    try:
        return future.result()
    except BrokenProcessPool as error:
        raise _worker_error() from error


def _worker_error() -> WorkerError:
    return WorkerError(
        "a worker must live until the sweep ends, but one was ended from outside, perhaps for want of memory; every "
        "finished point is stored, the same command goes on, and fewer --workers need less memory."
    )


def single_thread() -> None:
    """One torch thread: a sum's order, and so its last bit, must not depend on the machine's cores."""
    import torch

    torch.set_num_threads(1)


_worker: Evaluator | None = None


def _start_worker(evaluator: Evaluator, parent: int) -> None:
    global _worker  # noqa: PLW0603 - a pool's workers have no other place for what they load once
    from tqdm import tqdm  # type: ignore[import-untyped]

    threading.Thread(target=_leave_with, args=(parent,), daemon=True).start()
    # torch's tracing makes a progress bar, whose default lock between processes would be reported as leaked by a worker
    # that is stopped; no bar is shared between workers
    tqdm.set_lock(threading.RLock())
    single_thread()
    _worker = evaluator.load()


def _leave_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def _float_accuracy() -> Accuracy:
    assert _worker is not None  # the pool's initializer has run
    return _worker.float_accuracy()


def _accuracy(spec: NumericsSpec) -> Accuracy | Refusal:
    assert _worker is not None  # the pool's initializer has run
    return _worker.accuracy(spec)
