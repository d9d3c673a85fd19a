"""All foldings of all layers that are fast enough, and what each needs, once the cycles of the slowest are fixed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import inf

import numpy as np
from numpy.typing import NDArray

from hwmodels import dataflow
from hwmodels.choose import cheapest
from hwmodels.devices import Device
from hwmodels.folding import MOST_STREAM_BITS, FoldingError
from hwmodels.ops import Compute, Depthwise, Folding, Network, Numerics, Window, divisors
from hwmodels.options import CostOptions
from hwmodels.primitives.memory import price
from hwmodels.resources import NAMES, Resources
from hwmodels.tables import resource_row
from hwmodels.varying import Axis, Varying, chosen, derive
from hwmodels.wiring import Component, Wiring, waiting_fifo, waiting_words

Rows = NDArray[np.float64]


class InfeasibleError(FoldingError):
    """A frame rate that no folding reaches on a part; the message is the proof."""


@dataclass(frozen=True, eq=False)
class Problem:
    """What every folding needs.

    Attributes:
        name: of what is to be built, for messages.
        foldings: of every layer, those that are fast enough; the fewest products first.
        cycles: of each of them.
        needs: of each of them, shape (foldings, 6) in the order of `Resources`.
        rest: what no folding changes, shape (6,).
    """

    name: str
    device: Device
    slowest: int
    foldings: Mapping[str, Sequence[Folding]]
    cycles: Mapping[str, NDArray[np.int64]]
    needs: Mapping[str, Rows]
    rest: Rows

    @cached_property
    def _prices(self) -> dict[str, Rows]:
        """The price of every folding; what the part does not have is left to the budget."""
        held = self.device.resources
        shares = [price(Resources(**{name: 1}), held) for name in NAMES]
        weights = np.array([0 if share == inf else share for share in shares])
        return {name: needs @ weights for name, needs in self.needs.items()}

    def chosen(self, picked: Mapping[str, int]) -> dict[str, Folding]:
        """The foldings of a choice."""
        return {name: self.foldings[name][i] for name, i in picked.items()}

    def price(self, picked: Mapping[str, int]) -> float:
        """The price of the accelerator of a choice."""
        return self._rest_price + sum(float(self._prices[name][i]) for name, i in picked.items())

    @cached_property
    def _rest_price(self) -> float:
        return price(Resources(**dict(zip(NAMES, self.rest.tolist(), strict=True))), self.device.resources)

    def cheapest(self, budget: Resources, pinned: str | None = None) -> dict[str, int] | None:
        """The cheapest choice within the budget, or None; a `pinned` layer takes exactly the slowest layer's cycles."""
        left = np.array(budget.counts()) - self.rest
        if np.any(left < 0):
            return None
        options = {
            name: np.flatnonzero(taken == self.slowest) if name == pinned else np.arange(len(taken))
            for name, taken in self.cycles.items()
        }
        scarce = sum(needs.max(axis=0) for needs in self.needs.values()) > left
        picked = cheapest(
            [self._prices[name][each] for name, each in options.items()],
            [self.needs[name][each][:, scarce] for name, each in options.items()],
            left[scarce],
        )
        if picked is None:
            return None
        return {name: int(each[i]) for (name, each), i in zip(options.items(), picked, strict=True)}

    def cheapest_of_speed(self, budget: Resources) -> dict[str, int] | None:
        """The cheapest choice within the budget whose slowest layer takes exactly the cycles that were fixed, or None."""
        layers = [name for name, taken in self.cycles.items() if np.any(taken == self.slowest)]
        picks = [pick for pick in (self.cheapest(budget, name) for name in layers) if pick is not None]
        return min(picks, key=self.price, default=None)

    def proof(self, budget: Resources) -> str:
        """Which resource is short however the layers are folded, and who takes most of it."""
        least = {name: needs.min(axis=0) for name, needs in self.needs.items()}
        total, limit = self.rest + sum(least.values()), np.array(budget.counts())
        short = [i for i in range(len(NAMES)) if total[i] > limit[i]]
        if not short:
            most = self.rest + sum(needs.max(axis=0) for needs in self.needs.values())
            pair = " and ".join(_LABELS[i] for i in np.flatnonzero(most > limit))
            return (
                f"{self.name} must fit {self.device.name}, but no choice of PE and SIMD does: there is enough {pair} for each "
                "alone and not together; lower the frame rate."
            )
        worst = max(short, key=lambda i: total[i] / limit[i] if limit[i] else inf)
        parts = {name: needs[worst] for name, needs in least.items()} | {"what lies between layers": self.rest[worst]}
        first = max(parts, key=lambda name: parts[name])
        return (
            f"{self.name} needs at least {total[worst]:,.0f} {_LABELS[worst]}, but {self.device.name} has {limit[worst]:,.0f}; "
            f"{first} takes {parts[first]:,.0f} of them; lower the frame rate or take a larger part."
        )


