"""Asking Optuna for the next points, as a pure function of the seed and the finished trials.

Optuna's samplers carry random state and cached populations. Here every batch is asked from a fresh in-memory study that
holds the finished trials, by a sampler seeded from (sweep seed, index of the point, attempt). So the same history gives the
same proposals, whatever was killed, resumed or evaluated in parallel before: resuming needs no sampler state at all.
"""

from __future__ import annotations

import hashlib
import random
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import optuna

from dse.config_sections import SearchConfig
from dse.records import Direction
from dse.space import Space, choice_key

ATTEMPTS = 12
"""Proposals per point before a free point is drawn at random: samplers repeat themselves in discrete spaces."""

SAMPLERS: dict[str, Callable[[SearchConfig, int], optuna.samplers.BaseSampler]] = {
    "nsga2": lambda c, seed: optuna.samplers.NSGAIISampler(population_size=c.population, seed=seed),
    "tpe": lambda c, seed: optuna.samplers.TPESampler(seed=seed, multivariate=True, constant_liar=True),
    "gp": lambda c, seed: optuna.samplers.GPSampler(seed=seed, deterministic_objective=True),
    "random": lambda c, seed: optuna.samplers.RandomSampler(seed=seed),
}


@dataclass(frozen=True)
class Proposal:
    """A point to evaluate: its index, the choice per axis, and the attributes Optuna wants to see on the trial again."""

    index: int
    choice: dict[str, str]
    system_attrs: dict[str, object]


def derived_seed(*parts: object) -> int:
    """A 32-bit seed from the parts: independent streams for every index and attempt."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:4], "big")


def distributions(space: Space) -> dict[str, optuna.distributions.BaseDistribution]:
    """The axes as Optuna sees them."""
    return {a: optuna.distributions.CategoricalDistribution(space.axes[a]) for a in space.searched}


def propose(
    space: Space,
    search: SearchConfig,
    seed: int,
    directions: Sequence[Direction],
    history: Sequence[optuna.trial.FrozenTrial],
    indices: range,
) -> list[Proposal]:
    """The next points, all different from each other and from the history; fewer than asked when the space is used up.

    Args:
        space: the axes.
        search: sampler and its settings.
        seed: of the sweep.
        directions: maximize or minimize, per objective.
        history: the finished trials, in the order of their indices, all with an index below ``indices.start``.
        indices: the indices to propose for; all of them see the same history.
    """
    study = optuna.create_study(directions=list(directions), sampler=optuna.samplers.RandomSampler(seed))
    study.add_trials(history)
    taken = {choice_key(t.params) for t in history}
    proposals = []
    for index in indices:
        proposal = _one(study, space, search, seed, index, taken)
        if proposal is None:
            break
        taken.add(choice_key(proposal.choice))
        proposals.append(proposal)
    return proposals


def _one(
    study: optuna.Study,
    space: Space,
    search: SearchConfig,
    seed: int,
    index: int,
    taken: set[tuple[str, ...]],
) -> Proposal | None:
    dists = distributions(space)
    attributes: dict[str, object] = {}
    for attempt in range(ATTEMPTS):
        with warnings.catch_warnings():
            # the multivariate TPE and the noiseless GP are called experimental on every use; their pin is ours to keep
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            study.sampler = SAMPLERS[search.sampler](search, derived_seed(seed, index, attempt))
            trial = study.ask(dists)
        attributes = trial.storage.get_trial_system_attrs(trial._trial_id)
        choice = {a: str(trial.params[a]) for a in space.searched}
        if choice_key(choice) not in taken and space.exists(choice):
            return Proposal(index, choice, attributes)
        study.tell(trial, state=optuna.trial.TrialState.FAIL)
    drawn = space.draw(random.Random(derived_seed(seed, index, "draw")), frozenset(taken))
    if drawn is None:
        return None
    # the attributes of the last attempt stand in: NSGA-II counts a trial to its generation by them
    return Proposal(index, drawn, attributes)


def finished_trial(
    space: Space, proposal: Proposal, values: Sequence[float] | None, failed: bool
) -> optuna.trial.FrozenTrial:
    """The Optuna trial of an evaluated proposal: complete with values, or pruned (refused, too big), or failed."""
    state = optuna.trial.TrialState.COMPLETE
    if values is None:
        state = optuna.trial.TrialState.FAIL if failed else optuna.trial.TrialState.PRUNED
    return optuna.trial.create_trial(
        state=state,
        values=list(values) if values is not None else None,
        params={a: proposal.choice[a] for a in space.searched},
        distributions=distributions(space),
        system_attrs=dict(proposal.system_attrs),
    )
