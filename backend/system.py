"""The running system: page first, then store, exchanges, history, and the live edge."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial

from backend import metrics
from backend.api.app import create_app
from backend.api.hub import Hub
from backend.api.server import listen, serve
from backend.api.state import ApiState
from backend.api.status import Market, Status
from backend.auditor import Auditor
from backend.executor import ProcessExecutor
from backend.feed import Feed, LiveEdge
from backend.garbage import settle
from backend.learning.learning import Learning
from backend.learning.plan import LearningPlan
from backend.observer import Observer
from backend.panel import Panel, PanelKey
from backend.revisions import Revisions
from backend.runner import Lane, Runner
from backend.settings import Settings
from backend.store import panels, score_days
from backend.store.candles import store_candles
from backend.store.database import CONNECTION_ERRORS, patiently
from backend.store.quarantine import refuse_candle, refuse_unreadable
from backend.store.state import TRAIN, Runtime, StateFolder
from backend.warmup import catch_up
from backend.wiring import Store, database_of, make_bus, open_store, policy_of
from collectors.backfill import Backfill, History, Rejected
from collectors.budget import Budget
from collectors.checks import reason
from domain.errors import AlphaPulseError
from domain.events import Candle, CandleBatch
from domain.market import Horizon, Timeframe
from domain.ports import Clock, EventBus
from domain.topics import CANDLES

log = logging.getLogger(__name__)

READY_WITHIN = timedelta(seconds=180)
DASHBOARD_EVERY_S = 5.0  # wall seconds between two looks at what changed
FOLDED_DAYS = 10  # of scores at a look: each takes some 0.1 s, and commits wait for one
DASHBOARD_REST = 20.0  # times as long as a panel took it rests: a long record is read rarely


class NotReadyError(AlphaPulseError):
    """The first predictions did not come in time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemPlan:
    """What to run, whatever the exchanges are."""

    market: Market
    horizons: tuple[int, ...]
    clock: Clock
    connect: Callable[[Store, Status, AsyncExitStack], Awaitable[Sequence[Feed]]]
    speed: float = 1.0
    training_every: timedelta | None = None
    hold_limit: timedelta | None = None  # how long a simulated clock waits for a fit
    stop_after: timedelta | None = None  # counted from ready
    allow_no_keys: bool = False
    seed: int = 7


async def run_system(plan: SystemPlan, settings: Settings) -> None:
    """Run until cancelled, interrupted or terminated, or until `stop_after`.

    Raises:
        StateFolderError: another system runs on the state folder.
        UsageError: the port is in use, or what is asked for does not exist.
        ExchangeUnavailableError, StoreUnavailableError: at the start.
        NotReadyError: no prediction of every instrument within READY_WITHIN.
    """
    folder = StateFolder(settings.state)
    with folder.owned(), _until_signalled():
        listener = listen(settings.host, settings.port, allow_no_keys=plan.allow_no_keys)
        host, port = listener.getsockname()[:2]
        status = Status(market=plan.market, speed=plan.speed, horizons=plan.horizons)
        api = ApiState(clock=plan.clock, hub=Hub(plan.clock), status=status)
        say(f"page and API at http://{host}:{port}/")
        async with AsyncExitStack() as stack:
            serving = asyncio.create_task(serve(create_app(api), listener))
            stack.push_async_callback(_cancelled, serving)
            status.report("database", 0, 1)
            watch = await stack.enter_async_context(asyncio.TaskGroup())
            url = await stack.enter_async_context(database_of(settings, watch))
            store = await stack.enter_async_context(open_store(url, folder.path / "artifacts"))
            api.reader = store.readers
            status.report("database", 1, 1)
            system = System(plan=plan, settings=settings, store=store, api=api)
            asyncio.get_running_loop().add_signal_handler(TRAIN, system.train)
            folder.publish(Runtime(pid=os.getpid(), database_url=url, api_host=host, api_port=port))
            await system.run(stack)


