"""Adaptive conformal intervals: the outer quantiles are moved until they cover as they say.

Quantile tracking (Gibbs and Candès 2021; Angelopoulos, Candès and Tibshirani 2023): after
each tick the lower bound moves by γ · (share below it − 0.1), in units of the volatility
forecast, and the upper one alike. Labels come a horizon late, and those of consecutive ticks
overlap by it; the steps are as much shorter, and the guarantee holds all the same, more slowly.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from domain.events import QUANTILE_LEVELS, Floats

GAMMA = 0.04  # standard deviations per horizon and unit of coverage error


class ConformalQuantiles:
    """How far the outer quantiles of one forecaster are moved, in standard deviations.

    Args:
        horizon: in candles.
    """

    def __init__(self, *, horizon: int) -> None:
        self._gamma = GAMMA / horizon
        self._shift = np.zeros(2)  # below q10, above q90

    def apply(self, quantiles: Floats, volatility: Floats) -> Floats:
        """(n, 3) quantiles, moved and in order: q10 ≤ q50 ≤ q90."""
        moved = quantiles.copy()
        moved[:, 0] -= self._shift[0] * volatility
        moved[:, 2] += self._shift[1] * volatility
        moved[:, 0] = np.minimum(moved[:, 0], moved[:, 1])
        moved[:, 2] = np.maximum(moved[:, 2], moved[:, 1])
        return moved

    def learn(self, served: Floats, log_return: Floats) -> None:
        """One tick: the quantiles as they were given out, and what happened."""
        known = np.isfinite(served).all(axis=1) & np.isfinite(log_return)
        if not known.any():
            return
        below = float((log_return[known] < served[known, 0]).mean())
        above = float((log_return[known] > served[known, 2]).mean())
        self._shift[0] += self._gamma * (below - QUANTILE_LEVELS[0])
        self._shift[1] += self._gamma * (above - (1 - QUANTILE_LEVELS[2]))

    def state(self) -> dict[str, Any]:
        return {"shift": self._shift}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._shift = np.asarray(state["shift"])
