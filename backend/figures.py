"""Figures of a report: what the skill of direction is of, and how sure a return is."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import asyncpg
import numpy as np

from domain.events import Floats, Ints
from domain.market import Horizon
from services.scores.direction import of_flat, of_side
from services.scores.sharpe import deflated_sharpe
from services.scores.skill import (
    DAY_MS,
    SkillEstimate,
    drawn_days,
    interval_of,
    pooled_skill,
)

CLASSES: Final = ("p_down", "p_flat", "p_up")
PRIORS: Final = ("prior_down", "prior_flat", "prior_up")


def number(value: float) -> float | None:
    """None where it is not finite."""
    return value if np.isfinite(value) else None


def interval(estimate: SkillEstimate) -> list[float] | None:
    """Its two ends."""
    known = np.isfinite(estimate.low) and np.isfinite(estimate.high)
    return [estimate.low, estimate.high] if known else None


def parts_of_direction(
    rows: Sequence[asyncpg.Record], forecasts: Mapping[str, Floats], horizon: Horizon, seed: int
) -> dict[str, Any]:
    """What the skill is of: whether a barrier is touched at all, and which, where one is."""
    said, prior = (
        np.stack([forecasts[name] for name in names], axis=1) for names in (CLASSES, PRIORS)
    )
    places = [(row["as_of_ms"], row["instrument_id"]) for row in rows]
    place = np.array(places, dtype=np.int64).reshape(-1, 2).T
    parts = {}
    for name, losses_of_part in (("flat", of_flat), ("side", of_side)):
        scored = losses_of_part(said, prior, forecasts["outcome"], place)
        estimate = pooled_skill(scored, horizon, seed)
        parts[name] = {
            "count": estimate.count,
            "log_loss": number(estimate.loss),
            "baseline_log_loss": number(estimate.baseline_loss),
            "skill": number(estimate.skill),
            "skill_interval95": interval(estimate),
        }
    return parts


def sureness(
    rows: Sequence[asyncpg.Record], days: Ints, horizon: Horizon, seed: int
) -> dict[str, Any]:
    """How many signals ended, and by days drawn anew what their sum and share could have been."""
    ended = [row for row in rows if row["realized_return"] is not None]
    which = np.searchsorted(days, [row["as_of_ms"] // DAY_MS for row in ended])
    returns = np.array([row["realized_return"] for row in ended])
    of_day = [
        np.bincount(which, weights=weights, minlength=len(days))
        for weights in (returns, returns > 0, np.ones(len(ended)))
    ]
    drawn = drawn_days(len(days), horizon, seed)
    gained, won, count = (one[drawn].sum(axis=1) for one in of_day)
    won, count = won[count > 0], count[count > 0]
    return {
        "closed": len(ended),
        "net_return_interval95": _ends(gained) if ended else None,
        "hit_rate_interval95": _ends(won / count),
    }


def deflated(
    rows: Sequence[asyncpg.Record], days: Ints, horizon: Horizon, trials: int
) -> dict[str, Any]:
    """The deflated Sharpe ratio of the signals' returns, and the trials that it counts.

    A return is what ended of the signals of a day, of as many days where the horizon is longer;
    0 where there was none.
    """
    ended = [row for row in rows if row["realized_return"] is not None]
    which = np.searchsorted(days, [row["as_of_ms"] // DAY_MS for row in ended])
    length = math.ceil(horizon.steps * horizon.timeframe.ms / DAY_MS)
    periods = -(-len(days) // length)
    returns = np.array([row["realized_return"] for row in ended])
    sums = np.bincount(which // length, weights=returns, minlength=periods).astype(np.float64)
    return {"deflated_sharpe": number(deflated_sharpe(sums, trials)), "n_trials": trials}


def _ends(drawn: Floats) -> list[float] | None:
    low, high = interval_of(drawn)
    return [low, high] if np.isfinite(low) else None
