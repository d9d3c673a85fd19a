"""Proposals are a pure function of seed and history, never repeat, and use the space up."""

import pytest
import yaml

from dse.config import parse_config
from dse.search import SAMPLERS, Proposal, finished_trial, propose
from dse.space import choice_key, make_space
from dse.template import render
from hwmodels.catalog import parse_element

DIRECTIONS = ("maximize", "minimize")


def made(sampler, **space):
    data = yaml.safe_load(render("digits-resnet", "x"))
    data["space"] |= space
    data["search"] = {"sampler": sampler, "population": 4}
    return parse_config(yaml.safe_dump(data))


def score(choice):
    """A smooth stand-in for accuracy and cost, known for every choice."""
    bits = [parse_element(choice[a]).bits for a in ("weight", "activation")]
    return [1 - 0.5 ** bits[0] - 0.4 ** bits[1], float(bits[0] * bits[1])]


def search(config, count, batch=4, seed=5):
    space, history = make_space(config), []
    proposals: list[Proposal] = []
    for start in range(0, count, batch):
        asked = propose(space, config.search, seed, DIRECTIONS, history, range(start, min(start + batch, count)))
        proposals += asked
        # every fifth point is refused: samplers must cope with trials that have no values
        history += [
            finished_trial(space, p, None if p.index % 5 == 4 else score(p.choice), failed=False) for p in asked
        ]
    return proposals


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_same_seed_gives_the_same_points_and_no_point_twice(sampler):
    first, again = search(made(sampler), 24), search(made(sampler), 24)
    assert first == again
    assert len({choice_key(p.choice) for p in first}) == 24


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_another_seed_gives_other_points(sampler):
    assert search(made(sampler), 8) != search(made(sampler), 8, seed=6)


def test_a_small_space_is_used_up_exactly():
    config = made(
        "nsga2", weight=["int4", "int8"], activation=["int4"], weight_scaling=["channel"], activation_scaling=["tensor"]
    )
    size = make_space(config).size()
    assert size is not None
    assert len(search(config, size + 10)) == size


def test_a_search_learns():
    """NSGA-II's last points dominate its first ones, which are random, more often than the other way round."""
    proposals = search(made("nsga2"), 64)
    first, last = ([score(p.choice) for p in points] for points in (proposals[:16], proposals[48:]))

    def dominated(by, those):
        return sum(a != b and a[0] >= b[0] and a[1] <= b[1] for a in by for b in those)

    assert dominated(last, first) > dominated(first, last)
