"""An exchange's closed candles as they close: nothing lost between history and socket."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import (
    AsyncGenerator,
    Awaitable,
    Callable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import aclosing
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar, cast

from collectors.backfill import Check, History, Rejected
from collectors.budget import Budget
from collectors.gaps import Cause, Gap, Range
from collectors.history_port import StoredCandles
from collectors.offset import APART_MS, Offset
from collectors.pacing import Backoff, Pace
from collectors.repairs import Repairs
from collectors.series import REMEMBERED, Event, Series
from domain.errors import ExchangeError, ExchangeUnavailableError, RateLimitedError, UsageError
from domain.events import Candle
from domain.market import Instrument, SeriesKey, Timeframe, from_ms, to_ms
from domain.ports import Exchange

log = logging.getLogger(__name__)

E = TypeVar("E", bound=BaseException)
Out = Callable[[Event | Rejected], Awaitable[None]]
Forming = Callable[[Candle], None]

LOOK_EVERY = timedelta(milliseconds=250)  # of wall time, for candles that are due


class _WatchChangedError(Exception):
    """Other instruments are wanted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectorSettings:
    """What an operator may change of a collector."""

    close_grace: timedelta = timedelta(seconds=1)  # wall time that a candle has to come
    lookback: int = 1000  # newest candles of the store whose holes are repaired at start
    requests: int = 4  # in flight, for repairs
    undelivered: int = 10_000  # events; then the socket, the clock and repairs wait for `out`


