"""The cheapest PE and SIMD of every layer that reach a frame rate *and* fit a part: exactly, or a proof that there are none.

Operators without weights are as wide as the slowest layer asks for. Once its cycles are fixed, what a layer adds to the
accelerator (unit, memories, converters, a depthwise layer's window) depends on its own folding alone, so the network is a
choice of one folding per layer out of all divisors: cheapest by :func:`hwmodels.primitives.memory.price`, within the part.
That is solved for every number of cycles that the slowest layer can take, from the slowest down, until none can be cheaper,
since operators that must be faster cost no less. The FIFO in front of a residual add depends on two branches; it is taken at its
least depth and checked in the estimate of the solution.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from math import inf

from hwmodels import dataflow
from hwmodels.datapath import Multiplier
from hwmodels.devices import Device
from hwmodels.errors import BitfrontError
from hwmodels.estimate import estimate
from hwmodels.folding import FoldingError
from hwmodels.folding_problem import InfeasibleError, Problem, folding_problem, layer_options
from hwmodels.ops import Depthwise, Folding, MatVec, Network, Numerics, Window, divisors
from hwmodels.options import CostOptions
from hwmodels.primitives.memory import price
from hwmodels.resources import Resources
from hwmodels.wiring import require_choices

__all__ = ["Fastest", "FoldingError", "InfeasibleError", "fastest_for_device", "fold_for_device"]


@dataclass(frozen=True)
class Fastest:
    """The fastest accelerator that fits.

    Attributes:
        cycles: per frame, of its slowest operator.
        barrier: why the next faster one does not fit; None if no operator can be faster.
    """

    cycles: int
    foldings: Mapping[str, Folding]
    barrier: str | None


def fold_for_device(
    network: Network,
    numerics: Numerics,
    device: Device,
    cycles: int,
    options: CostOptions | None = None,
    *,
    budget: Resources | None = None,
) -> Mapping[str, Folding]:
    """The foldings with the lowest price among all that take at most `cycles` per frame and fit.

    Args:
        budget: what may be used of the part; default all of it.

    Raises:
        InfeasibleError: there are none. One sentence names the layer that cannot be fast enough, or the resource that is short
            and the layer that takes most of it.
        ShapeError, DatapathError, MemoryStyleError: as :func:`hwmodels.estimate.estimate`.
    """
    solver = _Solver(network, numerics, device, options or CostOptions(), budget or device.resources)
    try:
        return solver.cheapest(cycles)
    except InfeasibleError as error:
        other = Multiplier.LUT if solver.options.multiplier is Multiplier.DSP else Multiplier.DSP
        try:
            replace(solver, options=replace(solver.options, multiplier=other)).some(cycles)
        except BitfrontError:
            raise error from None
        raise InfeasibleError(f"{str(error).removesuffix('.')}; {other.upper()} multipliers would do.") from None


def fastest_for_device(
    network: Network,
    numerics: Numerics,
    device: Device,
    options: CostOptions | None = None,
    *,
    budget: Resources | None = None,
) -> Fastest:
    """The cheapest of the fastest accelerators that fit.

    Found by bisection over all cycles that an operator can take; it too rests on faster ones costing no less.

    Raises:
        InfeasibleError: not even the slowest one fits.
    """
    solver = _Solver(network, numerics, device, options or CostOptions(), budget or device.resources)
    candidates = solver.candidates
    solver.some(candidates[-1])
    barriers: dict[int, str] = {}

    def fits(index: int) -> bool:
        try:
            solver.some(candidates[index])
        except InfeasibleError as error:
            barriers[index] = str(error)
            return False
        return True

    fastest = bisect_left(range(len(candidates) - 1), True, key=fits)
    foldings = solver.cheapest(candidates[fastest])
    cycles = estimate(network, numerics, foldings, device, solver.options).max_cycles
    return Fastest(cycles, foldings, barriers.get(fastest - 1))


@dataclass(frozen=True)
class _Solver:
    """What all solutions have in common."""

    network: Network
    numerics: Numerics
    device: Device
    options: CostOptions
    budget: Resources

    def __post_init__(self) -> None:
        require_choices(self.network, self.numerics, {op.name for op in self.network.compute})

    @cached_property
    def _layer_cycles(self) -> list[int]:
        """All cycles per frame that a layer with weights can take, ascending."""
        return sorted({count for _, cycles in layer_options(self.network, self.numerics).values() for count in cycles})

    @cached_property
    def candidates(self) -> list[int]:
        """All cycles per frame that an operator can take, ascending, from those on that every operator can keep up with."""
        least = [min(cycles) for _, cycles in layer_options(self.network, self.numerics).values()]
        reached = set(self._layer_cycles)
        for op in self.network.operators:
            match op:
                case MatVec() | Depthwise():
                    continue
                case Window():
                    shape, ways = dataflow.window_shape(op), [(n, False) for n in divisors(op.channels)]
                    free = {shape.cycles(n, whole) for n, whole in [*ways, (op.channels, True)]}
                case _:
                    free = {op.channels // n * dataflow.steps(op) for n in divisors(op.channels)}
            least.append(min(free))
            reached |= free
        return sorted(count for count in reached if count >= max(least))

    def _problem(self, cycles: int, slowest: int | None = None) -> Problem:
        return folding_problem(self.network, self.numerics, self.device, self.options, cycles, slowest)

    def some(self, cycles: int) -> Mapping[str, Folding]:
        """Foldings that are fast enough and fit, cheap but maybe not the cheapest; refused by proof."""
        problem = self._problem(cycles)
        picked = problem.cheapest(self.budget)
        if picked is None:
            raise InfeasibleError(problem.proof(self.budget))
        foldings = problem.chosen(picked)
        fits = not estimate(self.network, self.numerics, foldings, self.device, self.options).total.fits(self.budget)
        return foldings if fits else self.cheapest(cycles)

    def cheapest(self, cycles: int) -> Mapping[str, Folding]:
        """The cheapest foldings that are fast enough and fit."""
        whole = self._problem(cycles)
        if whole.cheapest(self.budget) is None:
            raise InfeasibleError(whole.proof(self.budget))
        best, found = inf, None
        for slowest in reversed([count for count in self._layer_cycles if count <= cycles]):
            try:
                problem = self._problem(cycles, slowest)
            except InfeasibleError:
                break
            bound = problem.cheapest(self.budget)
            if bound is None or problem.price(bound) >= best:
                break
            paid, foldings = self._solved(problem)
            if paid < best:
                best, found = paid, foldings
        if found is None:
            raise InfeasibleError(
                f"{whole.name} fits {self.device.name} only without the FIFOs of its residual adds; lower the frame rate."
            )
        return found

    def _solved(self, problem: Problem) -> tuple[float, Mapping[str, Folding] | None]:
        """(price, foldings) of the cheapest choice whose slowest layer takes exactly the problem's cycles; inf, None if none.

        The FIFOs that it needs beyond their least depth are taken off the budget of another try, until one fits.
        """
        budget = self.budget
        while True:
            picked = problem.cheapest_of_speed(budget)
            if picked is None:
                return inf, None
            foldings = problem.chosen(picked)
            total = estimate(self.network, self.numerics, foldings, self.device, self.options).total
            over = total.fits(self.budget)
            if not over:
                return price(total, self.device.resources), foldings
            left = budget.as_dict()
            for name, needed, available in over:
                left[name] -= needed - available
            if min(left.values()) < 0:
                return inf, None
            budget = Resources(**left)
