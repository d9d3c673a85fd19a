"""The sweep: ask a batch, cost it, quantize what can fit, store each point as it finishes, tell; resume from the store."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import optuna

from dse.config import SweepConfig
from dse.evaluate import Evaluator, memo_spec
from dse.executors import Executor
from dse.front import front_volume
from dse.objectives import OBJECTIVES, Objective
from dse.pareto import losses
from dse.point import DesignPoint, Hardware
from dse.records import Accuracy, Record, RecordError, Refusal, Row, Store
from dse.rows import make_row, measured_columns, precheck
from dse.search import Proposal, finished_trial, propose
from dse.space import Choice, Space, hardware_choices, make_space, variants
from hwmodels.catalog import parse_element
from hwmodels.datapath import Granularity, Scaling, TensorQuant
from hwmodels.formats import IntFormat
from workloads.numerics import NumericsSpec
from workloads.recipes import Recipe

Outcome = Accuracy | Refusal


class Progress(Protocol):
    """What a running sweep tells: called after every stored point."""

    def __call__(self, done: int, total: int, row: Row, volume: float | None) -> None:
        """`done` of `total` numerics points are stored; `row` is the latest one's first feasible variant."""


@dataclass(frozen=True, eq=False)
class _Waiting:
    """A proposal that is complete when the accuracies of `keys` are known."""

    proposal: Proposal
    points: Sequence[tuple[str, DesignPoint]]
    blocked: Sequence[str | Refusal | None]
    keys: tuple[str, ...]


