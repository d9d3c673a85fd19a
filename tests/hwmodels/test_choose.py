"""One option per group within a budget: compared with all combinations."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwmodels import choose
from hwmodels.choose import ChoiceError, cheapest

GROUPS = st.integers(1, 3).flatmap(
    lambda resources: st.tuples(
        st.lists(
            st.lists(st.tuples(st.integers(0, 9), st.tuples(*[st.integers(0, 9)] * resources)), min_size=1, max_size=5),
            min_size=1,
            max_size=4,
        ),
        st.tuples(*[st.integers(0, 24)] * resources),
    )
)


def split(groups) -> tuple[list[np.ndarray], list[np.ndarray]]:
    return (
        [np.array([price for price, _ in group], float) for group in groups],
        [np.array([need for _, need in group], float) for group in groups],
    )


@given(GROUPS)
def test_it_is_the_cheapest_of_all_combinations(case) -> None:
    groups, budget = case
    fitting = [
        sum(price for price, _ in chosen)
        for chosen in product(*groups)
        if all(sum(need[i] for _, need in chosen) <= most for i, most in enumerate(budget))
    ]
    found = cheapest(*split(groups), np.array(budget, float))
    assert (found is None) == (not fitting)
    if found is not None:
        chosen = [group[i] for group, i in zip(groups, found, strict=True)]
        assert all(sum(need[i] for _, need in chosen) <= most for i, most in enumerate(budget))
        assert sum(price for price, _ in chosen) == min(fitting)


def test_many_groups_that_trade_one_resource_for_another() -> None:
    """40 groups of 10 options: 10^40 combinations."""
    rng = np.random.default_rng(0)
    sizes, trade = rng.random(40) * 100, np.linspace(0.2, 3, 10)
    needs = [np.stack([np.round(20 * size * trade), np.round(size / trade / 3)], axis=1) for size in sizes]
    prices = [need @ np.array([2 / 53_200, 1 / 280]) for need in needs]
    free = np.sum([need[np.argmin(price)] for need, price in zip(needs, prices, strict=True)], axis=0)
    budget = free * (0.9, 1.6)
    found = cheapest(prices, needs, budget)
    assert found is not None
    assert np.all(np.sum([need[i] for need, i in zip(needs, found, strict=True)], axis=0) <= budget)


def test_too_many_alternatives_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choose, "_MOST_PARTIAL", 10)
    rng = np.random.default_rng(0)
    needs = [rng.random((12, 3)) for _ in range(6)]
    with pytest.raises(ChoiceError, match="at most 10 partial choices can be kept, but there are"):
        cheapest([10 - need.mean(axis=1) for need in needs], needs, np.full(3, 2.6))
