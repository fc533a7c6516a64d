"""A logistic regression that learns with each label, and what it has proven so far."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np

from domain.events import Floats

PROOF: Final = math.log(20.0)  # Ville's inequality: evidence of noise comes there once in twenty

SUREST: Final = 5.0  # log odds


class Opinion:
    """The probability of an event from a row of inputs, beside the event's frequency so far.

    Weights follow online Newton steps, the recursive form of iteratively reweighted least
    squares (an extended Kalman filter of a weight that does not move); they begin at 0 with
    unit precision. The evidence is the log of the likelihood ratio of this probability over the
    frequency, each said before the answer was known (Dawid 1984, prequential).

    Rows of one tick are not independent, and neither are labels that overlap: a tick's ratio is
    the geometric mean over its rows, to the power of 1/horizon. It is then the product of
    `horizon` test martingales, each to that power, which is no more than their mean: that noise
    ever brings it above 20 has a probability of at most 1/20 (Ville 1939).

    Args:
        inputs: columns of a row; one that is always 1 is the level.
        horizon: candles; labels of consecutive ticks overlap by it.
    """

    def __init__(self, inputs: int, *, horizon: int) -> None:
        self._horizon = horizon
        self._weights: Floats = np.zeros(inputs)
        self._precision: Floats = np.eye(inputs)
        self._seen = [1.0, 1.0]  # ticks' shares without and with the event: Laplace +1
        self.evidence = 0.0

    @property
    def proven(self) -> bool:
        """Whether it has said more than the frequency alone, beyond doubt."""
        return self.evidence > PROOF

    @property
    def frequency(self) -> float:
        """Of the event, 0–1."""
        return self._seen[1] / sum(self._seen)

    def chance(self, inputs: Floats) -> Floats:
        """(n,) probabilities from (n, inputs); NaN where an input is."""
        result: Floats = 1.0 / (1.0 + np.exp(-(inputs @ self._weights).clip(-SUREST, SUREST)))
        return result

    def learn(self, inputs: Floats, happened: Floats) -> None:
        """The labels of one tick.

        Args:
            inputs: (n, inputs), all finite.
            happened: (n,) 0 or 1.
        """
        if not len(happened):
            return
        said, usual = self.chance(inputs), self.frequency
        ratio = np.where(happened > 0, said / usual, (1.0 - said) / (1.0 - usual))
        share = 1.0 / (len(happened) * self._horizon)
        self.evidence += share * float(np.log(ratio).sum())
        spread = share * said * (1.0 - said)
        self._precision = self._precision + (inputs * spread[:, None]).T @ inputs
        pull = inputs.T @ (share * (happened - said))
        self._weights = self._weights + np.linalg.solve(self._precision, pull)
        self._seen[1] += share * float(happened.sum())
        self._seen[0] += share * float((1.0 - happened).sum())

    def state(self) -> dict[str, Any]:
        return {
            "weights": self._weights,
            "precision": self._precision,
            "seen": self._seen,
            "evidence": self.evidence,
        }

    def restore(self, state: dict[str, Any]) -> None:
        self._weights, self._precision = state["weights"], state["precision"]
        self._seen, self.evidence = [*state["seen"]], float(state["evidence"])
