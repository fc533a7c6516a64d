"""When each timeframe has something to say."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

from domain.market import Timeframe


@dataclass(frozen=True, slots=True, order=True)
class Moment:
    """A time at which the candle of one timeframe is told, forming or closed."""

    at_ms: int
    size_ms: int
    open_ms: int
    timeframe: Timeframe

    @property
    def closes(self) -> bool:
        return self.at_ms == self.open_ms + self.size_ms


def next_moment(timeframe: Timeframe, after_ms: int, updates: int) -> Moment:
    """The first moment later than `after_ms`, of `updates` forming ones and one close a candle.

    >>> next_moment(Timeframe.H1, 0, 2).at_ms, next_moment(Timeframe.H1, 2_400_000, 2).closes
    (1200000, True)
    """
    size = timeframe.ms
    open_ms = after_ms - after_ms % size
    for part in range(1, updates + 1):
        at_ms = open_ms + size * part // (updates + 1)
        if at_ms > after_ms:
            return Moment(at_ms, size, open_ms, timeframe)
    return Moment(open_ms + size, size, open_ms, timeframe)


class Schedule:
    """The moments of all timeframes in order of time, without end."""

    def __init__(self, timeframes: Sequence[Timeframe], start_ms: int, updates: int) -> None:
        self._updates = updates
        self._due = [next_moment(one, start_ms, updates) for one in timeframes]
        heapq.heapify(self._due)

    @property
    def next(self) -> Moment:
        return self._due[0]

    def following(self, moment: Moment) -> Moment:
        """The moment after `moment` in its timeframe."""
        return next_moment(moment.timeframe, moment.at_ms, self._updates)

    def pop(self) -> Moment:
        return heapq.heapreplace(self._due, self.following(self._due[0]))
