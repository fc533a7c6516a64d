"""The daily AUC of a score beside what it would reach by chance."""

from __future__ import annotations

import numpy as np
from scipy.special import ndtr

from domain.events import Floats
from services.scores.metrics import daily_auc

SHIFTS = 199  # at most, of the permutation band


def auc_against_shifts(
    score: Floats, outcome: Floats, shortest: int = 1
) -> tuple[float, float, float, float]:
    """The daily AUC, and what scores of other days would have reached by chance.

    The scores are shifted against the outcomes by whole days, in a circle, which keeps
    the dependence between instruments and hours; Gaussian band of the shifted AUCs, since a
    hundred shifts have no 99.9 % quantile of their own.

    Args:
        score: as of `daily_auc`.
        outcome: as of `daily_auc`.
        shortest: days; at least the horizon, or shifted rows share candles.

    Returns:
        (AUC, mean and standard deviation of the shifted AUCs, two-sided p-value); NaN
        where there are too few days.
    """
    days = len(score)
    shifts = np.arange(shortest, days - shortest + 1)
    if len(shifts) > SHIFTS:
        shifts = shifts[np.linspace(0, len(shifts) - 1, SHIFTS).astype(int)]
    chance = np.array([daily_auc(np.roll(score, shift, axis=0), outcome) for shift in shifts])
    chance = chance[np.isfinite(chance)]
    found = daily_auc(score, outcome)
    if len(chance) < 2:  # no standard deviation of one value
        return found, float("nan"), float("nan"), float("nan")
    mean, spread = float(chance.mean()), float(chance.std(ddof=1))
    # A forecast that is the same every day says nothing: every shift equals it.
    p = 1.0 if spread == 0.0 else float(2.0 * ndtr(-abs(found - mean) / spread))
    return found, mean, spread, p
