"""The running system: page first, then store, exchanges, history, and the live edge."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import numpy as np

from backend.api.server import listen
from backend.api.state import ApiState
from backend.api.status import Status
from backend.api.tls import certificate
from backend.api.watch import look
from backend.backfills import Backfills
from backend.cadence import FOLDED_DAYS, Cadence
from backend.clock import ClockWatch, SystemClock
from backend.devices import refuse_absent
from backend.executor import ProcessExecutor
from backend.feed import Feed
from backend.following import Following
from backend.garbage import settle
from backend.jobs import Jobs, Work
from backend.joining import Orders
from backend.mirror import Mirror, MirrorOrder
from backend.notify.channels import open_channels
from backend.notify.notifications import Notifications, notifications_of
from backend.observer import Observer
from backend.plugin_checks import admit
from backend.plugins import catalogue_of
from backend.readiness import Start
from backend.relaying import RELAYED, refuse_without_kafka, relay
from backend.retention import Retention
from backend.retrains import Retrains
from backend.runner import Lane, Runner
from backend.seating import Seating
from backend.served import api_of, refuse_keyless, say, served, stand_on, until_signalled
from backend.settings import Settings
from backend.sources import Collection
from backend.store import ledger, panels, score_days
from backend.store.database import CONNECTION_ERRORS
from backend.store.jobs import JobStore
from backend.store.pulse import Pulse
from backend.store.state import Runtime, StateFolder
from backend.store.system_status import StatusStore
from backend.system_plan import SystemPlan
from backend.told_status import spelled
from backend.wiring import Store, database_of, open_bus, open_store, terms_of
from collectors.pacing import Pace
from domain.ports import Channel

log = logging.getLogger(__name__)

FOLDED_CLOSES: Final = 200  # of a paper account at a look
LOOK_EVERY_S = 0.1  # wall seconds, whether all is predicted
TELL_EVERY_S: Final = 0.5  # wall, of the status


async def run_system(plan: SystemPlan, settings: Settings) -> None:
    """Run until cancelled, interrupted or terminated, or until `stop_after`.

    Raises:
        StateFolderError: another system runs on the state folder.
        PortTakenError, UsageError: it cannot be served there, or does not exist; a GPU is asked for
            that is not there; a channel of notifications cannot be; nothing here speaks to brokers.
        ExchangeUnavailableError, StoreUnavailableError: at the start.
        UnknownPluginError, PluginError: one that is switched on is not there, or not fit to serve.
        NotReadyError: no prediction of all instruments of any exchange in time.
    """
    folder = StateFolder(settings.state)
    folder.refuse_second()  # before a port of the first is found to be in use
    await admit(settings)
    await refuse_absent(settings)
    refuse_without_kafka(settings)
    shown = certificate(settings.api.tls_cert, settings.api.tls_key)
    await refuse_keyless(settings, allow_no_keys=plan.allow_no_keys)
    listener = listen(settings.host, settings.port)
    with folder.owned(), until_signalled():
        host, port = listener.getsockname()[:2]
        status = Status(market=plan.market, speed=plan.speed, horizons=plan.horizons)
        token = secrets.token_urlsafe()
        api = api_of(settings, plan.clock, status, allow_no_keys=plan.allow_no_keys, token=token)
        async with AsyncExitStack() as stack:
            channels = await stack.enter_async_context(
                open_channels(settings.notify, SystemClock())
            )
            await stack.enter_async_context(served(api, listener, shown))
            status.report("database", 0, 1)
            watch = await stack.enter_async_context(asyncio.TaskGroup())
            url = await stack.enter_async_context(database_of(settings, watch))
            kinds = catalogue_of(settings.plugins)
            store = await stack.enter_async_context(
                open_store(url, folder.path / "artifacts", kinds)
            )
            api.models, api.artifacts = kinds.names, store.artifacts
            stand_on(api, store.readers, store.writers)
            stack.push_async_callback(look, api)  # for the last time, before the store is closed
            status.report("database", 1, 1)
            system = System(plan=plan, settings=settings, store=store, api=api, channels=channels)
            folder.publish(
                Runtime(
                    pid=os.getpid(),
                    database_url=url,
                    api_host=host,
                    api_port=port,
                    api_certificate=shown.fingerprint() if shown else None,
                    api_token=token,
                )
            )
            await system.run(stack)


@dataclass(slots=True, kw_only=True)
class System:
    """Feeds, panels and what watches them, once the store is open."""

    plan: SystemPlan
    settings: Settings
    store: Store
    api: ApiState
    channels: Mapping[str, Channel]  # of notifications
    _followings: list[Following] = field(default_factory=list)
    _orders: Orders = field(default_factory=Orders)
    _late: dict[str, str] = field(default_factory=dict)  # exchange → why it is not counted yet
    _watches: list[tuple[Runner, Observer]] = field(default_factory=list)
    _lane: Lane = field(default_factory=Lane)

    async def run(self, stack: AsyncExitStack) -> None:
        """From connecting to the end."""
        status = self.api.status
        notifications = await stack.enter_async_context(self._notifications())
        self.api.unsent = notifications.unsent
        status.report("exchange", 0, 1)
        feeds = await self.plan.connect(self.store, status, stack)
        status.instruments = tuple(one for feed in feeds for one in feed.instruments)
        status.timeframes = tuple(dict.fromkeys(tf for feed in feeds for tf in feed.timeframes))
        status.away = self._away
        status.report("exchange", 1, 1)
        status.report("sources", 0, 1)
        asked = await self.plan.ask(self.store, status, stack)
        collection = Collection(asked, store=self.store, clock=self.plan.clock)
        await collection.begin()
        status.sources = collection.statuses
        status.report("sources", 1, 1)
        executor = ProcessExecutor(workers=1)
        stack.callback(executor.close)
        bus = await stack.enter_async_context(open_bus(self.settings, self._pace()))
        live: list[asyncio.Task[None]] = []

        def follow(feed: Feed, *, waited_for: bool) -> Following:
            """Follow one more exchange from now on."""
            following = Following(
                feed=feed,
                sentiment=collection.told,
                plan=self.plan,
                settings=self.settings,
                store=self.store,
                api=self.api,
                bus=bus,
                executor=executor,
                lane=self._lane,
                watches=self._watches,
                waited_for=waited_for,
            )
            self._followings.append(following)
            live.append(tasks.create_task(following.run()))
            return following

        try:
            async with asyncio.TaskGroup() as tasks:
                for feed in feeds:
                    follow(feed, waited_for=True)
                relaying = relay(self.settings, self.store.url, self._pace(), self._lane.free)
                beside = (
                    self._refresh_dashboard(),
                    collection.run(),
                    notifications.run(),
                    self._tell_status(),
                    relaying,
                    self._retention().run(),
                )
                live += [tasks.create_task(work) for work in beside]
                if (uri := self.settings.training.mirror) is not None:
                    live.append(tasks.create_task(self._mirror(uri.get_secret_value()).run()))
                try:
                    live += [
                        tasks.create_task(self._welcome(one)) for one in await self._until_ready()
                    ]
                    live.append(tasks.create_task(self._take_in_later(follow)))
                    collection.told.settle()
                    self.api.members = self._orders
                    self.api.seats = Seating(self._watches)
                    self.api.jobs = jobs = self._jobs()
                    live.append(tasks.create_task(jobs.run()))
                    await self._until_done()
                finally:
                    for task in live:
                        task.cancel()
        finally:
            for runner, observer in self._watches:
                await observer.close(keep=runner.whole)
            await collection.close()

    def _notifications(self) -> AbstractAsyncContextManager[Notifications]:
        return notifications_of(
            self.settings.notify,
            self.channels,
            url=self.store.url,
            status=self.api.status,
            pace=self._pace(),
            free=self._lane.free,
        )

    def _pace(self) -> Pace:
        return Pace(
            clock=self.plan.clock,
            wall=SystemClock(),
            random=np.random.default_rng(self.plan.seed),
            speed=self.plan.speed,
        )

    def _retention(self) -> Retention:
        return Retention(
            about=self.settings.retention,
            relayed=RELAYED if self.settings.kafka.brokers else (),
            pool=self.store.writers,
            clock=self.plan.clock,
            wall=SystemClock(),
            free=self._lane.free,
        )

    def _mirror(self, uri: str) -> Mirror:
        artifacts = StateFolder(self.settings.state).path / "artifacts"
        order = MirrorOrder(database_url=self.store.url, artifacts=artifacts, uri=uri)
        return Mirror(order=order, pool=self.store.readers)

    def _jobs(self) -> Jobs:
        wall = SystemClock()
        work: dict[str, Work] = {
            "retrain": Retrains(self._watches, self.store.runs, wall=wall),
            "backfill": Backfills(self._followings),
        }
        return Jobs(JobStore(self.store.writers), work, clock=self.plan.clock, wall=wall)

    async def _until_ready(self) -> list[Following]:
        """Until the start is over; the followings that are late."""
        status, now = self.api.status, asyncio.get_running_loop().time
        start = Start(status, now())
        while (late := start.late(now())) is None:  # noqa: ASYNC110 - rooms know nothing of it
            await asyncio.sleep(LOOK_EVERY_S)
        status.instruments = tuple(one for one in status.instruments if one.exchange not in late)
        for following in self._followings:
            if following.feed.exchange.id not in late:
                self._orders.take(following)
        settle()
        say(f"ready: {len(status.instruments)} instruments, predictions are being published")
        return [one for one in self._followings if one.feed.exchange.id in late]

    async def _take_in_later(self, follow: Callable[..., Following]) -> None:
        """Exchanges that were away at the start, as they come to answer."""
        if self.plan.later is None:
            return
        async with asyncio.TaskGroup() as tasks:
            async for feed in self.plan.later(self.api.status):
                log.info("it answers now", extra={"exchange": feed.exchange.id})
                tasks.create_task(self._welcome(follow(feed, waited_for=False)))

    async def _welcome(self, following: Following) -> None:
        """Count the instruments of an exchange that is late once all of them are predicted."""
        exchange_id = following.feed.exchange.id
        self._late[exchange_id] = f"{exchange_id}: its history is on its way"
        while not self._predicted(following):  # noqa: ASYNC110 - rooms do not know of readiness
            await asyncio.sleep(LOOK_EVERY_S)
        self.api.status.instruments += following.instruments
        self._orders.take(following)
        del self._late[exchange_id]

    def _predicted(self, following: Following) -> bool:
        newest, timeframes = self.api.status.newest, following.feed.timeframes
        return all((one, each) in newest for one in following.instruments for each in timeframes)

    def _away(self) -> dict[str, str]:
        """Exchange → why nothing comes from it, now."""
        lost = {
            one.feed.exchange.id: f"{one.feed.exchange.id}: no connection ({one.edge.lost})"
            for one in self._followings
            if one.edge.lost
        }
        return {**self.plan.refused, **self._late, **lost}

    async def _until_done(self) -> None:
        await asyncio.sleep(
            self.plan.stop_after.total_seconds() if self.plan.stop_after else float("inf")
        )

    async def _refresh_dashboard(self) -> None:
        """Keep the cache near the tables: each panel as often as it is cheap."""
        now = asyncio.get_running_loop().time
        cadence = Cadence(panels.PANELS, folded=panels.SCORES)
        while True:
            await asyncio.sleep(cadence.pause_s)
            cadence.folded(await self._fold())
            await self._reckon()
            for name in cadence.due(now()):
                began = now()
                await self._refresh(name)
                cadence.computed(name, began=began, ended=now())

    async def _tell_status(self) -> None:
        """Keep what servers beside this one are to say of it."""
        kept, wall = StatusStore(self.store.writers), SystemClock()
        pulse = Pulse(wall)
        clock = ClockWatch(self.plan.clock, wall=wall, speed=self.plan.speed)
        self.api.status.troubles += [pulse.troubles, clock.troubles]
        while True:
            clock.look()
            now = self.plan.clock.now()
            await pulse.beat(partial(kept.tell, spelled(self.api), now))
            await asyncio.sleep(TELL_EVERY_S)

    async def _fold(self) -> int:
        """How many days were folded."""
        try:
            async with self.store.writers.acquire() as connection:
                return await score_days.fold(connection, days=FOLDED_DAYS)
        except CONNECTION_ERRORS as error:
            log.warning("days are folded later", extra={"reason": str(error)})
            return 0

    async def _reckon(self) -> None:
        """Take the paper accounts along with what was answered."""
        try:
            async with self.store.writers.acquire() as connection:
                terms = partial(terms_of, self.settings)
                await ledger.fold(connection, terms, closes=FOLDED_CLOSES)
        except CONNECTION_ERRORS as error:
            log.warning("the ledger is folded later", extra={"reason": str(error)})

    async def _refresh(self, name: str) -> None:
        try:
            async with self.store.writers.acquire() as connection:
                await panels.refresh(connection, name, self.plan.clock.now())
        except CONNECTION_ERRORS as error:
            log.warning("the dashboard waits for the database", extra={"reason": str(error)})
