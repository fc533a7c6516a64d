"""One exchange that is followed: its history, its panels, then its live edge for ever."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from backend import metrics
from backend.api.state import ApiState
from backend.auditor import Auditor
from backend.executor import ProcessExecutor
from backend.feed import Feed, LiveEdge
from backend.learning.learning import Learning
from backend.learning.plan import LearningPlan
from backend.observer import Observer
from backend.panel import Panel, PanelKey
from backend.revisions import Revisions
from backend.runner import Lane, Runner
from backend.settings import Settings
from backend.store.candles import store_candles
from backend.store.database import patiently
from backend.store.quarantine import refuse_candle, refuse_unreadable
from backend.system_plan import SystemPlan
from backend.unserved import lines, notices
from backend.warmup import catch_up
from backend.wiring import Store, policy_of
from collectors.backfill import Backfill, History, Rejected, Unserved
from collectors.budget import Budget
from collectors.checks import reason
from domain.events import Candle, CandleBatch
from domain.market import Horizon, Timeframe
from domain.ports import EventBus
from domain.topics import CANDLES

log = logging.getLogger(__name__)


@dataclass(slots=True, kw_only=True)
class Following:
    """One exchange of a running system.

    Args:
        feed: the exchange and what is watched on it.
        plan, settings: what the system was asked.
        store, api, bus, executor: its parts.
        lane: shared by the panels of the process.
        watches: takes each panel's runner and observer, which outlive the following.
    """

    feed: Feed
    plan: SystemPlan
    settings: Settings
    store: Store
    api: ApiState
    bus: EventBus
    executor: ProcessExecutor
    lane: Lane
    watches: list[tuple[Runner, Observer]]

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._set_aside())
            tasks.create_task(self._follow())

    async def _follow(self) -> None:
        """History, warm-up, then the live edge."""
        feed = self.feed
        await self.store.instruments.watch(feed.listings, since=self.plan.clock.now())
        auditor = Auditor(
            ledger=self.store.ledger,
            instruments=feed.instruments,
            timeframes=feed.timeframes,
            pace=feed.pace,
            publish=self.api.hub.publish,
        )
        await auditor.begin()
        await self._backfill()
        await auditor.settle()
        watches = [await self._panel(timeframe) for timeframe in feed.timeframes]
        for runner, _ in watches:
            runner.panel.on_gaps(auditor.missing[runner.panel.key.timeframe])
        edge = LiveEdge(
            feed=feed,
            bus=self.bus,
            stored=self.store.collected,
            auditor=auditor,
            refused=self._refuse,
            deadline=timedelta(milliseconds=self.settings.deadline_ms),
            history_bars=self.settings.history_bars,
        )
        async with asyncio.TaskGroup() as tasks:
            for runner, observer in watches:
                subscribed = asyncio.Event()
                tasks.create_task(_consume(runner, self.bus, subscribed))
                tasks.create_task(observer.revisions.run())
                await subscribed.wait()
            tasks.create_task(edge.run())
            await feed.hold(False)  # noqa: FBT003 - the shape of Hold

    async def _backfill(self) -> None:
        feed = self.feed
        history = History(feed.exchange, check=reason, budget=feed.budget or Budget(feed.pace.wall))

        async def keep(candles: Sequence[Candle], rejected: Sequence[Rejected]) -> None:
            if candles:
                await store_candles(
                    self.store.writers,
                    self.store.instruments,
                    candles,
                    known_at=self.plan.clock.now(),
                )
                metrics.CANDLES_RECEIVED.labels(feed.exchange.id).inc(len(candles))
            for one in rejected:
                await self._refuse(one)

        name = f"history {feed.exchange.id}"
        unserved = await Backfill(
            history, stored=self.store.collected, out=keep, pace=feed.pace
        ).run(
            feed.instruments,
            feed.timeframes,
            bars=self.settings.history_bars,
            progress=lambda done, total: self.api.status.report(name, done, total),
        )
        if unserved:
            await self._note(unserved)

    async def _note(self, unserved: Sequence[Unserved]) -> None:
        """What the exchange does not have is no gap that could be filled; it is said."""
        record = partial(self.store.ledger.record, notices(unserved), at=self.plan.clock.now())
        recorded = await patiently(record, self.feed.pace.wall)
        self.api.hub.publish(recorded.events)
        self.api.status.notes += lines(unserved, bars=self.settings.history_bars)

    async def _panel(self, timeframe: Timeframe) -> tuple[Runner, Observer]:
        feed, plan, settings = self.feed, self.plan, self.settings
        panel = Panel(
            PanelKey(exchange=feed.exchange.id, timeframe=timeframe),
            plan.horizons,
            clock=plan.clock,
            policy=policy_of(settings),
        )
        panel.enlist(feed.listings)
        told: list[object] = []
        learning = Learning(
            panel=panel,
            store=self.store,
            executor=self.executor,
            clock=plan.clock,
            plan=LearningPlan.of(
                settings.training, timeframe, seed=plan.seed, every=plan.training_every
            ),
            emit=told.append,
        )
        await learning.restore()
        self.api.status.notes += learning.refused
        revisions = Revisions(
            panel=panel,
            instruments=feed.instruments,
            store=self.store,
            clock=plan.clock,
            wall=feed.pace.wall,
        )
        name = f"warm-up {timeframe}"
        since = plan.clock.now() - settings.history_bars * timeframe.duration
        caught_up = await catch_up(
            revisions,
            since=since,
            report=lambda done, total: self.api.status.report(name, done, total),
        )
        served = await self.store.history.newest_served(
            feed.instruments, Horizon(timeframe, min(plan.horizons))
        )
        for instrument, as_of in served.items():  # else the first close may be a day away
            self.api.status.predicted(timeframe, (instrument,), as_of)
        observer = Observer(
            panel=panel,
            learning=learning,
            told=told,
            publish=self.api.hub.publish,
            clock=plan.clock,
            wall=feed.pace.wall,
            store=self.store,
            status=self.api.status,
            hold=feed.hold,
            hold_limit=plan.hold_limit,
            every_bars=settings.snapshot_bars,
            as_of=caught_up.as_of,
            revisions=revisions,
        )
        runner = Runner(
            panel=panel,
            recorder=self.store.recorder,
            publish=self.api.hub.publish,
            clock=plan.clock,
            wall=feed.pace.wall,
            observer=observer,
            turn=revisions.turn,
            lane=self.lane,
        )
        self.watches.append((runner, observer))
        return runner, observer

    async def _refuse(self, rejected: Rejected) -> None:
        await refuse_candle(
            self.store.writers,
            rejected.candle,
            reason=rejected.reason,
            received_at=self.plan.clock.now(),
        )

    async def _set_aside(self) -> None:
        """What the exchange sends and nobody can read, as long as the system runs."""
        feed = self.feed
        while feed.unread is not None:
            unread = await feed.unread.take()
            log.warning(
                "%s sent what cannot be read", feed.exchange.id, extra={"reason": unread[0].reason}
            )
            write = partial(
                refuse_unreadable, self.store.writers, unread, received_at=self.plan.clock.now()
            )
            await patiently(write, feed.pace.wall)


async def _consume(runner: Runner, bus: EventBus, subscribed: asyncio.Event) -> None:
    """Feed one panel with its ticks."""
    key = runner.panel.key
    async with bus.subscribe(CANDLES, group=f"{key.exchange}|{key.timeframe}") as events:
        subscribed.set()
        async for event in events:
            ours = isinstance(event, CandleBatch) and (
                (event.exchange, event.timeframe) == (key.exchange, key.timeframe)
            )
            if ours and isinstance(event, CandleBatch):
                await runner.on_candles(event)
