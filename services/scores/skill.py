"""Skill with its interval: how much smaller a loss is than the baseline's, day by day."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from domain.events import Bools, Floats, Ints
from domain.market import Horizon, Timeframe

DAY_MS = Timeframe.D1.ms
SHORTEST_BLOCK = 5  # days
DRAWS = 1000
CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class SkillEstimate:
    """skill = 1 − loss / baseline loss, both means of daily means; NaN = cannot be said."""

    loss: float
    baseline_loss: float
    skill: float
    low: float  # 95 % interval; NaN with fewer than two blocks of days
    high: float
    days: int
    count: int  # rows


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ScoredRows:
    """Rows of a forecaster beside the same rows of its baseline; arrays of shape (n,)."""

    as_of_ms: Ints
    instrument: Ints  # position in whatever list of instruments the caller has
    loss: Floats
    baseline_loss: Floats

    def known(self) -> ScoredRows:
        """The rows of which both losses are known."""
        return self.where(np.isfinite(self.loss) & np.isfinite(self.baseline_loss))

    def where(self, rows: Bools) -> ScoredRows:
        return ScoredRows(
            as_of_ms=self.as_of_ms[rows],
            instrument=self.instrument[rows],
            loss=self.loss[rows],
            baseline_loss=self.baseline_loss[rows],
        )


def pooled_skill(rows: ScoredRows, horizon: Horizon, seed: int = 0) -> SkillEstimate:
    """Skill over all instruments, with the interval of a circular block bootstrap of days.

    Blocks of max(5 days, 2 × horizon), 1 000 draws (Politis and Romano 1992).
    """
    rows = rows.known()
    days = daily_means(rows)
    low, high = _skill_interval(days, drawn_days(len(days), horizon, seed))
    loss, baseline = days.mean(axis=0).tolist() if len(days) else (math.nan, math.nan)
    return SkillEstimate(
        loss=loss,
        baseline_loss=baseline,
        skill=1.0 - loss / baseline if baseline > 0.0 else math.nan,
        low=low,
        high=high,
        days=len(days),
        count=len(rows.loss),
    )


def daily_means(rows: ScoredRows) -> Floats:
    """Means per UTC day of as_of, shape (days, 2): loss and baseline loss.

    >>> two = np.array([1.0, 3.0])
    >>> rows = ScoredRows(as_of_ms=np.array([0, 1]), instrument=np.array([0, 0]),
    ...                   loss=two, baseline_loss=2 * two)
    >>> daily_means(rows)
    array([[2., 4.]])
    """
    days, which = np.unique(rows.as_of_ms // DAY_MS, return_inverse=True)
    counts = np.bincount(which, minlength=len(days))
    sums = [
        np.bincount(which, weights=loss, minlength=len(days))
        for loss in (rows.loss, rows.baseline_loss)
    ]
    return np.stack(sums, axis=1) / counts[:, None]


def drawn_days(n: int, horizon: Horizon, seed: int = 0) -> Ints:
    """Positions of days, shape (draws, n): `n` days drawn anew in circular blocks.

    Without draws where there are fewer than two blocks.
    """
    block = max(SHORTEST_BLOCK, math.ceil(2 * horizon.steps * horizon.timeframe.ms / DAY_MS))
    if n < 2 * block:
        return np.empty((0, n), dtype=np.int64)
    starts = np.random.default_rng(seed).integers(0, n, size=(DRAWS, math.ceil(n / block)))
    return (starts[:, :, None] + np.arange(block)).reshape(DRAWS, -1)[:, :n] % n


def interval_of(values: Floats) -> tuple[float, float]:
    """The middle 95 % of what draws gave; NaN where one gave nothing, or there was none."""
    if not len(values) or not np.isfinite(values).all():
        return math.nan, math.nan
    low, high = np.quantile(values, [(1.0 - CONFIDENCE) / 2.0, (1.0 + CONFIDENCE) / 2.0]).tolist()
    return low, high


def _skill_interval(days: Floats, drawn: Ints) -> tuple[float, float]:
    if not len(drawn):
        return math.nan, math.nan
    loss, baseline = days[drawn].mean(axis=1).T
    return interval_of(1.0 - loss / baseline) if (baseline > 0.0).all() else (math.nan, math.nan)
