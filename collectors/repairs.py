"""REST fills the holes of series: each at once, then again with growing pauses."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from itertools import count
from typing import NamedTuple

from collectors.backfill import History, Rejected
from collectors.budget import Urgency
from collectors.pacing import Backoff, Pace
from collectors.series import Event, Series
from domain.errors import ExchangeError, ExchangeUnavailableError
from domain.events import Source

log = logging.getLogger(__name__)


class StreamStalledError(ExchangeUnavailableError):
    """The socket is open and says nothing while trades are made."""


class _Answer(NamedTuple):
    came: bool
    stalled: bool  # it tells of trades that the socket was silent about


class Repairs:
    """The holes of one connection's series and the requests that fill them.

    Args:
        history: Of the exchange.
        settled_ms: The exchange's time, less the grace that candles have.
        emit: Takes what a series releases, in order, and impossible candles.
        room: Waits while too much of it is not delivered.
        pace: For waits between tries.
        size: Requests in flight.
    """

    def __init__(
        self,
        history: History,
        *,
        settled_ms: Callable[[], int],
        emit: Callable[[Iterable[Event | Rejected]], None],
        room: Callable[[], Awaitable[None]],
        pace: Pace,
        size: int,
    ) -> None:
        self._history = history
        self._settled_ms = settled_ms
        self._emit = emit
        self._room = room
        self._pace = pace
        self._size = size
        self._wanted: dict[Series, int] = {}  # which number in the queue each has
        self._some = asyncio.Semaphore(0)
        self._number = count()
        self._backoffs: dict[Series, Backoff] = {}  # of the series that wait or are worked on
        self._waits: dict[Series, asyncio.Task[None]] = {}  # until their next try

    def want(self, series: Series) -> None:
        """Repair `series`, unless that is under way; broken ones first, of them the newest."""
        if series not in self._backoffs:
            self._backoffs[series] = Backoff(self._pace.random)
            self._backoffs[series].next()  # the first try is now
            self._put(series)

    def hurry(self, series: Series) -> None:
        """There is news of it: what is missing need not wait for its next try."""
        wait = self._waits.pop(series, None)
        if wait is not None:
            wait.cancel()
            self._backoffs[series].reset()
            self._put(series)

    def _put(self, series: Series) -> None:
        self._wanted[series] = next(self._number)
        self._some.release()

    async def _next(self) -> Series:
        """Whose turn it is: of those that lack equally new candles, who waits the longest."""

        def turn(series: Series) -> tuple[bool, int, int]:
            newest = max((span.to_ms for span in series.holes), default=0)
            return (not series.broken, -newest, self._wanted[series])

        await self._some.acquire()
        series = min(self._wanted, key=turn)
        del self._wanted[series]
        return series

    async def run(self) -> None:
        """Work for ever.

        Raises:
            StreamStalledError: REST told of trades that the socket was silent about.
        """
        async with asyncio.TaskGroup() as tasks:
            for _ in range(self._size):
                tasks.create_task(self._work(tasks))

    async def ask(self, every: Iterable[Series]) -> None:
        """One try for each of `every`, some at a time; they keep what they hold."""
        waiting = iter(every)

        async def take() -> None:
            for series in waiting:  # shared: each takes the next one
                await self._ask(series, Urgency.LIVE)

        async with asyncio.TaskGroup() as tasks:
            for _ in range(self._size):
                tasks.create_task(take())

    async def _work(self, tasks: asyncio.TaskGroup) -> None:
        while True:
            series = await self._next()
            await self._room()
            asked = series.holes
            live = series.held or not series.streamed
            urgency = Urgency.LIVE if live else Urgency.REPAIR
            answer = await self._ask(series, urgency)
            self._emit(series.release())
            if answer.came and not series.broken:
                del self._backoffs[series]
            else:
                if answer.came and (series.untried or series.holes != asked):
                    self._backoffs[series].reset()  # the exchange answers: new holes come first
                self._waits[series] = tasks.create_task(self._again(series))
            if answer.stalled:
                raise StreamStalledError(f"the stream of {series.instrument} is silent")

    async def _again(self, series: Series) -> None:
        await self._pace.wall.sleep(self._backoffs[series].next())
        del self._waits[series]
        self._put(series)

    async def _ask(self, series: Series, urgency: Urgency) -> _Answer:
        stalled = False
        self._emit(series.asking())
        try:
            for span in series.spans(self._settled_ms()):
                good, bad = await self._history.fetch(
                    series.instrument, series.timeframe, span, Source.REPAIR, urgency
                )
                self._emit(bad)
                series.absorb(good, span)
                stalled = series.stalled(good) or stalled
        except ExchangeError as error:
            log.warning("repair of %s %s: %s", series.instrument, series.timeframe, error)
            return _Answer(came=False, stalled=stalled)
        return _Answer(came=True, stalled=stalled)
