"""What a format leaves of a tensor (QSNR) and what makes that hard (the crest factor): the measures of arXiv 2510.25602."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray


def qsnr_db(original: NDArray[np.floating], rounded: NDArray[np.floating]) -> float:
    """Return -10 log10(||X - Xq||^2 / ||X||^2), dB (arXiv 2510.25602, section 4); infinite if nothing was lost."""
    exact = original.astype(np.float64)
    return ratio_db(float((exact**2).sum()), float(((exact - rounded) ** 2).sum()))


def ratio_db(signal: float, error: float) -> float:
    """Return the QSNR of two sums of squares, dB; infinite if nothing was lost, minus infinite if nothing was there to lose."""
    if error == 0:
        return math.inf
    return 10 * math.log10(signal / error) if signal else -math.inf


def crest_factors(blocks: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return max|X| / sigma of every block along the last axis (arXiv 2510.25602, section 4): kappa.

    sigma is the root mean square, as the blocks there have mean zero. A block of zeros has no crest and gets 1, the least
    that any other block can have.
    """
    exact = np.abs(blocks.astype(np.float64))
    peak, rms = exact.max(axis=-1), np.sqrt((exact**2).mean(axis=-1))
    return np.asarray(np.where(peak > 0, peak / np.where(rms > 0, rms, 1.0), 1.0))
