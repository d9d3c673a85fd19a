"""Hadamard matrices: square, of entries +1 and -1, with orthogonal rows.

Sizes: Sylvester's powers of two (1867), Paley's q + 1 for primes q = 3 mod 4 and 2 (q + 1) for primes q = 1 mod 4 (J. Math.
Phys. 12 (1933) 311-320), and products of any two of these; for a width there is one, or none is known here.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor, nn

from hwmodels.errors import BitfrontError
from workloads.fake_quant import channel_axis


class HadamardError(BitfrontError):
    """A size that no Hadamard matrix is known for."""


@cache
def hadamard(size: int) -> Tensor:
    """A Hadamard matrix, float64 (size, size); for powers of two Sylvester's, which is symmetric.

    Raises:
        HadamardError: none is known here.
    """
    power = size & -size if size > 0 else 0  # of two, the largest that divides the size
    for doubled in reversed(range(power.bit_length())):
        core = _core(size >> doubled)
        if core is not None:
            sylvester = torch.ones(1, 1, dtype=torch.float64)
            for _ in range(doubled):
                sylvester = torch.kron(torch.tensor([[1, 1], [1, -1]], dtype=torch.float64), sylvester)
            return torch.kron(sylvester, core)
    raise HadamardError(
        f"a Hadamard matrix must have a size of 2^k times 1, q + 1 (q a prime, 3 mod 4) or 2 (q + 1) (q a prime, 1 mod 4), but "
        f"got {size}; use hadamardN with a power of two N that divides it."
    )


def _core(size: int) -> Tensor | None:
    """The matrix of a size that is 1 or one of Paley's, or None."""
    if size == 1:
        return torch.ones(1, 1, dtype=torch.float64)
    if size % 4:
        return None
    if _is_prime(size - 1):  # 3 mod 4, since 4 divides size
        skew = torch.zeros(size, size, dtype=torch.float64)
        skew[0, 1:], skew[1:, 0], skew[1:, 1:] = 1, -1, _jacobsthal(size - 1)
        return skew + torch.eye(size, dtype=torch.float64)
    q = size // 2 - 1
    if q % 4 == 1 and _is_prime(q):
        conference = torch.zeros(q + 1, q + 1, dtype=torch.float64)
        conference[0, 1:], conference[1:, 0], conference[1:, 1:] = 1, 1, _jacobsthal(q)
        plus, minus = (torch.tensor(m, dtype=torch.float64) for m in ([[1, 1], [1, -1]], [[1, -1], [-1, -1]]))
        return torch.kron(conference, plus) + torch.kron(torch.eye(q + 1, dtype=torch.float64), minus)
    return None


def _jacobsthal(q: int) -> Tensor:
    """Whether i - j is a square modulo the prime q (1), is none (-1) or zero (0)."""
    squares = {x * x % q for x in range(1, q)}
    character = torch.tensor([0.0, *(1.0 if x in squares else -1.0 for x in range(1, q))], dtype=torch.float64)
    index = torch.arange(q)
    return character[(index.unsqueeze(1) - index) % q]


def _is_prime(n: int) -> bool:
    return n > 1 and all(n % d for d in range(2, int(n**0.5) + 1))


def random_rotation(size: int, seed: int) -> Tensor:
    """diag(s) H / sqrt(size) with seeded random signs s (QuaRot, arXiv 2404.00456, section 3), float64, orthogonal.

    Raises:
        HadamardError: as :func:`hadamard`.
    """
    signs = torch.randint(0, 2, (size, 1), generator=torch.Generator().manual_seed(seed)).double() * 2 - 1
    made: Tensor = signs * hadamard(size) / size**0.5
    return made


class BlockHadamard(nn.Module):
    """An online rotation: each `block` channels times H / sqrt(block), Sylvester's H, which is its own inverse.

    Args:
        block: a power of two that divides the channels.
    """

    def __init__(self, block: int) -> None:
        super().__init__()
        assert block.bit_count() == 1
        self.block = block
        self.matrix: Tensor
        self.register_buffer("matrix", (hadamard(block) / block**0.5).float(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the rotated values, of the shape of `x`: channels are axis 1 of images, the last one else."""
        channels = channel_axis(x)
        blocks = x.reshape(*x.shape[:channels], -1, self.block, *x.shape[channels + 1 :])
        rotated: Tensor = (
            torch.einsum("...bhw,bc->...chw", blocks, self.matrix) if x.ndim == 4 else blocks @ self.matrix
        )
        return rotated.reshape(x.shape)