@dataclass(slots=True, kw_only=True)
class System:
    """Feeds, panels and what watches them, once the store is open."""

    plan: SystemPlan
    settings: Settings
    store: Store
    api: ApiState
    _watches: list[tuple[Runner, Observer]] = field(default_factory=list)
    _lane: Lane = field(default_factory=Lane)

    async def run(self, stack: AsyncExitStack) -> None:
        """From connecting to the end."""
        status = self.api.status
        status.report("exchange", 0, 1)
        feeds = await self.plan.connect(self.store, status, stack)
        status.instruments = tuple(one for feed in feeds for one in feed.instruments)
        status.timeframes = tuple(dict.fromkeys(tf for feed in feeds for tf in feed.timeframes))
        status.report("exchange", 1, 1)
        bus = make_bus(self.settings)
        executor = ProcessExecutor(workers=1)
        stack.callback(executor.close)
        try:
            async with asyncio.TaskGroup() as tasks:
                live = [tasks.create_task(self._follow(feed, bus, executor)) for feed in feeds]
                live += [tasks.create_task(self._set_aside(feed)) for feed in feeds]
                live.append(tasks.create_task(self._refresh_dashboard()))
                try:
                    await self._until_done()
                finally:
                    for task in live:
                        task.cancel()
        finally:
            for runner, observer in self._watches:
                await observer.close(keep=runner.whole)

    def train(self) -> None:
        """Somebody asks for a training: every panel fits at its next tick that has enough rows."""
        log.info("training on request")
        for _, observer in self._watches:
            observer.learning.request()

    async def _until_done(self) -> None:
        status = self.api.status
        try:
            async with asyncio.timeout(READY_WITHIN.total_seconds()):
                while not status.ready:  # noqa: ASYNC110 - rooms do not know of readiness
                    await asyncio.sleep(0.1)
        except TimeoutError:
            missing = [str(i) for i, tf in status.watched if (i, tf) not in status.newest]
            raise NotReadyError(
                f"no prediction within {READY_WITHIN.total_seconds():.0f} s of "
                f"{', '.join(missing[:5]) or 'anything'}"
            ) from None
        settle()
        say(f"ready: {len(status.instruments)} instruments, predictions are being published")
        await asyncio.sleep(
            self.plan.stop_after.total_seconds() if self.plan.stop_after else float("inf")
        )

    async def _follow(self, feed: Feed, bus: EventBus, executor: ProcessExecutor) -> None:
        """One exchange: history, warm-up, then its live edge for ever."""
        await self.store.instruments.watch(feed.listings, since=self.plan.clock.now())
        auditor = Auditor(
            ledger=self.store.ledger,
            instruments=feed.instruments,
            timeframes=feed.timeframes,
            pace=feed.pace,
            publish=self.api.hub.publish,
        )
        await auditor.begin()
        await self._backfill(feed)
        await auditor.settle()
        watches = [await self._panel(feed, tf, executor) for tf in feed.timeframes]
        for runner, _ in watches:
            runner.panel.on_gaps(auditor.missing[runner.panel.key.timeframe])
        edge = LiveEdge(
            feed=feed,
            bus=bus,
            stored=self.store.collected,
            auditor=auditor,
            refused=self._refuse,
            deadline=timedelta(milliseconds=self.settings.deadline_ms),
            history_bars=self.settings.history_bars,
        )
        async with asyncio.TaskGroup() as tasks:
            for runner, observer in watches:
                subscribed = asyncio.Event()
                tasks.create_task(_consume(runner, bus, subscribed))
                tasks.create_task(observer.revisions.run())
                await subscribed.wait()
            tasks.create_task(edge.run())
            await feed.hold(False)  # noqa: FBT003 - the shape of Hold

    async def _backfill(self, feed: Feed) -> None:
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
        await Backfill(history, stored=self.store.collected, out=keep, pace=feed.pace).run(
            feed.instruments,
            feed.timeframes,
            bars=self.settings.history_bars,
            progress=lambda done, total: self.api.status.report(name, done, total),
        )

    async def _panel(
        self, feed: Feed, timeframe: Timeframe, executor: ProcessExecutor
    ) -> tuple[Runner, Observer]:
        plan, settings = self.plan, self.settings
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
            executor=executor,
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
            lane=self._lane,
        )
        self._watches.append((runner, observer))
        return runner, observer

    async def _refuse(self, rejected: Rejected) -> None:
        await refuse_candle(
            self.store.writers,
            rejected.candle,
            reason=rejected.reason,
            received_at=self.plan.clock.now(),
        )

    async def _set_aside(self, feed: Feed) -> None:
        """What the exchange sends and nobody can read, as long as the system runs."""
        while feed.unread is not None:
            unread = await feed.unread.take()
            log.warning(
                "%s sent what cannot be read", feed.exchange.id, extra={"reason": unread[0].reason}
            )
            write = partial(
                refuse_unreadable, self.store.writers, unread, received_at=self.plan.clock.now()
            )
            await patiently(write, feed.pace.wall)

    async def _refresh_dashboard(self) -> None:
        """Keep the cache near the tables: each panel as often as it is cheap."""
        now = asyncio.get_running_loop().time
        rested = dict.fromkeys(panels.PANELS, 0.0)
        while True:
            await asyncio.sleep(DASHBOARD_EVERY_S)
            await self._fold()
            for name in [each for each in panels.PANELS if rested[each] <= now()]:
                began = now()
                await self._refresh(name)
                rested[name] = now() + DASHBOARD_REST * (now() - began)

    async def _fold(self) -> None:
        try:
            async with self.store.writers.acquire() as connection:
                await score_days.fold(connection, days=FOLDED_DAYS)
        except CONNECTION_ERRORS as error:
            log.warning("days are folded later", extra={"reason": str(error)})

    async def _refresh(self, name: str) -> None:
        try:
            async with self.store.writers.acquire() as connection:
                await panels.refresh(connection, name, self.plan.clock.now())
        except CONNECTION_ERRORS as error:
            log.warning("the dashboard waits for the database", extra={"reason": str(error)})


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


@contextmanager
def _until_signalled() -> Iterator[None]:
    """Ctrl-C and SIGTERM end what runs within in good order: state kept, servers stopped."""
    loop, task, asked = asyncio.get_running_loop(), asyncio.current_task(), []

    def stop(number: signal.Signals) -> None:
        asked.append(number)
        if task is not None and len(asked) == 1:
            say(f"stopping on {number.name}")
            task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop, number)
    try:
        yield
    except asyncio.CancelledError:
        if not asked or task is None:
            raise
        task.uncancel()
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def say(line: str) -> None:
    """One line for the person at the terminal."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
