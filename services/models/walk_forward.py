"""Purged, embargoed splits by time: a fit knows nothing that its test did not follow."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from domain.events import Examples, Ints

HOLDOUT = 0.2  # the locked last fifth
REFRESH_BLOCKS = 30  # of two horizons


class SplitKind(StrEnum):
    """How a fit is judged."""

    LEAN = "lean"  # one fit; the last fifth is the locked holdout
    REFRESH = "refresh"  # two fits: without the last 30 blocks, and on all rows
    FOLDS = "folds"  # walk-forward before the holdout, and one fit on all of that


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """Positions of training and test rows."""

    train: Ints
    test: Ints


@dataclass(frozen=True, slots=True, eq=False)
class History:
    """When each row was predicted from, and when its label was known.

    Purging is by knowledge: a row trains only when its label was known at least
    `embargo_ms` before the first test row.
    """

    as_of_ms: Ints  # (m,)
    known_ms: Ints  # (m,)
    embargo_ms: int

    @classmethod
    def of(cls, examples: Examples, known_ms: Ints, *, embargo_ms: int) -> History:
        """Of examples; sequences reach back further, and share no candle with a label's end."""
        reach_ms = 0 if examples.past is None else examples.past.reach_ms
        return cls(examples.as_of_ms, known_ms, embargo_ms + reach_ms)

    def split_at(self, start_ms: int, stop_ms: int | None = None) -> Split:
        """Test rows with start ≤ as_of < stop; without `stop_ms`, all from the start on."""
        tested = self.as_of_ms >= start_ms
        if stop_ms is not None:
            tested &= self.as_of_ms < stop_ms
        trained = self.known_ms + self.embargo_ms <= start_ms
        return Split(np.flatnonzero(trained), np.flatnonzero(tested))

    def last(self, share: float) -> int:
        """The first as_of of the last `share` of the rows; rows of one time stay together."""
        times = np.sort(self.as_of_ms)
        first = len(times) - int(share * len(times))
        # The boundary's own rows stay in training's half, so the test is never above `share`.
        later = times[times > times[max(first - 1, 0)]]
        return int(later[0]) if len(later) else int(times[-1]) + 1


def lean_split(history: History) -> Split:
    """The first fit: the last fifth of the rows is the locked holdout."""
    return history.split_at(history.last(HOLDOUT))


def refresh_split(history: History, *, horizon_ms: int) -> Split:
    """A refit is judged on the last 30 blocks of 2 × horizon, at most a fifth of the rows."""
    end_ms = int(history.as_of_ms.max(initial=0))
    blocks_ms = REFRESH_BLOCKS * 2 * horizon_ms
    return history.split_at(max(end_ms - blocks_ms + 1, history.last(HOLDOUT)))


def walk_forward(history: History, *, folds: int = 6, holdout: float = HOLDOUT) -> list[Split]:
    """Expanding folds of equal time before the locked holdout, the last `holdout` of the rows.

    The time before the holdout is cut into folds + 1 parts; the first only trains.
    """
    start_ms, end_ms = int(history.as_of_ms.min()), history.last(holdout)
    edges = np.linspace(start_ms, end_ms, folds + 2).astype(np.int64)[1:]
    splits = [history.split_at(int(start), int(stop)) for start, stop in itertools.pairwise(edges)]
    return [split for split in splits if len(split.train) and len(split.test)]
