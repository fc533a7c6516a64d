"""Online recalibration of pooled probabilities: one temperature and a bias per class.

p = softmax(a · log q + b), learnt by stochastic gradient on matured labels only, pulled
gently towards the identity (a = 1, b = 0): Platt scaling in the multinomial form of
Guo et al. 2017, made recursive.

Labels of consecutive ticks overlap by the horizon: what looks like many ticks of evidence is one
in `horizon`. Steps are as much shorter, or they would follow the noise of the last few labels.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from domain.events import Floats

RATE = 0.01  # per horizon, on the mean gradient over instruments
PULL = 8e-5  # towards the identity, per horizon
MINIMUM_TICKS = 50  # before that the pool is served as it is


class Recalibration:
    """State of one horizon's calibrator; the horizon is in candles."""

    def __init__(self, *, horizon: int) -> None:
        self._rate, self._pull = RATE / horizon, PULL / horizon
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
        self._slope -= self._rate * float((error * logs).sum(axis=1).mean())
        self._slope += self._pull * (1.0 - self._slope)
        self._bias = (1 - self._pull) * (self._bias - self._rate * error.mean(axis=0))
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
