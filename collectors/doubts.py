"""Candles that REST has yet to tell, and when it is asked for them again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from collectors.gaps import Range
from domain.events import Candle
from domain.market import Timeframe

MOST = 64  # of a series: an hour of minutes that REST may be away


class Doubts:
    """Open times of one series whose candles REST is to tell once they have closed.

    While it tells none so new, it may be late: it is asked again whenever as much time has passed
    as between the close and the last request. Once it has told a later one, it does not have this.

    Args:
        timeframe: Of the series.
    """

    def __init__(self, timeframe: Timeframe) -> None:
        self._step = timeframe.ms
        self._due: dict[int, int] = {}  # by open time: when to ask
        self._told = 0  # newest open time that REST told

    def add(self, open_times: Iterable[int], *, after: int = 0) -> None:
        """REST is to tell these, at the latest when `after` more candles have closed."""
        self._due |= {ms: ms + (1 + after) * self._step for ms in open_times}
        for oldest in sorted(self._due)[:-MOST]:
            del self._due[oldest]

    def __contains__(self, open_ms: int) -> bool:
        return open_ms in self._due

    def give_up(self, open_times: Iterable[int]) -> None:
        """REST was asked for these often: it lacks them, unless it is late."""
        self.add(ms for ms in open_times if ms > self._told)

    def due(self, now_ms: int) -> bool:
        """Whether it is time to ask."""
        return any(due <= now_ms for due in self._due.values())

    def oldest(self, end_ms: int) -> int:
        """From where on to ask, if something before `end_ms` is in doubt."""
        return min(self._due, default=end_ms)

    def ask(self, now_ms: int) -> None:
        """REST is asked for all of them now."""
        for open_ms, due_ms in self._due.items():
            self._due[open_ms] = max(due_ms, 2 * now_ms - (open_ms + self._step))

    def answer(self, told: Sequence[Candle], asked: Range) -> None:
        """What it told of `asked`."""
        self._told = max([self._told, *(candle.open_ms for candle in told)])
        settled = range(asked.from_ms, min(asked.to_ms, self._told + 1))
        self._due = {ms: due for ms, due in self._due.items() if ms not in settled}
