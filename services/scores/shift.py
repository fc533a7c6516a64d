"""Whether values are distributed as they were: distances between two samples of a column.

Rows of one day say nearly the same of slow features, and instruments move together: a day counts
as one observation, whatever its rows are.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.special import kolmogorov

from domain.events import Bools, Floats

BINS: Final = 10  # of equal share in the reference
SMALLEST_SHARE: Final = 1e-4  # of a bin that one of the two never met
FALSE_DISCOVERIES: Final = 0.05  # share of the columns found


@dataclass(frozen=True, slots=True, kw_only=True)
class Shift:
    """How far a column's recent values lie from those of the reference."""

    psi: float  # population stability index, nats
    jensen_shannon: float  # nats, at most ln 2
    p: float  # of a Kolmogorov-Smirnov distance this large by chance

    @classmethod
    def unknown(cls) -> Shift:
        return cls(psi=0.0, jensen_shannon=0.0, p=1.0)


def shift(reference: Floats, recent: Floats, *, days: tuple[int, int]) -> Shift:
    """Compare two samples of one column; NaN is left out.

    Args:
        reference: (n,) of the past.
        recent: (m,) of now.
        days: that each was drawn from.
    """
    before = np.sort(reference[np.isfinite(reference)])
    after = np.sort(recent[np.isfinite(recent)])
    if min(len(before), len(after), *days) < BINS:
        return Shift.unknown()
    edges = np.unique(np.quantile(before, np.arange(1, BINS) / BINS))
    expected, actual = _shares(before, edges), _shares(after, edges)
    middle = (expected + actual) / 2
    return Shift(
        psi=float(((actual - expected) * np.log(actual / expected)).sum()),
        jensen_shannon=float((_divergence(expected, middle) + _divergence(actual, middle)) / 2),
        p=_chance(_distance(before, after), *days),
    )


def discoveries(p: Floats) -> Bools:
    """Which of several hypotheses are rejected (Benjamini and Hochberg 1995).

    >>> discoveries(np.array([0.001, 0.04, 0.9])).tolist()
    [True, False, False]
    """
    order = np.argsort(p)
    bounds = FALSE_DISCOVERIES * np.arange(1, len(p) + 1) / max(len(p), 1)
    under = np.flatnonzero(p[order] <= bounds)
    found = np.zeros(len(p), dtype=np.bool_)
    if len(under):
        found[order[: under[-1] + 1]] = True
    return found


def _shares(ordered: Floats, edges: Floats) -> Floats:
    counts = np.diff(np.searchsorted(ordered, edges, side="right"), prepend=0, append=len(ordered))
    shares = np.maximum(counts / len(ordered), SMALLEST_SHARE)
    return np.asarray(shares / shares.sum())


def _divergence(of: Floats, beside: Floats) -> float:
    return float((of * np.log(of / beside)).sum())


def _distance(before: Floats, after: Floats) -> float:
    every = np.concatenate([before, after])
    one = np.searchsorted(before, every, side="right") / len(before)
    other = np.searchsorted(after, every, side="right") / len(after)
    return float(np.abs(one - other).max())


def _chance(distance: float, before: int, after: int) -> float:
    """Of the asymptotic distribution, as Stephens (1970) corrects it for small samples."""
    root = math.sqrt(before * after / (before + after))
    return float(kolmogorov((root + 0.12 + 0.11 / root) * distance))
