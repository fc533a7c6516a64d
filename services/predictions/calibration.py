"""Online recalibration of pooled probabilities: one temperature and a bias per class.

p = softmax(a · log q + b), learnt by stochastic gradient on matured labels only, pulled
gently towards the identity (a = 1, b = 0): Platt scaling in the multinomial form of
Guo et al. 2017, made recursive.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from domain.events import Floats

RATE = 0.005  # per tick, on the mean gradient over instruments: a memory of some 900 ticks
PULL = 2e-5  # towards the identity, per tick
MINIMUM_TICKS = 50  # before that the pool is served as it is


class Recalibration:
    """State of one horizon's calibrator."""

    def __init__(self) -> None:
        self._slope = 1.0
        self._bias = np.zeros(3)
        self._ticks = 0

    def apply(self, probabilities: Floats) -> Floats:
        """Calibrated (n, 3) probabilities."""
        if self._ticks < MINIMUM_TICKS:
            return probabilities
        return self._softmax(np.log(np.clip(probabilities, 1e-12, 1.0)))

    def learn(self, probabilities: Floats, outcome: Floats) -> None:
        """One tick: the pool's own forecasts (before calibration) and the outcomes −1, 0, +1."""
        known = np.isfinite(probabilities).all(axis=1) & np.isfinite(outcome)
        if not known.any():
            return
        logs = np.log(np.clip(probabilities[known], 1e-12, 1.0))
        truth = np.eye(3)[outcome[known].astype(np.int64) + 1]
        error = self._softmax(logs) - truth
        self._slope -= RATE * float((error * logs).sum(axis=1).mean())
        self._slope += PULL * (1.0 - self._slope)
        self._bias = (1 - PULL) * (self._bias - RATE * error.mean(axis=0))
        self._bias -= self._bias.mean()
        self._ticks += 1

    def _softmax(self, logs: Floats) -> Floats:
        scores = self._slope * logs + self._bias
        scores = np.exp(scores - scores.max(axis=1, keepdims=True))
        return np.asarray(scores / scores.sum(axis=1, keepdims=True))

    def state(self) -> dict[str, Any]:
        return {"slope": self._slope, "bias": self._bias, "ticks": self._ticks}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._slope = float(state["slope"])
        self._bias = np.asarray(state["bias"])
        self._ticks = int(state["ticks"])
