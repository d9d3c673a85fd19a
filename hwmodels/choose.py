"""One option out of each group, cheapest in total, within a budget of several resources: exactly (multiple-choice knapsack).

Groups are joined one after the other. A partial choice is kept only if what is left of the budget can still hold the least
needs of the other groups, and if its Lagrangian bound (H. Everett, Operations Research 11, 1963) lies below the best complete
choice known. The bound is tight where few options compete for a resource, so that few partial choices survive.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hwmodels.errors import BitfrontError

Floats = NDArray[np.float64]

_ROUNDS = 300
"""Steps of the search for good multipliers (chosen: more do not tighten the bound on networks of 22 layers)."""

_MOST_PARTIAL = 1 << 21
"""Partial choices that are kept at most, a few hundred MB."""

_SLACK = 1e-9
"""Relative error of a bound that rounding may cause: such partial choices are kept."""


class ChoiceError(BitfrontError):
    """A choice with too many near-equal alternatives to be decided exactly."""


def cheapest(prices: Sequence[Floats], needs: Sequence[Floats], budget: Floats) -> list[int] | None:
    """The option of each group such that the prices sum to the least and the needs to at most `budget`; None if none does.

    Args:
        prices: of the options of each group, shape (options,), not negative.
        needs: of the options of each group, shape (options, resources), not negative.
        budget: shape (resources,).

    Raises:
        ChoiceError: too many alternatives.
    """
    alone = [int(np.argmin(price)) for price in prices]
    if np.all(sum(need[i] for need, i in zip(needs, alone, strict=True)) <= budget):
        return alone
    least = _sums_behind([need.min(axis=0) for need in needs])
    if np.any(least[0] > budget):
        return None
    weights, best, found = _multipliers(prices, needs, budget)
    bounds = _sums_behind(
        [(price + need @ weights).min(keepdims=True) for price, need in zip(prices, needs, strict=True)]
    )
    used, paid = np.zeros((1, len(budget))), np.zeros(1)
    steps: list[tuple[NDArray[np.intp], NDArray[np.intp]]] = []
    for group, (price, need) in enumerate(zip(prices, needs, strict=True)):
        before, option = (part.ravel() for part in np.indices((len(paid), len(price))))
        used, paid = used[before] + need[option], paid[before] + price[option]
        bound = paid + (used - budget) @ weights + bounds[group + 1]
        kept = np.all(used + least[group + 1] <= budget, axis=1) & (bound < best * (1 + _SLACK))
        # equal groups give the same needs in many orders: one is enough, the cheapest
        order = np.flatnonzero(kept)[np.argsort(paid[kept], kind="stable")]
        _, first = np.unique(used[order], axis=0, return_index=True)
        order = order[first]
        if len(order) > _MOST_PARTIAL:
            raise ChoiceError(f"at most {_MOST_PARTIAL} partial choices can be kept, but there are {len(order)}.")
        used, paid = used[order], paid[order]
        steps.append((before[order], option[order]))
    if len(paid) and (found is None or paid.min() < best):
        return _followed(steps, int(np.argmin(paid)))
    return found


def _sums_behind(parts: Sequence[Floats]) -> list[Floats]:
    """The sum of the parts from each group on; one entry more than there are groups, which is zero."""
    total = np.zeros_like(parts[0])
    sums = [total]
    for part in reversed(parts):
        total = total + part
        sums.append(total)
    return sums[::-1]


def _multipliers(
    prices: Sequence[Floats], needs: Sequence[Floats], budget: Floats
) -> tuple[Floats, float, list[int] | None]:
    """(price of each resource in the bound, total price of the best choice met on the way, that choice) by subgradients."""
    scale = np.where(budget > 0, budget, 1)
    weights, bound_weights, highest = np.zeros(len(budget)), np.zeros(len(budget)), -np.inf
    best, found = np.inf, None
    worth = sum(float(price.max()) for price in prices)  # of the whole budget, within a factor
    for step in range(1, _ROUNDS + 1):
        choice = [int(np.argmin(price + need @ weights)) for price, need in zip(prices, needs, strict=True)]
        paid = float(sum(price[i] for price, i in zip(prices, choice, strict=True)))
        used = np.sum([need[i] for need, i in zip(needs, choice, strict=True)], axis=0)
        if np.all(used <= budget) and paid < best:
            best, found = paid, choice
        bound = paid + float((used - budget) @ weights)
        if bound > highest:
            highest, bound_weights = bound, weights
        weights = np.maximum(0, weights + worth * (used - budget) / scale**2 / step)
    return bound_weights, best, found


def _followed(steps: Sequence[tuple[NDArray[np.intp], NDArray[np.intp]]], last: int) -> list[int]:
    """The options that led to a complete choice."""
    options = []
    for before, option in reversed(steps):
        options.append(int(option[last]))
        last = int(before[last])
    return options[::-1]