class Collector:
    """Follows instruments of one exchange and hands on each closed candle once per version.

    It subscribes first, then asks REST for what closed meanwhile, and releases both in the
    order of close times; the same after each lost connection. A hole in the stream is
    repaired by REST. A stream that is silent while REST tells of trades is reconnected.
    Candles that the exchange does not stream are asked for as they close.
    Only candles of the exchange are handed on: none is made up.

    Args:
        exchange: Whom to follow.
        stored: What was collected before.
        out: Takes released candles, gaps found, filled or absent, and impossible candles,
            one after another; while it is slow all else waits.
        check: Tells why a candle is impossible.
        pace: Clocks and chance.
        forming: Is shown versions of candles that are not closed.
        settings: For operators.
        budget: That all requests to the exchange draw on.
    """

    def __init__(  # noqa: PLR0913 - collaborators, each by name
        self,
        exchange: Exchange,
        *,
        stored: StoredCandles,
        out: Out,
        check: Check,
        pace: Pace,
        forming: Forming | None = None,
        settings: CollectorSettings | None = None,
        budget: Budget | None = None,
    ) -> None:
        self.lost = ""  # why there is no connection
        self._exchange = exchange
        self._stored = stored
        self._out = out
        self._check = check
        self._pace = pace
        self._forming = forming
        self._settings = settings or CollectorSettings()
        budget = budget or Budget(pace.wall)
        self._history = History(exchange, check=check, budget=budget)
        self._backoff = Backoff(pace.random)
        self._offset = Offset(exchange, pace, budget)
        self._series: dict[SeriesKey, Series] = {}
        self._watched: tuple[Instrument, ...] = ()
        self._changed = asyncio.Event()
        self._events: asyncio.Queue[Event | Rejected] = asyncio.Queue()
        self._room = asyncio.Event()
        self._repairs = self._new_repairs()

    @property
    def undelivered(self) -> int:
        """Events that wait for `out`."""
        return self._events.qsize()

    def watch(self, instruments: Iterable[Instrument]) -> None:
        """Follow these from now on; the series that stay lose nothing."""
        self._watched = tuple(instruments)
        self._changed.set()

    async def run(self, instruments: Iterable[Instrument], timeframes: Sequence[Timeframe]) -> None:
        """Follow `instruments` for ever, whatever happens to the connection.

        Raises:
            UnknownSymbolError: the exchange does not list one of them.
            UnknownTimeframeError: it has no candles of one of them.
        """
        self._watched = tuple(instruments)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._deliver())
                tasks.create_task(self._stay_connected(timeframes))
        except ExceptionGroup as group:
            mistaken = group.subgroup(UsageError)
            if mistaken is None:
                raise
            raise next(_leaves(mistaken)) from None

    def repair(self, missing: Mapping[SeriesKey, Sequence[Range]], *, denied: bool = False) -> None:
        """These are not in the store, though they were handed on or passed over: fetch them.

        Args:
            missing: by series; one that is not followed, or not yet, is passed over.
            denied: also those that the exchange has said it does not have.
        """
        for key, spans in missing.items():
            series = self._series.get(key)
            if series is not None:
                self._emit_of(series, series.lost(spans, denied=denied))

    async def _deliver(self) -> None:
        while True:
            await self._out(await self._events.get())
            if self._events.qsize() < self._settings.undelivered:
                self._room.set()

    async def _wait_for_room(self) -> None:
        while self._events.qsize() >= self._settings.undelivered:
            self._room.clear()
            await self._room.wait()

    async def _stay_connected(self, timeframes: Sequence[Timeframe]) -> None:
        while True:
            self._changed.clear()
            wait = await self._connect(timeframes)
            await self._pace.wall.sleep(wait)

    async def _connect(self, timeframes: Sequence[Timeframe]) -> timedelta:
        """One connection from its beginning to its end; the wait before the next."""
        wait = timedelta(0)
        fresh = self._arrange(timeframes)
        connection = asyncio.create_task(self._until_lost(timeframes, fresh))
        try:  # a task of its own: before Python 3.13 a failing group forgets a cancellation
            await asyncio.wait([connection])
            connection.result()
        except* _WatchChangedError:
            log.info("%s: other instruments are watched", self._exchange.id)
        except* RateLimitedError as group:
            wait = max(error.retry_after for error in _leaves(group))
            self.lost = f"it asks for a pause of {wait.total_seconds():.0f} s"
            log.warning("%s: %s", self._exchange.id, self.lost)
        except* ExchangeError as group:
            wait = self._backoff.next()
            self.lost = str(next(_leaves(group)))
            log.warning("connection lost, next in %.1f s: %s", wait.total_seconds(), self.lost)
        finally:
            connection.cancel()
            await asyncio.gather(connection, return_exceptions=True)
        return wait

    async def _until_lost(self, timeframes: Sequence[Timeframe], fresh: set[SeriesKey]) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._listen(timeframes))
            tasks.create_task(self._follow(fresh))
            tasks.create_task(self._until_changed())

    def _arrange(self, timeframes: Sequence[Timeframe]) -> set[SeriesKey]:
        """Hold all series for the connection to come; the keys of those that are new."""
        keys = [(instrument, timeframe) for timeframe in timeframes for instrument in self._watched]
        fresh = {key for key in keys if key not in self._series}
        streamed = {one: self._exchange.streams(one) for one in timeframes}
        flagged = {one: self._exchange.flags_closes(one) for one in timeframes}
        self._series = {
            (one, each): self._series.get((one, each))
            or Series(one, each, streamed=streamed[each], flagged=flagged[each])
            for one, each in keys
        }
        self._repairs = self._new_repairs()
        for series in self._series.values():
            series.hold()
        return fresh

    def _new_repairs(self) -> Repairs:
        return Repairs(
            self._history,
            settled_ms=self._settled_ms,
            emit=self._emit,
            room=self._wait_for_room,
            pace=self._pace,
            size=self._settings.requests,
        )

    async def _until_changed(self) -> None:
        await self._changed.wait()
        raise _WatchChangedError

    async def _listen(self, timeframes: Sequence[Timeframe]) -> None:
        streamed = [one for one in timeframes if self._exchange.streams(one)]
        if not streamed:
            return  # each candle is asked for as it closes
        watching = self._exchange.watch_candles(self._watched, streamed)
        async with aclosing(cast(AsyncGenerator[Candle, None], watching)) as stream:
            async for candle in stream:
                self._backoff.reset()
                self.lost = ""
                self._on_message(candle)
                await self._wait_for_room()
        raise ExchangeUnavailableError(f"{self._exchange.id} ended the stream")

    def _on_message(self, candle: Candle) -> None:
        series = self._series.get((candle.instrument, candle.timeframe))
        if series is None:
            return
        reason = self._check(candle) or self._from_the_future(candle)
        if reason is not None:
            self._emit([Rejected(candle=candle, reason=reason)])
            return
        if series.silent and series.broken:  # what it missed comes first, if REST has it
            series.hold()
            self._repairs.hurry(series)
        self._emit_of(series, series.on_message(candle))
        if self._forming is not None and not candle.closed:
            self._forming(candle)

    def _from_the_future(self, candle: Candle) -> str | None:
        """Why a candle's time cannot be; all between now and it would else count as missing."""
        latest_ms = self._settled_ms() + round(APART_MS * self._pace.speed)
        return "open time is far ahead of the clock" if candle.open_ms > latest_ms else None

    def _emit(self, events: Iterable[Event | Rejected]) -> None:
        for event in events:
            self._events.put_nowait(event)

    def _emit_of(self, series: Series, events: Iterable[Event]) -> None:
        self._emit(events)
        if series.broken:
            self._repairs.want(series)

    async def _follow(self, fresh: set[SeriesKey]) -> None:
        """Close the seam between history and socket, then watch the time and repair."""
        await self._offset.begin()
        await self._recall(fresh)
        broken = [series for series in self._series.values() if series.broken]
        for series in self._series.values():
            if not series.broken:
                self._emit(series.release())
        await self._repairs.ask(broken)
        released = [event for series in broken for event in series.release()]
        released.sort(key=_moment)
        self._emit(released)
        for series in self._series.values():
            if series.broken or series not in broken:  # whole ones: was their end revised?
                self._repairs.want(series)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._repairs.run())
            tasks.create_task(self._watch_time())
            tasks.create_task(self._offset.keep())

    async def _recall(self, fresh: set[SeriesKey]) -> None:
        """Find what closed while nobody listened."""
        for key, series in self._series.items():
            stored: Sequence[int] = ()
            now_ms = self._settled_ms()
            if key in fresh:
                span = self._settings.lookback * series.timeframe.ms
                since, until = from_ms(now_ms - span), from_ms(now_ms)
                stored = await self._stored.open_times(*key, since=since, until=until)
                series.recall(await self._stored.newest(*key, count=REMEMBERED))
            cause = Cause.START if key in fresh else Cause.RECONNECT
            self._emit(series.begin(now_ms, stored=stored, cause=cause))

    async def _watch_time(self) -> None:
        while True:
            await self._pace.wall.sleep(LOOK_EVERY)
            await self._wait_for_room()
            settled_ms = self._settled_ms()
            for series in self._series.values():
                self._emit_of(series, series.on_time(settled_ms))
                if series.expecting:
                    self._repairs.hurry(series)
                if series.unsure(settled_ms):
                    self._repairs.want(series)

    def _settled_ms(self) -> int:
        """The exchange's time less the grace: what closed before should be known everywhere."""
        grace = self._settings.close_grace * self._pace.speed
        return to_ms(self._pace.clock.now() - grace) + self._offset.ms


def _leaves(group: BaseExceptionGroup[E]) -> Iterator[E]:
    """The errors in a group of groups."""
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error


def _moment(event: Event) -> tuple[int, str, Instrument]:
    """Gaps last, candles by close time."""
    if isinstance(event, Gap):
        return (1 << 62, event.timeframe, event.instrument)
    return (event.close_ms, event.timeframe, event.instrument)