_LABELS = tuple(name.upper() for name in NAMES)


def folding_problem(
    network: Network,
    numerics: Numerics,
    device: Device,
    options: CostOptions,
    cycles: int,
    slowest: int | None = None,
) -> Problem:
    """All foldings with which layers take at most `slowest` (default `cycles`), and what they need if one takes just these.

    Raises:
        InfeasibleError: an operator that takes more than `cycles` at full parallelism.
    """
    slowest = cycles if slowest is None else slowest
    foldings: dict[str, list[Folding]] = {}
    taken: dict[str, NDArray[np.int64]] = {}
    for name, (every, counts) in layer_options(network, numerics).items():
        if min(counts) > slowest:
            raise InfeasibleError(_too_slow(name, min(counts), slowest))
        fast = [i for i, count in enumerate(counts) if count <= slowest]
        foldings[name], taken[name] = [every[i] for i in fast], np.array([counts[i] for i in fast])
    axes = {name: Axis(name, len(each)) for name, each in foldings.items()}
    wiring = Wiring(
        network,
        {site: Varying((quant,)) for site, quant in numerics.sites.items()},
        {name: Varying((layer,)) for name, layer in numerics.layers.items()},
        {name: chosen(axis, foldings[name]) for name, axis in axes.items()},
        device,
        options,
        slowest,
    )
    for name, free in wiring.cycles.items():
        if min(free.values) > cycles:
            raise InfeasibleError(_too_slow(name, min(free.values), cycles))
    rest = np.zeros(len(NAMES))
    needs = {name: np.zeros((len(each), len(NAMES))) for name, each in foldings.items()}
    for part in wiring.components():
        if isinstance(part, Component):
            costs = part.costs
        else:
            least = max(0, *(lead.least for lead in part.leads))
            costs = derive(
                lambda width, words, interval, least=least: (
                    waiting_fifo(waiting_words(least, words, interval), width, device, options.units),
                ),
                part.width,
                part.words,
                wiring.interval,
            )
        rows = np.array([resource_row(each) for each in costs.values])
        for axis, classes in costs.classes.items():  # one at most: a layer's neighbours do not depend on its folding
            needs[axis.name] += rows[costs.codes[classes]]
        if not costs.classes:
            rest += rows[0]
    name = f"{network.name} in at most {cycles:,} cycles per frame"
    return Problem(name, device, slowest, foldings, taken, needs, rest)


def layer_options(network: Network, numerics: Numerics) -> dict[str, tuple[tuple[Folding, ...], tuple[int, ...]]]:
    """(foldings, cycles of each) of every layer: all divisors within the stream limit, the fewest products first."""
    windows = {op.layer: op for op in network.operators if isinstance(op, Window)}
    return {op.name: _options(op, windows.get(op.name), numerics.layers[op.name].weight.bits) for op in network.compute}


@lru_cache(maxsize=4096)
def _options(op: Compute, window: Window | None, weight_bits: int) -> tuple[tuple[Folding, ...], tuple[int, ...]]:
    wide = isinstance(op, Depthwise)
    foldings = sorted(
        (
            Folding(pe, simd)
            for pe in divisors(op.rows)
            for simd in divisors(op.cols)
            if pe * simd * weight_bits <= MOST_STREAM_BITS
        ),
        # among equals as in `fold_for_cycles`
        key=lambda folding: (folding.pe * folding.simd, -folding.pe if wide else -folding.simd),
    )
    return tuple(foldings), tuple(dataflow.layer_cycles(op, window, folding) for folding in foldings)


def _too_slow(name: str, least: int, cycles: int) -> str:
    return (
        f"{name} must take at most {cycles:,} cycles per frame, but takes {least:,} at full parallelism; lower the frame rate "
        "or raise the clock."
    )
