"""The two summaries of direction that are not means of losses: calibration and AUC."""

from __future__ import annotations

import numpy as np

from domain.events import Floats

BINS = 10  # of the calibration error


def calibration_error(probabilities: Floats, outcome: Floats) -> float:
    """Expected calibration error: mean over the classes of |said − happened| in equal-count bins.

    NaN when there is no row to judge.
    """
    rows = np.isfinite(probabilities).all(axis=1) & np.isfinite(outcome)
    if not rows.any():
        return float("nan")
    happened = _happened(outcome[rows])
    errors = [
        _class_error(said, came)
        for said, came in zip(probabilities[rows].T, happened.T, strict=True)
    ]
    return float(np.mean(errors))


def _class_error(said: Floats, came: Floats) -> float:
    edges = np.unique(np.quantile(said, np.linspace(0.0, 1.0, BINS + 1)[1:-1]))
    bins = np.searchsorted(edges, said, side="right")
    gap = np.bincount(bins, weights=said - came)
    return float(np.abs(gap).sum() / len(said))


def daily_auc(score: Floats, outcome: Floats) -> float:
    """Mean over days of the AUC of up against down; flat rows and unknown ones are left out.

    Args:
        score: (days, rows of a day), larger for up; NaN = no forecast.
        outcome: the same shape, −1, 0, +1; NaN = void.

    NaN when no day has both an up and a down.

    >>> daily_auc(np.array([[0.1, 0.9, 0.5]]), np.array([[-1.0, 1.0, 0.0]]))
    1.0
    """
    known = np.isfinite(score) & np.isfinite(outcome)
    up, down = known & (outcome > 0), known & (outcome < 0)
    counts = up.sum(axis=1) * down.sum(axis=1)
    days = counts > 0
    if not days.any():
        return float("nan")
    # What does not count is ranked above everything that does.
    ranks = _ranks(np.where(up | down, score, np.inf))
    wins = np.where(up, ranks, 0.0).sum(axis=1) - up.sum(axis=1) * (up.sum(axis=1) + 1) / 2
    return float(np.mean(wins[days] / counts[days]))


def _happened(outcome: Floats) -> Floats:
    """One column per class, 1 for the one that came; NaN where the label is void."""
    classes = np.array([-1.0, 0.0, 1.0])
    return np.where(np.isnan(outcome)[:, None], np.nan, outcome[:, None] == classes)


def _ranks(values: Floats) -> Floats:
    """Ranks from 1 within each row, equal values sharing their mean rank."""
    order = np.argsort(values, axis=1, kind="stable")
    ordered = np.take_along_axis(values, order, axis=1)
    positions = np.broadcast_to(np.arange(values.shape[1]), values.shape)
    new = np.ones(values.shape, dtype=np.bool_)
    new[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    first = np.maximum.accumulate(np.where(new, positions, 0), axis=1)
    final = np.roll(new, -1, axis=1)
    final[:, -1:] = True
    last = np.where(final, positions, values.shape[1])[:, ::-1]
    last = np.minimum.accumulate(last, axis=1)[:, ::-1]
    ranks = np.empty(values.shape)
    np.put_along_axis(ranks, order, (first + last) / 2.0 + 1.0, axis=1)
    return ranks
