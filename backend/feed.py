"""An exchange's candles on their way to the panels: collected, assembled into ticks, published."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial

from backend.auditor import Auditor
from backend.store.database import patiently
from collectors.backfill import Rejected
from collectors.budget import Budget
from collectors.checks import reason
from collectors.collector import Collector, CollectorSettings
from collectors.cross_section import CrossSection
from collectors.gaps import Gap, Range
from collectors.history_port import StoredCandles
from collectors.pacing import Pace
from collectors.unreadable import Unread
from domain.events import Candle, CandleBatch
from domain.market import Instrument, Listing, SeriesKey, Timeframe
from domain.ports import Clock, EventBus, Exchange
from domain.topics import CANDLES

log = logging.getLogger(__name__)

Hold = Callable[[bool], Awaitable[None]]


async def no_hold(held: bool) -> None:  # noqa: FBT001 - the shape of Hold
    """A real market cannot be held."""
    del held


@dataclass(frozen=True, slots=True, kw_only=True)
class Feed:
    """One exchange with what is watched on it and the clocks it goes by."""

    exchange: Exchange
    listings: tuple[Listing, ...]
    timeframes: tuple[Timeframe, ...]
    pace: Pace
    round: timedelta = timedelta(0)  # in which the candles come that are asked for at a close
    hold: Hold = no_hold  # stops and starts a simulated exchange's clock
    budget: Budget | None = None  # of requests to the exchange
    unread: Unread | None = None  # what the exchange sent and nobody can read

    @property
    def instruments(self) -> tuple[Instrument, ...]:
        return tuple(listing.instrument for listing in self.listings)

    def spread(self, timeframe: Timeframe) -> timedelta:
        """Wall time from the first to the last candle of a close, where they are asked for."""
        if self.exchange.streams(timeframe):
            return timedelta(0)
        return min(self.round, timeframe.duration / self.pace.speed / 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class PatientCandles:
    """Stored candles, read again and again while the database is away."""

    stored: StoredCandles
    wall: Clock

    async def open_times(
        self, instrument: Instrument, timeframe: Timeframe, *, since: datetime, until: datetime
    ) -> Sequence[int]:
        read = partial(self.stored.open_times, instrument, timeframe, since=since, until=until)
        return await patiently(read, self.wall)

    async def newest(
        self, instrument: Instrument, timeframe: Timeframe, *, count: int
    ) -> Sequence[Candle]:
        read = partial(self.stored.newest, instrument, timeframe, count=count)
        return await patiently(read, self.wall)


@dataclass(slots=True, kw_only=True)
class LiveEdge:
    """Follows one feed and publishes each tick when its cross-section is drawn."""

    feed: Feed
    bus: EventBus
    stored: StoredCandles
    auditor: Auditor
    refused: Callable[[Rejected], Awaitable[None]]
    deadline: timedelta
    history_bars: int
    openings: Mapping[Timeframe, int] = field(default_factory=dict)  # where rooms run apart
    _sections: dict[Timeframe, CrossSection] = field(init=False)
    _collector: Collector = field(init=False)
    _changed: dict[Timeframe, asyncio.Event] = field(init=False)

    def __post_init__(self) -> None:
        feed = self.feed
        self._sections = {
            timeframe: CrossSection(
                exchange=feed.exchange.id,
                timeframe=timeframe,
                instruments=(),
                deadline=self.deadline + feed.spread(timeframe),
            )
            for timeframe in feed.timeframes
        }
        self._changed = {timeframe: asyncio.Event() for timeframe in feed.timeframes}
        self._collector = Collector(
            feed.exchange,
            stored=PatientCandles(stored=self.stored, wall=feed.pace.wall),
            out=self._take,
            check=reason,
            pace=feed.pace,
            settings=CollectorSettings(lookback=min(self.history_bars, 1_000)),
            budget=feed.budget,
        )

    @property
    def lost(self) -> str:
        """Why there is no connection; empty while there is one."""
        return self._collector.lost

    async def run(self, instruments: Sequence[Instrument]) -> None:
        """Until cancelled."""
        self._wait_for(instruments)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._collector.run(instruments, self.feed.timeframes))
            for timeframe in self.feed.timeframes:
                tasks.create_task(self._draw_when_due(timeframe))
            tasks.create_task(self.auditor.run(self._collector.repair))

    def watch(self, instruments: Sequence[Instrument]) -> None:
        """Follow these from now on; those that stay lose nothing."""
        self._wait_for(instruments)
        self._collector.watch(instruments)

    def ask_again(self, missing: Mapping[SeriesKey, Sequence[Range]]) -> None:
        """Fetch these from the exchange, whatever it has said of them before."""
        self._collector.repair(missing, denied=True)

    def _wait_for(self, instruments: Sequence[Instrument]) -> None:
        for section in self._sections.values():
            section.watch(instruments)

    async def _take(self, event: Candle | Gap | Rejected) -> None:
        match event:
            case Candle():
                section = self._sections[event.timeframe]
                await self._publish(section.add(event, arrived=self.feed.pace.wall.now()))
                self._changed[event.timeframe].set()
            case Gap():
                log.info(
                    "gap %s",
                    event.state.value,
                    extra={"instrument": str(event.instrument), "cause": event.cause.value},
                )
                self.auditor.note(event)
            case Rejected():
                log.warning("candle refused", extra={"reason": event.reason})
                await patiently(lambda: self.refused(event), self.feed.pace.wall)

    async def _draw_when_due(self, timeframe: Timeframe) -> None:
        """Of one timeframe, whose ticks have one patience: none that begins later is due sooner."""
        section, changed = self._sections[timeframe], self._changed[timeframe]
        wall = self.feed.pace.wall
        while True:
            changed.clear()
            deadline = section.next_deadline()
            if deadline is None:
                await changed.wait()
                continue
            await wall.sleep(max(deadline - wall.now(), timedelta(0)))
            await self._publish(section.due(wall.now()))

    async def _publish(self, batches: Sequence[CandleBatch]) -> None:
        # The cross-section waits by the wall; what is known is known at the market's time.
        now = self.feed.pace.clock.now()
        for batch in batches:
            told = replace(
                batch.came_at(now),
                holes=dict(self.auditor.missing[batch.timeframe]),
                opening=self.openings.get(batch.timeframe, 0),
            )
            await self.bus.publish(CANDLES, told)
