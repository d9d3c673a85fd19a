"""The store of a sweep: an Optuna study in SQLite, one finished point per trial, nothing ever half-written.

The study is the only source of truth; tables, fronts and figures are derived from it and can be written again at any time.
A trial is added in one transaction after its evaluation is complete, so that a kill at any moment loses no finished point
and leaves no half of one.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import optuna
from pydantic import BaseModel, ConfigDict, ValidationError

from dse.files import atomic
from hwmodels.errors import BitfrontError

STUDY_FILE = "study.db"
Direction = Literal["maximize", "minimize"]
Status = Literal["ok", "too_big", "refused", "failed", "reference"]


class RecordError(BitfrontError):
    """A results folder that is not one, belongs to another sweep, or is in use."""


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class _Asked(_Value):
    """What a row is, and what was asked."""

    id: str
    status: Status
    reason: str | None = None
    family: str
    weight: str | None = None
    activation: str | None = None
    weight_scaling: str | None = None
    activation_scaling: str | None = None
    recipe: str | None = None
    accumulator: str | None = None
    tile: str | None = None
    weight_rule: str | None = None
    activation_rule: str | None = None
    overflow: str | None = None
    kv_cache: str | None = None
    kv_scaling: str | None = None
    edge: str | None = None
    residual: str | None = None
    rotation: str | None = None
    device: str | None = None
    target_fps: float | None = None
    clock_mhz: float | None = None
    multiplier: str | None = None
    memory: str | None = None
    model: str | None = None
    float_bits: int | None = None


class _Measured(_Value):
    """The metrics of all kinds of workloads; None: this workload does not have it, or nothing was measured.

    Where accumulators may overflow, `overflows` counts the sums that did on the test set, in all layers, and `overflow_rate` is
    the share of its sums that did in `overflow_layer`, the layer where it is largest.
    """

    top1: float | None = None
    top1_low: float | None = None
    top1_high: float | None = None
    perplexity: float | None = None
    perplexity_low: float | None = None
    perplexity_high: float | None = None
    kl: float | None = None
    kl_low: float | None = None
    kl_high: float | None = None
    flip_rate: float | None = None
    flip_rate_low: float | None = None
    flip_rate_high: float | None = None
    cosine: float | None = None
    cosine_low: float | None = None
    cosine_high: float | None = None
    samples: int | None = None
    loss: float | None = None
    overflows: int | None = None
    overflow_rate: float | None = None
    overflow_layer: str | None = None

    def interval(self, name: str) -> tuple[float, float] | None:
        """The 95 % interval of a metric, or None where it has none."""
        low, high = getattr(self, f"{name}_low", None), getattr(self, f"{name}_high", None)
        return None if low is None or high is None else (low, high)

    @property
    def metrics(self) -> dict[str, float | int]:
        """Those that were measured."""
        return self.model_dump(include=set(_Measured.model_fields), exclude_none=True)


class _Costed(_Value):
    """What a row costs, and how its numbers came about; `memory_gbs` are GB/s of weights, where these are off-chip."""

    accumulator_bits: int | None = None
    weight_bits: int | None = None
    lut: float | None = None
    carry8: float | None = None
    ff: float | None = None
    dsp: float | None = None
    bram18: float | None = None
    uram: float | None = None
    cycles: int | None = None
    fps: float | None = None
    bottleneck: str | None = None
    uncalibrated_lut_share: float | None = None
    memory_gbs: float | None = None
    numerics_key: str | None = None
    hardware_key: str | None = None
    seconds: float | None = None


class Row(_Costed, _Measured, _Asked):
    """One row of the table of points: what was asked, what was measured, what it costs, and why not where it does not.

    The fields of the last base come first.
    """


class Accuracy(_Measured):
    """What one quantization of the network gave: metrics with their sample count, and the proved accumulator widths.

    `overflow_rates` has the share of sums that overflowed in every layer, where accumulators may overflow.
    """

    widths: dict[str, int]
    overflow_rates: dict[str, float] = {}
    weight_bits: int
    seconds: float


class Refusal(BaseModel):
    """Why a point has no accuracy: refused by a rule of numerics, or failed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    status: Literal["refused", "failed"]
    reason: str
    seconds: float


