"""How far a Sharpe ratio is above what the best of as many worthless strategies would have."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from scipy.special import ndtr, ndtri

from domain.events import Floats

EULER: Final = 0.5772156649015329
FEWEST: Final = 3  # returns that have a skewness


def deflated_sharpe(returns: Floats, trials: int) -> float:
    """The chance that there is more to a strategy than having been chosen among `trials`.

    DSR = Φ((SR − SR₀) √(T − 1) / √(1 − γ₃ SR + (γ₄ − 1)/4 SR²)) (Bailey and López de Prado 2014).
    SR₀ is the Sharpe ratio that is expected of the best of `trials` strategies worth nothing,
    whose own ratios have the variance 1/(T − 1), that of an estimate where the truth is 0.

    Args:
        returns: (T,) of equal periods that do not overlap.
        trials: strategies that were tried, this one among them.

    Returns:
        NaN with fewer than three returns, or where they are all the same.
    """
    count = len(returns)
    if count < FEWEST or not np.ptp(returns) > 0.0:
        return math.nan
    centred = (returns - returns.mean()) / returns.std()
    ratio = float(returns.mean() / returns.std())
    skewness, kurtosis = float((centred**3).mean()), float((centred**4).mean())
    spread = 1.0 - skewness * ratio + (kurtosis - 1.0) / 4.0 * ratio**2
    if spread <= 0.0:
        return math.nan
    above = ratio - best_of(trials) / math.sqrt(count - 1)
    return float(ndtr(above * math.sqrt((count - 1) / spread)))


def best_of(trials: int) -> float:
    """About the mean of the largest of so many standard normal numbers; 0 of one.

    >>> [round(best_of(trials), 2) for trials in (1, 2, 100)]
    [0.0, 0.52, 2.53]
    """
    if trials <= 1:
        return 0.0
    share = 1.0 / trials
    return float((1 - EULER) * ndtri(1 - share) + EULER * ndtri(1 - share / math.e))
