"""AXE (arXiv 2409.17092): what GPTQ may choose, so that no partial sum of a tile can leave a P-bit accumulator.

Two constraints, both per output channel and tile of T inputs: a soft threshold, by projection onto the l1 ball that the
accumulator has room for (section 3.1), and a strict budget, spent weight by weight (section 3.2). As Brevitas 0.13.4 has
them (`brevitas_examples.common.axe`), but for two things: limits are whole numbers here, where Brevitas divides in float32
and can be one code too generous at 25 bits and more; and the inputs' range is that of their format, narrow or not.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hwmodels.accumulator import code_range
from hwmodels.formats import IntFormat


class Budget:
    """The room left in the accumulators of a layer while its columns are rounded.

    Args:
        weight: float weights, (problems, rows, cols).
        scale: of the weights, broadcastable to them; one per row and tile.
        activation: format of the inputs.
        bits: P; sums stay within +-(2^(P-1) - 1).
        tile: T, columns that share an accumulator.
    """

    def __init__(self, weight: Tensor, scale: Tensor, *, activation: IntFormat, bits: int, tile: int) -> None:
        problems, rows, cols = weight.shape
        tiles = -(-cols // tile)
        self.low, self.high = code_range(activation)
        self.limit, self.tile = (1 << (bits - 1)) - 1, tile
        self.positive = torch.zeros(problems, tiles, rows, dtype=torch.int64)
        self.negative = torch.zeros_like(self.positive)
        scales = scale.expand_as(weight)
        codes = torch.nn.functional.pad(weight / scales, (0, tiles * tile - cols)).reshape(-1, tile)
        radius = ((1 << bits) - 2) / (self.high - self.low)
        thresholds = soft_thresholds((codes - codes.mean(dim=1, keepdim=True)).numpy(), radius)
        self.thresholds = torch.from_numpy(thresholds).view(problems, rows, tiles).transpose(1, 2) * scales[
            :, :, ::tile
        ].transpose(1, 2)
        self._problems = torch.arange(problems)

    def constrain(self, value: Tensor, scale: Tensor, column: Tensor) -> Tensor:
        """Weights (problems, rows) of one column each, shrunk by the threshold and cut to what is left of the budget."""
        tile = self._problems, column // self.tile
        plus, minus = self.positive[tile], self.negative[tile]
        # room below and above, after the largest and the smallest sums that the codes so far can make
        above = self.limit - (self.high * plus + self.low * minus)
        below = -self.limit - (self.low * plus + self.high * minus)
        most, least = above.div(self.high, rounding_mode="floor"), -(-below).div(self.high, rounding_mode="floor")
        if self.low < 0:
            most = most.minimum((-below).div(-self.low, rounding_mode="floor"))
            least = least.maximum(-above.div(-self.low, rounding_mode="floor"))
        shrunk = value.sign() * torch.relu(value.abs() - self.thresholds[tile])
        return shrunk.clamp(scale * least.clamp(max=0), scale * most.clamp(min=0))

    def spend(self, code: Tensor, column: Tensor) -> None:
        """Take the codes (problems, rows) chosen for one column each out of the budget."""
        tile = self._problems, column // self.tile
        whole = code.to(torch.int64)
        self.positive[tile] += whole.clamp(min=0)
        self.negative[tile] += whole.clamp(max=0)


def soft_thresholds(vectors: NDArray[np.float32], radius: float) -> NDArray[np.float32]:
    """What to shrink the entries of each row by, so that its l1 norm is `radius`; 0 where it is less already.

    J. Duchi et al., "Efficient projections onto the l1-ball for learning in high dimensions", ICML 2008, figure 1.
    """
    sizes, room = np.abs(vectors), np.float32(radius)
    descending = np.sort(sizes, axis=1)[:, ::-1]
    sums = np.cumsum(descending, axis=1)
    inside = descending * np.arange(1, sizes.shape[1] + 1) > sums - room
    last = sizes.shape[1] - 1 - np.argmax(inside[:, ::-1], axis=1)
    theta = (sums[np.arange(len(sums)), last] - room) / (last + 1)
    return np.where(sizes.sum(axis=1) <= room, 0.0, theta).astype(np.float32)
