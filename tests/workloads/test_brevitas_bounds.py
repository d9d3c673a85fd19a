"""The A2Q bound of hwmodels beside the one that Brevitas trains with."""

import pytest
import torch
from brevitas.function.ops import get_upper_bound_on_l1_norm

from hwmodels.accumulator_bounds import a2q_budget
from hwmodels.formats import IntFormat


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_a2q_budget_is_brevitas_bound_rounded_down(bits: int, signed: bool) -> None:
    for width in range(bits, 24):
        theirs = get_upper_bound_on_l1_norm(torch.tensor(float(width)), torch.tensor(float(bits)), signed)
        assert a2q_budget(width, IntFormat(bits, signed=signed)) == int(theirs.floor())
