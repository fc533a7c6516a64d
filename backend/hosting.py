"""A panel brought up from the record, and fed with its ticks, in whatever process it lives."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import NamedTuple

from backend.api.status import Status
from backend.feed import Hold
from backend.hearing import Hearing
from backend.jobs import Bell
from backend.learning.learning import Learning
from backend.learning.plan import LearningPlan
from backend.leaving import withdraw_signals
from backend.observer import Observer
from backend.panel import Panel, PanelKey
from backend.revisions import Revisions
from backend.runner import Lane, Publish, Runner
from backend.settings import Settings
from backend.store.database import patiently
from backend.store.leases import Fence, no_fence
from backend.system_plan import SystemPlan
from backend.warmup import catch_up
from backend.wiring import Store, decided_by, labels_of, online_of, policy_of, sets_of
from domain.events import CandleBatch
from domain.market import Horizon, Instrument, Listing, Timeframe
from domain.ports import Clock, EventBus, Executor
from domain.topics import CANDLES, panel_key


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """What a panel stands on.

    Args:
        plan, settings: what the system was asked.
        store: its recorder may be fenced for one panel.
        status: is told of progress and of each prediction.
        publish: takes committed events.
        executor: of fits.
        lane: shared by the panels of a process.
        hearing: what sources told; shared by all panels of the process.
        wall: of waits for the database.
        hold: stops and starts the market's clock, where it is simulated.
        bell: of the process: says when a panel is asked for something.
        fence: of the lease of one panel.
    """

    plan: SystemPlan
    settings: Settings
    store: Store
    status: Status
    publish: Publish
    executor: Executor
    lane: Lane
    hearing: Hearing
    wall: Clock
    hold: Hold
    bell: Bell
    fence: Fence = no_fence

    async def open(
        self,
        key: PanelKey,
        listings: Mapping[Instrument, Listing],
        joined: Mapping[Instrument, datetime | None],
    ) -> Hosted:
        """A panel that has caught up with the stored candles.

        Args:
            key: which.
            listings: what is watched now.
            joined: all that were ever watched; closes up to then were drawn without them.
        """
        panel = await self._panel(key)
        self.status.feature_sets = tuple(one.id for one in panel.sets)
        panel.enlist(listings.values())
        told: list[object] = []
        learning = await self._learning(panel, told.append)
        revisions = Revisions(
            panel=panel,
            joined=dict(joined),
            store=self.store,
            clock=self.plan.clock,
            wall=self.wall,
        )
        observer = Observer(
            panel=panel,
            learning=learning,
            told=told,
            publish=self.publish,
            clock=self.plan.clock,
            wall=self.wall,
            store=self.store,
            status=self.status,
            hold=self.hold,
            hold_limit=self.plan.hold_limit,
            every_bars=self.settings.snapshot_bars,
            as_of=await self._catch_up(revisions, tuple(listings)),
            revisions=revisions,
        )
        runner = Runner(
            panel=panel,
            recorder=self.store.recorder,
            publish=self.publish,
            clock=self.plan.clock,
            wall=self.wall,
            observer=observer,
            turn=revisions.turn,
            lane=self.lane,
            before=partial(self.hearing.before, key),
        )
        await withdraw_signals(runner, self.store, listings)
        return Hosted(runner, observer)

    async def _panel(self, key: PanelKey) -> Panel:
        return Panel(
            key,
            self.plan.horizons,
            clock=self.plan.clock,
            policy=policy_of(self.settings),
            sentiment=self.hearing.told,
            kinds=labels_of(self.settings),
            online=online_of(self.settings),
            decided_by=decided_by(self.settings),
            sets=await sets_of(self.store.writers, self.settings, self.plan.clock.now()),
        )

    async def _learning(self, panel: Panel, emit: Callable[[object], None]) -> Learning:
        """As the registry has it."""
        learning = Learning(
            panel=panel,
            store=self.store,
            executor=self.executor,
            clock=self.plan.clock,
            wall=self.wall,
            plan=LearningPlan.of(
                self.settings.training,
                panel.key.timeframe,
                seed=self.plan.seed,
                plugins=self.settings.plugins,
                sets=panel.sets,
                every=self.plan.training_every,
                live=True,
            ),
            emit=emit,
        )
        await learning.restore()
        self.status.notes += learning.refused
        return learning

    async def _catch_up(
        self, revisions: Revisions, instruments: Sequence[Instrument]
    ) -> datetime | None:
        """Take the panel to the newest stored candle, which is returned."""
        timeframe = revisions.panel.key.timeframe
        name = f"warm-up {revisions.panel.key.exchange} {timeframe}"
        caught_up = await catch_up(
            revisions,
            since=self.plan.clock.now() - self.settings.history_bars * timeframe.duration,
            report=lambda done, total: self.status.report(name, done, total),
            before=partial(self.hearing.before, revisions.panel.key),
        )
        await self.recall(timeframe, instruments)  # else the first close may be a day away
        return caught_up.as_of

    async def recall(self, timeframe: Timeframe, instruments: Sequence[Instrument]) -> None:
        """Have the status know what was predicted up to now."""
        served = await self.store.history.newest_served(
            instruments, Horizon(timeframe, min(self.plan.horizons))
        )
        for instrument, as_of in served.items():
            self.status.predicted(timeframe, (instrument,), as_of)


class Hosted(NamedTuple):
    """A panel that runs, and what watches it."""

    runner: Runner
    observer: Observer

    async def follow(
        self,
        bus: EventBus,
        subscribed: asyncio.Event,
        opening: int = 0,
        opened: Callable[[], Awaitable[int]] | None = None,
    ) -> None:
        """Take its ticks as they come, until cancelled or until one is of a later opening.

        Those of another one are passed by: history had their candles when this one began.

        Args:
            bus: brings them.
            subscribed: is set once none is missed.
            opening: of this panel.
            opened: the newest opening that was announced; None: nobody announces any.

        Raises:
            ValueError: a tick is of an opening that nobody announced.
        """
        panel = self.runner.panel.key
        key = panel_key(panel.exchange, panel.timeframe)
        async with bus.subscribe(CANDLES, group=key, key=key) as events:
            subscribed.set()
            async for event in events:
                if not isinstance(event, CandleBatch) or event.opening < opening:
                    continue
                if event.opening > opening:
                    if opened is None:
                        continue
                    newest = await opened()
                    if event.opening > newest >= 0:
                        raise ValueError(f"nobody announced its opening, {event.opening}")
                    return
                await self._meet(event.instruments)
                await self.runner.on_candles(event)

    async def _meet(self, instruments: Sequence[Instrument]) -> None:
        """Know from when on those that are new in a tick have their place beside the others."""
        revisions = self.observer.revisions
        if revisions.stranger(instruments):
            read = partial(revisions.store.instruments.membership, self.runner.panel.key.exchange)
            revisions.joins((await patiently(read, revisions.wall)).joined)

    async def close(self) -> None:
        """Keep its state for whoever has it next."""
        await self.observer.close(keep=self.runner.whole)
