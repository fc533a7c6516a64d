"""How a forecast is judged: the losses of the three targets and the baselines they must beat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from domain.events import QUANTILE_LEVELS, Floats, Target

# Model names; with two, the one with the lower mean loss is the baseline.
BASELINES: Final = {
    Target.DIRECTION: ("class_prior.direction",),
    Target.QUANTILES: ("empirical.quantiles",),
    Target.VOLATILITY: ("ewma.volatility", "har.volatility"),
}
BASELINE_NAMES: Final = frozenset(name for names in BASELINES.values() for name in names)
LOSS_OF: Final = {
    Target.DIRECTION: "log_loss",
    Target.QUANTILES: "pinball",
    Target.VOLATILITY: "qlike",
}
SMALLEST_PROBABILITY = 1e-15  # a forecast of 0 that comes true costs 34.5 nats, not ∞
SMALLEST_VARIANCE = 1e-9  # QLIKE leaves out calmer horizons, and divides by no less


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What happened: arrays of shape (n,), NaN where it is not known."""

    outcome: Floats  # −1, 0, +1
    log_return: Floats
    realized_volatility: Floats


def deciding_loss(target: Target, forecast: Floats, answer: Answer) -> Floats:
    """The loss that a target is promoted by, per row."""
    match target:
        case Target.DIRECTION:
            return log_loss(forecast, answer.outcome)
        case Target.QUANTILES:
            return pinball(forecast, answer.log_return)
        case _:
            return qlike(forecast, answer.realized_volatility)


def log_loss(probabilities: Floats, outcome: Floats) -> Floats:
    """−ln p(outcome) per row; (n, 3) down, flat, up and outcomes −1, 0, +1. NaN stays NaN.

    >>> log_loss(np.array([[0.25, 0.25, 0.5]]), np.array([1.0])).round(4).tolist()
    [0.6931]
    """
    known = np.isfinite(outcome)
    column = np.where(known, outcome, 0).astype(np.int64) + 1
    chosen = np.take_along_axis(probabilities, column[:, None], axis=1)[:, 0]
    return np.where(known, -np.log(np.clip(chosen, SMALLEST_PROBABILITY, 1.0)), np.nan)


def brier(probabilities: Floats, outcome: Floats) -> Floats:
    """Sum of squared errors over the three classes, per row."""
    known = np.isfinite(outcome)
    truth = np.eye(3)[np.where(known, outcome, 0).astype(np.int64) + 1]
    return np.where(known, ((probabilities - truth) ** 2).sum(axis=1), np.nan)


def pinball(quantiles: Floats, log_return: Floats) -> Floats:
    """Mean pinball loss over the three levels, per row, in units of the log return."""
    levels = np.array(QUANTILE_LEVELS)
    error = log_return[:, None] - quantiles
    return np.asarray(np.maximum(levels * error, (levels - 1) * error).mean(axis=1))


def qlike(volatility: Floats, realized_volatility: Floats) -> Floats:
    """rv²/σ² − ln(rv²/σ²) − 1 per row; NaN where rv² is too small to be judged.

    >>> qlike(np.array([0.02]), np.array([0.02])).tolist()
    [0.0]
    """
    variance = realized_volatility**2
    judged = variance > SMALLEST_VARIANCE
    # A forecast of 0 is punished, not left out; NaN stays NaN.
    forecast = np.maximum(np.maximum(volatility, 0.0) ** 2, SMALLEST_VARIANCE)
    ratio = np.where(judged, variance, 1.0) / forecast
    return np.where(judged, ratio - np.log(ratio) - 1.0, np.nan)


def covered(quantiles: Floats, log_return: Floats) -> Floats:
    """1 where q10 ≤ log return ≤ q90, else 0; NaN where either is unknown."""
    inside = (quantiles[:, 0] <= log_return) & (log_return <= quantiles[:, 2])
    known = np.isfinite(quantiles).all(axis=1) & np.isfinite(log_return)
    return np.where(known, inside.astype(np.float64), np.nan)
