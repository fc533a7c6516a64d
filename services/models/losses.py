"""The loss that decides for each target, row by row."""

from __future__ import annotations

import numpy as np

from domain.events import QUANTILE_LEVELS, Examples, Floats, Target
from services.models.har import FLOOR

SMALLEST = 1e-15  # probability


def row_losses(target: Target, forecast: Floats, examples: Examples) -> Floats:
    """Log loss, mean pinball or QLIKE, shape (m,); NaN without forecast, outcome or score."""
    if target is Target.DIRECTION:
        return log_loss(forecast, examples.outcome)
    if target is Target.QUANTILES:
        return mean_pinball(forecast, examples.log_return)
    return qlike(forecast, examples.realized_volatility)


def log_loss(probabilities: Floats, outcome: Floats) -> Floats:
    """−ln of the probability given to the class that came true."""
    known = np.isfinite(outcome)
    classes = np.where(known, outcome, 0).astype(np.int64) + 1
    given = probabilities[np.arange(len(classes)), classes]
    result: Floats = np.where(known, -np.log(np.maximum(given, SMALLEST)), np.nan)
    return result


def mean_pinball(quantiles: Floats, log_return: Floats) -> Floats:
    """Pinball loss, mean over the levels."""
    error = log_return[:, None] - quantiles
    levels = np.array(QUANTILE_LEVELS)
    result: Floats = np.maximum(levels * error, (levels - 1) * error).mean(axis=1)
    return result


def qlike(sigma: Floats, realized_volatility: Floats) -> Floats:
    """rv²/σ² − ln(rv²/σ²) − 1 over rv² > 1e-9 (Patton 2011)."""
    variance = realized_volatility**2
    scored = (variance > FLOOR) & (sigma > 0)
    ratio = np.where(scored, variance, np.nan) / np.where(scored, sigma**2, np.nan)
    result: Floats = ratio - np.log(ratio) - 1
    return result
