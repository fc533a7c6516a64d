"""The two questions within a forecast of direction: is a barrier touched, and which."""

from __future__ import annotations

import numpy as np

from domain.events import Floats, Ints
from domain.losses import SMALLEST_PROBABILITY
from services.scores.skill import ScoredRows

DOWN, FLAT, UP = range(3)  # columns of probabilities


def of_flat(probabilities: Floats, baseline: Floats, outcome: Floats, place: Ints) -> ScoredRows:
    """Log losses of saying whether a barrier is touched at all.

    Args:
        probabilities: (n, 3), down, flat, up.
        baseline: the same of the baseline.
        outcome: (n,) −1, 0, +1; NaN = not known.
        place: (2, n) as_of_ms and instrument.
    """
    flat = np.where(np.isnan(outcome), np.nan, outcome == 0)
    said = (_loss(each[:, FLAT], flat) for each in (probabilities, baseline))
    return _rows(place, *said)


def of_side(probabilities: Floats, baseline: Floats, outcome: Floats, place: Ints) -> ScoredRows:
    """Log losses of saying which barrier, where one was touched.

    With that of `of_flat` it makes up the log loss of the three classes, row by row; what is
    given is as there.
    """
    up = np.where(outcome == 0, np.nan, (outcome + 1) / 2)
    said = (
        _loss(each[:, UP] / np.maximum(each[:, UP] + each[:, DOWN], SMALLEST_PROBABILITY), up)
        for each in (probabilities, baseline)
    )
    return _rows(place, *said)


def _loss(said: Floats, came: Floats) -> Floats:
    """Of a probability of what came (1) or did not (0)."""
    right = np.where(came == 1, said, 1 - said)
    loss: Floats = -np.log(np.maximum(right, SMALLEST_PROBABILITY))
    return np.where(np.isnan(came), np.nan, loss)


def _rows(place: Ints, loss: Floats, baseline_loss: Floats) -> ScoredRows:
    as_of_ms, instrument = place
    return ScoredRows(
        as_of_ms=as_of_ms, instrument=instrument, loss=loss, baseline_loss=baseline_loss
    ).known()
