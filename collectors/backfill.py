"""The exchange's history into the store, and nothing that is there already."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from collectors.budget import Budget, Urgency, drawing
from collectors.gaps import Range, count, floor_ms, missing_ranges, pages
from collectors.history_port import StoredCandles
from collectors.pacing import Backoff, Pace
from collectors.refusals import UnlistedError
from domain.errors import ExchangeError, RateLimitedError
from domain.events import Candle, Source
from domain.market import Instrument, SeriesKey, Timeframe, from_ms, to_ms
from domain.ports import Exchange

log = logging.getLogger(__name__)

PAGE = 1000  # candles fetched and handed on at once
CONCURRENCY = 4  # requests in flight to one exchange

Check = Callable[[Candle], str | None]  # the reason why a candle is impossible
Progress = Callable[[int, int], None]  # candles done, candles wanted


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """A candle that cannot be, for the quarantine."""

    candle: Candle
    reason: str


class History:
    """Asks one exchange for closed candles, at the pace that it allows.

    Args:
        exchange: Whom to ask.
        check: Tells why a candle is impossible.
        budget: That all requests to this exchange draw on.
    """

    def __init__(self, exchange: Exchange, *, check: Check, budget: Budget) -> None:
        self._exchange = exchange
        self._check = check
        self._budget = budget

    async def fetch(
        self,
        instrument: Instrument,
        timeframe: Timeframe,
        span: Range,
        source: Source,
        urgency: Urgency,
    ) -> tuple[list[Candle], list[Rejected]]:
        """The candles of `span` that the exchange has, and those that cannot be.

        Raises:
            RateLimitedError: all requests pause from now on; ask again.
            ExchangeUnavailableError: no answer.
        """
        await self._budget.resumed()
        try:
            with drawing(urgency):
                answer = await self._exchange.fetch_candles(
                    instrument, timeframe, since=from_ms(span.from_ms), until=from_ms(span.to_ms)
                )
        except RateLimitedError as error:
            self._budget.pause(error.retry_after)
            raise
        good, bad = [], []
        for candle in answer:
            reason = self._check(candle)
            if reason is None:
                good.append(replace(candle, source=source))
            else:
                bad.append(Rejected(candle=candle, reason=reason))
        return good, bad


class _Page(NamedTuple):
    instrument: Instrument
    timeframe: Timeframe
    span: Range


@dataclass(frozen=True, slots=True, kw_only=True)
class Unserved:
    """Candles before the first that the exchange has of a series: it was asked, and said none."""

    instrument: Instrument
    timeframe: Timeframe
    span: Range


class Backfill:
    """Fetches what is missing of the last candles, page by page; started again, it resumes.

    Args:
        history: Of the exchange.
        stored: What is there already.
        out: Takes each page's candles (`source=backfill`), which it stores before it returns,
            and its impossible ones.
        pace: For waits between tries.
    """

    def __init__(
        self,
        history: History,
        *,
        stored: StoredCandles,
        out: Callable[[Sequence[Candle], Sequence[Rejected]], Awaitable[None]],
        pace: Pace,
    ) -> None:
        self._history = history
        self._stored = stored
        self._out = out
        self._pace = pace
        self._unlisted: set[Instrument] = set()  # in this run
        self._oldest: dict[SeriesKey, int] = {}  # that is there, by open time

    async def run(
        self,
        instruments: Sequence[Instrument],
        timeframes: Sequence[Timeframe],
        *,
        bars: int,
        progress: Progress,
    ) -> list[Unserved]:
        """Until all of the last `bars` closed candles that the exchange has are stored.

        Tries again until the exchange answers; what it does not serve any more is left, with
        one line. `progress` counts what was stored before as
        done, and what the exchange does not have once it was asked for.

        Returns:
            What it does not have of the oldest candles.
        """
        self._unlisted.clear()
        self._oldest.clear()
        work = await self._plan(instruments, timeframes, bars)
        total = len(instruments) * len(timeframes) * bars
        done = total - sum(count(page.span, page.timeframe) for page in work)
        progress(done, total)
        waiting = iter(work)

        async def fetch_pages() -> None:
            nonlocal done
            for page in waiting:  # shared: each takes the next one
                if page.instrument not in self._unlisted:
                    await self._fetch(page)
                done += count(page.span, page.timeframe)
                progress(done, total)

        async with asyncio.TaskGroup() as tasks:
            for _ in range(CONCURRENCY):
                tasks.create_task(fetch_pages())
        return self._unserved(work)

    def _unserved(self, work: Sequence[_Page]) -> list[Unserved]:
        first: dict[SeriesKey, int] = {}
        for page in work:
            key = (page.instrument, page.timeframe)
            first[key] = min(page.span.from_ms, first.get(key, page.span.from_ms))
        return [
            Unserved(instrument=key[0], timeframe=key[1], span=Range(since_ms, self._oldest[key]))
            for key, since_ms in first.items()
            if since_ms < self._oldest.get(key, since_ms)
        ]

    def _there(self, instrument: Instrument, timeframe: Timeframe, found: Sequence[int]) -> None:
        key = (instrument, timeframe)
        if found:
            self._oldest[key] = min(*found, self._oldest.get(key, found[0]))

    async def _plan(
        self, instruments: Sequence[Instrument], timeframes: Sequence[Timeframe], bars: int
    ) -> list[_Page]:
        work = []
        now_ms = to_ms(self._pace.clock.now())
        for timeframe in timeframes:
            until_ms = floor_ms(now_ms, timeframe)
            since_ms = until_ms - bars * timeframe.ms
            for instrument in instruments:
                stored = await self._stored.open_times(
                    instrument, timeframe, since=from_ms(since_ms), until=from_ms(until_ms)
                )
                self._there(instrument, timeframe, stored)
                missing = missing_ranges(stored, timeframe, since_ms=since_ms, until_ms=until_ms)
                work += [
                    _Page(instrument, timeframe, page)
                    for span in missing
                    for page in pages(span, timeframe, size=PAGE)
                ]
        return work

    async def _fetch(self, page: _Page) -> None:
        backoff = Backoff(self._pace.random)
        while True:
            try:
                good, bad = await self._history.fetch(*page, Source.BACKFILL, Urgency.BACKFILL)
            except RateLimitedError:
                continue  # the next try waits for the pause
            except UnlistedError as error:
                log.warning("no history of %s: %s", page.instrument, error)
                self._unlisted.add(page.instrument)
                return
            except ExchangeError as error:
                wait = backoff.next()
                log.warning("backfill of %s waits %.1f s: %s", page, wait.total_seconds(), error)
                await self._pace.wall.sleep(wait)
            else:
                await self._out(good, bad)
                rows = [*good, *(one.candle for one in bad)]
                self._there(page.instrument, page.timeframe, [one.open_ms for one in rows])
                return
