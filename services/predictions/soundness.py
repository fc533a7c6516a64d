"""Whether a fitted model still gives forecasts: what one may say, and what no pool may hear."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from domain.events import LARGEST, Bools, FeatureBatch, Floats, Role, Target

TOLERANCE: Final = 1e-6  # of a sum of probabilities


@dataclass(frozen=True, slots=True, kw_only=True)
class Broken:
    """A model that gave no forecast, and has been heard no more since."""

    target: Target
    name: str
    version: str
    role: Role
    words: str


def complete(features: FeatureBatch) -> Bools:
    """(n,) rows whose features are all known; what is infinite or beyond ±1e12 is not."""
    return np.asarray((np.abs(features.values) <= LARGEST).all(axis=1))


def unsound(target: Target, forecast: Floats, known: Bools) -> str | None:
    """What is wrong with a forecast, in words; None where nothing is.

    A row may be left unanswered, all of it NaN, while a feature of it is unknown.

    Args:
        target: what it is of.
        forecast: (n, 3), or (n,) of a volatility.
        known: (n,) rows whose features are all known.
    """
    table = forecast.reshape(len(forecast), -1)
    unanswered = np.isnan(table).all(axis=1)
    if (silent := unanswered & known).any():
        return f"no forecast of {int(silent.sum())} rows whose features are all known"
    said = table[~unanswered]
    if not np.isfinite(said).all():
        return f"{int((~np.isfinite(said).all(axis=1)).sum())} forecasts are not finite"
    match target:
        case Target.DIRECTION:
            off = (said < 0.0).any() or (np.abs(said.sum(axis=1) - 1.0) > TOLERANCE).any()
            return "probabilities are below 0 or do not sum to 1" if off else None
        case Target.QUANTILES:
            return "quantiles are out of order" if (np.diff(said, axis=1) < 0.0).any() else None
        case _:
            return "a volatility is not above 0" if (said <= 0.0).any() else None
