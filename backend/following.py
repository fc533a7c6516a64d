"""One exchange that is followed: its history, its panels, then its live edge for ever."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial

from backend import metrics
from backend.api.status import Status
from backend.auditor import Auditor
from backend.background import Rounds
from backend.feed import Feed, LiveEdge, PatientCandles
from backend.hosting import Host, Hosted
from backend.leaving import staying_away, why_away
from backend.panel import PanelKey
from backend.panel_jobs import panel_jobs
from backend.runner import Publish
from backend.settings import Settings
from backend.store import open_panels
from backend.store.candles import store_candles
from backend.store.database import patiently
from backend.store.instruments import Membership
from backend.store.quarantine import refuse_candle, refuse_unreadable
from backend.system_plan import SystemPlan
from backend.unserved import lines, notices
from backend.wiring import Store
from collectors.backfill import Backfill, History, Rejected, Unserved
from collectors.budget import Budget
from collectors.checks import reason
from domain.errors import UnknownSymbolError
from domain.events import Candle
from domain.market import Instrument, Listing, Timeframe, from_ms, to_ms
from domain.ports import EventBus

log = logging.getLogger(__name__)

LAST_MS = 1 << 62


@dataclass(slots=True, kw_only=True)
class Following:
    """One exchange of a running system.

    Args:
        feed: the exchange and what is watched on it.
        plan, settings: what the system was asked.
        store, status, bus: its parts.
        publish: takes committed events.
        host: of its panels; None: other processes run them.
        watches: takes each panel, which outlives the following.
        listings: what is watched now.
        panels: of this exchange, once they are warm.
        tasks: ends with it.
        live: set once the live edge is followed.
        waited_for: the system is ready when it is, as far as those are that it begins with.
    """

    feed: Feed
    plan: SystemPlan
    settings: Settings
    store: Store
    status: Status
    publish: Publish
    bus: EventBus
    host: Host | None
    watches: list[Hosted] = field(default_factory=list)
    waited_for: bool = True
    listings: dict[Instrument, Listing] = field(init=False)
    panels: list[Hosted] = field(default_factory=list)
    auditor: Auditor = field(init=False)
    edge: LiveEdge = field(init=False)
    tasks: asyncio.TaskGroup = field(default_factory=asyncio.TaskGroup)
    live: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        feed = self.feed
        self.listings = {one.instrument: one for one in feed.listings}
        self.auditor = Auditor(
            exchange=feed.exchange.id,
            ledger=self.store.ledger,
            instruments=(),
            timeframes=feed.timeframes,
            pace=feed.pace,
            publish=self.publish,
        )
        self.edge = LiveEdge(
            feed=feed,
            bus=self.bus,
            stored=self.store.collected,
            auditor=self.auditor,
            refused=self._refuse,
            deadline=timedelta(milliseconds=self.settings.deadline_ms),
            history_bars=self.settings.history_bars,
        )

    @property
    def instruments(self) -> tuple[Instrument, ...]:
        """What is watched now."""
        return tuple(self.listings)

    async def run(self) -> None:
        """Until cancelled."""
        async with self.tasks as tasks:
            tasks.create_task(self._set_aside())
            tasks.create_task(self._follow())

    async def _follow(self) -> None:
        """History, warm-up, then the live edge."""
        wall = self.feed.pace.wall
        membership = await patiently(self._begin, wall)
        self.auditor.instruments = self.instruments
        await patiently(self.auditor.begin, wall)
        await self.backfill(self.instruments)
        await patiently(self.auditor.settle, wall)
        if self.host is None:
            await self._announce()
        else:
            await self._open_panels(self.host, membership)
        async with asyncio.TaskGroup() as tasks:
            for hosted in self.panels:
                subscribed = asyncio.Event()
                tasks.create_task(hosted.follow(self.bus, subscribed))
                tasks.create_task(hosted.observer.revisions.run())
                await subscribed.wait()
                if self.host is not None:
                    tasks.create_task(panel_jobs(self.host, hosted).run())
            tasks.create_task(self.edge.run(self.instruments))
            self.live.set()
            await self.feed.hold(False)  # noqa: FBT003 - the shape of Hold

    async def _announce(self) -> None:
        """Workers may run its panels now; those that do begin them anew."""
        exchange, timeframes = self.feed.exchange.id, self.feed.timeframes
        announce = partial(open_panels.announce, self.store.writers, exchange, timeframes)
        self.edge.openings = await patiently(announce, self.feed.pace.wall)

    async def _open_panels(self, host: Host, membership: Membership) -> None:
        for timeframe in self.feed.timeframes:
            key = PanelKey(exchange=self.feed.exchange.id, timeframe=timeframe)
            begin = partial(host.open, key, self.listings, membership.joined)
            hosted = await patiently(begin, self.feed.pace.wall)  # each time from its snapshot
            self.panels.append(hosted)
            self.watches.append(hosted)

    async def _begin(self) -> Membership:
        """Enter what is watched from now on: what was asked and not removed, and what was added."""
        book, exchange, now = self.store.instruments, self.feed.exchange, self.plan.clock.now()
        before = await book.membership(exchange.id)
        for instrument in before.added:
            if instrument in self.listings:
                continue
            try:
                (listing,) = await exchange.listings([instrument.symbol])
            except UnknownSymbolError:
                self.status.notes.append(f"{instrument} is listed no more; it was added before")
            else:
                self.listings[instrument] = listing
                if self.waited_for:
                    self.status.instruments += (instrument,)
        self._leave_out(staying_away(self.listings, before.removed))
        for instrument in before.watched:
            if instrument not in self.listings:
                await book.unwatch(instrument, until=now)
        await book.watch(self.listings.values(), since=now)
        return await book.membership(exchange.id)

    def _leave_out(self, away: Sequence[Instrument]) -> None:
        status = self.status
        for instrument in away:
            del self.listings[instrument]
            status.notes.append(why_away(instrument))
        status.instruments = tuple(one for one in status.instruments if one not in away)

    async def backfill(
        self,
        instruments: Sequence[Instrument],
        *,
        before: Mapping[Timeframe, datetime] | None = None,
    ) -> dict[Timeframe, datetime]:
        """Store the newest `history_bars` candles that the exchange has, and the store lacks.

        Args:
            instruments: whose.
            before: closes from then on are left to the live edge.

        Returns:
            The first close that was stored, at each timeframe that had one.
        """
        feed, first_ms = self.feed, dict[Timeframe, int]()
        ends = {timeframe: to_ms(end) for timeframe, end in (before or {}).items()}
        history = History(feed.exchange, check=reason, budget=feed.budget or Budget(feed.pace.wall))

        async def keep(told: Sequence[Candle], rejected: Sequence[Rejected]) -> None:
            candles = [one for one in told if one.close_ms < ends.get(one.timeframe, LAST_MS)]
            if candles:
                store = partial(
                    store_candles,
                    self.store.writers,
                    self.store.instruments,
                    candles,
                    known_at=self.plan.clock.now(),
                )
                await patiently(store, feed.pace.wall)
                metrics.CANDLES_RECEIVED.labels(feed.exchange.id).inc(len(candles))
            for one in candles:
                first_ms[one.timeframe] = min(one.close_ms, first_ms.get(one.timeframe, LAST_MS))
            for refused in rejected:
                await patiently(partial(self._refuse, refused), feed.pace.wall)

        name = f"history {instruments[0] if before else feed.exchange.id}"
        stored = PatientCandles(stored=self.store.collected, wall=feed.pace.wall)
        unserved = await Backfill(history, stored=stored, out=keep, pace=feed.pace).run(
            instruments,
            feed.timeframes,
            bars=self.settings.history_bars,
            progress=lambda done, total: self.status.report(name, done, total),
        )
        if unserved:
            await self._note(unserved)
        return {timeframe: from_ms(ms) for timeframe, ms in first_ms.items()}

    async def _note(self, unserved: Sequence[Unserved]) -> None:
        """What the exchange does not have is no gap that could be filled; it is said."""
        record = partial(self.store.ledger.record, notices(unserved), at=self.plan.clock.now())
        recorded = await patiently(record, self.feed.pace.wall)
        self.publish(recorded.events)
        self.status.notes += lines(unserved, bars=self.settings.history_bars)

    async def _refuse(self, rejected: Rejected) -> None:
        await refuse_candle(
            self.store.writers,
            rejected.candle,
            reason=rejected.reason,
            received_at=self.plan.clock.now(),
        )

    async def _set_aside(self) -> None:
        """What the exchange sends and nobody can read, as long as the system runs."""
        feed, name = self.feed, self.feed.exchange.id
        with Rounds(f"the record of what cannot be read of {name}") as work:
            while feed.unread is not None:
                unread = await feed.unread.take()
                log.warning("%s sent what cannot be read", name, extra={"reason": unread[0].reason})
                write = partial(
                    refuse_unreadable, self.store.writers, unread, received_at=self.plan.clock.now()
                )
                with work.going_on():
                    await patiently(write, feed.pace.wall)