class Record(BaseModel):
    """All that one trial leaves: its number, the choice per axis, its variants' rows and the accuracy behind them.

    Where sums depend on how many products are added per cycle, variants with other foldings have numerics of their own:
    `others` has their accuracy by numerics key.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    index: int
    choice: dict[str, str]
    rows: tuple[Row, ...]
    numerics_key: str
    accuracy: Accuracy | Refusal | None = None
    others: dict[str, Accuracy | Refusal] = {}

    @property
    def outcomes(self) -> dict[str, Accuracy | Refusal]:
        """Everything measured, by numerics key."""
        return self.others if self.accuracy is None else {self.numerics_key: self.accuracy, **self.others}


class Store:
    """The study of one sweep. Made by :meth:`create` or opened by :meth:`open`; single writer (see ``dse.lock``).

    Every method raises RecordError where the file cannot be read or written.
    """

    def __init__(self, study: optuna.Study, path: Path) -> None:
        self._study, self._path = study, path

    @classmethod
    def create(cls, folder: Path, name: str, directions: Sequence[Direction], objectives: Sequence[str]) -> Store:
        """Make an empty study in `folder`; the file appears complete or not at all."""
        with atomic(folder / STUDY_FILE) as temporary, _writing(folder / STUDY_FILE):
            temporary.unlink()
            study = optuna.create_study(storage=_storage(temporary), study_name=name, directions=list(directions))
            with warnings.catch_warnings():
                # called experimental since Optuna 3.2; only the dashboard's axis labels depend on it
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                study.set_metric_names(list(objectives))
            _close(study)
        return cls.open(folder)

    @classmethod
    def open(cls, folder: Path) -> Store:
        """Open the study of a results folder.

        Raises:
            RecordError: there is none, or the file is not a study.
        """
        path = folder / STUDY_FILE
        if not path.is_file():
            raise RecordError(
                f"{folder} must be the results folder of a sweep, but it has no {STUDY_FILE}; `dse run` makes one."
            )
        with _reading(path):
            storage = _storage(path)
            names = [s.study_name for s in storage.get_all_studies()]
            if len(names) != 1:
                raise RecordError(f"{path} must hold one study, but it holds {len(names)}.")
            study = optuna.load_study(study_name=names[0], storage=storage, sampler=optuna.samplers.RandomSampler(0))
        return cls(study, path)

    def close(self) -> None:
        """Let go of the file."""
        _close(self._study)

    def references(self) -> dict[str, Record]:
        """The reference points by name (float, int8), as far as they are evaluated."""
        with _reading(self._path):
            attributes = self._study.user_attrs
        return {n.removeprefix("reference:"): _record(v) for n, v in attributes.items() if n.startswith("reference:")}

    def add_reference(self, name: str, record: Record) -> None:
        """Store a reference point."""
        with _writing(self._path):
            self._study.set_user_attr(f"reference:{name}", record.model_dump(mode="json"))

    def trials(self) -> list[tuple[Record, optuna.trial.FrozenTrial]]:
        """Every finished point with its Optuna trial, in the order in which the search asked for them."""
        with _reading(self._path):
            trials = self._study.get_trials(deepcopy=False)
        finished = [(_record(t.user_attrs.get("record")), t) for t in trials]
        return sorted(finished, key=lambda pair: pair[0].index)

    def add(self, record: Record, trial: optuna.trial.FrozenTrial) -> None:
        """Store a finished point in one transaction."""
        trial.user_attrs = {**trial.user_attrs, "record": record.model_dump(mode="json")}
        with _writing(self._path):
            self._study.add_trial(trial)

    def rows(self) -> list[Row]:
        """The table of points: references first, then trials in order."""
        references = self.references()
        first = [row for name in ("float", "int8") if name in references for row in references[name].rows]
        return [*first, *(row for record, _ in self.trials() for row in record.rows)]


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except RecordError:
        raise
    except Exception as error:
        # Optuna, SQLAlchemy and Alembic have no common base for "this is not such a database"
        raise RecordError(
            f"{path} must be an Optuna study in SQLite, but it cannot be read ({type(error).__name__})."
        ) from error


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        root: BaseException = (
            error  # Optuna and SQLAlchemy wrap what SQLite said, "database or disk is full" for instance
        )
        while root.__cause__ is not None:
            root = root.__cause__
        raise RecordError(
            f"{path} must be a study that can be written, but it cannot: {str(root).rstrip('. ')}; "
            "what was stored before is kept, the same command goes on."
        ) from error


def _storage(path: Path) -> optuna.storages.RDBStorage:
    return optuna.storages.RDBStorage(f"sqlite:///{path}", engine_kwargs={"connect_args": {"timeout": 60}})


def _close(study: optuna.Study) -> None:
    backend = getattr(study._storage, "_backend", study._storage)
    assert isinstance(backend, optuna.storages.RDBStorage)  # the only storage made here
    backend.remove_session()
    backend.engine.dispose()


def _record(data: Any) -> Record:
    try:
        return Record.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "record"
        raise RecordError(
            f"the study must hold bitfront's records, but {where} does not hold: {first['msg']}."
        ) from None