@dataclass
class Sweep:
    """A configuration, its store, and the memo of every accuracy measured so far."""

    config: SweepConfig
    store: Store
    folder: Path
    memo: dict[str, Outcome] = field(default_factory=dict)
    quantizations: int = 0

    def __post_init__(self) -> None:
        self.space: Space = make_space(self.config)
        self.hardware: tuple[Hardware, ...] = hardware_choices(self.config.hardware)
        self.objectives: list[Objective] = [OBJECTIVES[o] for o in self.config.objectives]
        self.evaluator = Evaluator.of(self.config)
        self.records: dict[int, tuple[Record, optuna.trial.FrozenTrial]] = {
            r.index: (r, t) for r, t in self.store.trials()
        }
        for record in (*self.store.references().values(), *(r for r, _ in self.records.values())):
            self.memo |= record.outcomes

    def run(self, executor: Executor, progress: Progress) -> None:
        """Evaluate the references, then every batch that is not in the store yet; returns when all trials are stored."""
        self._references(executor)
        total, batch = self.config.search.trials, self.config.search.batch
        for start in range(0, total, batch):
            indices = range(start, min(start + batch, total))
            if all(i in self.records for i in indices):
                continue
            history = [self.records[i][1] for i in range(start)]
            directions = [o.direction for o in self.objectives]
            proposals = propose(self.space, self.config.search, self.config.seed, directions, history, indices)
            self._check_history(proposals)
            missing = [p for p in proposals if p.index not in self.records]
            for proposal, record in self._evaluate(missing, executor):
                self._store(proposal, record)
                progress(len(self.records), total, _headline(record), self.volume())
            if len(proposals) < len(indices):
                return  # the space is used up

    def _check_history(self, proposals: Sequence[Proposal]) -> None:
        """A stored point of a batch must be what the search asks for again, or resuming would mix two searches."""
        for p in proposals:
            if p.index in self.records and self.records[p.index][0].choice != p.choice:
                raise RecordError(
                    f"{self.folder} must continue its own search, but point {p.index} differs from what is asked for now "
                    "(another version of the sampler?); start again under another name."
                )

    def volume(self) -> float | None:
        """The hypervolume of all feasible points (see :func:`dse.front.front_volume`); None before INT8 was measured."""
        return front_volume(self.store_rows(), self.objectives)

    def store_rows(self) -> list[Row]:
        """All rows so far."""
        references = [row for r in self.store.references().values() for row in r.rows]
        return [*references, *(row for i in sorted(self.records) for row in self.records[i][0].rows)]

    def _references(self, executor: Executor) -> None:
        """Float and INT8 first: every later number is read against them."""
        there = self.store.references()
        if "float" not in there:
            accuracy = executor.float_accuracy()
            described = {"family": "float", "weight": "float32", "activation": "float32"}
            row = Row.model_validate({"id": "float", "status": "reference", **described, **measured_columns(accuracy)})
            self.store.add_reference(
                "float", Record(index=-2, choice={}, rows=(row,), numerics_key="float", accuracy=accuracy)
            )
        if "int8" not in there:
            spec = int8_reference(self.space)
            points = [(f"int8.{n}", point) for n, point in variants(spec, self.hardware)]
            key = memo_spec(spec).key
            if key not in self.memo:
                self.quantizations += 1
                self.memo[key] = dict(executor.accuracies([memo_spec(spec)]))[key]
            self.store.add_reference("int8", self._record(-1, None, points, (key,)))

    def _evaluate(self, proposals: Sequence[Proposal], executor: Executor) -> Iterator[tuple[Proposal, Record]]:
        """Records of the proposals, each as soon as it is complete; one quantization per numerics key, ever."""
        utilization = self.config.hardware.utilization
        waiting: list[_Waiting] = []
        specs: dict[str, NumericsSpec] = {}
        for proposal in proposals:
            spec = self.space.spec(proposal.choice)
            points = [(f"{proposal.index}.{n}", p) for n, p in variants(spec, self.hardware)]
            blocked = [precheck(self.evaluator, p, utilization) for _, p in points]
            if all(reason is not None for reason in blocked):
                rows = [
                    make_row(i, proposal.choice, p, self.evaluator, reason, utilization)
                    for (i, p), reason in zip(points, blocked, strict=True)
                    if reason is not None
                ]
                key = memo_spec(spec).key
                yield proposal, Record(index=proposal.index, choice=proposal.choice, rows=tuple(rows), numerics_key=key)
                continue
            points = [
                (name, self.evaluator.with_lanes(point) if reason is None else point)
                for (name, point), reason in zip(points, blocked, strict=True)
            ]
            wanted = [memo_spec(p.numerics) for (_, p), reason in zip(points, blocked, strict=True) if reason is None]
            specs |= {spec.key: spec for spec in wanted if spec.key not in self.memo}
            waiting.append(_Waiting(proposal, points, blocked, tuple(dict.fromkeys(spec.key for spec in wanted))))
        yield from self._complete(waiting)
        self.quantizations += len(specs)
        for key, outcome in executor.accuracies(list(specs.values())):
            self.memo[key] = outcome
            yield from self._complete(waiting)

    def _complete(self, waiting: list[_Waiting]) -> Iterator[tuple[Proposal, Record]]:
        """The records of the proposals of which every accuracy is known; takes them off the list."""
        for each in [each for each in waiting if all(key in self.memo for key in each.keys)]:
            waiting.remove(each)
            index, choice = each.proposal.index, each.proposal.choice
            yield each.proposal, self._record(index, choice, each.points, each.keys, each.blocked)

    def _record(
        self,
        index: int,
        choice: Choice | None,
        points: Sequence[tuple[str, DesignPoint]],
        keys: Sequence[str],
        blocked: Sequence[str | Refusal | None] = (),
    ) -> Record:
        """The record of points whose numerics have these keys, all in the memo.

        Args:
            blocked: why a point was not to be measured, or None; it has an accuracy all the same if another shares its key.
        """
        rows = []
        for (name, point), reason in zip(points, blocked or [None] * len(points), strict=True):
            key = memo_spec(point.numerics).key
            outcome = self.memo[key] if key in keys else reason
            assert outcome is not None  # what is not blocked was measured
            utilization = self.config.hardware.utilization
            rows.append(make_row(name, choice, point, self.evaluator, outcome, utilization))
        return Record(
            index=index,
            choice=dict(choice or {}),
            rows=tuple(rows),
            numerics_key=keys[0],
            accuracy=self.memo[keys[0]],
            others={key: self.memo[key] for key in keys[1:]},
        )

    def _store(self, proposal: Proposal, record: Record) -> None:
        values = self._values(record)
        failed = all(row.status == "failed" for row in record.rows)
        trial = finished_trial(self.space, proposal, values, failed)
        self.store.add(record, trial)
        self.records[record.index] = (record, trial)

    def _values(self, record: Record) -> list[float] | None:
        """What Optuna is told: the feasible variant that is best in the first cost objective (then in the next ones)."""
        feasible = [row.model_dump() for row in record.rows if row.status == "ok"]
        if not feasible:
            return None
        costs = [o for o in self.objectives if o.is_cost]
        best = min(feasible, key=lambda row: losses([o.read(row) for o in costs], costs))
        return [o.read(best) for o in self.objectives]


def int8_reference(space: Space) -> NumericsSpec:
    """INT8 weights per channel times INT8 activations per tensor, round-to-nearest, with the sweep's own rules."""
    rules = space.rules
    return NumericsSpec(
        weight=TensorQuant(IntFormat(8), Scaling(Granularity.CHANNEL)),
        activation=TensorQuant(IntFormat(8)),
        recipe=Recipe(),
        edge=None if rules.edge == "same" else parse_element(rules.edge),
        residual=None if rules.residual == "same" else parse_element(rules.residual),
    )


def _headline(record: Record) -> Row:
    """The row that stands for a record in the progress line: the first feasible one, else the first."""
    return next((row for row in record.rows if row.status == "ok"), record.rows[0])


def counts(rows: Iterable[Row]) -> Mapping[str, int]:
    """How many rows there are of each status."""
    tally: dict[str, int] = {}
    for row in rows:
        tally[row.status] = tally.get(row.status, 0) + 1
    return tally
